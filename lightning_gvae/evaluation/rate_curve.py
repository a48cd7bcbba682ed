"""Rate-distortion curve of one conditioned network: D and R at every KL weight of its range."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_gvae.errors import ConfigError
from lightning_gvae.interfaces import ConditionedModel
from lightning_gvae.rng import torch_stream
from lightning_gvae.training.modes import inference_mode

__all__ = ["RatePoint", "log_spaced", "rate_curve"]


class RatePoint(NamedTuple):
    """A network at one KL weight, nats, means over the images.

    Args:
        beta: The weight.
        rate: R, the KL.
        distortion: D, the reconstruction term.
    """

    beta: float
    rate: float
    distortion: float

    @property
    def negative_elbo(self) -> float:
        """D + R."""
        return self.distortion + self.rate

    @property
    def loss(self) -> float:
        """D + beta R."""
        return self.distortion + self.beta * self.rate


def log_spaced(low: float, high: float, count: int) -> list[float]:
    """``count`` KL weights from ``low`` to ``high``, both included, at equal ratios."""
    return [low * (high / low) ** (index / (count - 1)) for index in range(count)]


def rate_curve(
    model: ConditionedModel, batches: Iterable[Tensor], betas: Sequence[float], seed: int = 0
) -> list[RatePoint]:
    """D and R of a model at each of ``betas``, one draw of the latents an image, the same noise at each of them.

    Args:
        model: A model whose network is conditioned on the KL weight; put into evaluation mode meanwhile.
        batches: Prepared batches on the model's device.
        betas: KL weights within the model's range.
        seed: Of the noise.

    Raises:
        ConfigError: There are no images, or a weight lies outside the range.
    """
    sums, images = torch.zeros(len(betas), 2, dtype=torch.float64), 0
    with inference_mode(model):
        for number, batch in enumerate(batches):
            for row, beta in zip(sums, betas, strict=True):
                stream = torch_stream(seed, "rate-curve", number, device=model.device)
                with model.using(beta):
                    terms = model.elbo_terms(batch, stream)
                row += len(batch) * torch.stack([terms.kl, terms.recon]).cpu().double()
            images += len(batch)
    if not images:
        raise ConfigError("`batches` must hold at least one image to measure a rate-distortion curve, got none")
    found = (sums / images).tolist()
    return [RatePoint(float(beta), rate, distortion) for beta, (rate, distortion) in zip(betas, found, strict=True)]
