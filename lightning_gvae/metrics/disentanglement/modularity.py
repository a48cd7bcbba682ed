"""Modularity: does a latent know about one factor only? Explicitness: can factors be read off linearly?"""

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression

from lightning_gvae.errors import DataError
from lightning_gvae.metrics.disentanglement.checks import (
    Floats,
    check_varied,
    checked_codes,
    checked_factors,
    checked_split,
)
from lightning_gvae.metrics.disentanglement.mutual_information import information_matrix

__all__ = ["area_under_curve", "explicitness", "modularity", "modularity_of"]


def modularity(codes: npt.ArrayLike, factors: npt.ArrayLike, bins: int = 20) -> float:
    r"""Modularity, 0..1, of codes ``(N, L)`` and factor classes ``(N, F)``.

    .. math:: \frac{1}{L} \sum_j 1 - \frac{\sum_{k \ne k^*} I_{jk}^2}{(F - 1) I_{jk^*}^2},\qquad
        k^* = \arg\max_k I_{jk}

    Every latent counts the same, whether it knows much or little. A constant latent scores 0; a latent of pure noise
    scores whatever the errors of its information happen to be, so look at MIG or DCI beside it. It says nothing about
    how many latents share a factor.

    Args:
        codes: Posterior means; the reference takes 10,000 samples.
        factors: Integer classes, at least two factors, each with at least two values.
        bins: Bins a latent, at least 2.

    Raises:
        ConfigError: Fewer than two factors, or ``bins`` is out of range.
        DataError: Shapes or types do not fit, a code is not finite, or a factor has one value only.

    References:
        Ridgeway and Mozer, Learning Deep Disentangled Embeddings with the F-Statistic Loss, 2018, section 3; settings
        of Locatello et al., 2019.
    """
    matrix = checked_codes(codes)
    checked_factors(factors, len(matrix), least_factors=2)
    check_varied(factors)
    return modularity_of(information_matrix(matrix, factors, bins))


def modularity_of(information: Floats) -> float:
    """Modularity of mutual information ``(L, F)``, any unit.

    >>> modularity_of(np.array([[1.0, 0.0], [0.5, 0.5]]))
    0.5
    """
    squared = np.square(information)
    most = squared.max(1)
    rest = squared.sum(1) - most
    spread = np.divide(rest, most * (squared.shape[1] - 1), out=np.ones_like(most), where=most > 0)
    return float(np.clip(1 - spread, 0.0, 1.0).mean())


def explicitness(
    codes: npt.ArrayLike, factors: npt.ArrayLike, test_codes: npt.ArrayLike, test_factors: npt.ArrayLike
) -> float:
    """Mean over factors of the one-vs-rest area under the ROC curve of a logistic regression on all latents.

    Between 0 and 1, chance is 0.5 (the area itself, as in disentanglement_lib; Ridgeway and Mozer stretch it to start
    at 0). Classes count the same; a class that no test sample has is left out. Codes are standardised by the training
    samples.

    Args:
        codes: ``(N, L)`` to learn from; the reference draws 10,000.
        factors: ``(N, F)`` integer classes, each factor with at least two values.
        test_codes: ``(M, L)`` to test on; the reference draws 5,000.
        test_factors: ``(M, F)``, each factor with at least two values.

    Raises:
        DataError: Shapes or types do not fit, a code is not finite, or a factor has one value only.

    References:
        Ridgeway and Mozer, 2018, section 3; settings of Locatello et al., 2019.
    """
    train, labels, test, test_labels = checked_split(codes, factors, test_codes, test_factors)
    check_varied(test_labels)
    mean, spread = train.mean(0), train.std(0)
    spread[spread == 0] = 1.0
    train, test = (train - mean) / spread, (test - mean) / spread
    areas = []
    for factor, (label, test_label) in enumerate(zip(labels.T, test_labels.T, strict=True)):
        classifier = LogisticRegression(max_iter=1000).fit(train, label)
        hits = [test_label == value for value in classifier.classes_]
        curves = [
            area_under_curve(chance, hit)
            for chance, hit in zip(classifier.predict_proba(test).T, hits, strict=True)
            if hit.any()
        ]
        if not curves:
            raise DataError(
                f"no test sample has a value of factor {factor} that a training sample has, "
                f"{label.min()}..{label.max()}; "
                "draw both from the same images"
            )
        areas.append(np.mean(curves))
    return float(np.mean(areas))


def area_under_curve(scores: npt.ArrayLike, positive: npt.ArrayLike) -> float:
    """Probability that a positive sample has the larger score, ties counting half; both ``(N,)``.

    >>> area_under_curve([0.1, 0.4, 0.35, 0.8], [False, False, True, True])
    0.75
    """
    mask = np.asarray(positive, dtype=bool)
    hits = int(mask.sum())
    above = rankdata(np.asarray(scores))[mask].sum() - hits * (hits + 1) / 2
    return float(above / (hits * (len(mask) - hits)))
