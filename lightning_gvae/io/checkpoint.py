"""Checkpoints: files of tensors and plain containers, read without executing anything in them."""

import pickle
import re
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

from lightning_gvae.errors import CheckpointError

__all__ = ["read_checkpoint"]

# What torch's own reader raises for bytes that make no sense.
DAMAGED = (
    *(ArithmeticError, AssertionError, AttributeError, EOFError, ImportError, LookupError, MemoryError, RuntimeError),
    *(TypeError, ValueError, struct.error),
)


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Open a checkpoint without executing anything in it.

    Args:
        path: File written by a Trainer.

    Returns:
        The checkpoint's dictionary, on the CPU.

    Raises:
        CheckpointError: The file is missing, truncated, not a checkpoint, or holds more than tensors and plain
            containers.
    """
    import torch  # for which a path that is wrong need not wait

    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}; `ckpt_path` takes a .ckpt file, or `last` when training.")
    if not zipfile.is_zipfile(path):  # else the reader of old formats takes any bytes for instructions
        raise CheckpointError(f"{path} is damaged or not a checkpoint (it is no archive of tensors).")
    if broken := _broken_part(path):
        raise CheckpointError(
            f"{path} is damaged: {broken} does not have the checksum that it was written with. Take another checkpoint "
            "of the run, or a copy of this one."
        )
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"it holds {found[1]}" if found else "it is damaged"
        raise CheckpointError(
            f"{path} is not a checkpoint that can be opened safely: {reason}, and only tensors and plain containers "
            "are read; nothing in it was executed."
        ) from error
    except DAMAGED as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{path} is damaged or not a checkpoint ({said}).") from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise CheckpointError(f"{path} is not a checkpoint of a Trainer: it has no `state_dict`.")
    return checkpoint


def _broken_part(path: Path) -> str | None:
    """First part of an archive whose content is not as it was written; a single flipped bit is enough."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OSError) as error:
        return f"its table of contents ({str(error) or type(error).__name__})"
