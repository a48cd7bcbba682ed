"""Published claims about VAE, GAN and VAE-GAN, and the rule by which one is confirmed or refuted.

The published table contradicts its own text: the abstract says that the VAE-GAN beats both, yet its VAE has the best
FID. It names neither data set, networks, number of images nor feature network, so its numbers stand beside ours and
only its orders are tested.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from lightning_gvae.errors import ConfigError
from lightning_gvae.studies.intervals import Interval, paired_difference

__all__ = ["CLAIMS", "PUBLISHED", "RULE", "Claim", "Finding", "find", "verdict"]

# FID, inception score and "loss", as printed; no spread, no number of runs.
PUBLISHED: dict[str, dict[str, float]] = {
    "vae": {"fid": 20.0, "is": 3.5, "loss": 0.4},
    "gan": {"fid": 50.0, "is": 4.2, "loss": 0.8},
    "vae_gan": {"fid": 35.0, "is": 4.8, "loss": 0.6},
}
RULE = (
    "A claim is an order, that is two statements 'this model is below that one'. Each is judged by the 95 % t "
    "interval of "
    "the difference paired by seed: it holds if the interval lies below zero, it fails if the interval lies "
    "above. Both "
    "hold: confirmed. One fails: refuted. Otherwise these runs cannot tell, and the claim is untestable here."
)


class Claim(NamedTuple):
    """An order of the models.

    Args:
        name: Its number.
        text: In words.
        metric: What is compared.
        below: Pairs of models; the metric of the first is claimed to be below that of the second.
    """

    name: str
    text: str
    metric: str
    below: tuple[tuple[str, str], ...]


class Finding(NamedTuple):
    """A claim after the test.

    Args:
        claim: The claim.
        gaps: Difference first - second of each pair; empty if nothing was measured.
        verdict: ``confirmed``, ``refuted`` or ``untestable``.
    """

    claim: Claim
    gaps: tuple[Interval, ...]
    verdict: str


CLAIMS = (
    Claim("(i)", "FID: VAE below VAE-GAN below GAN", "fid", (("vae", "vae_gan"), ("vae_gan", "gan"))),
    Claim("(ii)", "IS: VAE below GAN below VAE-GAN", "is", (("vae", "gan"), ("gan", "vae_gan"))),
    Claim("(iii)", "VAE-GAN degrades more slowly over generations", "slope", (("vae_gan", "vae"), ("vae_gan", "gan"))),
)


def verdict(gaps: Sequence[Interval]) -> str:
    """``RULE`` applied to intervals of first - second.

    >>> below, across = Interval(-2.0, -3.0, -1.0, 3), Interval(-1.0, -3.0, 1.0, 3)
    >>> verdict([below, below]), verdict([below, across]), verdict([Interval(2.0, 1.0, 3.0, 3), across])
    ('confirmed', 'untestable', 'refuted')
    """
    if any(gap.low > 0 for gap in gaps):
        return "refuted"
    return "confirmed" if gaps and all(gap.high < 0 for gap in gaps) else "untestable"


def find(claim: Claim, values: Mapping[str, Sequence[float]]) -> Finding:
    """Test a claim.

    Args:
        claim: The claim.
        values: The metric of every model, one value a seed; a model or a value that is missing (NaN) makes the claim
            untestable.

    Raises:
        ConfigError: Two models have different numbers of seeds.
    """
    if any(model not in values for pair in claim.below for model in pair):
        return Finding(claim, (), "untestable")
    if not all(math.isfinite(value) for pair in claim.below for model in pair for value in values[model]):
        return Finding(claim, (), "untestable")
    counts = {model: len(values[model]) for pair in claim.below for model in pair}
    if len(set(counts.values())) > 1:
        raise ConfigError(f"the models must be of the same seeds to be paired, got {counts} values")
    gaps = tuple(paired_difference(values[first], values[second]) for first, second in claim.below)
    return Finding(claim, gaps, verdict(gaps))
