r"""Schedules of the KL weight while a model trains: open-loop schedules and closed-loop controllers.

Each is a small module ``schedule(step, kl) -> beta``: ``step`` counts optimiser steps from 0, ``kl`` is the batch's KL
in nats (already averaged over the ranks), the result is a scalar fp64 tensor, on the CPU where the KL plays no part.
Controllers keep their state in buffers, so that checkpoints carry it and nothing has to leave the device. On a device
without fp64 the state is on the CPU, where it stays exact, and the KL comes to it: the host waits at every step.
"""

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_gvae.errors import ConfigError

__all__ = [
    "Annealing",
    "BetaSchedule",
    "Cyclical",
    "DynamicController",
    "PIController",
    "cyclical",
    "linear_annealing",
    "over_the_run",
    "ramp",
    "run_length",
    "set_lengths",
    "sigmoid_annealing",
]


WHOLE_RUN = (None, -1)  # -1 is what trainer.max_steps is in a run that is counted in epochs
LENGTHS = ("T_max", "total_iters")  # of torch's learning-rate schedules, in steps

MakeScheduler = Callable[[Optimizer], Any]


def linear_annealing(step: int, steps: int, start: float = 0.0, end: float = 1.0) -> float:
    """Straight line from ``start`` at step 0 to ``end`` at ``steps``, constant after."""
    return start + (end - start) * min(step / steps, 1.0)


def sigmoid_annealing(step: int, steps: int, end: float = 1.0) -> float:
    r"""Sigmoid cost annealing, :math:`\beta = \sigma((t - T/2) / (T/10))` for :math:`t < T`, then ``end``.

    One half of ``end`` at ``steps / 2``.
    """
    if step >= steps:
        return end
    return end * float(torch.sigmoid(torch.tensor((step - steps / 2) / (steps / 10), dtype=torch.float64)))


def cyclical(step: int, steps: int, cycles: int = 4, ratio: float = 0.5, end: float = 1.0) -> float:
    """Cyclical annealing: in each of ``cycles`` equal parts of ``steps`` rises from 0 to ``end``, then stays there.

    Args:
        step: Optimiser step.
        steps: Length of the whole schedule; constant at ``end`` afterwards.
        cycles: Number of cycles, M.
        ratio: Part of a cycle that rises, R, in (0, 1].
        end: Value of the plateau.

    References:
        Fu et al., Cyclical Annealing Schedule: A Simple Approach to Mitigating KL Vanishing, 2019, eq. 6.
    """
    if step >= steps:
        return end
    position = (step * cycles / steps) % 1.0
    return end * min(position / ratio, 1.0)


