"""Metrics of every generation of a chain of image models."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from lightning_gvae.errors import ConfigError
from lightning_gvae.evaluation.feature_cache import real_features, space_of
from lightning_gvae.evaluation.real_data import RealData
from lightning_gvae.evaluation.suite import Suite
from lightning_gvae.interfaces import DataModule, HasLikelihood
from lightning_gvae.metrics.active_units import ActiveUnits
from lightning_gvae.metrics.diversity.memory import nearest_distances
from lightning_gvae.metrics.fidelity.class_balance import class_balance
from lightning_gvae.metrics.fidelity.features import Features, extract_features
from lightning_gvae.metrics.fidelity.fid import fid
from lightning_gvae.metrics.fidelity.inception_score import inception_score
from lightning_gvae.metrics.fidelity.kid import kid
from lightning_gvae.metrics.fidelity.precision_recall import precision_recall
from lightning_gvae.rng import torch_stream

__all__ = ["Judge", "duplicate_share", "log_trace", "nearest_distance", "pixel_variance"]

Images = npt.NDArray[np.uint8]
NEAREST = 1000  # samples whose nearest training image is looked for
BATCH = 500
LEAST = 1e-12  # trace


class Judge:
    """Scores samples against the real test images, always the same ones, in the feature space of a frozen classifier.

    Args:
        datamodule: Labelled images, set up.
        images: Test images at most.
        train: Images of generation 0, which samples are looked for among.
        cache_dir: Folder in which the classifier is kept; None trains it anew.
        device: Where the classifier runs.

    Raises:
        ConfigError: The data have no labels, or there are fewer test images than a covariance needs.
    """

    def __init__(
        self,
        datamodule: DataModule,
        images: int,
        train: Images,
        cache_dir: Path | None,
        device: torch.device | str = "cpu",
    ) -> None:
        settings = Suite(samples=images, cache_dir=cache_dir)
        real = RealData(datamodule, seed=0, device=device)
        self.space = space_of(real, settings, "domain")
        self.require(images)
        self.real = real_features(real, settings, "domain")
        self.train = extract_features(self.space, train)
        self.test_images, _ = real.images(datamodule.test_set, images, "real")

    def require(self, count: int) -> None:
        """Check that so many samples have a covariance.

        Raises:
            ConfigError: They are too few.
        """
        if count < (least := self.space.dims + 1):
            raise ConfigError(
                f"`samples` and `score_images` must be at least {least}: the covariance of {least - 1} features "
                "needs as "
                f"many images, got {count}."
            )

    def labels(self, features: Features) -> npt.NDArray[np.uint8]:
        """Classes of samples, ``(M,)``, as the frozen classifier sees them."""
        assert features.logits is not None
        return features.logits.argmax(1).numpy().astype(np.uint8)

    def scores(self, images: Images) -> tuple[dict[str, float], Features]:
        """Scores of samples uint8 ``(M, C, H, W)`` by name, and their features.

        ``fid``, ``kid``, ``is``, ``precision``, ``recall``; ``classes``, ``class_entropy`` (nats), ``class_tv`` and
        ``class_confidence``; ``pixel_variance`` (summed over pixels in [0, 1]); ``feature_trace`` and its logarithm;
        ``duplicates`` (share); ``nearest`` (distance of features to generation 0's training images).
        """
        made = extract_features(self.space, images)
        size = min(1000, len(made), len(self.real))
        found = [
            fid(made, self.real),
            kid(made, self.real, size=size),
            inception_score(made),
            *precision_recall(made, self.real),
            *class_balance(made),
        ]
        trace = log_trace(made)
        return {
            **{score.name.partition("/")[0]: score.value for score in found},
            "pixel_variance": pixel_variance(images),
            "feature_trace": float(np.exp(trace)),
            "log_feature_trace": trace,
            "duplicates": duplicate_share(images),
            "nearest": nearest_distance(made, self.train),
        }, made

    @torch.no_grad()
    def posterior_scores(self, model: HasLikelihood) -> dict[str, float]:
        """Scores of a model with posteriors on real test images.

        ``elbo``, ``recon`` and ``kl`` (nats), active units, and the variance of the aggregate posterior, mean over the
        latents (1 under the prior).
        """
        units, means, widths, totals = ActiveUnits(model.latent_dim), [], [], np.zeros(2)
        model.eval()
        for number, part in enumerate(torch.from_numpy(self.test_images).split(BATCH)):
            images = model.prepare(part.to(model.device))
            mean, log_var = model.encode(images)
            terms = model.elbo_terms(images, torch_stream(0, "collapse/elbo", number, device=model.device))
            totals += len(part) * np.array([float(terms.recon), float(terms.kl)])
            units.update(mean.cpu())
            means.append(mean.cpu().double())
            widths.append(log_var.cpu().double().exp())
        recon, kl = totals / len(self.test_images)
        variance = torch.cat(means).var(0) + torch.cat(widths).mean(0)
        return {
            "elbo": float(-(recon + kl)),
            "recon": float(recon),
            "kl": float(kl),
            "active_units": float(units.compute()),
            "aggregate_variance": float(variance.mean()),
        }


def log_trace(features: Features) -> float:
    """Natural logarithm of the trace of the features' covariance: the sum of their variances.

    Below 1e-12, where features of single precision no longer differ, it stays: a constant set has no finite one.
    """
    return float(np.log(max(float(features.values.double().var(0).sum()), LEAST)))


def pixel_variance(images: Images) -> float:
    """Variance over the images, summed over pixels in [0, 1]."""
    return float((images.reshape(len(images), -1) / 255.0).var(0, ddof=1).sum())


def duplicate_share(images: Images) -> float:
    """Share of images of which there is an exact copy.

    >>> duplicate_share(np.array([[[[1]]], [[[1]]], [[[2]]], [[[3]]]], dtype=np.uint8))
    0.5
    """
    _, counts = np.unique(images.reshape(len(images), -1), axis=0, return_counts=True)
    return float(counts[counts > 1].sum() / len(images))


def nearest_distance(made: Features, reference: Features, count: int = NEAREST) -> float:
    """Mean Euclidean distance of the first samples to the nearest of the reference, in the features' units."""
    return float(nearest_distances(made.values[:count], reference.values).mean())
