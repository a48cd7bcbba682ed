"""Takes recorded operations down: where each finds its arguments, what it changes, and what it varies with."""

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import getitem
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = ["RUN", "SETTING", "SHARED", "Book", "CannotRecord", "Step", "by_what_varies", "written"]


class CannotRecord(Exception):
    """The code is more than a fixed list of operations; the message says why."""


# Kernels that look for themselves whether autograd is on: the LSTM of oneDNN.
NEEDS_AUTOGRAD = ("aten::mkldnn_rnn_layer",)
# What the result of an operation varies with; with none of them, it is computed when it is recorded.
SHARED, SETTING, RUN = 1, 2, 4


@dataclass(eq=False)
class Step:
    """One operation: where it finds its arguments and where its result goes."""

    function: Callable[..., Any]
    reads: list[int]
    result: int
    writes: int | None = None  # a result that it changes in place
    changes: bool = False  # something that outlives the run
    random: bool = False


def by_what_varies(steps: Sequence[Step], varies: Mapping[int, int], views: Mapping[int, int]) -> dict[int, list[Step]]:
    """Steps that vary with nothing, with one of them, and (as with each run) with several."""
    varies = dict(varies)
    groups: dict[int, list[Step]] = {0: [], SHARED: [], SETTING: [], RUN: []}
    for step in steps:
        kinds = RUN if step.changes else 0
        for place in step.reads:
            kinds |= varies.get(views.get(place, place), 0)
        if step.random:
            if kinds & (SETTING | RUN):
                raise CannotRecord(f"{step.function} draws random numbers that depend on the candidate")
            kinds |= SHARED
        varies[step.result] = kinds = kinds if kinds in groups else RUN
        if step.writes is not None and varies.get(step.writes, 0) != kinds:
            # What is computed less often must not change with each run.
            on_copy = functools.partial(_on_copy, step.function, step.reads.index(step.writes))
            step = replace(step, function=on_copy)
        groups[kinds].append(step)
    return groups


class _Kind(NamedTuple):
    """What the schema of an operation tells."""

    written: list[tuple[int, str]]  # arguments changed in place: position and name
    anew: bool  # results have memory of their own
    random: bool
    ignored: bool


@functools.cache
def _kind(function: Any) -> _Kind:
    arguments, returns = function._schema.arguments, function._schema.returns
    return _Kind(
        [(number, a.name) for number, a in enumerate(arguments) if a.alias_info is not None and a.alias_info.is_write],
        all(each.alias_info is None for each in returns),
        torch.Tag.nondeterministic_seeded in function.tags,
        function.namespace == "profiler",
    )


