"""Checkpoints of the last release, whose hyper-parameters have other names."""

from pathlib import Path
from typing import IO, Any, Self

import lightning as L
import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from lightning_gvae.renames import RENAMED, renamed_keys

__all__ = ["LoadsFormerSettings"]


class LoadsFormerSettings(L.LightningModule):
    """A module that ``load_from_checkpoint`` makes of the hyper-parameters of the last release, too."""

    @classmethod
    def load_from_checkpoint(
        cls,
        checkpoint_path: str | Path | IO[bytes],
        map_location: Any = None,
        hparams_file: str | Path | None = None,
        strict: bool | None = None,
        weights_only: bool | None = None,
        **kwargs: Any,
    ) -> Self:
        """As Lightning's; settings that are called otherwise now get their present names.

        Args:
            checkpoint_path: The file.
            map_location: As for Lightning's.
            hparams_file: As for Lightning's.
            strict: As for Lightning's.
            weights_only: As for Lightning's; hyper-parameters are read as tensors and plain containers whatever it is.
            kwargs: As for Lightning's; arguments of the class are among them and replace stored ones.
        """
        stored = _hyper_parameters(checkpoint_path)
        for base in cls.__mro__:
            owner = f"{base.__module__}.{base.__qualname__}"
            if owner in RENAMED:
                present = renamed_keys(stored, owner)
                kwargs = {name: value for name, value in present.items() if name not in stored} | kwargs
        found: Self = super().load_from_checkpoint(
            checkpoint_path, map_location, hparams_file, strict, weights_only, **kwargs
        )
        return found


def _hyper_parameters(path: str | Path | IO[bytes]) -> dict[str, Any]:
    if isinstance(path, str | Path):
        content = TorchCheckpointIO().load_checkpoint(path, weights_only=True)
    else:
        content = torch.load(path, map_location="cpu", weights_only=True)
        path.seek(0)
    return dict(content.get(L.LightningModule.CHECKPOINT_HYPER_PARAMS_KEY, {}))
