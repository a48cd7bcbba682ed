"""A trained model as a search in its latent space sees it: looked at, never changed."""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal

import torch
from torch import Tensor

from lightning_gvae.callbacks.latent_search.image_tools import ModelTools
from lightning_gvae.errors import ConfigError
from lightning_gvae.evolution.latent.search import latent_bounds

__all__ = ["Decode", "decoder", "search_box", "weights_digest"]

Decode = Callable[[Tensor], Tensor]


def decoder(
    model: Any, space: Literal["latent", "noise"], forward_context: Callable[[], AbstractContextManager[Any]]
) -> Decode:
    """From points ``(N, L)`` of the space to what the model makes of them, without gradients, on the model's device.

    Raises:
        ConfigError: The model has no such space.
    """
    name = "decode" if space == "latent" else "decode_noise"
    method = getattr(model, name, None)
    if method is None:
        raise ConfigError(f"`space={space}` needs a model with `{name}`, {type(model).__name__} has none")

    def decode(points: Tensor) -> Tensor:
        with torch.inference_mode(), forward_context():
            decoded = method(points.to(model.device))
        return decoded.clone()  # an ordinary tensor again

    return decode


def search_box(model: Any, tools: ModelTools, bounds: Literal["auto"] | Sequence[float]) -> tuple[Tensor, Tensor]:
    """Lower and upper bounds ``(L,)``: the same two for every latent, or where codes of training data lie.

    Raises:
        ConfigError: ``"auto"`` of a model that does not encode.
    """
    size = int(model.latent_dim)
    if isinstance(bounds, str):
        return _auto_box(model, tools)
    return torch.full((size,), float(bounds[0])), torch.full((size,), float(bounds[1]))


def _auto_box(model: Any, tools: ModelTools) -> tuple[Tensor, Tensor]:
    if not callable(getattr(model, "encode", None)):
        raise ConfigError(
            f"`bounds=auto` encodes training data and {type(model).__name__} has no `encode`; give two numbers, "
            "e.g. bounds=[-2,2]"
        )
    try:
        found = tools.posteriors()
    except ConfigError as error:
        raise ConfigError(
            f"`bounds=auto` encodes training data: {error} Or give two numbers, e.g. bounds=[-2,2]."
        ) from error
    low, high = latent_bounds(found.means, (0.5 * found.log_vars).exp())
    return low.float(), high.float()


def weights_digest(model: torch.nn.Module) -> str:
    """Of all parameters and buffers of a model, bit for bit."""
    digest = hashlib.blake2b(digest_size=16)
    for name, values in sorted(model.state_dict().items()):
        if isinstance(values, Tensor):
            digest.update(name.encode())
            digest.update(values.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
