"""Genomes that are there already: in a checkpoint, or in the front of an earlier search."""

import pickle
from collections.abc import Mapping
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from lightning_gvae.callbacks.architecture_evolution.output import newest_front, read_front
from lightning_gvae.callbacks.architecture_evolution.settings import SearchFiles
from lightning_gvae.callbacks.architecture_evolution.training import read_candidate
from lightning_gvae.errors import CheckpointError, ConfigError
from lightning_gvae.evolution.architecture.genome import Genome

__all__ = ["checkpoint_genome", "saved_member"]


def checkpoint_genome(path: str) -> Genome:
    """The genome in a checkpoint's hyper-parameters; nothing is executed.

    Raises:
        CheckpointError: The file cannot be read, or holds no genome.
    """
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)["hyper_parameters"]["genome"]
    except (OSError, RuntimeError, KeyError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise CheckpointError(
            f"{path} holds no genome to go on with ({type(error).__name__}); give the checkpoint of an evolved model"
        ) from error
    return Genome.from_dict(stored)


def saved_member(trainer: L.Trainer, files: SearchFiles, number: int) -> tuple[Genome, Mapping[str, Tensor] | None]:
    """A member of a saved front, and its weights if they are stored; the same on every rank.

    Args:
        trainer: Of the run.
        files: Where the front lies.
        number: Of the member, counted from 1.

    Raises:
        ConfigError: There is no such front or member.
    """
    above = Path(files.front_dir) if files.front_dir is not None else Path(trainer.default_root_dir).parent
    path = newest_front(above) if files.front is None else Path(files.front)
    path = trainer.strategy.broadcast(path)
    found = read_front(path)
    if not 1 <= number <= len(found):
        raise ConfigError(f"`front.pick` must be 1 to {len(found)}, the size of the front {path}, got {number}")
    genome, weights = found[number - 1]
    state = None if weights is None else read_candidate(weights.parent, genome)
    rank_zero_info(
        f"ArchitectureEvolution: member {number} of {path}, {genome.key}, "
        + ("with its weights" if state else "from new weights, since none are stored")
    )
    return genome, state
