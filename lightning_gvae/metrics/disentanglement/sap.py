"""SAP, separated attribute predictability: how much better is the best latent at a factor than the second best?"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.svm import LinearSVC

from lightning_gvae.metrics.disentanglement.checks import Floats, checked_split

__all__ = ["AttributePredictability", "sap"]


@dataclass(frozen=True, eq=False)
class AttributePredictability:
    """The score and what it was computed from.

    Args:
        score: Mean over the factors of the difference between the two largest accuracies, 0..1.
        accuracies: ``(L, F)``, test accuracy of each latent at each factor, 0..1.
    """

    score: float
    accuracies: Floats


def sap(
    codes: npt.ArrayLike, factors: npt.ArrayLike, test_codes: npt.ArrayLike, test_factors: npt.ArrayLike
) -> AttributePredictability:
    """SAP score of one-latent linear support vector machines (C = 0.01, balanced classes).

    Factors are classes, also ordered ones: a linear classifier on one latent can tell only a few of 40 orientations
    apart, so that even a nearly perfect code of dSprites scores about 0.24. The penalty is on unscaled codes, so their
    scale matters.

    Args:
        codes: ``(N, L)`` to learn from; the reference draws 10,000.
        factors: ``(N, F)`` integer classes, each factor with at least two values.
        test_codes: ``(M, L)`` to test on; the reference draws 5,000.
        test_factors: ``(M, F)``.

    Raises:
        ConfigError: Fewer than two latents.
        DataError: Shapes or types do not fit, a code is not finite, or a factor has one value only.

    References:
        Kumar, Sattigeri and Balakrishnan, Variational Inference of Disentangled Latent Concepts from Unlabeled
        Observations, 2018, section 3; settings of Locatello et al., 2019.
    """
    train, labels, test, test_labels = checked_split(codes, factors, test_codes, test_factors, latents=2)
    accuracies = np.array(
        [
            [_accuracy(train[:, [j]], labels[:, k], test[:, [j]], test_labels[:, k]) for k in range(labels.shape[1])]
            for j in range(train.shape[1])
        ]
    )
    second, first = np.sort(accuracies, axis=0)[-2:]
    return AttributePredictability(float((first - second).mean()), accuracies)


def _accuracy(
    codes: Floats, labels: npt.NDArray[np.int64], test_codes: Floats, test_labels: npt.NDArray[np.int64]
) -> float:
    # The primal problem has one solution; the dual solver walks the samples in random order and may not get there.
    classifier = LinearSVC(C=0.01, class_weight="balanced", dual=False).fit(codes, labels)
    return float((classifier.predict(test_codes) == test_labels).mean())
