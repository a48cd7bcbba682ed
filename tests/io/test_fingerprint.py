"""Fingerprints: equal for what does the same, different for what does not, none for what cannot be told."""

import collections
import copy
import enum
import functools
import io
import itertools
import json
import math
import operator
import random
import subprocess
import sys
import threading
import weakref
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis.extra.numpy as hnp
import lightning as L
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lightning_gvae.io.fingerprint import Unidentifiable, fingerprint

GENTLE = settings(max_examples=60, deadline=None)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.complex_numbers() | st.text() | st.binary()
KEYS = st.text() | st.integers()
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(KEYS, inner, max_size=3)
        | st.frozensets(KEYS, max_size=3)
    ),
    max_leaves=8,
)
ARRAYS = hnp.arrays(
    st.sampled_from([np.uint8, np.int64, np.float32, np.float64, np.bool_, np.complex64]),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)
TARGET, SCALE = 3.0, [1.0, 2.0]


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Point(NamedTuple):
    x: float
    y: float


@dataclass
class Match:
    target: Any
    weights: dict[str, float] = field(default_factory=dict)

    def objective(self, x):
        return (x - self.target).square().flatten(1).mean(1)


class Slots:
    __slots__ = ("a", "b")

    def __init__(self, a):
        self.a = a


class Cached:
    def __init__(self, a):
        self.a = a

    @functools.cached_property
    def costly(self):
        return self.a + 1


class Loud(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.layer, self.factor = nn.Linear(2, 2), factor
        nn.init.ones_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)


class Lit(L.LightningModule):
    def __init__(self, width):
        super().__init__()
        self.save_hyperparameters()
        self.layer = nn.Linear(1, 1)
        nn.init.ones_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)


def use_global(x):
    return x - TARGET


def use_list(x):
    return x * SCALE[0]


def calls_another(x):
    return use_global(x) + 1


def shifted(by):
    def shift(x):
        return x + by

    return shift


def defaulted(value):
    def shift(x, by=value, *, scale=1):
        return scale * (x + by)

    return shift


def keyword_only(value):
    def shift(x, *, scale=value):
        return scale * x

    return shift


def seen(function):
    return functools.partial(function, 2)


def constant_layer(value):
    layer = nn.Linear(1, 1)
    nn.init.constant_(layer.weight, value)
    nn.init.constant_(layer.bias, value)
    return layer


def linear(slope):
    layer = nn.LeakyReLU(slope)
    return nn.Sequential(layer)


def forwarded(function):
    layer = nn.Identity()
    layer.register_forward_hook(function)
    return layer


def made(source):
    names: dict[str, Any] = {}
    exec(source, names)  # noqa: S102 - functions outside of every module
    return names["f"]