def ramp(step: int, start: float, increment: float, period: int, end: float) -> float:
    """Staircase of a set-point: ``start`` plus ``increment`` for every ``period`` steps, at most ``end``."""
    return min(start + increment * (step // period), end)


def run_length(end: float, setting: str) -> int:
    """Optimiser steps of a run that ends at ``end``, for a setting that was left to it.

    Raises:
        ConfigError: The run has no end; the message names ``setting``.
    """
    if not math.isfinite(end) or end < 1:
        raise ConfigError(
            f"`{setting}` is the length of the run, which has no end in steps: neither trainer.max_steps nor "
            f"trainer.max_epochs is set. Set one of them, or give `{setting}` a number of optimiser steps."
        )
    return int(end)


def over_the_run(make: MakeScheduler) -> tuple[MakeScheduler, list[str]]:
    """Maker of a learning-rate schedule whose length was left to the run, by None or -1, and the names of its lengths.

    The length is not known when the schedule is made; :func:`set_lengths` puts it in.
    """
    if not isinstance(make, functools.partial):
        return make, []
    names = [name for name in LENGTHS if name in make.keywords and make.keywords[name] in WHOLE_RUN]
    return (functools.partial(make, **dict.fromkeys(names, 1)), names) if names else (make, [])


def set_lengths(schedulers: Iterable[Any], names: Sequence[str], end: float) -> None:
    """Put the run's length into learning-rate schedules.

    Raises:
        ConfigError: There are ``names`` and the run has no end.
    """
    for scheduler in schedulers:
        for name in names:
            setattr(scheduler, name, run_length(end, f"model.lr_scheduler.{name}"))


class BetaSchedule(nn.Module):
    """Base: maps a step and a KL to the next KL weight."""

    target_kl: float | None = None
    """Final set-point in nats; ``None`` for schedules that do not look at the KL."""

    def forward(self, step: int, kl: Tensor) -> Tensor:
        """KL weight for the optimiser step ``step`` whose batch has KL ``kl``; scalar, fp64."""
        raise NotImplementedError

    def set_run_length(self, end: float) -> None:
        """Take note of the optimiser step at which the run ends; infinite if it has no end."""

    def target_at(self, step: int) -> float | None:
        """Set-point in nats at ``step``, ``None`` if there is none."""
        return None

    def unfinished(self, end: float) -> str | None:
        """Sentence about what the schedule does not get to in a run of ``end`` optimiser steps; None if to all."""
        return None

    def missed(self, step: int, kl: float, beta: float) -> str | None:
        """Sentence about a target that ``kl`` (nats) is not near at the end of a run; None if it is, or there is none.

        Args:
            step: Optimiser steps done.
            kl: KL in the end.
            beta: KL weight in the end.
        """
        return None


class _OpenLoop(BetaSchedule):
    """A schedule over a number of optimiser steps, or over a whole run, however long that is."""

    def __init__(self, steps: int | None) -> None:
        super().__init__()
        self.whole_run = steps in WHOLE_RUN
        if not self.whole_run:
            _check_positive("steps", steps)  # type: ignore[arg-type]
        self._steps = None if self.whole_run else steps

    @property
    def steps(self) -> int:
        """Length in optimiser steps.

        Raises:
            ConfigError: It is that of a run that has not begun.
        """
        if self._steps is None:
            raise ConfigError(
                f"`steps` of {type(self).__name__} is that of the run, and no run has begun; give a number of steps."
            )
        return self._steps

    def set_run_length(self, end: float) -> None:
        """Take the run's length, if ``steps`` was left to it.

        Raises:
            ConfigError: It was, and the run has no end.
        """
        if not self.whole_run:
            return
        self._steps = run_length(end, "model.schedule.steps")


class Annealing(_OpenLoop):
    """Cost annealing: beta rises once from 0 (or ``start``) to ``end``.

    Args:
        steps: Optimiser steps until ``end`` is reached, positive; None or -1: those of the run.
        shape: ``linear`` or ``sigmoid``.
        start: Value at step 0 (linear only).
        end: Final value.

    Raises:
        ConfigError: ``steps`` is not positive, a value is negative, or the shape is unknown.

    References:
        Bowman et al., Generating Sentences from a Continuous Space, 2016.
    """

    def __init__(self, steps: int | None, shape: str = "linear", start: float = 0.0, end: float = 1.0) -> None:
        if shape not in ("linear", "sigmoid"):
            raise ConfigError(f"`shape` must be 'linear' or 'sigmoid', got {shape!r}.")
        super().__init__(steps)
        _check_not_negative(start=start, end=end)
        self.shape, self.start, self.end = shape, start, end

    def forward(self, step: int, kl: Tensor) -> Tensor:
        """Value of the annealing curve at ``step``."""
        if self.shape == "linear":
            value = linear_annealing(step, self.steps, self.start, self.end)
        else:
            value = sigmoid_annealing(step, self.steps, self.end)
        return torch.tensor(value, dtype=torch.float64)

    def unfinished(self, end: float) -> str | None:
        """Sentence if the annealing ends after the run."""
        now = float(self(int(max(end - 1, 0)), torch.zeros(()))) if end < self.steps else self.end
        return _not_over("Annealing", self.steps, end, now, self.end)


def _not_over(name: str, steps: int, end: float, now: float, final: float) -> str | None:
    if steps <= end:
        return None
    return (
        f"`model.schedule.steps` of {name} is {steps}, but the run ends at step {end:.0f}: beta will be "
        f"{now:.3g} then, "
        f"not {final:g}; lower it or train for longer"
    )


class Cyclical(_OpenLoop):
    """Cyclical annealing, see :func:`cyclical`.

    Args:
        steps: Length of all cycles together, in optimiser steps, positive; None or -1: that of the run.
        cycles: Number of cycles, at least 1.
        ratio: Rising part of a cycle, in (0, 1].
        end: Value of the plateaus.

    Raises:
        ConfigError: A value is out of range.
    """

    def __init__(self, steps: int | None = None, cycles: int = 4, ratio: float = 0.5, end: float = 1.0) -> None:
        super().__init__(steps)
        _check_positive("cycles", cycles)
        _check_not_negative(end=end)
        if not 0 < ratio <= 1:
            raise ConfigError(f"`ratio` must be in (0, 1], got {ratio}; it is the rising part of each cycle.")
        self.cycles, self.ratio, self.end = cycles, ratio, end

    def forward(self, step: int, kl: Tensor) -> Tensor:
        """Value of the cyclical curve at ``step``."""
        value = cyclical(step, self.steps, self.cycles, self.ratio, self.end)
        return torch.tensor(value, dtype=torch.float64)

    def unfinished(self, end: float) -> str | None:
        """Sentence if the last cycle ends after the run."""
        if self.steps <= end:
            return None
        return (
            f"`model.schedule.steps` of Cyclical is {self.steps}, but the run ends at step {end:.0f}, in cycle "
            f"{int(max(end - 1, 0) * self.cycles / self.steps) + 1} of {self.cycles}; lower it or train for longer"
        )


class _Controller(BetaSchedule):
    """A schedule that steers the KL to a set-point, constant or a staircase that ends there."""

    def __init__(
        self,
        target_kl: float | None,
        ramp_start: float | None,
        ramp_increment: float,
        ramp_period: int,
        beta_min: float,
        beta_max: float,
    ) -> None:
        super().__init__()
        if target_kl is None or not target_kl > 0:
            raise ConfigError(
                f"`target_kl` must be a positive number of nats, got {target_kl}; set it to the KL that the model "
                "should hold, for example `target_kl=19`."
            )
        _check_not_negative(beta_min=beta_min)
        if not beta_min < beta_max:
            raise ConfigError(f"`beta_min` must be below `beta_max`, got {beta_min} and {beta_max}.")
        if ramp_start is not None:
            _check_positive("ramp_increment", ramp_increment)
            _check_positive("ramp_period", ramp_period)
        self.target_kl = target_kl
        self.ramp_start, self.ramp_increment, self.ramp_period = ramp_start, ramp_increment, ramp_period
        self.beta_min, self.beta_max = beta_min, beta_max

    def set_run_length(self, end: float) -> None:
        """Take note of the optimiser step at which the run ends; infinite if it has no end."""

    def target_at(self, step: int) -> float:
        """Set-point in nats at ``step``."""
        assert self.target_kl is not None
        if self.ramp_start is None:
            return self.target_kl
        return ramp(step, self.ramp_start, self.ramp_increment, self.ramp_period, self.target_kl)

    def unfinished(self, end: float) -> str | None:
        """Sentence if the staircase of the set-point does not get to its end."""
        if end == float("inf"):
            return None
        last = self.target_at(int(max(end - 1, 0)))
        if self.target_kl is None or last >= self.target_kl:
            return None
        return (
            f"`ramp_period` {self.ramp_period} and `ramp_increment` {self.ramp_increment:g} of "
            f"{type(self).__name__} take "
            f"the set-point to {last:.3g} nats in the run's {end:.0f} steps, not to `target_kl` {self.target_kl:g}"
        )

    def missed(self, step: int, kl: float, beta: float) -> str | None:
        """Sentence if the KL is more than 10 % away from the set-point."""
        target = self.target_at(step)
        if abs(kl - target) <= 0.1 * target:
            return None
        bounds = [b for b in (self.beta_min, self.beta_max) if math.isfinite(b)]
        bound = next((b for b in bounds if abs(beta - b) <= 0.01 * max(b, 1e-3)), None)
        at = f"within its bounds {self.beta_min:g} and {self.beta_max:g}" if bound is None else "at its bound"
        return f"the target was not reached: KL {kl:.3g} of `target_kl` {target:.3g} nats, beta {beta:.3g} {at}"


class PIController(_Controller):
    r"""Non-linear PI controller of the KL (ControlVAE), with an integrator that can neither lock nor wind up.

    .. math::
        e_t = C_t - \mathrm{KL}_t,\quad I_t = I_{t-1} + K_i e_t,\quad
        \beta_t = \frac{K_p}{1 + \exp(e_t)} + I_t + \beta_{\min}

    clipped to ``[beta_min, beta_max]``. The authors' code freezes its integrator for ever after one large error, and
    lets it wind up without limit elsewhere. Here :math:`I_t` is corrected to what the clipped output implies, so it
    can neither lock (rejecting large steps would) nor wind up, and beta leaves a bound as soon as the error turns. The
    error is clipped at :math:`-C_t`.

    Args:
        target_kl: Set-point :math:`C`, nats, positive.
        kp: Proportional gain, positive.
        ki: Integral gain, negative: a KL below the set-point lowers beta.
        beta_min: Lower bound of beta.
        beta_max: Upper bound of beta.
        ramp_start: If given, the set-point starts here and rises by ``ramp_increment`` every ``ramp_period`` steps.
        ramp_increment: Nats per step of the staircase.
        ramp_period: Optimiser steps per step of the staircase.

    Raises:
        ConfigError: No positive set-point, a gain of the wrong sign, or bounds out of order.

    References:
        Shao et al., ControlVAE: Controllable Variational Autoencoder, 2020, eq. 8 and algorithm 1.
    """

    integral: Tensor

    def __init__(
        self,
        target_kl: float | None,
        kp: float = 0.01,
        ki: float = -0.001,
        beta_min: float = 0.0,
        beta_max: float = 100.0,
        ramp_start: float | None = None,
        ramp_increment: float = 0.15,
        ramp_period: int = 5000,
    ) -> None:
        super().__init__(target_kl, ramp_start, ramp_increment, ramp_period, beta_min, beta_max)
        _check_gains(kp, ki)
        self.kp, self.ki = kp, ki
        self.register_buffer("integral", torch.tensor(0.0, dtype=torch.float64))

    def forward(self, step: int, kl: Tensor) -> Tensor:
        """One step of the controller."""
        target = self.target_at(step)
        # A KL is not negative, so the error is at most the target; the same bound below keeps the first steps of a
        # fresh network, whose KL can be hundreds of nats, from driving beta far up.
        error = (target - kl.detach().to(self.integral)).clamp(min=-target)
        proportional = self.kp * torch.sigmoid(-error)  # = kp / (1 + exp(error)), without overflow
        output = (proportional + self.integral + self.ki * error + self.beta_min).clamp(self.beta_min, self.beta_max)
        self.integral.copy_(output - proportional - self.beta_min)
        return output


class DynamicController(_Controller):
    r"""Incremental PI controller on a moving average of the KL (DynamicVAE); starts from a large beta.

    .. math::
        \beta_t = \beta_{t-1} + K_p(\sigma(-e_t) - \sigma(-e_{t-1})) + K_i e_t,\quad
        e_t = C_t - \overline{\mathrm{KL}}_t

    The moving average takes only KL values that were seen (the authors' queue starts filled with zeros).

    Args:
        target_kl: Set-point, nats, positive.
        beta_start: Initial beta, well above the final one.
        kp: Proportional gain, positive.
        ki: Integral gain, negative.
        beta_min: Lower bound of beta.
        beta_max: Upper bound of beta.
        window: Number of batches in the moving average.
        ramp_start: If given, start of the set-point's staircase, see :class:`PIController`.
        ramp_increment: Nats per step of the staircase.
        ramp_period: Optimiser steps per step of the staircase.

    Raises:
        ConfigError: A value is out of range.

    References:
        Shao et al., Rethinking Controllable Variational Autoencoders, 2022, eq. 9.
    """

    beta: Tensor
    history: Tensor
    seen: Tensor
    last: Tensor

    def __init__(
        self,
        target_kl: float | None,
        beta_start: float = 50.0,
        kp: float = 0.01,
        ki: float = -0.005,
        beta_min: float = 0.1,
        beta_max: float = 100.0,
        window: int = 5,
        ramp_start: float | None = None,
        ramp_increment: float = 0.15,
        ramp_period: int = 6000,
    ) -> None:
        super().__init__(target_kl, ramp_start, ramp_increment, ramp_period, beta_min, beta_max)
        _check_gains(kp, ki)
        _check_positive("window", window)
        if not beta_min <= beta_start <= beta_max:
            raise ConfigError(f"`beta_start` must be within [{beta_min}, {beta_max}], got {beta_start}.")
        self.kp, self.ki = kp, ki
        self.register_buffer("beta", torch.tensor(float(beta_start), dtype=torch.float64))
        self.register_buffer("history", torch.zeros(window, dtype=torch.float64))
        self.register_buffer("seen", torch.tensor(0))
        self.register_buffer("last", torch.tensor(0.0, dtype=torch.float64))  # sigma(-e) of the step before

    def forward(self, step: int, kl: Tensor) -> Tensor:
        """One step of the controller."""
        window = self.history.numel()
        before = self.seen.to(self.history.device)  # elsewhere on a device without fp64
        # By a tensor of one place: a scalar as an index is read by the host.
        self.history.index_copy_(0, (before % window).reshape(1), kl.detach().to(self.history).reshape(1))
        seen = before + 1
        self.seen.copy_(seen)
        error = self.target_at(step) - self.history.sum() / seen.clamp(max=window)
        proportional = torch.sigmoid(-error)
        change = torch.where(seen == 1, 0.0, self.kp * (proportional - self.last)) + self.ki * error
        self.last.copy_(proportional)
        self.beta.copy_((self.beta + change).clamp(self.beta_min, self.beta_max))
        return self.beta.clone()


def _check_positive(name: str, value: float) -> None:
    if not value > 0:
        raise ConfigError(f"`{name}` must be positive, got {value}.")


def _check_not_negative(**values: float) -> None:
    for name, value in values.items():
        if not value >= 0:
            raise ConfigError(f"`{name}` must not be negative, got {value}; a KL weight is 0 or more.")


def _check_gains(kp: float, ki: float) -> None:
    if not (kp > 0 and ki < 0):
        raise ConfigError(
            f"`kp` must be positive and `ki` negative (a KL below its target lowers beta), got kp={kp}, ki={ki}."
        )
