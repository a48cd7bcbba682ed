"""Members of a population in a run: those of this rank, their training, and what all ranks know of all of them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import lightning as L
import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn

from lightning_gvae.callbacks.population_evolution.settings import TrainingWay
from lightning_gvae.callbacks.population_evolution.start import make_member
from lightning_gvae.errors import ConfigError
from lightning_gvae.evolution.beta.lookahead import Clip
from lightning_gvae.evolution.operators import Array
from lightning_gvae.evolution.population.genes import read_genes, write_genes
from lightning_gvae.evolution.population.members import (
    Member,
    MemberTraining,
    OneByOne,
    cloned_weights,
)
from lightning_gvae.evolution.population.search import Exchange, PopulationSearch
from lightning_gvae.evolution.population.stacked import Stacked, stacking_obstacle
from lightning_gvae.evolution.ranks import gather_over_ranks, local_indices
from lightning_gvae.interfaces import DrawsTrainingNoise

__all__ = ["PopulationRun", "member_loss"]


class PopulationRun:
    """The population of a run.

    Args:
        search: What decides about it; its seed is that of member 0, and each further member has the next one.
        pl_module: The run's module, from which members are made.
        clip: Gradient clipping.
        fresh: Whether members start from weights of their own; a run that goes on loads them.
    """

    def __init__(self, search: PopulationSearch, pl_module: L.LightningModule, clip: Clip, fresh: bool) -> None:
        self.search, self.clip = search, clip
        self.members: list[Member] = []
        for number in local_indices(search.members):
            seed = search.seed + number
            self.members.append(make_member(pl_module, number, seed, fresh=fresh and number > 0))
        self.device = pl_module.device
        self.training: MemberTraining = OneByOne(self.members, member_loss, clip)
        self.genes: Array = np.zeros((search.members, len(search.genes)))
        if fresh:
            first = self.members[0]
            own = read_genes(search.names, first.module, first.optimizer)
            self.set_genes(search.first_genes(own))

    def set_genes(self, genes: Array) -> None:
        """Set the genes of all members, ``(M, d)``."""
        self.genes = np.array(genes, dtype=np.float64)
        for member in self.members:
            write_genes(self.search.names, self.genes[member.number].tolist(), member.module, member.optimizer)

    def step(self, images: Tensor, epoch: int, batch_idx: int) -> Tensor:
        """One optimiser step of the members of this rank; ``(m, 3)`` of loss, D and R."""
        return self.training.step(images, self._noises(epoch, batch_idx))

    def choose_training(self, way: TrainingWay, images: Tensor, epoch: int, batch_idx: int, precision: str) -> None:
        """Train members together if that is asked for and possible.

        Args:
            way: What is asked for.
            images: A batch to try.
            epoch: Of that batch.
            batch_idx: Of that batch.
            precision: The trainer's.

        Raises:
            ConfigError: ``stacked`` was asked for and is not possible.
        """
        if way == "one_by_one":
            return
        reason = self._obstacle(way, images, epoch, batch_idx, precision)
        if reason is None:
            return
        if way == "stacked":
            raise ConfigError(f"`training` 'stacked' cannot train these members together: {reason}; use 'auto'")
        rank_zero_info(f"PopulationEvolution: members are trained one after the other: {reason}")

    def score(self, score: Callable[[nn.Module], dict[str, float]]) -> list[dict[str, float]]:
        """Scores of all members by name, the same on every rank."""
        return _by_number({member.number: score(member.module) for member in self.members}, self.search.members)

    def exchange(self, exchanges: Sequence[Exchange]) -> None:
        """Let members take over weights, optimiser state and genes."""
        if not exchanges:
            return
        donors = {each.parent for each in exchanges}
        own = {member.number: member.state_dict() for member in self.members if member.number in donors}
        states = _merged(own)
        genes = self.genes.copy()
        for each in exchanges:
            genes[each.member] = each.genes
            for member in self.members:
                if member.number == each.member:
                    member.load_state_dict(states[each.parent])
        self.set_genes(genes)

    def weights(self, numbers: Sequence[int]) -> dict[int, dict[str, Tensor]]:
        """Weights of members by number, on the CPU of every rank."""
        return _merged({each.number: cloned_weights(each.module) for each in self.members if each.number in numbers})

    def state_dict(self) -> dict[str, Any]:
        """States of all members, the same on every rank; every rank must call it."""
        states = _by_number({member.number: member.state_dict() for member in self.members}, self.search.members)
        return {"genes": self.genes.tolist(), "members": states}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state_dict`, of any number of ranks."""
        for member in self.members:
            member.load_state_dict(state["members"][member.number])
        self.set_genes(np.array(state["genes"], dtype=np.float64))

    def _obstacle(self, way: TrainingWay, images: Tensor, epoch: int, batch_idx: int, precision: str) -> str | None:
        if precision != "32-true":
            return f"`trainer.precision` is {precision}, which rounds stacked networks otherwise"
        if way == "auto":
            if len(self.members) == 1:
                return "there is one on this rank"
            if images.device.type == "cpu" and _has_convolutions(self.members[0].module):
                return "on a CPU grouped convolutions are slower"
            if images.device.type == "cpu" and torch.get_num_threads() == 1:
                return "with one thread that is faster on a CPU"
        model = cast(DrawsTrainingNoise, self.members[0].module)
        stacked = Stacked(self.members, member_loss, self.clip, model.latent_dim)
        reason = stacking_obstacle(self.members, stacked, images, self._noises(epoch, batch_idx))
        if reason is None:
            self.training = stacked
        else:
            stacked.release()
        return reason

    def _noises(self, epoch: int, batch_idx: int) -> list[torch.Generator]:
        models = [cast(DrawsTrainingNoise, member.module) for member in self.members]
        return [model.training_noise(epoch, batch_idx) for model in models]


def member_loss(module: nn.Module, images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Loss that a model trains on, D and R."""
    model = cast(DrawsTrainingNoise, module)  # checked when the fit was set up
    terms = model.trained_terms(images, generator=generator)
    return model.loss(terms), terms.recon, terms.kl


def _has_convolutions(module: nn.Module) -> bool:
    return any(isinstance(each, nn.Conv2d | nn.ConvTranspose2d) for each in module.modules())


def _merged(own: dict[int, Any]) -> dict[int, Any]:
    found: dict[int, Any] = {}
    for part in gather_over_ranks(own):
        found |= part
    return found


def _by_number(own: dict[int, Any], count: int) -> list[Any]:
    found = _merged(own)
    return [found[number] for number in range(count)]