# what makes a value -> arguments, each of which must make a value of its own
FAMILIES: dict[str, tuple[Any, list[Any]]] = {
    "tensor": (torch.tensor, [[0.0, 1.0], [0.0, 2.0], [0, 1], [[0.0, 1.0]], [0.0, -0.0], []]),
    "type of a tensor": (
        lambda kind: torch.zeros(2, dtype=kind),
        [torch.float32, torch.int32, torch.bfloat16, torch.bool],
    ),
    "shape of a tensor": (torch.zeros, [(2, 3), (3, 2), (6,), (0, 3), (0, 2)]),
    "sparse tensor": (lambda x: torch.tensor([[x, 0.0]]).to_sparse(), [1.0, 2.0]),
    "parameter": (lambda x: nn.Parameter(torch.tensor(x)), [1.0, 2.0]),
    "array": (np.array, [[0.0, 1.0], [0.0, 2.0], [0, 1], [[0.0, 1.0]], ["a"], ["b"], [b"a"]]),
    "array of objects": (lambda x: np.array([{"a": x}, None], dtype=object), [1, 2]),
    "masked array": (lambda mask: np.ma.MaskedArray([1, 2], mask), [[True, False], [False, True], [False, False]]),
    "array of records": (lambda x: np.array([(x, 2.0)], dtype=[("a", "i4"), ("b", "f4")]), [1, 2]),
    "NumPy's generator": (np.random.default_rng, [1, 2]),
    "torch's generator": (lambda seed: torch.Generator().manual_seed(seed), [1, 2]),
    "Python's generator": (random.Random, [1, 2]),
    "number": (lambda x: x, [0, 1, True, False, 1.0, 1 + 0j, "1", b"1", None, -1, 2**70, math.nan, math.inf]),
    "container": (
        lambda x: x,
        [[1, 2], (1, 2), {1, 2}, frozenset({1, 2}), [[1], 2], [1, [2]], {1: 2}, {2: 1}, [], (), {}],
    ),
    "nesting": (lambda x: x, [["a", "b"], ["ab"], ["a", ["b"]], [["a"], "b"], [["a", "b"]]]),
    "dictionary": (dict, [{"a": 1}, {"a": 2}, {"b": 1}, {"a": 1, "b": 2}]),
    "enumeration": (lambda x: x, [Colour.RED, Colour.BLUE, 1]),
    "path": (lambda x: x, [Path("a"), Path("b"), "a"]),
    "named tuple": (lambda x: x, [Point(1, 2), Point(2, 1), (1, 2)]),
    "dataclass": (Match, [torch.zeros(3), torch.ones(3), None, np.zeros(3)]),
    "dataclass in a dataclass": (lambda x: Match(Match([x])), [1, 2]),
    "object with slots": (Slots, [1, 2]),
    "counter": (collections.Counter, ["aab", "abb"]),
    "defaultdict": (collections.defaultdict, [int, list]),
    "deque": (lambda size: collections.deque([1, 2], size), [2, 3]),
    "closure": (shifted, [1, 2, torch.zeros(2), torch.ones(2), "a", shifted(1), shifted(2)]),
    "closure of an array": (shifted, [np.zeros(2), np.ones(2)]),
    "default argument": (defaulted, [1, 2, torch.zeros(2), torch.ones(2)]),
    "keyword with a default": (keyword_only, [1, 2]),
    "partial": (lambda x: functools.partial(use_global, x), [1, 2, torch.zeros(2), torch.ones(2)]),
    "partial with keywords": (lambda by: functools.partial(max, key=by), [abs, len]),
    "function of a partial": (seen, [operator.add, operator.mul, use_global]),
    "bound method": (lambda x: Match(x).objective, [1, 2, torch.zeros(2), torch.ones(2)]),
    "bound method of C": (lambda x: torch.tensor(x).add, [1.0, 2.0]),
    "method": (lambda x: x, [torch.Tensor.abs, torch.Tensor.add, str.upper, str.lower]),
    "constant of a lambda": (lambda x: x, [lambda x: x + 1, lambda x: x + 2, lambda x: x - 1, lambda x: x + 1.0]),
    "constant of an inner lambda": (lambda x: x, [lambda: lambda x: x + 1, lambda: lambda x: x + 2]),
    "name in a lambda": (lambda x: x, [lambda x: x.sin(), lambda x: x.cos()]),
    "constant set in a lambda": (lambda x: x, [lambda x: x in {1, 2}, lambda x: x in {1, 3}]),
    "source": (
        made,
        ["f = lambda x: x + 1", "f = lambda x: x + 2", "def f(x): return x * 2", "t = 2\ndef f(x): return x * t"],
    ),
    "global of a source": (lambda x: made(f"t = {x}\ndef f(x): return x * t"), [1, 2]),
    "function that a source calls": (lambda x: made(f"def g(x): return x + {x}\ndef f(x): return g(x)"), [1, 2]),
    "class of a source": (lambda x: made(f"class f:\n  def a(self): return {x}")(), [1, 2]),
    "attribute of a class": (lambda x: made(f"class f:\n  floor = {x}"), [1, 2]),
    "base of a class": (lambda x: made(f"class b:\n  def a(self): return {x}\nclass f(b): pass")(), [1, 2]),
    "static method": (lambda x: made(f"class f:\n  @staticmethod\n  def a(): return {x}"), [1, 2]),
    "property": (lambda x: made(f"class f:\n  @property\n  def a(self): return {x}"), [1, 2]),
    "call of an object": (lambda x: made(f"class f:\n  def __call__(self, x): return x + {x}")(), [1, 2]),
    "attribute of a function": (lambda x: made(f"def f(): return f.a\nf.a = {x}"), [1, 2]),
    "cached function": (lambda x: functools.lru_cache(shifted(x)), [1, 2]),
    "wrapped function": (lambda x: functools.wraps(use_global)(shifted(x)), [1, 2]),
    "vectorised function": (lambda x: np.vectorize(shifted(x)), [1, 2]),
    "function of C": (lambda x: x, [math.sin, math.cos, torch.relu, torch.tanh, F.relu, np.sin, np.cos, len, sum]),
    "getter": (lambda x: x, [operator.itemgetter(1), operator.itemgetter(2), operator.attrgetter("a")]),
    "weights": (constant_layer, [1.0, 2.0]),
    "settings of a layer": (linear, [0.1, 0.2]),
    "attribute of a network": (Loud, [1, 2, "a"]),
    "mode of a network": (lambda mode: Loud(1).train(mode), [True, False]),
    "hook of a network": (forwarded, [lambda m, i, o: o + 1, lambda m, i, o: o + 2]),
    "settings of a LightningModule": (Lit, [1, 2]),
    "class of a network": (lambda kind: kind(), [nn.ReLU, nn.Tanh, nn.Sigmoid]),
}  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_other_content_has_another_fingerprint_and_equal_content_the_same(family):
    make, arguments = FAMILIES[family]
    found = [fingerprint(make(argument)) for argument in arguments]
    assert len(set(found)) == len(found)
    assert found == [fingerprint(make(argument)) for argument in arguments]
    assert fingerprint([make(argument) for argument in arguments]) == fingerprint(
        [make(argument) for argument in arguments]
    )


