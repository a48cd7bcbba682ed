"""The walk through a value that gives its fingerprint: plain values and containers here, the rest by handlers."""

import hashlib
import struct
import types
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np
import torch

from lightning_gvae.io.content import pieces

__all__ = ["Handler", "Unidentifiable", "Walker"]

DEEPEST = 120  # levels of nesting


class Unidentifiable(Exception):
    """A value that nothing can be compared by: whatever depends on it is computed anew.

    Args:
        path: Where it was met, for example ``problem.objective.closure.x``.
        reason: What it is, for example ``a generator``.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason


class Walker:
    """Feeds a value into a hash, every part with its kind and length, so that no two values give the same bytes."""

    def __init__(self, handlers: "Sequence[Handler]", depth: int = 0) -> None:
        self.digest = hashlib.blake2b(digest_size=16)
        self.depth, self.handlers = depth, handlers
        self._later: deque[tuple[Any, str]] = deque()
        self._open: list[int] = []  # identities of the containers around the present one
        self._met: dict[int, tuple[int, Any]] = {}  # objects by identity, kept alive so that none is given twice

    def run(self, value: Any, path: str) -> bytes:
        """Feed a value and all that was put off, and return the hash."""
        self.visit(value, path)
        while self._later:
            self.visit(*self._later.popleft())
        return self.digest.digest()

    def visit_later(self, value: Any, path: str) -> None:
        """Feed a value at the end: functions call functions in chains of any length."""
        self._later.append((value, path))

    def put(self, kind: str, *parts: bytes | str) -> None:
        """Feed a kind and bytes."""
        self.digest.update(kind.encode() + b"\0")
        for part in parts:
            content = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
            self.digest.update(struct.pack("<q", len(content)))
            self.digest.update(content)

    def visit(self, value: Any, path: str) -> None:
        """Feed a value."""
        if self.depth >= DEEPEST:
            raise Unidentifiable(path, f"nested deeper than {DEEPEST} levels")
        self.depth += 1
        try:
            if not (self._scalar(value) or self._numbers(value) or self._container(value, path)):
                self._once(value, path)
        finally:
            self.depth -= 1

    def _scalar(self, value: Any) -> bool:
        kind = type(value)
        if value is None or value is Ellipsis or value is NotImplemented:
            self.put("constant", str(value))
        elif kind in (bool, int):
            self.put(kind.__name__, str(value) if abs(value) < 2**64 else hex(value))
        elif kind is float:
            self.put("float", struct.pack("<d", value))
        elif kind is complex:
            self.put("complex", struct.pack("<dd", value.real, value.imag))
        elif kind is str:
            self.put("str", value)
        elif kind in (bytes, bytearray):
            self.put(kind.__name__, bytes(value))
        elif isinstance(value, PurePath):
            self.put("path", str(value))
        elif isinstance(value, torch.dtype | torch.device | torch.layout | torch.memory_format | np.dtype):
            self.put(kind.__name__, str(value) if not isinstance(value, np.dtype) else repr(value.descr))
        elif isinstance(value, types.GenericAlias | types.UnionType) or kind.__module__ == "typing":
            self.put("typing", repr(value))
        else:
            return False
        return True

    def _numbers(self, value: Any) -> bool:
        if isinstance(value, np.generic) and not value.dtype.hasobject:
            value = np.asarray(value)
        if type(value) in (np.ndarray, np.memmap) and not value.dtype.hasobject:
            self.put("array", repr(value.dtype.descr), str(value.shape))
            for piece in pieces(value):
                self.digest.update(piece)
            return True
        return False

    def _container(self, value: Any, path: str) -> bool:
        kind = type(value)
        if kind not in (list, tuple, dict, set, frozenset, types.MappingProxyType):
            return False
        if id(value) in self._open:
            self.put("within", str(self._open.index(id(value))))
            return True
        self._open.append(id(value))
        self._items(value, kind.__name__, path)
        self._open.pop()
        return True

    def _items(self, value: Any, kind: str, path: str) -> None:
        self.put(kind, str(len(value)))
        if isinstance(value, Mapping):
            for key, item in value.items():
                self.visit(key, f"{path}, a key")
                self.visit(item, f"{path}[{key!r}]" if isinstance(key, str | int) else f"{path}[...]")
        elif isinstance(value, set | frozenset):
            self.put("items", *sorted(self._apart(item, f"{path}, an item") for item in value))
        else:
            for number, item in enumerate(value):
                self.visit(item, f"{path}[{number}]")

    def _apart(self, value: Any, path: str) -> bytes:
        return Walker(self.handlers, self.depth).run(value, path)

    def _once(self, value: Any, path: str) -> None:
        """Feed an object the first time that it is met, later its number."""
        if id(value) in self._met:
            self.put("met", str(self._met[id(value)][0]))
            return
        self._met[id(value)] = len(self._met), value
        if callable(own := getattr(type(value), "__fingerprint__", None)):
            self.put("own")
            self.visit(type(value), f"{path}.class")
            self.visit(own(value), f"{path}.__fingerprint__")
            return
        for handler in self.handlers:
            if handler(self, value, path):
                return
        raise Unidentifiable(path, f"a {type(value).__qualname__} without a state of its own")


Handler = Callable[[Walker, Any, str], bool]
