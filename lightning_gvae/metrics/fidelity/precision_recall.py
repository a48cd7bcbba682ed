"""Precision and recall of generated images, by balls around the features of either set."""

from torch_fidelity.metric_prc import KEY_METRIC_PRECISION, KEY_METRIC_RECALL, prc_features_to_metric

from lightning_gvae.metrics.fidelity.features import Features
from lightning_gvae.metrics.fidelity.score import SEED, Score, paired_scores

__all__ = ["precision_recall"]


def precision_recall(
    generated: Features,
    real: Features,
    *,
    neighbours: int = 3,
    resamples: int = 1,
    size: int | None = None,
    seed: int = SEED,
) -> tuple[Score, Score]:
    """Share of generated images in the real manifold, and share of real images in the generated one; 0 to 1.

    A manifold is the union of balls around its images that reach to their k-th neighbour: a single outlier makes a big
    ball, so precision errs on the high side.

    Args:
        generated: Features of generated images.
        real: Features of real images, best as many.
        neighbours: k.
        resamples: Pairs of subsets.
        size: Images in a subset of either set, drawn without replacement; None is all of them, or half of the smaller
            set with several resamples.
        seed: Of the draws.

    Raises:
        ConfigError: Too few images for ``neighbours``, the sets lie in two spaces, or a setting is out of range.

    References:
        Kynkäänniemi, Karras, Laine, Lehtinen, Aila, Improved precision and recall metric, 2019.
    """

    def both(first: Features, second: Features) -> tuple[float, float]:
        found = prc_features_to_metric(
            first.values,
            second.values,
            prc_neighborhood=neighbours,
            prc_batch_size=1000,  # the default of 10 000 takes gigabytes
            save_cpu_ram=True,
            verbose=False,
        )
        return found[KEY_METRIC_PRECISION], found[KEY_METRIC_RECALL]

    return paired_scores(("precision", "recall"), both, generated, real, neighbours, resamples, size, seed)