@GENTLE
@given(value=VALUES)
def test_copies_have_the_same_fingerprint(value):
    assert fingerprint(copy.deepcopy(value)) == fingerprint(value)
    assert fingerprint(shifted(copy.deepcopy(value))) == fingerprint(shifted(value))
    assert fingerprint(Match(copy.deepcopy(value))) == fingerprint(Match(value))


@GENTLE
@given(first=VALUES, second=VALUES)
def test_equal_fingerprints_mean_equal_values(first, second):
    if fingerprint(first) == fingerprint(second):
        assert repr(first) == repr(second) or first == second
    if repr(first) != repr(second) and first != second:
        assert fingerprint(first) != fingerprint(second)


@GENTLE
@given(array=ARRAYS)
def test_layout_does_not_count_for_arrays_and_tensors(array):
    twisted = np.array(array, order="F")
    assert fingerprint(twisted) == fingerprint(array)
    tensor = torch.from_numpy(array)
    other = torch.empty(*tensor.shape, 2, dtype=tensor.dtype)[..., 0].copy_(tensor)
    assert fingerprint(other) == fingerprint(tensor)
    assert fingerprint(tensor) != fingerprint(array)


@GENTLE
@given(array=ARRAYS.filter(lambda a: a.size), data=st.data())
def test_every_element_counts(array, data):
    place = data.draw(st.integers(0, array.size - 1))
    other = array.copy()
    other.reshape(-1).view(np.uint8)[place * array.itemsize] ^= 1
    assert fingerprint(other) != fingerprint(array)
    assert fingerprint(torch.from_numpy(other)) != fingerprint(torch.from_numpy(array))


def test_a_memory_mapped_array_is_its_content(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(12).reshape(3, 4))
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert fingerprint(mapped) == fingerprint(np.arange(12).reshape(3, 4))


def test_the_order_of_a_set_does_not_count_and_that_of_a_dictionary_does():
    assert fingerprint({"a", "b", "c"}) == fingerprint({"c", "b", "a"})
    assert fingerprint({"a": 1, "b": 2}) != fingerprint({"b": 2, "a": 1})


def test_cycles_end():
    def ring(length):
        first = last = [0]
        for number in range(1, length):
            last.append([number])
            last = last[-1]
        last.append(first)
        return first

    def pair(name):
        a, b = Match(None), Match(name)
        a.target, b.weights = b, {"back": a}
        return a

    assert fingerprint(ring(3)) == fingerprint(ring(3)) != fingerprint(ring(4))
    assert fingerprint(pair("x")) == fingerprint(pair("x")) != fingerprint(pair("y"))
    table: dict[str, Any] = {}
    table["self"] = table
    assert fingerprint(table) == fingerprint(table)


def test_globals_that_a_function_uses_count(monkeypatch):
    before = [fingerprint(function) for function in (use_global, calls_another, use_list)]
    monkeypatch.setattr(f"{__name__}.TARGET", 4.0)
    monkeypatch.setattr(f"{__name__}.SCALE", [1.0, 3.0])
    after = [fingerprint(function) for function in (use_global, calls_another, use_list)]
    assert all(one != other for one, other in zip(before, after, strict=True))
    monkeypatch.undo()
    assert before == [fingerprint(function) for function in (use_global, calls_another, use_list)]


def test_long_chains_of_functions_have_a_fingerprint():
    def chain(end):
        lines = ["def f0(x): return x", *(f"def f{n}(x): return f{n - 1}(x) + 1" for n in range(1, 400))]
        return made("\n".join([*lines, f"def f(x): return f399(x) + {end}"]))

    assert fingerprint(chain(1)) == fingerprint(chain(1)) != fingerprint(chain(2))


