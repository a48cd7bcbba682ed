"""Origin of a loaded model: what its export says of its training."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning_gvae.io.run_status import RECORD
from lightning_gvae.renames import renamed_settings

__all__ = ["Origin"]


@dataclass(frozen=True)
class Origin:
    """Source of a loaded model.

    Args:
        path: The checkpoint, or the exported folder.
        config: Sections ``model``, ``data`` and ``seed`` of the run's configuration; empty if it had none.
        training: Facts of its training, where the source itself holds them, as an exported folder does.
        step: Optimiser steps of the checkpoint.
    """

    path: Path
    config: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    step: int | None = None

    @classmethod
    def of(cls, path: Path, checkpoint: Mapping[str, Any]) -> "Origin":
        """Origin of the content of a checkpoint or exported folder."""
        step = checkpoint.get("global_step")
        return cls(
            path,
            renamed_settings(checkpoint.get("gvae_config") or {}, quiet=True),
            checkpoint.get("gvae_training") or {},
            step if isinstance(step, int) else None,
        )

    @property
    def run_folder(self) -> Path | None:
        """Folder of the run that a checkpoint lies in; None if it was moved out of it."""
        places = (self.path.parent.parent, self.path.parent) if self.path.parent.name == "checkpoints" else ()
        return next((place for place in (*places, self.path.parent) if (place / RECORD).is_file()), None)
