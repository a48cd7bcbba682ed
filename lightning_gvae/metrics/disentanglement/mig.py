"""Mutual information gap on histograms: is there one latent that knows each factor, and only one?"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lightning_gvae.metrics.disentanglement.checks import Floats, check_varied, checked_codes, checked_factors
from lightning_gvae.metrics.disentanglement.mutual_information import entropies, information_matrix

__all__ = ["InformationGap", "gap_of", "mig"]


@dataclass(frozen=True, eq=False)
class InformationGap:
    """A mutual information gap and what it was computed from.

    Args:
        score: Mean of ``gaps``, 0..1.
        gaps: ``(F,)``, of each factor, 0..1.
        information: ``(L, F)``, mutual information of latents and factors, nats.
        entropies: ``(F,)``, of the factors, nats.
    """

    score: float
    gaps: Floats
    information: Floats
    entropies: Floats


def mig(codes: npt.ArrayLike, factors: npt.ArrayLike, bins: int = 20) -> InformationGap:
    r"""Mutual information gap of codes ``(N, L)`` and factor classes ``(N, F)``, as in disentanglement_lib.

    .. math:: \frac{1}{F} \sum_k \frac{I(z_{j_1}; v_k) - I(z_{j_2}; v_k)}{H(v_k)}

    with the two latents that know most about factor k, each cut into ``bins`` bins of equal width. A latent cannot
    tell more values apart than it has bins: with 20 bins the score of a perfect code on dSprites is 0.908, not 1. Not
    comparable with :func:`~lightning_gvae.metrics.disentanglement.mig_chen.mig_chen`.

    Args:
        codes: Posterior means, any range; the reference takes 10,000 samples drawn with replacement.
        factors: Integer classes, each factor with at least two values among the samples.
        bins: Bins a latent, at least 2.

    Raises:
        ConfigError: Fewer than two latents, or ``bins`` is out of range.
        DataError: Shapes or types do not fit, a code is not finite, or a factor has one value only.

    References:
        Chen, Li, Grosse and Duvenaud, Isolating Sources of Disentanglement in VAEs, 2018, equation 6; estimated as in
        Locatello et al., Challenging Common Assumptions in the Unsupervised Learning of Disentangled Representations,
        2019, appendix.
    """
    matrix = checked_codes(codes, least_latents=2)
    checked_factors(factors, len(matrix))
    check_varied(factors)
    return gap_of(information_matrix(matrix, factors, bins), entropies(factors))


def gap_of(information: Floats, entropy: Floats) -> InformationGap:
    """Gap between the two largest entries of each column of ``information`` ``(L, F)`` over ``entropy`` ``(F,)``."""
    second, first = np.sort(information, axis=0)[-2:]
    gaps = np.clip((first - second) / entropy, 0.0, 1.0)
    return InformationGap(float(gaps.mean()), gaps, information, entropy)
