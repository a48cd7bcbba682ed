"""Keys by which the last release told searches of shipped goals apart; what it stored is taken for one release.

A problem of the user's own was known by its ``repr`` alone, which does not tell problems apart; those start anew.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from typing import Any

from torch import Tensor

from lightning_gvae.interfaces import DataModule, TorchModule
from lightning_gvae.io.content import tensor_pieces

__all__ = ["former_archive_key", "former_search_key", "former_weights_digest"]

SETTINGS = ("runs", "engine", "space", "chunk_size", "nan", "frames", "seed")


def former_search_key(
    model: TorchModule, datamodule: DataModule | None, options: Any, low: Tensor, high: Tensor
) -> str:
    """Key of a latent search for an :class:`~lightning_gvae.problems.images.ImageGoal`.

    Args:
        model: The model that is searched.
        datamodule: Its data.
        options: :class:`~lightning_gvae.callbacks.latent_search.run.SearchOptions`.
        low: Lower bounds ``(L,)``.
        high: Upper bounds ``(L,)``.
    """
    settled = {
        "data": repr(None if datamodule is None else datamodule.spec),
        "problem": repr(options.problem),
        "bounds": [low.tolist(), high.tolist()],
        "settings": asdict(options.settings),
        **{name: getattr(options, name) for name in SETTINGS},
    }
    digest = hashlib.blake2b(json.dumps(settled, sort_keys=True).encode(), digest_size=16)
    digest.update(former_weights_digest(model).encode())
    return digest.hexdigest()


def former_archive_key(model: TorchModule, datamodule: DataModule | None, options: Any) -> str:
    """Key of a search that fills an archive for an :class:`~lightning_gvae.problems.archive_goal.ArchiveGoal`.

    Args:
        model: The model that is searched.
        datamodule: Its data.
        options: :class:`~lightning_gvae.callbacks.latent_archive.run.ArchiveOptions`.
    """
    facts = [
        repr(None if datamodule is None else datamodule.spec),
        _plain(options.goal),
        options.space,
        options.chunk_size,
    ]
    text = json.dumps(facts, sort_keys=True) + former_weights_digest(model)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def former_weights_digest(model: TorchModule) -> str:
    """Hash of all parameters and buffers of a model, bit for bit."""
    digest = hashlib.blake2b(digest_size=16)
    for name, values in sorted(model.state_dict().items()):
        if isinstance(values, Tensor):
            digest.update(name.encode())
            for piece in tensor_pieces(values):
                digest.update(piece)
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    """A goal as text that is the same in another process: functions by their names."""
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    text = repr(value)
    return type(value).__qualname__ if " at 0x" in text else text
