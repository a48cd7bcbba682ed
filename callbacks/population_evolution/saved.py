"""A member of a front that an earlier run has saved."""

import json
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_info

from lightning_gvae.callbacks.population_evolution.front import FRONT, KIND
from lightning_gvae.callbacks.population_evolution.settings import PopulationFront
from lightning_gvae.errors import CheckpointError, ConfigError, DataError

__all__ = ["load_picked"]


def load_picked(trainer: L.Trainer, pl_module: L.LightningModule, front: PopulationFront) -> None:
    """Give the model the weights of a member of a saved front; the same on every rank.

    Args:
        trainer: Of the run.
        pl_module: The model.
        front: Which member of which front.

    Raises:
        ConfigError: There is no such front or member.
        DataError: The front cannot be read.
        CheckpointError: The member is of another model.
    """
    above = Path(front.folder) if front.folder is not None else Path(trainer.default_root_dir).parent
    path = _newest(above) if front.file is None else Path(front.file)
    path = Path(trainer.strategy.broadcast(str(path)))
    members = _members(path)
    assert front.pick is not None
    if not 1 <= front.pick <= len(members):
        raise ConfigError(f"`front.pick` must be 1 to {len(members)}, the size of the front {path}, got {front.pick}")
    file = path.parent / members[front.pick - 1]
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)["state_dict"]
        pl_module.load_state_dict(state)
    except (OSError, RuntimeError, KeyError) as error:
        raise CheckpointError(
            f"{file} does not fit the model ({' '.join(str(error).split())[:200]}); give the model and data of the run "
            "that wrote it"
        ) from error
    rank_zero_info(f"PopulationEvolution: the run trains on member {front.pick} of {path}, and no population")


def _members(path: Path) -> list[str]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["kind"] != KIND:
            raise ValueError("it is of another kind")
        return [str(member["checkpoint"]) for member in content["members"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} cannot be read as a front that a population has written ({error!r})") from error


def _newest(folder: Path) -> Path:
    found = []
    for path in folder.glob(f"**/{FRONT}"):
        try:
            _members(path)
        except DataError:
            continue  # of an architecture search
        found.append(path)
    if not found:
        raise ConfigError(
            f"`front.pick` finds no {FRONT} of a population below {folder}; train one first, or give its path as "
            "`front.file`"
        )
    return max(found, key=lambda path: path.stat().st_mtime)
