"""Members worth keeping, as they were when they were scored."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from lightning_gvae.evolution.operators import Array
from lightning_gvae.evolution.pareto import contributions, hypervolume, non_dominated

__all__ = ["MemberStore", "StoredMember"]


@dataclass(frozen=True)
class StoredMember:
    """A member as it was at a generation.

    Args:
        member: Its place in the population.
        generation: When it was scored.
        step: Optimiser step then.
        genes: Values by name.
        scores: Numbers on the probe by name.
        values: Objectives ``(K,)``, minimised.
        weights: Parameters and buffers, on the CPU.
    """

    member: int
    generation: int
    step: int
    genes: dict[str, float]
    scores: dict[str, float]
    values: tuple[float, ...]
    weights: Mapping[str, Tensor] = field(repr=False)


class MemberStore:
    """Keeps scored members; what they dominate together never shrinks.

    With several objectives: the non-dominated ones. Beyond the capacity the one with the least contribution to the
    hypervolume goes, which may be the one just added, so the hypervolume cannot fall. With one objective: the best
    state of each place in the population.

    Args:
        capacity: Members kept, at least 1.
        members: What is in it.
    """

    def __init__(self, capacity: int, members: Sequence[StoredMember] = ()) -> None:
        self.capacity, self.members = capacity, list(members)

    @property
    def values(self) -> Array:
        """Objectives of the members, ``(N, K)``."""
        return np.array([member.values for member in self.members], dtype=np.float64)

    def volume(self, reference: Sequence[float]) -> float:
        """Hypervolume of the members; with one objective how far the best lies below the reference, at least 0."""
        if not self.members:
            return 0.0
        if len(reference) == 1:
            return max(0.0, float(reference[0]) - float(self.values.min()))
        return hypervolume(self.values, reference)

    def add(self, candidate: StoredMember, reference: Sequence[float]) -> None:
        """Add a scored member if it is worth it; its objectives must be finite."""
        if len(candidate.values) == 1:
            self._add_best(candidate)
            return
        members = [*self.members, candidate]
        stays = non_dominated([member.values for member in members])
        members = [member for member, good in zip(members, stays, strict=True) if good]
        if len(members) > self.capacity:
            share = contributions([member.values for member in members], reference, ignore_dominated=True)
            # The newest of equals goes: points beyond the reference have no contribution at all.
            members.pop(min(range(len(members)), key=lambda place: (share[place], -place)))
        self.members = members

    def sorted(self) -> list[StoredMember]:
        """Members by the last objective, the strongest first; of (distortion, rate) from the lowest rate on."""
        return sorted(self.members, key=lambda member: (member.values[-1], member.values, member.member))

    def state_dict(self) -> list[dict[str, Any]]:
        """Plain containers and tensors."""
        return [{**asdict_but_weights(member), "weights": dict(member.weights)} for member in self.members]

    def load_state_dict(self, state: Sequence[Mapping[str, Any]]) -> None:
        """Inverse of :meth:`state_dict`."""
        self.members = [StoredMember(**{**entry, "values": tuple(entry["values"])}) for entry in state]

    def _add_best(self, candidate: StoredMember) -> None:
        same = next((place for place, each in enumerate(self.members) if each.member == candidate.member), None)
        if same is None:
            self.members.append(candidate)
        elif candidate.values < self.members[same].values:
            self.members[same] = candidate


def asdict_but_weights(member: StoredMember) -> dict[str, Any]:
    """Fields of a stored member that JSON can hold."""
    plain = StoredMember(**{**vars(member), "weights": {}})
    content = asdict(plain)
    del content["weights"]
    content["values"] = list(member.values)
    return content
