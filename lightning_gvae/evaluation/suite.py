"""Every score by name: what it needs, and the settings of all of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from lightning_gvae.errors import ConfigError, checked_count
from lightning_gvae.evaluation.diversity import DIVERSITY, NAMED, diversity_scores
from lightning_gvae.evaluation.subject import Subject
from lightning_gvae.evaluation.text import TEXT, text_scores
from lightning_gvae.metrics.aggregate_posterior import aggregate_kl
from lightning_gvae.metrics.disentanglement.beta_vae_score import beta_vae_score
from lightning_gvae.metrics.disentanglement.dci import dci
from lightning_gvae.metrics.disentanglement.factor_vae_score import factor_vae_score
from lightning_gvae.metrics.disentanglement.mig import mig
from lightning_gvae.metrics.disentanglement.mig_chen import mig_chen
from lightning_gvae.metrics.disentanglement.modularity import explicitness, modularity
from lightning_gvae.metrics.disentanglement.sap import sap
from lightning_gvae.metrics.diversity.effective import checked_order
from lightning_gvae.metrics.fidelity.feature_spaces import FEATURE_SPACES
from lightning_gvae.metrics.likelihood import iwae_nll
from lightning_gvae.rng import numpy_stream, torch_stream
from lightning_gvae.samplers import SAMPLERS

__all__ = ["Suite"]

LIKELIHOOD = ("nll", "aggregate_kl")
FACTORS = ("mig", "sap", "modularity")
GRID = ("beta_vae_score", "factor_vae_score")
IMAGES = ("fid", "kid", "is", "precision_recall", "density_coverage")
SLOW = ("mig_chen", "dci")  # minutes; only when they are named
CLASSES = ("class_balance",)  # only when it is named: with a space of other data's classes it says little
BASELINES = ("reconstructions", "mean_image", "training_images")  # samplers without latents
SHOWN = 64  # images of a sampler
NAMES = (*LIKELIHOOD, *FACTORS, *GRID, *IMAGES, *SLOW, *CLASSES, *DIVERSITY, *NAMED, *TEXT)

Scores = dict[str, float]
Codes = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Suite:
    """Scores of a model by name, each under ``score/``.

    Text: ``perplexity`` and ``text_diversity`` (see :mod:`~lightning_gvae.evaluation.text`).

    Likelihood: ``nll`` (importance-sampled, nats), ``aggregate_kl`` (mutual information, total correlation and
    dimension-wise KL, nats). Disentanglement, for data with factors: ``mig``, ``sap``, ``modularity`` (with
    explicitness), ``beta_vae_score``, ``factor_vae_score``, and when they are named ``mig_chen`` and ``dci``, which
    take minutes. Images: ``fid``, ``kid``, ``is``, ``precision_recall``, ``density_coverage``, and when it is named
    ``class_balance``, for every sampler and in every feature space, whose names become part of the score's. Diversity,
    likewise: ``vendi``, ``duplicates``, ``class_diversity``, and when they are named ``pure_diversity``,
        ``memorisation`` and ``fid_train`` (see :mod:`~lightning_gvae.evaluation.diversity`).

    Args:
        samples: Generated images, and real test images at most, of a score of images.
        resamples: Subsets of them over which such a score is averaged.
        importance_samples: Draws an image of ``nll``.
        likelihood_images: Test images of ``nll``.
        posteriors: Test images of ``aggregate_kl``, and images of the disentanglement scores but half as many to test.
        votes: Training points of ``beta_vae_score`` and ``factor_vae_score``; half as many to test.
        pool: Images that ``factor_vae_score`` draws from; None, the reference, draws from all.
        samplers: ``prior`` (the model's own), ``gmm``, ``flow``, ``reconstructions`` of test images, and as baselines
            ``mean_image`` (of the training set, again and again) and ``training_images``.
        feature_spaces: ``domain`` (a classifier trained on the labelled data), ``inception``, ``efficientnet_lite0``.
        orders: Orders q of ``vendi``.
        weights: File of weights of the feature space, if not its own; for a single space.
        cache_dir: Folder of the caches; None keeps nothing.
        seed: Seed of all draws.

    Raises:
        ConfigError: A count is below 1, or there is no such sampler or feature space.
    """

    samples: int = 10_000
    resamples: int = 5
    importance_samples: int = 100
    likelihood_images: int = 1000
    posteriors: int = 10_000
    votes: int = 10_000
    pool: int | None = 200_000
    samplers: Sequence[str] = ("prior",)
    feature_spaces: Sequence[str] = ("domain",)
    orders: Sequence[float] = (1.0,)
    weights: str | None = None
    cache_dir: str | Path | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        counts = ("samples", "resamples", "importance_samples", "likelihood_images", "posteriors", "votes")
        for name in counts:
            checked_count(name, getattr(self, name))
        for order in self.orders:
            checked_order(order)
        known = {"samplers": (*SAMPLERS, *BASELINES), "feature_spaces": ("domain", *FEATURE_SPACES)}
        for setting, names in known.items():
            if unknown := [name for name in getattr(self, setting) if name not in names]:
                raise ConfigError(f"`{setting}` may name {', '.join(names)}, got {', '.join(map(str, unknown))}")

    def run(
        self,
        names: Sequence[str] | str,
        model: Any,
        datamodule: Any,
        show: Callable[[str, np.ndarray], None] | None = None,
    ) -> Scores:
        """Compute the named scores, or with ``"all"`` those that the data allow and that do not take minutes.

        Args:
            names: Of the scores, or ``"all"``.
            model: Its methods are those of :class:`~lightning_gvae.models.vae.VAE`.
            datamodule: Set up.
            show: If images are scored, is given the name of each sampler and 64 of its images ``(64, C, H, W)`` in
                [0, 1].

        Raises:
            ConfigError: There is no such score, or the data lack what it needs.
            DataError: Too few images, or the weights of a feature space are not there.
        """
        subject = Subject(model, datamodule, self.seed)
        chosen = self._chosen(names, subject.spec)
        scores: Scores = {}
        with tqdm(chosen, desc="scores", unit="score") as bar:
            for name in bar:
                bar.set_postfix_str(name)
                diverse = name in (*DIVERSITY, *NAMED)
                if name in TEXT:
                    scores |= text_scores(name, subject, self)
                else:
                    scores |= diversity_scores(name, subject, self) if diverse else getattr(self, f"_{name}")(subject)
        if show is not None and any(name in (*IMAGES, *DIVERSITY, *NAMED) for name in chosen):
            for sampler in self.samplers:
                show(sampler, torch.cat(list(subject.samples(SHOWN, sampler))).numpy())
        return {f"score/{name}": float(value) for name, value in scores.items()}

    def _chosen(self, names: Sequence[str] | str, spec: Any) -> list[str]:
        has_factors = bool(spec.factor_sizes)
        if names == "all" and len(spec.image_shape) == 2:
            return ["aggregate_kl", *TEXT]
        if names == "all":
            fitting = [*LIKELIHOOD, *(FACTORS if has_factors else ()), *(GRID if spec.is_grid else ())]
            labelled = "domain" not in self.feature_spaces or spec.num_classes is not None
            # Only the data's own classifier knows its classes.
            own = set(self.feature_spaces) == {"domain"}
            diverse = [name for name in DIVERSITY if own or name != "class_diversity"]
            return [*fitting, *((*IMAGES, *diverse) if labelled else ())]
        asked = [names] if isinstance(names, str) else list(names)
        if unknown := [name for name in asked if name not in NAMES]:
            raise ConfigError(f"`metrics` may name {', '.join(NAMES)}, or be all; got {', '.join(unknown)}")
        if not has_factors and (wanting := [name for name in asked if name in (*FACTORS, *GRID, *SLOW)]):
            raise ConfigError(
                f"{', '.join(wanting)} compare codes with factors, and {spec.name} has none; leave them out or "
                "take data"
                " with factors, such as data=dsprites or data=celeba"
            )
        return asked

    # Likelihood.

    def _nll(self, subject: Subject) -> Scores:
        model, part = subject.model, subject.data.test_set
        total, count = 0.0, 0

        def log_likelihood(images: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
            # The sum below takes the prior for standard normal.
            return model.log_likelihood(images, latents) + model.log_prior_ratio(latents)

        positions = subject.positions(part, self.likelihood_images, "nll")
        for number, (images, _) in enumerate(subject.batches(part, positions)):
            with torch.no_grad():
                prepared = model.prepare(images.to(model.device))
                stream = torch_stream(self.seed, "evaluation/nll", number, device=model.device)
                mean, log_var = model.encode(prepared)
                nll = iwae_nll(prepared, mean, log_var, log_likelihood, self.importance_samples, stream, chunk=1)
            total, count = total + float(nll.sum()), count + len(images)
        return {"nll": total / count}

    def _aggregate_kl(self, subject: Subject) -> Scores:
        found = subject.posteriors(subject.data.test_set, self.posteriors, "aggregate")
        stream = torch_stream(self.seed, "evaluation/aggregate")
        parts = aggregate_kl(found.means, found.log_vars, stream, draws=min(1000, len(found.means)))
        return {
            "mutual_information": float(parts.mutual_information),
            "total_correlation": float(parts.total_correlation),
            "dimension_wise_kl": float(parts.dimension_wise_kl),
        }

    # Disentanglement.

    def _codes(self, subject: Subject) -> Codes:
        """Those of :meth:`_encoded`, which several scores share."""
        return subject.once("codes", lambda: self._encoded(subject))

    def _encoded(self, subject: Subject) -> Codes:
        """Codes and factors to learn from, and half as many to test on.

        Factors of a grid are drawn independently, as the reference does; of other data the images that are there are
        taken, those that were not trained on if they are enough.
        """
        wanted = self.posteriors + self.posteriors // 2
        stream = numpy_stream(self.seed, "evaluation/codes")
        if subject.spec.is_grid:
            factors = stream.integers(0, subject.spec.factor_sizes, (wanted, len(subject.spec.factor_sizes)))
            codes = subject.encode_factors(factors)
        else:
            part = subject.data.test_set if len(subject.data.test_set) >= wanted else subject.data.train_set
            found = subject.posteriors(part, wanted, "codes")
            order = stream.permutation(len(found.means))
            codes, factors = found.means.numpy()[order], found.targets[order]
        learnt = len(codes) * 2 // 3
        return codes[:learnt], factors[:learnt], codes[learnt:], factors[learnt:]

    def _mig(self, subject: Subject) -> Scores:
        codes, factors, _, _ = self._codes(subject)
        return {"mig": mig(codes, factors).score}

    def _sap(self, subject: Subject) -> Scores:
        return {"sap": sap(*self._codes(subject)).score}

    def _modularity(self, subject: Subject) -> Scores:
        codes, factors, test_codes, test_factors = self._codes(subject)
        return {
            "modularity": modularity(codes, factors),
            "explicitness": explicitness(codes, factors, test_codes, test_factors),
        }

    def _dci(self, subject: Subject) -> Scores:
        found = dci(*self._codes(subject), seed=self.seed)
        return {
            "dci_disentanglement": found.disentanglement,
            "dci_completeness": found.completeness,
            "dci_informativeness": found.informativeness,
        }

    def _mig_chen(self, subject: Subject) -> Scores:
        found = subject.posteriors(subject.data.train_set, self.posteriors, "mig_chen")
        use = (1, 2, 3, 4) if subject.spec.name == "dsprites" else None  # the papers leave the shape out
        samples = min(10_000, self.posteriors)
        gap = mig_chen(found.means, found.log_vars, found.targets, seed=self.seed, use=use, samples=samples)
        return {"mig_chen": gap.score}

    def _beta_vae_score(self, subject: Subject) -> Scores:
        sizes, test = subject.spec.factor_sizes, max(1, self.votes // 2)
        score = beta_vae_score(subject.encode_factors, sizes, seed=self.seed, train=self.votes, test=test)
        return {"beta_vae_score": score}

    def _factor_vae_score(self, subject: Subject) -> Scores:
        sizes, test = subject.spec.factor_sizes, max(1, self.votes // 2)
        found = factor_vae_score(
            subject.encode_factors, sizes, seed=self.seed, train=self.votes, test=test, pool=self.pool
        )
        return {"factor_vae_score": found.score}

    # Images.

    def _fid(self, subject: Subject) -> Scores:
        from lightning_gvae.metrics.fidelity.fid import fid

        return self._compared(subject, lambda made, real: (fid(made, real, resamples=self.resamples),))

    def _kid(self, subject: Subject) -> Scores:
        from lightning_gvae.metrics.fidelity.kid import kid

        return self._compared(subject, lambda made, real: (kid(made, real, size=min(1000, len(made), len(real))),))

    def _is(self, subject: Subject) -> Scores:
        from lightning_gvae.metrics.fidelity.inception_score import inception_score

        return self._compared(subject, lambda made, real: (inception_score(made),))

    def _precision_recall(self, subject: Subject) -> Scores:
        from lightning_gvae.metrics.fidelity.precision_recall import precision_recall

        return self._compared(subject, lambda made, real: precision_recall(made, real))

    def _density_coverage(self, subject: Subject) -> Scores:
        from lightning_gvae.metrics.fidelity.density_coverage import density_coverage

        return self._compared(subject, lambda made, real: density_coverage(made, real))

    def _class_balance(self, subject: Subject) -> Scores:
        from lightning_gvae.metrics.fidelity.class_balance import class_balance

        return self._compared(subject, lambda made, real: class_balance(made))

    def _compared(self, subject: Subject, compare: Callable[[Any, Any], Sequence[Any]]) -> Scores:
        """A score for every feature space and sampler; features are computed once."""
        from lightning_gvae.evaluation.feature_cache import features_of

        scores: Scores = {}
        for space in self.feature_spaces:
            real = features_of(subject, self, space, None)
            for sampler in self.samplers:
                for score in compare(features_of(subject, self, space, sampler), real):
                    scores[f"{score.name}/{sampler}"] = score.value
                    if score.sd is not None:
                        scores[f"{score.name}/{sampler}_sd"] = score.sd
        return scores
