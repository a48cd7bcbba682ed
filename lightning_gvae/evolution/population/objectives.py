"""Objectives of a population by name: which number of a member is minimised, and how it is called in a figure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lightning_gvae.errors import ConfigError

__all__ = ["OBJECTIVES", "PopulationObjective", "objectives_by_name"]


@dataclass(frozen=True)
class PopulationObjective:
    """A number of a scored member.

    Args:
        name: Of the number.
        label: Of an axis.
        sign: 1 if less is better, -1 if more is.
    """

    name: str
    label: str
    sign: int = 1

    def value(self, scores: Mapping[str, float]) -> float:
        """Value that is minimised."""
        return self.sign * scores[self.name]


OBJECTIVES = {
    objective.name: objective
    for objective in (
        PopulationObjective("distortion", "Distortion (nats)"),
        PopulationObjective("rate", "Rate (nats)"),
        PopulationObjective("nelbo", "Negative ELBO (nats)"),
        PopulationObjective("mig", "Mutual information gap", -1),
    )
}


def objectives_by_name(names: Sequence[str]) -> tuple[PopulationObjective, ...]:
    """One to three objectives.

    Raises:
        ConfigError: They are more or fewer, repeated or unknown.
    """
    if isinstance(names, str) or not 1 <= len(names) <= 3 or len(set(names)) != len(names):
        raise ConfigError(f"`objectives` must be one to three different names, got {names!r}")
    if unknown := [name for name in names if name not in OBJECTIVES]:
        raise ConfigError(f"`objectives` must be of {', '.join(OBJECTIVES)}, got {unknown[0]!r}")
    return tuple(OBJECTIVES[name] for name in names)
