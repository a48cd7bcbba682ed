"""Candidates trained one after the other from a recording of a training step."""

import itertools
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from lightning_gvae.evolution.gradients import laid_out, plus
from lightning_gvae.evolution.lookahead import Trial, assign, gene_buffers, lookahead, probe_noise
from lightning_gvae.evolution.obstacles import why_unlike
from lightning_gvae.evolution.operators import Array
from lightning_gvae.evolution.recording import CannotRecord, Recorder, Recording
from lightning_gvae.evolution.scratch import Scratch

__all__ = ["RecordedLookahead", "lookahead_recorded", "why_not_recorded"]

Tensors = list[Tensor | None]


def lookahead_recorded(scratch: Scratch, trial: Trial, genomes: Array) -> Array:
    """Same as :func:`~lightning_gvae.evolution.lookahead.lookahead`, number for number, from recordings.

    The first candidate's first step is recorded as it runs, and so is the first score. What follows are the same operations
    on the same copy, without autograd, without the value of the loss, and with batches prepared and noise drawn once for all.
    All candidates take the first step from the same weights: what the genes have no part in, the forward pass and with
    a KL weight the decoder's gradients, runs once. Recordings last for a generation, so schedules in Python are followed.

    Args:
        scratch: Copy to train; restored before each candidate.
        trial: What the candidates share.
        genomes: ``(P, d)``.

    Returns:
        ``(P, 2)`` of D and R on the probe, in the units of the objective.

    Raises:
        CannotRecord: The objective is more than a fixed list of operations.
    """
    if not len(genomes):
        return np.empty((0, 2))
    generation = _Generation(scratch, trial, genomes)
    return np.array([generation.train_and_score(index) for index in range(len(genomes))], dtype=np.float64)


class RecordedLookahead:
    """:func:`lookahead_recorded`, its first use checked against a candidate that is trained without a recording."""

    def __init__(self) -> None:
        self._checked = False

    def __call__(self, scratch: Scratch, trial: Trial, genomes: Array) -> Array:
        """Scores ``(P, 2)``.

        Raises:
            CannotRecord: The objective is more than a fixed list of operations.
        """
        if self._checked or not len(genomes):
            return lookahead_recorded(scratch, trial, genomes)
        try:
            scores = lookahead_recorded(scratch, trial, genomes)
        except RuntimeError as error:
            raise CannotRecord(f"a recording does not run: {str(error).splitlines()[0]}") from error
        alone = lookahead(scratch, trial, genomes[-1:])[0]
        if not np.allclose(scores[-1], alone, rtol=1e-6, equal_nan=True):
            raise CannotRecord(f"a recorded candidate scores {scores[-1].tolist()}, trained plainly {alone.tolist()}")
        self._checked = True
        return scores


def why_not_recorded(module: nn.Module) -> str | None:
    """Why training steps of this module cannot be recorded, or ``None`` as far as can be seen from outside."""
    elsewhere = next((p.device for p in module.parameters() if p.device.type != "cpu"), None)
    if elsewhere is not None:
        return f"weights are on {elsewhere}, and recordings have been tried on the CPU alone"
    for name, part in module.named_modules():
        obstacle = why_unlike(name, part)
        if obstacle is not None:
            return obstacle
    return None


@dataclass
class _Run:
    """A recording with one batch and its noise; the result is there already where it was recorded on just these."""

    recording: Recording
    common: list[Tensor]
    result: Tensors | None = None

    def __call__(self) -> Tensors:
        result, self.result = self.result, None
        return self.recording(self.common) if result is None else result


