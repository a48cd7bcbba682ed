"""Target C(t): the KL divergence, in nats per image, that a run is steered to.

Every target is a function of the optimiser step, apart from :class:`Auto`, which remembers one number.
"""

import math
from abc import ABC, abstractmethod

from lightning_gvae.errors import CheckpointError, ConfigError

__all__ = ["Auto", "Constant", "Ramp", "TargetKL", "as_target_kl"]


class TargetKL(ABC):
    """C(t) in nats per image, summed over the latents."""

    @abstractmethod
    def at(self, step: int) -> float | None:
        """C after ``step`` optimiser steps; ``None`` while it is not known yet."""

    @abstractmethod
    def settings(self) -> dict[str, float | str]:
        """Kind and constructor arguments as plain values."""

    def observe(self, kl: float) -> None:  # noqa: B027 - only Auto looks
        """Take note of the run's own KL at the end of its warm-up."""

    def state_dict(self) -> dict[str, float | None]:
        """State of a target beyond its settings."""
        return {}

    def load_state_dict(self, state: dict[str, float | None]) -> None:
        """Continue from ``state_dict()``."""
        if state:
            raise CheckpointError(f"the target {type(self).__name__} has no state, got {sorted(state)}")


class Constant(TargetKL):
    """C(t) = ``value``.

    Args:
        value: Nats per image, positive.

    Raises:
        ConfigError: ``value`` is not positive and finite.

    >>> Constant(19.0).at(0)
    19.0
    """

    def __init__(self, value: float) -> None:
        self.value = _positive("target", value)

    def at(self, step: int) -> float:
        """The value, whatever the step."""
        return self.value

    def settings(self) -> dict[str, float | str]:
        """Kind and value."""
        return {"kind": "constant", "value": self.value}


class Ramp(TargetKL):
    r"""Staircase of ControlVAE's dSprites runs, :math:`C(t) = \min(C_{max}, C_0 + s \lfloor t / T \rfloor)`.

    Computed from ``t`` in closed form, so nothing is lost in a checkpoint and no rounding accumulates.

    Args:
        start: C_0, nats per image, positive.
        increment: s, nats per stair, positive.
        period: T, optimiser steps per stair, at least 1.
        maximum: C_max, nats per image, not below ``start``.

    Raises:
        ConfigError: an argument is out of its range.

    References:
        Shao et al., ControlVAE: Controllable Variational Autoencoder, ICML 2020 (0.5, 0.15 every 5000 steps, 16 or 18).

    >>> Ramp(0.5, 0.15, 5000, 16.0).at(10_000)
    0.8
    """

    def __init__(self, start: float, increment: float, period: int, maximum: float) -> None:
        self.start = _positive("start", start)
        self.increment = _positive("increment", increment)
        if int(period) != period or period < 1:
            raise ConfigError(f"`period` must be a whole number of steps, at least 1, got {period}")
        self.period = int(period)
        self.maximum = _positive("maximum", maximum)
        if self.maximum < self.start:
            raise ConfigError(f"`maximum` must not be below `start`, got {self.maximum} and {self.start}")

    def at(self, step: int) -> float:
        """Height of the stair that ``step`` stands on."""
        return min(self.maximum, self.start + self.increment * (step // self.period))

    def settings(self) -> dict[str, float | str]:
        """Kind and the four numbers."""
        return {
            "kind": "ramp",
            "start": self.start,
            "increment": self.increment,
            "period": self.period,
            "maximum": self.maximum,
        }


class Auto(TargetKL):
    """C = ``factor`` times the KL that the run itself had at the end of its warm-up, with beta still at its start.

    A cheap stand-in for "a factor of the KL of a reference VAE": no second training is needed, but the KL of a run
    usually still grows after the warm-up, so a longer warm-up gives a better reference.

    Args:
        factor: Positive; 1 keeps the KL where it was.

    Raises:
        ConfigError: ``factor`` is not positive and finite, or the observed KL is not.
    """

    def __init__(self, factor: float) -> None:
        self.factor = _positive("factor", factor)
        self.kl: float | None = None

    def observe(self, kl: float) -> None:
        """Keep the first KL seen; later ones are ignored."""
        if self.kl is None:
            self.kl = _positive("kl at the end of the warm-up", kl)

    def at(self, step: int) -> float | None:
        """``factor * kl`` once the KL was observed."""
        return None if self.kl is None else self.factor * self.kl

    def settings(self) -> dict[str, float | str]:
        """Kind and factor."""
        return {"kind": "auto", "factor": self.factor}

    def state_dict(self) -> dict[str, float | None]:
        """The KL observed, ``None`` during the warm-up."""
        return {"kl": self.kl}

    def load_state_dict(self, state: dict[str, float | None]) -> None:
        """Take over the KL observed before the checkpoint."""
        self.kl = state["kl"]


def as_target_kl(target: float | TargetKL | None) -> TargetKL | None:
    """A number as :class:`Constant`; a target or ``None`` unchanged."""
    if target is None or isinstance(target, TargetKL):
        return target
    return Constant(target)


def _positive(name: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not (math.isfinite(value) and value > 0):
        raise ConfigError(f"`{name}` must be a positive number, got {value!r}")
    return float(value)