class Book:
    """Takes down operations with a cell for every value: tensors read where they lie, constants, results.

    Args:
        replaced: Tensors that others will take the place of.
        lasting: Tensors that operations may change in place, for good.
        generator: The only one that random numbers may come from.
    """

    def __init__(
        self, replaced: Sequence[Tensor], lasting: Sequence[Tensor], generator: torch.Generator | None
    ) -> None:
        self._generator = generator
        self.cells: list[Any] = []
        self.views: dict[int, int] = {}  # cells of views of tensors that are read where they lie
        self.made: dict[int, Tensor] = {}  # results that are still what they were
        self._steps: list[Step] = []
        self._places: dict[int, int] = {}  # cells by the identities of tensors
        self._seen: dict[Any, int] = {}  # identities by what of which memory a tensor shows
        self._memory: set[int] = set()  # of results
        self._readers: dict[int, int] = {}
        self._fresh: set[int] = set()  # results with memory of their own
        self._replaced = {self.place(tensor) for tensor in replaced}
        self._lasting = {self.place(tensor) for tensor in lasting}

    def place(self, tensor: Tensor) -> int:
        """Cell of the tensor as it is by now."""
        place = self._places.get(id(tensor))
        if place is None:
            if _memory(tensor) in self._memory:
                raise CannotRecord("part of a result was taken out of sight")
            place = self._places[id(tensor)] = self._cell(tensor)
        return place

    def add(self, function: Any, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> None:
        """Take an operation down."""
        kind = _kind(function)
        if kind.ignored or (not kind.anew and not kind.written and self._is_known(args[0], result)):
            return
        if kind.random and not self._draws_as_wanted([*args, *kwargs.values()]):
            raise CannotRecord(f"{function} draws from another random generator than the one given")
        if function._schema.name in NEEDS_AUTOGRAD:
            raise CannotRecord(f"{function} computes what its gradient needs under autograd alone")
        named = {key: value for key, value in kwargs.items() if _tensors(value)}
        constant = {key: value for key, value in kwargs.items() if key not in named}
        reads = [self._argument(value) for value in [*args, *named.values()]]
        changed = [self.place(tensor) for tensor in written(function, args, kwargs)]
        lasts = not self._lasting.isdisjoint(changed)
        own = changed[0] if len(changed) == 1 and isinstance(result, Tensor) and id(result) in self._places else None
        if not self._lasting.issuperset(changed) and (own not in self._fresh or self._readers[own] > 1):
            raise CannotRecord(f"{function} changes a tensor in place that is in use elsewhere")
        call = functools.partial(function, **constant) if constant else function
        call = functools.partial(_by_name, call, list(named)) if named else call
        place = self._step(call, reads, None if lasts else own, lasts, kind.random)
        if isinstance(result, (list, tuple)):
            for number, part in enumerate(result):
                if isinstance(part, Tensor):
                    self._made(part, self._step(getitem, [place, self._cell(number)]))
        elif isinstance(result, Tensor):
            if not lasts:
                self._made(result, place)
                if kind.anew or changed:
                    self._fresh.add(place)
        elif result is not None:
            raise CannotRecord(f"{function} reads a value off a tensor")

    def _draws_as_wanted(self, values: Sequence[Any]) -> bool:
        used = [value for value in [*values, self._generator] if isinstance(value, torch.Generator)]
        # One and the same generator comes as a new Python object.
        return len(used) == 2 and len({getattr(each, "_cdata", None) for each in used}) == 1

    def needed(self, wanted: Collection[int]) -> list[Step]:
        """Operations that the results need, and those that change what outlives the run."""
        alive, kept = set(wanted), []
        for step in reversed(self._steps):
            # A draw that nobody needs moves the generator on all the same.
            if step.changes or step.random or step.result in alive:
                kept.append(step)
                alive.update(step.reads)
        return kept[::-1]

    def _cell(self, value: Any) -> int:
        self.cells.append(value)
        return len(self.cells) - 1

    def _step(
        self, function: Callable[..., Any], reads: list[int], writes: int | None = None, changes: bool = False,
        random: bool = False,
    ) -> int:  # fmt: skip
        place = self._cell(None)
        self._steps.append(Step(function, reads, place, writes, changes, random))
        return place

    def _argument(self, value: Any) -> int:
        if isinstance(value, Tensor):
            place = self.place(value)
        elif _tensors(value):
            place = self._step(_listed, [self._argument(each) for each in value])
        else:
            place = self._cell(value)
        self._readers[place] = self._readers.get(place, 0) + 1
        return place

    def _is_known(self, source: Any, view: Any) -> bool:
        """Take a view down that needs no operation: another name of a tensor, or of one that is read where it lies."""
        if not isinstance(source, Tensor) or not isinstance(view, Tensor):
            return False
        place = self.place(source)
        self._seen.setdefault(_shown(source), id(source))
        known = self._seen.setdefault(_shown(view), id(view))
        if known in self._places:
            self._places[id(view)] = self._places[known]
            return True
        if self.cells[place] is None or place in self._replaced:  # a result, or what others take the place of
            return False
        self._places[id(view)] = here = self._cell(view)
        self.views[here] = self.views.get(place, place)
        return True

    def _made(self, tensor: Tensor, place: int) -> None:
        old = self._places.get(id(tensor))
        if old is not None:  # changed in place, under all of its names
            self._places = {key: place if value == old else value for key, value in self._places.items()}
            self.made.pop(old, None)
        self._places[id(tensor)] = place
        self._memory.add(_memory(tensor))
        self.made[place] = tensor


def written(function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Tensor]:
    """Tensors that an operation changes in place."""
    return [
        tensor
        for number, name in _kind(function).written
        if not (name == "grads" and kwargs.get("grad_scale") is None)  # a fused optimiser writes there only to unscale
        for tensor in _tensors(args[number] if number < len(args) else kwargs.get(name))
    ]


def _listed(*values: Any) -> list[Any]:
    return list(values)


def _on_copy(function: Callable[..., Any], number: int, *values: Any) -> Any:
    return function(*values[:number], values[number].clone(), *values[number + 1 :])


def _by_name(function: Callable[..., Any], names: list[str], *values: Any) -> Any:
    first = len(values) - len(names)
    return function(*values[:first], **dict(zip(names, values[first:], strict=True)))


def _tensors(value: Any) -> list[Tensor]:
    """The tensor, or those of a list."""
    if isinstance(value, Tensor):
        return [value]
    return [each for each in value if isinstance(each, Tensor)] if isinstance(value, (list, tuple)) else []


def _memory(tensor: Tensor) -> int:
    """Where the tensor's storage lies; its own identity for one without."""
    return tensor.untyped_storage().data_ptr() or -id(tensor)


def _shown(tensor: Tensor) -> tuple[Any, ...]:
    """What of which memory the tensor shows."""
    place = (_memory(tensor), tensor.storage_offset(), tensor.shape, tensor.stride())
    return (*place, tensor.dtype, tensor.is_conj(), tensor.is_neg())