def test_what_a_cached_property_keeps_does_not_count():
    value = Cached(1)
    before = fingerprint(value)
    assert value.costly == 2
    assert fingerprint(value) == before != fingerprint(Cached(2))


def test_a_trained_network_is_another_and_a_look_at_it_changes_nothing():
    network = Loud(1)
    before = fingerprint(network)
    network.layer(torch.ones(1, 2)).sum().backward()
    assert fingerprint(network) == before
    with torch.no_grad():
        network.layer.weight[0, 0] += 1e-6
    assert fingerprint(network) != before


def test_a_lightning_module_does_not_count_its_trainer(tmp_path):
    module = Lit(1)
    before = fingerprint(module)
    module.trainer = L.Trainer(default_root_dir=tmp_path, logger=False, accelerator="cpu", enable_progress_bar=False)
    assert fingerprint(module) == before


class Honest:
    def __init__(self, file, name):
        self.file, self.name = file, name

    def __fingerprint__(self):
        return self.name


def test_an_object_may_say_what_counts():
    lock = threading.Lock()
    assert fingerprint(Honest(lock, "a")) == fingerprint(Honest(None, "a")) != fingerprint(Honest(lock, "b"))


def numbers():
    yield 1


def deep(levels):
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


UNKNOWN: dict[str, tuple[Any, str, str]] = {
    "generator": (numbers, "a generator", ""),
    "iterator": (lambda: iter([1]), "an iterator", ""),
    "counting": (itertools.count, "an iterator", ""),
    "map": (lambda: map(abs, [1]), "an iterator", ""),
    "open file": (lambda: io.StringIO("x"), "an open file", ""),
    "lock": (threading.Lock, "a _thread.lock, which does not show its state", ""),
    "local": (threading.local, "a _thread._local, which does not show its state", ""),
    "weak reference": (lambda: weakref.ref(Match), "a weakref.ReferenceType, which does not show its state", ""),
    "function of C": (lambda: np.frompyfunc(lambda x: x + 1, 1, 1), "a function of C", ""),
    "compiled": (lambda: torch.jit.script(nn.Linear(1, 1)), "a compiled module", ""),
    "meta tensor": (lambda: torch.zeros(2, device="meta"), "a tensor without plain content", ""),
    "nested too deep": (lambda: deep(300), "nested deeper", r"(\[0\])+"),
    "in a closure": (lambda: shifted(numbers()), "a generator", r"\.closure\.by"),
    "in a default": (lambda: defaulted(numbers()), "a generator", r"\.default\.by"),
    "in a partial": (lambda: functools.partial(max, numbers()), "a generator", r"\.args\[0\]"),
    "in an attribute": (lambda: Match({"a": [numbers()]}), "a generator", r"\.target\['a'\]\[0\]"),
    "in a bound method": (lambda: Match(numbers()).objective, "a generator", r"\.self\.target"),
    "in a slot": (lambda: Slots(numbers()), "a generator", r"\.a"),
    "in a class": (lambda: made("class f:\n  a = (x for x in [])"), "a generator", r"\.a"),
    "in a global": (lambda: made("t = (x for x in [])\ndef f(): return t"), "a generator", r"\.globals\.t"),
    "in a network": (lambda: Loud(numbers()), "a generator", r"\.factor"),
    "in a hook": (lambda: forwarded(shifted(numbers())), "a generator", r"\.hooks\[0\]\.closure\.by"),
}


@pytest.mark.filterwarnings("ignore:.*torch.jit.script")
@pytest.mark.parametrize("kind", UNKNOWN)
def test_what_cannot_be_identified_is_named_with_its_place(kind):
    make, reason, path = UNKNOWN[kind]
    with pytest.raises(Unidentifiable, match=rf"^goal{path}: {reason}") as caught:
        fingerprint(make(), "goal")
    assert f"{caught.value.path}: {caught.value.reason}" == str(caught.value)


SCRIPT = """
import functools, json, torch
from lightning_gvae.io.fingerprint import fingerprint
from tests.io.test_fingerprint import FAMILIES
out = {}
for name, (make, arguments) in FAMILIES.items():
    out[name] = [fingerprint(make(argument)) for argument in arguments]
print(json.dumps(out))
"""


def test_another_process_finds_the_same_fingerprints():
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    here = {name: [fingerprint(make(argument)) for argument in some] for name, (make, some) in FAMILIES.items()}
    there = json.loads(done.stdout.splitlines()[-1])
    assert there == here
