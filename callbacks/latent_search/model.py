"""A trained model as a search in its latent space sees it: looked at, never changed."""

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from lightning_gvae.callbacks.latent_search.image_tools import ModelTools
from lightning_gvae.errors import ConfigError
from lightning_gvae.evolution.latent.search import latent_bounds
from lightning_gvae.interfaces import (
    DataModule,
    DataPart,
    DecodesLatents,
    DecodesNoise,
    EncodesLatents,
    HasLatentDim,
    Network,
    require,
)
from lightning_gvae.io.content import batch_hash
from lightning_gvae.io.fingerprint import FORMAT, Unidentifiable, fingerprint

__all__ = ["Decode", "another_search", "data_content", "decoder", "search_box", "search_key"]

Decode = Callable[[Tensor], Tensor]
PIECE = 4096  # images hashed at once


def decoder(
    model: Network, space: Literal["latent", "noise"], forward_context: Callable[[], AbstractContextManager[Any]]
) -> Decode:
    """Function that decodes points ``(N, L)`` of the space, without gradients, on the model's device.

    Raises:
        ConfigError: The model has no such space.
    """
    method: Decode
    if space == "latent":
        method = require(model, DecodesLatents, "`space=latent`", "Choose another model").decode
    else:
        method = require(model, DecodesNoise, "`space=noise`", "Choose another model, or space=latent").decode_noise

    def decode(points: Tensor) -> Tensor:
        with torch.inference_mode(), forward_context():
            decoded = method(points.to(model.device))
        return decoded.clone()  # an ordinary tensor again

    return decode


def search_box(model: Network, tools: ModelTools, bounds: Literal["auto"] | Sequence[float]) -> tuple[Tensor, Tensor]:
    """Lower and upper bounds ``(L,)``: the same two for every latent, or where codes of training data lie.

    Raises:
        ConfigError: ``"auto"`` of a model that does not encode.
    """
    if isinstance(bounds, str):
        return _auto_box(model, tools)
    size = require(model, HasLatentDim, "a search of latents", "Choose another model").latent_dim
    return torch.full((size,), float(bounds[0])), torch.full((size,), float(bounds[1]))


def _auto_box(model: Network, tools: ModelTools) -> tuple[Tensor, Tensor]:
    require(model, EncodesLatents, "`bounds=auto`", "Give two numbers, e.g. bounds=[-2,2]")
    try:
        found = tools.posteriors()
    except ConfigError as error:
        raise ConfigError(
            f"`bounds=auto` encodes training data: {error} Or give two numbers, e.g. bounds=[-2,2]."
        ) from error
    low, high = latent_bounds(found.means, (0.5 * found.log_vars).exp())
    return low.float(), high.float()


def search_key(title: str, parts: Mapping[str, Any]) -> str:
    """Fingerprint of everything that decides a search's result; of what cannot be identified one that nothing else has.

    Then a sentence says at the start of the search that it cannot go on later, and why.

    Args:
        title: What the sentence calls the search.
        parts: Model, problem, settings and so on by name.
    """
    try:
        return fingerprint({name: fingerprint(part, name) for name, part in parts.items()})
    except Unidentifiable as reason:
        rank_zero_info(
            f"The {title} cannot be gone on with after a stop, and its result cannot be taken again, because what it "
            f"depends on cannot be identified: {reason}."
        )
        return f"unidentifiable:{uuid.uuid4().hex}"


def another_search(path: Path, key: str) -> str:
    """Sentence about a stored search whose key is not that of the present one."""
    reason = "belongs to a search with other settings, another problem or another model"
    if not key.startswith((f"{FORMAT}:", "unidentifiable:")):
        reason = "was written by an earlier version, which did not record enough to tell problems apart"
    elif key.startswith("unidentifiable:"):
        reason = "belongs to a search that cannot be identified"
    return f"{path} {reason}; the search starts anew."


def data_content(datamodule: DataModule | None) -> dict[str, str] | None:
    """Hashes of the training and the test part, of which goals make classifiers, targets and references."""
    if datamodule is None:
        return None
    parts = {"train_set": datamodule.train_set, "test_set": datamodule.test_set}
    return {name: batch_hash(_batches(part)) for name, part in parts.items()}


def _batches(part: DataPart) -> Iterator[Tensor]:
    for start in range(0, len(part), PIECE):
        yield from part.batch(np.arange(start, min(start + PIECE, len(part))))
