"""Classes of samples, as a classifier of the real images sees them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lightning_gvae.app.service.opened import Opened
from lightning_gvae.app.service.sampling import Samples
from lightning_gvae.errors import ConfigError
from lightning_gvae.metrics.fidelity.features import extract_features

__all__ = ["ClassCounts", "class_counts"]


@dataclass(frozen=True, eq=False)
class ClassCounts:
    """Classes of samples and of real test images.

    Args:
        names: Of the K classes.
        made: Number of samples of each class, as the classifier sees them, ``(K,)``.
        real: Number of real test images of each class, by their labels, ``(K,)``.
        accuracy: Of the classifier on real test images, 0..1.
    """

    names: tuple[str, ...]
    made: npt.NDArray[np.int64]
    real: npt.NDArray[np.int64]
    accuracy: float

    @property
    def shares(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Shares of samples and of real images, ``(K,)`` each."""
        return self.made / self.made.sum(), self.real / self.real.sum()

    @property
    def distance(self) -> float:
        """Total variation distance of the two, 0 (same shares) to 1."""
        made, real = self.shares
        return float(0.5 * np.abs(made - real).sum())

    @property
    def missing(self) -> tuple[str, ...]:
        """Classes of fewer than 1 % of the samples."""
        return tuple(name for name, share in zip(self.names, self.shares[0], strict=True) if share < 0.01)


def class_counts(opened: Opened, samples: Samples) -> ClassCounts:
    """Count the classes of samples; the classifier is trained at the first call, for up to a minute.

    Raises:
        ConfigError: The data have no labels.
        DataError: The data set cannot be read.
    """
    subject = opened.subject
    spec, test = subject.spec, subject.data.test_set
    if spec.num_classes is None:
        raise ConfigError(f"the images of {spec.name} have no labels, so samples cannot be sorted by class.")
    space = opened.classifier()
    logits = extract_features(space, samples.images).logits
    assert logits is not None
    real = np.concatenate([targets.numpy() for _, targets in subject.batches(test, np.arange(len(test)))])
    names = spec.class_names or tuple(map(str, range(spec.num_classes)))
    made, found = (np.bincount(which, minlength=len(names)) for which in (logits.argmax(1).numpy(), real))
    return ClassCounts(names, made, found, space.space.accuracy or float("nan"))
