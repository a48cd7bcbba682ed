"""The decoder alone: a language model without latents."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_gvae.errors import ConfigError
from lightning_gvae.models.text_vae import TextVAE

__all__ = ["TextLM"]


class TextLM(TextVAE):
    """A :class:`~lightning_gvae.models.text_vae.TextVAE` with no latents: what its decoder can do by itself.

    The KL is 0 and the ELBO is the exact log-likelihood, so ``perplexity`` compares with that of language models that
    read each sentence by itself. (Published Penn Treebank figures mostly carry the state over from sentence to
    sentence.)

    Args:
        image_shape: ``(T, V)``, as for the base class.
        latent_dim: 0.
        kwargs: Further arguments of :class:`~lightning_gvae.models.text_vae.TextVAE`.

    Raises:
        ConfigError: There are to be latents, or as for the base class.
    """

    has_posterior = False

    def __init__(self, image_shape: Sequence[int], latent_dim: int = 0, **kwargs: Any) -> None:
        super().__init__(image_shape, latent_dim, **kwargs)

    @staticmethod
    def _check_latents(latent_dim: int) -> None:
        if latent_dim != 0:
            raise ConfigError(
                f"TextLM has no latents: leave `latent_dim` at 0, got {latent_dim}, or take model=text_vae."
            )

    def _prior_latents(self, n: int, generator: torch.Generator | None) -> Tensor:
        return torch.zeros(n, 0, device=self.device)
