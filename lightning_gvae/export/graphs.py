"""Encoder and decoder of a model as modules of tensors alone, for other runtimes."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lightning_gvae.errors import ConfigError
from lightning_gvae.interfaces import (
    CheckpointedModel,
    ConditionedModel,
    DecodesLatents,
    HasPrior,
    NoiseMap,
    TextModel,
    encodes,
    offers,
)

__all__ = ["Graph", "graphs_of"]

EXAMPLES = 2  # rows that a graph is traced with; 0 and 1 would be taken for constants


@dataclass(frozen=True)
class Graph:
    """A part of a model that is computed by itself.

    Args:
        name: ``encoder``, ``decoder`` or ``prior``.
        module: Tensors to tensors.
        example: An input; its first dimension is the batch, of any size.
        takes: Name of the input.
        gives: Names of the outputs.
    """

    name: str
    module: nn.Module
    example: Tensor
    takes: str
    gives: tuple[str, ...]


class _Part(nn.Module):
    """One method of a model as a module."""

    def __init__(self, model: object, method: str) -> None:
        super().__init__()
        assert isinstance(model, nn.Module)
        self.model, self.method = model, method

    def forward(self, inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        found: Tensor | tuple[Tensor, ...] = getattr(self.model, self.method)(inputs)
        return found


class _FromNoise(nn.Module):
    """A learnt prior as a map of standard normal noise."""

    def __init__(self, prior: object) -> None:
        super().__init__()
        assert isinstance(prior, nn.Module)
        self.prior = prior

    def forward(self, noise: Tensor) -> Tensor:
        found: Tensor = self.prior.from_noise(noise)  # type: ignore[operator]
        return found


def graphs_of(model: CheckpointedModel) -> list[Graph]:
    """Parts of a trained model.

    ``encoder`` takes images in [0, 1] and gives mean and log-variance of their posteriors, or the code of a plain
    autoencoder; ``decoder`` takes latents, or codes, and gives expected pixels in [0, 1]. A learnt prior that is a map
    of noise is a third part, ``prior``: latents of standard normal noise. A network that is conditioned on the KL
    weight is fixed at the model's own.

    Args:
        model: In evaluation mode, on the CPU.

    Raises:
        ConfigError: It is a model of text, which writes word by word.
    """
    if offers(model, TextModel):
        raise ConfigError(
            f"a {type(model).__name__} writes word by word, which is no graph from tensors to tensors; export it with "
            "to=folder."
        )
    if offers(model, ConditionedModel):
        model = model.at()
    images = torch.rand(EXAMPLES, *model.image_shape, generator=torch.Generator().manual_seed(0))
    found = []
    if encodes(model):
        found.append(Graph("encoder", _Part(model, "encode"), images, "images", ("mean", "log_var")))
        latents = torch.zeros(EXAMPLES, model.latent_dim)
    elif offers(model, DecodesLatents):  # a GAN
        latents = torch.zeros(EXAMPLES, model.latent_dim)
    else:
        encoder = _Part(model, "encode")
        found.append(Graph("encoder", encoder, images, "images", ("code",)))
        with torch.no_grad():
            latents = torch.zeros_like(encoder(images))
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(1))
    found.append(Graph("decoder", _Part(model, "decode"), noise, "latents", ("pixels",)))
    if offers(model, HasPrior) and _is_learnt_map(model.prior, noise):
        found.append(Graph("prior", _FromNoise(model.prior), noise, "noise", ("latents",)))
    return found


def _is_learnt_map(prior: NoiseMap, noise: Tensor) -> bool:
    if not isinstance(prior, nn.Module) or not list(prior.parameters()):
        return False
    try:
        prior.from_noise(noise)
    except ConfigError:  # a mixture
        return False
    return True