class _Generation:
    """The recordings of a generation. Batches of another shape have recordings of their own."""

    def __init__(self, scratch: Scratch, trial: Trial, genomes: Array) -> None:
        self._scratch, self._trial, self._genomes = scratch, trial, genomes
        scratch.restore()
        self._parameters = scratch.parameters
        self._trained, self._live = scratch.trained()
        self._genes = gene_buffers(scratch.module, trial.genes)
        self._recordings: dict[Any, tuple[Recording, torch.Generator]] = {}  # each with where its noise comes from
        self._still: dict[Any, Recording] = {}  # the same while the weights do not move
        self._update: Recording | None = None
        self._record_update, self._spoils_gradients = True, True
        self._assign(0)
        numbers = itertools.count()
        # All candidates take the first step from the same weights, so that only what the genes have a part in differs.
        self._steps = [
            [self._run(self._gradients, batch, next(numbers), step > 0, len(parts)) for batch in parts]
            for step, parts in enumerate(trial.steps)
        ]
        for runs in self._steps[1:]:
            for run in runs:
                run.result = None  # of weights that have made no step
        self._probe: list[_Run] = []

    def train_and_score(self, index: int) -> tuple[float, float]:
        """D and R of a candidate after its steps."""
        if index and self._update is None:
            self._scratch.restore()
        elif index:
            with torch.no_grad():
                torch._foreach_copy_(self._trained, self._live)
        self._assign(index)
        for number, runs in enumerate(self._steps):
            self._take(_total(runs), shared=number == 0)
        if not self._probe:
            probe = enumerate(self._trial.probe)
            self._probe = [self._run(self._score, batch, probe_noise(number), True) for number, (batch, _) in probe]
        scores = [run() for run in self._probe]
        weights = [weight for _, weight in self._trial.probe]
        d, r = (sum(w * float(v) for w, v in zip(weights, values, strict=True)) for values in zip(*scores, strict=True))
        return d, r

    def _assign(self, index: int) -> None:
        assign(self._genes, self._genomes[index])
        for recording in [*(each for each, _ in self._recordings.values()), *self._still.values()]:
            recording.settle()

    def _run(self, function: Callable[..., Tensors], batch: Any, number: int, moving: bool, *args: Any) -> _Run:
        """``function`` on this batch and its noise, weights moving or not, from a recording that is made unless it is known."""
        leaves, spec = pytree.tree_flatten(batch)
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        others = [leaf for leaf in leaves if not isinstance(leaf, Tensor)]
        key = (function.__name__, args, str(spec), str(others), *((t.shape, t.stride(), t.dtype) for t in tensors))
        noise, result = self._trial.noise.generator(number), None
        if key not in self._recordings:
            generator = torch.Generator(noise.device)
            generator.set_state(noise.get_state())
            with Recorder() as recorder:
                result = function(batch, generator, *args)
            recording = Recording(
                recorder, result, tensors, settings=self._genes, changing=self._parameters, generator=generator
            )
            self._recordings[key] = recording, generator
        recording, generator = self._recordings[key]
        if not moving:
            if key not in self._still:
                self._still[key] = recording.while_still(self._parameters)
            recording = self._still[key]
        if result is not None and recording.recorded is not None:
            return _Run(recording, recording.recorded, result)
        generator.set_state(noise.get_state())
        return _Run(recording, recording.share(tensors), result)

    def _gradients(self, batch: Any, generator: torch.Generator, parts: int) -> Tensors:
        loss = self._trial.objective(self._scratch.module, batch, generator)[0]
        # Given, so that nothing depends on the value of the loss.
        weight = torch.full((), 1 / parts, dtype=loss.dtype, device=loss.device)
        found = torch.autograd.grad(loss, self._parameters, weight, allow_unused=True)
        return [laid_out(g, p) for g, p in zip(found, self._parameters, strict=True)]

    @torch.no_grad()
    def _score(self, batch: Any, generator: torch.Generator) -> Tensors:
        return list(self._trial.objective(self._scratch.module, batch, generator)[1:])

    def _take(self, gradients: Tensors, shared: bool) -> None:
        """A step of the optimiser, clipped as the run clips; ``shared`` if other candidates have use for these gradients."""
        if self._update is not None:
            given = [gradient for gradient in gradients if gradient is not None]
            self._update([], [gradient.clone() for gradient in given] if shared and self._spoils_gradients else given)
            return
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            # A copy, since what comes out of a recording cannot be changed in place here.
            parameter.grad = None if gradient is None else gradient.clone()
        before = self._state()
        with Recorder() if self._record_update else nullcontext() as recorder:
            self._trial.clip(self._parameters)
            self._scratch.optimizer.step()
        if recorder is not None:
            self._record_update = False
            self._update = self._recorded_update(recorder, before)
            self._spoils_gradients = recorder.writes_to([p.grad for p in self._parameters if p.grad is not None])

    def _state(self) -> Any:
        """What the optimiser has noted, tensors by their identity."""
        state = self._scratch.optimizer.state
        return [
            (id(p), key, id(value) if isinstance(value, Tensor) else value)
            for p in self._parameters for key, value in state.get(p, {}).items()
        ]  # fmt: skip

    def _recorded_update(self, recorder: Recorder, before: Any) -> Recording | None:
        """The step that was just recorded, ``None`` if the next one will be another."""
        if before != self._state():
            return None
        own = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
        try:
            return Recording(recorder, [], own=own, changing=self._trained)
        except CannotRecord:
            return None


def _total(micro_batches: Sequence[Callable[[], Tensors]]) -> Tensors:
    """Sum of gradients, ``None`` for a gradient of zero."""
    total = micro_batches[0]()
    for run in micro_batches[1:]:
        total = [plus(old, new) for old, new in zip(total, run(), strict=True)]
    return total
