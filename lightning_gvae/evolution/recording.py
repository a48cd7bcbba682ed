"""The torch operations that some code makes, recorded once and run again as a plain list.

What runs again has neither the Python of modules nor autograd in it, nor results that nobody asks for, such as the value of a
loss whose gradient is wanted; and what stays the same from run to run is computed once.
"""

import copy
from collections.abc import Callable, Collection, Mapping, Sequence
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_gvae.evolution.recording_book import (
    RUN,
    SETTING,
    SHARED,
    Book,
    CannotRecord,
    Step,
    by_what_varies,
    written,
)

__all__ = ["CannotRecord", "Recorder", "Recording"]


class Recorder(TorchDispatchMode):
    """Writes down the operations within its ``with`` block, those of backward passes and optimisers included."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Sequence[Any], Mapping[str, Any], Any]] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # torch would wrap every call, for compiled code that we never record

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        # Kept alive, every tensor has an identity of its own.
        self.calls.append((func, args, kwargs or {}, result))
        return result

    def writes_to(self, tensors: Sequence[Tensor]) -> bool:
        """Whether an operation changed one of these in place."""
        watched = {id(tensor) for tensor in tensors}
        return any(not watched.isdisjoint(map(id, written(*call[:3]))) for call in self.calls)


class Recording:
    """What a :class:`Recorder` wrote down, to be run again.

    Tensors that are not mentioned below are read where they lie, so changes in place are seen. Python values stay as they
    were: record anew when they may have changed.

    Args:
        recorder: The recorder, its block left.
        results: What the operations are run for; ``None`` stays ``None``.
        shared: Tensors to be replaced by others of their shape in :meth:`share`.
        own: Tensors to be replaced by others of their shape in each run; the operations may change them in place.
        settings: Tensors whose values change now and then; :meth:`settle` must be called after.
        changing: Tensors whose values change between runs, by the operations themselves or otherwise.
        generator: The only one that random numbers may come from.

    Attributes:
        recorded: What :meth:`share` would return for the tensors and random numbers of the recording, if that is still there.

    Raises:
        CannotRecord: The code reads values off tensors, changes others than those in place, or draws random numbers from
            elsewhere or such that depend on them.
    """

    def __init__(
        self, recorder: Recorder, results: Sequence[Tensor | None], shared: Sequence[Tensor] = (),
        own: Sequence[Tensor] = (), settings: Sequence[Tensor] = (), changing: Sequence[Tensor] = (),
        generator: torch.Generator | None = None,
    ) -> None:  # fmt: skip
        book = Book(replaced=[*shared, *own], lasting=[*own, *changing], generator=generator)
        for call in recorder.calls:
            book.add(*call)
        self._shared, self._own = [[book.place(tensor) for tensor in tensors] for tensors in (shared, own)]
        self._results = [None if tensor is None else book.place(tensor) for tensor in results]
        self._book, self._cells = book, book.cells
        self._varies = {book.place(tensor): SHARED for tensor in shared}
        self._varies |= {book.place(tensor): SETTING for tensor in settings}
        self._varies |= {book.place(tensor): RUN for tensor in [*own, *changing]}
        self._sort_out()

    def while_still(self, tensors: Sequence[Tensor]) -> "Recording":
        """The same, for runs between which these stay as they are."""
        other = copy.copy(self)
        still = {self._book.place(tensor) for tensor in tensors}
        other._varies = {place: kind for place, kind in self._varies.items() if place not in still}
        other._cells = self._cells.copy()
        other._sort_out()
        return other

    def _sort_out(self) -> None:
        """Tell apart what runs when, and run what runs but now."""
        wanted = {place for place in self._results if place is not None}
        groups = by_what_varies(self._book.needed(wanted), self._varies, self._book.views)
        fixed, once, settled, repeated = (groups[kind] for kind in (0, SHARED, SETTING, RUN))
        asked = wanted.union(*(step.reads for step in repeated))
        self._common = sorted(({step.result for step in once} | set(self._shared)) & asked)
        self._once, self._settled = _program(once, kept=asked), _program(settled, kept=asked)
        self._repeated = _program(repeated, kept=wanted)
        found = [self._book.made.get(place, self._cells[place]) for place in self._common]
        self.recorded = None if any(each is None for each in found) else [each.detach() for each in found]
        asked = asked.union(*(step.reads for step in [*once, *settled]))
        with torch.inference_mode():
            _run(_program(fixed, kept=asked), self._cells)
        self.settle()

    @torch.inference_mode()
    def settle(self) -> None:
        """Compute anew what depends on settings alone."""
        _run(self._settled, self._cells)

    @torch.inference_mode()
    def share(self, shared: Sequence[Tensor] = ()) -> list[Tensor]:
        """Compute what stays the same from run to run, random numbers included.

        Args:
            shared: In place of those that were recorded.
        """
        cells = self._cells.copy()
        for place, tensor in zip(self._shared, shared, strict=True):
            cells[place] = tensor
        _run(self._once, cells)
        return [cells[place] for place in self._common]

    @torch.inference_mode()
    def __call__(self, common: Sequence[Tensor], own: Sequence[Tensor] = ()) -> list[Tensor | None]:
        """The results, without a graph.

        Args:
            common: What :meth:`share` returned.
            own: In place of those that were recorded.
        """
        cells = self._cells.copy()
        for place, tensor in zip([*self._common, *self._own], [*common, *own], strict=True):
            cells[place] = tensor
        _run(self._repeated, cells)
        return [None if place is None else cells[place] for place in self._results]


_Program = list[tuple[Callable[..., Any], Callable[[list[Any]], tuple[Any, ...]], int, list[int]]]


def _program(steps: Sequence[Step], kept: Collection[int]) -> _Program:
    """The operations, with the results that can be dropped after each."""
    last = {place: step for step in steps for place in [*step.reads, step.result]}
    dropped = {step.result for step in steps}.difference(kept)
    return [
        (step.function, _getter(step.reads), step.result,
         [place for place in {*step.reads, step.result} & dropped if last[place] is step])
        for step in steps
    ]  # fmt: skip


def _run(program: _Program, cells: list[Any]) -> None:
    for function, arguments, result, dropped in program:
        cells[result] = function(*arguments(cells))
        for place in dropped:
            cells[place] = None


def _getter(places: list[int]) -> Callable[[list[Any]], tuple[Any, ...]]:
    if len(places) == 1:
        return lambda cells: (cells[places[0]],)
    return itemgetter(*places) if places else lambda cells: ()
