"""DCI: disentanglement, completeness and informativeness from the importances of boosted trees.

Minutes rather than seconds: one tree per class and round. At 10,000 samples the five factors of dSprites take about
eight minutes of one core, so callers should let the user ask for it.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import GradientBoostingClassifier

from lightning_gvae.errors import ConfigError, DataError
from lightning_gvae.metrics.disentanglement.checks import Floats, checked_count, checked_split
from lightning_gvae.rng import stream_key

__all__ = ["DCI", "completeness", "dci", "disentanglement"]


@dataclass(frozen=True, eq=False)
class DCI:
    """The three scores and the matrix they come from.

    Args:
        disentanglement: Does each latent matter for one factor only? 0..1.
        completeness: Does each factor need one latent only? 0..1.
        informativeness: Mean test accuracy over the factors, 0..1; the higher the better.
        importances: ``(L, F)``, columns sum to 1.
    """

    disentanglement: float
    completeness: float
    informativeness: float
    importances: Floats


def dci(
    codes: npt.ArrayLike,
    factors: npt.ArrayLike,
    test_codes: npt.ArrayLike,
    test_factors: npt.ArrayLike,
    *,
    seed: int,
    rounds: int = 100,
    depth: int = 3,
) -> DCI:
    """DCI with gradient-boosted trees; time grows with samples, latents and the number of classes.

    Args:
        codes: ``(N, L)`` to learn from; the reference draws 10,000, 2,000 are enough for a look.
        factors: ``(N, F)`` integer classes, each factor with at least two values.
        test_codes: ``(M, L)`` to test on; the reference draws 5,000.
        test_factors: ``(M, F)``.
        seed: Breaks ties between equally good splits.
        rounds: Boosting rounds.
        depth: Depth of a tree.

    Raises:
        ConfigError: Fewer than two latents or factors, or a setting is out of range.
        DataError: Shapes or types do not fit, a code is not finite, or a factor has one value only.

    References:
        Eastwood and Williams, A Framework for the Quantitative Evaluation of Disentangled Representations, 2018,
        section 2; estimator of Locatello et al., 2019.
    """
    train, labels, test, test_labels = checked_split(codes, factors, test_codes, test_factors, latents=2)
    _check_matrix(np.zeros((train.shape[1], labels.shape[1])))
    settings = {"n_estimators": checked_count("rounds", rounds), "max_depth": checked_count("depth", depth)}
    columns, accuracies = [], []
    for k in range(labels.shape[1]):
        state = stream_key(seed, "dci", k) % 2**32
        trees = GradientBoostingClassifier(random_state=state, **settings).fit(train, labels[:, k])
        columns.append(np.abs(trees.feature_importances_))  # rounding makes some of -1e-17
        accuracies.append((trees.predict(test) == test_labels[:, k]).mean())
    importances = np.stack(columns, axis=1)
    return DCI(disentanglement(importances), completeness(importances), float(np.mean(accuracies)), importances)


def disentanglement(importances: npt.ArrayLike) -> float:
    r"""Disentanglement of importances ``(L, F)``: :math:`\sum_i w_i (1 - H_F(P_i))`, 0..1.

    :math:`P_i` is row i made to sum to 1, :math:`H_F` its entropy to base F and :math:`w_i` the row's share of all
    importance, so that dead latents do not count. Without any importance the score is 0.

    >>> disentanglement([[1, 0], [0, 1]]), disentanglement([[1, 1], [1, 1]])
    (1.0, 0.0)
    """
    matrix = _check_matrix(importances)
    total = matrix.sum()
    if total == 0:
        return 0.0
    weights = matrix.sum(1)
    rows = matrix[weights > 0] / weights[weights > 0, None]
    entropy = -(rows * np.log(rows, out=np.zeros_like(rows), where=rows > 0)).sum(1) / np.log(matrix.shape[1])
    return float(np.clip((weights[weights > 0] / total * (1 - entropy)).sum(), 0.0, 1.0))


def completeness(importances: npt.ArrayLike) -> float:
    """Completeness of importances ``(L, F)``: as :func:`disentanglement`, columns for rows, entropies to base L.

    >>> completeness([[1, 1], [0, 0]]), disentanglement([[1, 1], [0, 0]])
    (1.0, 0.0)
    """
    return disentanglement(np.asarray(importances).T)


def _check_matrix(importances: npt.ArrayLike) -> Floats:
    matrix = np.asarray(importances, dtype=np.float64)
    if matrix.ndim != 2 or min(matrix.shape) < 2:
        raise ConfigError(f"DCI needs at least 2 latents and 2 factors, got importances of shape {matrix.shape}")
    if not (matrix >= 0).all():
        raise DataError(f"importances must be 0 or more, got {matrix.min()}")
    return matrix
