"""Exported models: a folder with weights as safetensors, ``config.json`` and a card; and whatever else holds a model.

==========================  ===========================================================================================
``model.safetensors``       weights and buffers by name
``config.json``             ``format``, class and settings (``model``), facts of its data (``data``), how to make the
                            data module (``data_module``), ``seed``, ``identity``, facts of the ``training`` with its
                            scores, and the version that wrote it
``vocabulary.json``         words of a text model, without the special ones
``README.md``               model card
==========================  ===========================================================================================
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_gvae.errors import CheckpointError
from lightning_gvae.io.checkpoint import read_checkpoint
from lightning_gvae.io.version import PACKAGE, package_version

__all__ = [
    "CARD",
    "CONFIG",
    "FORMAT",
    "MISSING",
    "VOCABULARY",
    "WEIGHTS",
    "as_checkpoint",
    "is_export",
    "read_folder",
    "read_saved",
]

FORMAT = 1  # raised where an earlier release could not read what is written
CONFIG, WEIGHTS, VOCABULARY, CARD = "config.json", "model.safetensors", "vocabulary.json", "README.md"
MISSING = "???"  # value of a setting that only the reader's machine can know, such as a path


def is_export(path: Path) -> bool:
    """Whether a path is an exported folder, or a file in one that stands for it."""
    return _folder_of(path) is not None


def read_saved(path: Path) -> dict[str, Any]:
    """Content of a checkpoint, or of an exported folder as that of a checkpoint without the state of a training.

    Nothing in the files is executed.

    Raises:
        CheckpointError: There is nothing to read, or it is damaged or of another kind.
    """
    folder = _folder_of(path)
    if folder is not None:
        return read_folder(folder)
    if path.is_dir():
        raise CheckpointError(f"{path} is no exported model: it holds no {CONFIG}.")
    return read_checkpoint(path)


def read_folder(folder: Path) -> dict[str, Any]:
    """Content of an exported folder, under the keys of a checkpoint.

    Raises:
        CheckpointError: A file is missing or damaged, or of a format that this release does not know.
    """
    config = _read_json(folder / CONFIG)
    if not isinstance(config, Mapping) or config.get("library") != PACKAGE:
        raise CheckpointError(
            f"{folder / CONFIG} is not of a model that {PACKAGE} has exported: `library` is not {PACKAGE!r}; name a "
            "folder that save_pretrained or gvae-export has written."
        )
    written = config.get("version", "an unknown version")
    if config.get("format") != FORMAT:
        raise CheckpointError(
            f"{folder} was exported by {PACKAGE} {written} in format {config.get('format')!r:.20}, and this is "
            f"{package_version()}, which reads format {FORMAT}; install {PACKAGE}=={written}, or export the model anew."
        )
    words = _read_json(folder / VOCABULARY) if (folder / VOCABULARY).is_file() else None
    return as_checkpoint(config, _read_weights(folder / WEIGHTS), words, str(folder / CONFIG))


def as_checkpoint(
    config: Mapping[str, Any], weights: Mapping[str, Any], words: Any = None, name: str = CONFIG
) -> dict[str, Any]:
    """Parts of an exported folder under the keys of a checkpoint.

    Args:
        config: Content of ``config.json``.
        weights: Tensors by name.
        words: Content of ``vocabulary.json``; None if there is none.
        name: Of the configuration, for messages.

    Raises:
        CheckpointError: The configuration names no class.
    """
    model = config.get("model")
    if not isinstance(model, Mapping) or not isinstance(model.get("_target_"), str):
        raise CheckpointError(f"{name} names no class in `model._target_`; it is damaged. Export it anew.")
    found = {
        "state_dict": dict(weights),
        "gvae_config": {"model": model, "data": config.get("data_module"), "seed": config.get("seed", 0)},
        "gvae_model": config.get("identity"),
        "gvae_data": config.get("data"),
        "gvae_training": config.get("training"),
        "hyper_parameters": {key: value for key, value in model.items() if key != "_target_"},
    }
    return found if words is None else found | {"gvae_vocabulary": words}


def _folder_of(path: Path) -> Path | None:
    if path.is_dir():
        return path if (path / CONFIG).is_file() else None
    return path.parent if path.name in (CONFIG, WEIGHTS) and (path.parent / CONFIG).is_file() else None


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}); export the model anew, or copy it again.") from error


def _read_weights(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{path} is missing, damaged or not a file of weights ({error}); export the model anew, or copy it again."
        ) from error
