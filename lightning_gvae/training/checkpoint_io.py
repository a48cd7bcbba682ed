"""Checkpoints on the disk: whole, or not at all."""

import io
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from lightning_gvae.errors import CheckpointError
from lightning_gvae.io.files import write_bytes

__all__ = ["WholeCheckpoints"]


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside its place, brings it to the disk and renames it.

    Lightning writes to the system's temporary folder and moves the file, which across file systems is a copy over the
    good checkpoint: a kill or a full disk in the middle of it leaves half a file. Here the earlier checkpoint stays
    until the new one is whole. ``BestCheckpoint`` and ``LastCheckpoint`` install this in any Trainer that has
    Lightning's own.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Save.

        Raises:
            CheckpointError: The file cannot be written; the earlier one is as it was.
        """
        if "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        path = Path(path)
        content = io.BytesIO()
        torch.save(checkpoint, content)
        try:
            write_bytes(path, content.getbuffer(), only_writer=True)
        except OSError as error:
            raise _not_written(path, content.getbuffer().nbytes, error) from error


def _not_written(path: Path, size: int, error: OSError) -> CheckpointError:
    folder = next(folder for folder in path.parents if folder.is_dir())
    free = shutil.disk_usage(folder).free
    reason = error if error.errno is None else os.strerror(error.errno)
    last = path.with_name("last.ckpt")
    if path.is_file():
        kept = f"the earlier one there is kept, and ckpt_path={path} goes on from it"
    elif last.is_file():
        kept = f"there is no earlier one, but ckpt_path={last} goes on from the last"
    else:
        kept = "there is no earlier one"
    return CheckpointError(
        f"the checkpoint {path} could not be written: {reason} ({size / 1e6:.1f} MB needed, "
        f"{free / 1e6:.1f} MB free); {kept}. Make room, or set another `paths.output_dir`."
    )
