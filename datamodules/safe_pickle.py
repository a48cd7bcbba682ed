"""Reader of pickles made of plain values and arrays of bytes, such as CIFAR-10's; it runs nothing a file asks for.

Unpickling calls whatever a file names, so a file can do anything. This reader is an interpreter of its own for the
few opcodes that such data need. It imports nothing and calls nothing: the names that NumPy writes into a pickle stand
for marks of this module, and any other name, call or opcode is refused. Memory stays in proportion to the file.
"""

import math
import pickletools
from enum import Enum, auto
from typing import Any

import numpy as np
import numpy.typing as npt

from lightning_gvae.errors import DataError

__all__ = ["read_pickle"]

VALUES = {  # opcodes that carry a value; strings of Python 2 arrive as str, a character for a byte
    *("BININT", "BININT1", "BININT2", "LONG1", "LONG4"),
    *("BINSTRING", "SHORT_BINSTRING", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
MAX_NDIM = 32
MAX_SIDE = 2**48  # of an array's shape; a limit only to keep products and messages short


class Mark(Enum):
    """What a pickle of NumPy arrays may name or make on its way; nothing of NumPy itself is ever touched."""

    RECONSTRUCT = auto()
    FROMBUFFER = auto()
    NDARRAY = auto()
    DTYPE = auto()
    ENCODE = auto()
    UINT8 = auto()  # the only type an array may have


GLOBALS = {
    "numpy.core.multiarray _reconstruct": Mark.RECONSTRUCT,  # NumPy 1
    "numpy._core.multiarray _reconstruct": Mark.RECONSTRUCT,  # NumPy 2
    "numpy.core.numeric _frombuffer": Mark.FROMBUFFER,  # the same in protocol 5
    "numpy._core.numeric _frombuffer": Mark.FROMBUFFER,
    "numpy ndarray": Mark.NDARRAY,
    "numpy dtype": Mark.DTYPE,
    "_codecs encode": Mark.ENCODE,  # bytes, as Python 3 writes them in protocol 2
}


def read_pickle(content: bytes, source: str) -> object:
    """The value of a pickle of None, booleans, integers, strings, lists, tuples, dicts and uint8 arrays.

    Protocols 2 to 5 of Python 3 and protocol 2 of Python 2, whose strings become ``str`` (latin-1). Keys of dicts are
    strings or bytes. Arrays are views of the file's bytes.

    Args:
        content: The pickle; bytes after its end are ignored.
        source: Name of the file, for messages.

    Raises:
        DataError: The pickle is cut off or damaged, an array is not of uint8 in C order or has not as many bytes as
            its shape says, or the pickle asks for anything else than the above; nothing has been executed then.

    References:
        Python's Lib/pickletools.py describes the opcodes, NumPy's array_reduce and array_setstate the arrays.
    """
    reader = _Reader(len(content), source)
    try:
        for opcode, argument, _ in pickletools.genops(content):
            reader.step(opcode.name, argument)
        (value,) = reader.stack
    except DataError:
        raise
    except (ValueError, IndexError, KeyError, Warning) as error:  # warnings of odd escapes may have been made errors
        raise DataError(f"{source} is a damaged or cut off pickle ({error}); fetch it again") from error
    return value


class _Blank:
    """An array that has been announced but has no content yet; ``keys`` are its places in the memo."""

    def __init__(self) -> None:
        self.keys: list[int] = []


class _Reader:
    """Stack, marks and memo of a pickle that is being read, one opcode a step."""

    def __init__(self, size: int, source: str) -> None:
        self.source = source
        self.stack: list[Any] = []
        self._marks: list[int] = []  # heights of the stack
        self._memo: dict[int, Any] = {}  # a dict: a list would let one opcode ask for 2**32 places
        self._encodable = size  # characters; without a limit a short file could encode one string over and over

    def step(self, name: str, argument: Any) -> None:
        """Execute one opcode."""
        stack = self.stack
        if name in VALUES:
            stack.append(argument)
            return
        match name:
            case "PROTO" | "FRAME" | "STOP":
                pass
            case "NONE":
                stack.append(None)
            case "NEWTRUE" | "NEWFALSE":
                stack.append(name == "NEWTRUE")
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_TUPLE":
                stack.append(())
            case "MARK":
                self._marks.append(len(stack))
            case "TUPLE":
                stack.append(tuple(self._above_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple(self._popped(int(name[-1]))))
            case "APPEND" | "APPENDS":
                values = self._popped(1) if name == "APPEND" else self._above_mark()
                self._top(list).extend(values)
            case "SETITEM" | "SETITEMS":
                self._set_items(self._popped(2) if name == "SETITEM" else self._above_mark())
            case "BINPUT" | "LONG_BINPUT":
                self._put(argument)
            case "MEMOIZE":
                self._put(len(self._memo))
            case "BINGET" | "LONG_BINGET":
                stack.append(self._memo[argument])
            case "GLOBAL":
                stack.append(self._global(argument))
            case "STACK_GLOBAL":
                stack.append(self._global(" ".join(map(_text, self._popped(2)))))
            case "REDUCE":
                stack.append(self._called(*self._popped(2)))
            case "BUILD":
                self._build(*self._popped(2))
            case _:
                raise self._refusal(f"uses the opcode {name}")

    def _popped(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise ValueError("its stack is empty")
        values = self.stack[-count:]
        del self.stack[-count:]
        return values

    def _above_mark(self) -> list[Any]:
        start = self._marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def _top(self, kind: type) -> Any:
        if type(self.stack[-1]) is not kind:
            raise ValueError(f"{kind.__name__} expected, found {type(self.stack[-1]).__name__}")
        return self.stack[-1]

    def _set_items(self, values: list[Any]) -> None:
        keys = values[::2]
        # Nothing else: hashing a tuple of tuples of tuples can take for ever.
        if not all(type(key) in (str, bytes) for key in keys):
            raise ValueError("a key that is neither a string nor bytes")
        self._top(dict).update(zip(keys, values[1::2], strict=True))

    def _put(self, key: int) -> None:
        value = self._memo[key] = self.stack[-1]
        if type(value) is _Blank:
            value.keys.append(key)

    def _global(self, name: str) -> Mark:
        if name not in GLOBALS:
            raise self._refusal(f"asks for {'.'.join(name.split(' ', 1))[:100]}")
        return GLOBALS[name]

    def _called(self, function: object, arguments: Any) -> object:
        if type(arguments) is not tuple:
            raise ValueError(f"arguments must be a tuple, found {type(arguments).__name__}")
        if function is Mark.RECONSTRUCT and arguments and arguments[0] is Mark.NDARRAY:
            return _Blank()
        if function is Mark.DTYPE and arguments:
            if not _is(arguments[0], "u1"):
                raise self._refusal(f"holds an array of type {_text(arguments[0])[:20]!r} instead of 'u1'")
            return Mark.UINT8
        if function is Mark.ENCODE and len(arguments) == 2 and _is(arguments[1], "latin1"):
            return self._encoded(_text(arguments[0]))
        if function is Mark.FROMBUFFER and len(arguments) == 4:
            content, dtype, shape, order = arguments
            return self._array(shape, dtype, _is(order, "C"), content)
        raise self._refusal(f"calls {_label(function)} with unusual arguments")

    def _build(self, target: object, state: Any) -> None:
        if target is Mark.UINT8 and type(state) is tuple and len(state) == 8:
            if not _is(state[1], "|") or any(part is not None for part in state[2:5]):
                raise self._refusal("holds an array of an unusual type")
            self.stack.append(target)
        elif type(target) is _Blank and type(state) is tuple and len(state) == 5:
            _, shape, dtype, fortran, content = state
            array = self._array(shape, dtype, type(fortran) in (bool, int) and not fortran, content)
            self._memo.update(dict.fromkeys(target.keys, array))
            self.stack.append(array)
        else:
            raise self._refusal(f"sets the state of {_label(target)}")

    def _array(self, shape: Any, dtype: object, c_order: bool, content: Any) -> npt.NDArray[np.uint8]:
        if dtype is not Mark.UINT8 or not c_order:
            raise self._refusal("holds an array that is not of unsigned bytes in C order")
        if type(content) is str:
            content = self._encoded(content)  # the bytes of Python 2
        sides = shape if type(shape) is tuple and len(shape) <= MAX_NDIM else (None,)
        if not all(type(side) is int and 0 <= side < MAX_SIDE for side in sides):
            raise ValueError("the shape of an array must be a tuple of sizes")
        if type(content) not in (bytes, bytearray) or len(content) != math.prod(sides):
            found = len(content) if type(content) in (bytes, bytearray) else type(content).__name__
            raise ValueError(f"an array of shape {sides} must have {math.prod(sides)} bytes, found {found}")
        return np.frombuffer(content, dtype=np.uint8).reshape(sides)

    def _encoded(self, text: str) -> bytes:
        self._encodable -= len(text)
        if self._encodable < 0:
            raise self._refusal("encodes more text than it holds")
        return text.encode("latin1")

    def _refusal(self, what: str) -> DataError:
        return DataError(
            f"{self.source} {what}, which a pickle of plain values and arrays of bytes never does; nothing in it was"
            " executed; it is another file, or one made to harm: fetch it again from its official place"
        )


def _is(value: object, text: str) -> bool:
    return type(value) is str and value == text  # the type first: an array would compare element by element


def _text(value: object) -> str:
    if type(value) is not str:
        raise ValueError(f"string expected, found {type(value).__name__}")
    return value


def _label(value: object) -> str:
    return value.name.lower() if isinstance(value, Mark) else type(value).__name__
