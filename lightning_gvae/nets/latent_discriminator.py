"""Discriminator of latents: latents to a logit."""

import itertools

from torch import Tensor, nn

from lightning_gvae.errors import checked_count

__all__ = ["LatentDiscriminator"]

SLOPE = 0.2  # of the leaky ReLU, as the authors of FactorVAE have it


class LatentDiscriminator(nn.Module):
    """Fully connected layers with leaky ReLUs between them, then one logit.

    The authors of FactorVAE have two outputs and a softmax; their difference is the logit.

    Args:
        latent_dim: Z.
        hidden: Width of the layers.
        layers: Number of hidden layers.

    Raises:
        ConfigError: A size is not a whole number of at least 1.
    """

    def __init__(self, latent_dim: int, hidden: int = 256, layers: int = 4) -> None:
        super().__init__()
        checked_count("discriminator.hidden", hidden)
        checked_count("discriminator.layers", layers)
        widths = [latent_dim, *[hidden] * layers]
        parts = [
            part
            for fan_in, fan_out in itertools.pairwise(widths)
            for part in (nn.Linear(fan_in, fan_out), nn.LeakyReLU(SLOPE))
        ]
        self.body = nn.Sequential(*parts, nn.Linear(widths[-1], 1))

    def forward(self, latents: Tensor) -> Tensor:
        """Logits ``(B,)`` of latents ``(B, Z)``, fp32."""
        logits: Tensor = self.body(latents).squeeze(1).float()
        return logits
