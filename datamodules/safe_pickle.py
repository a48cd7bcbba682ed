"""Reader of CIFAR-10's pickles: an unpickler that knows no names but those of arrays of bytes.

Unpickling calls whatever a file names, so a file can do anything. Here every name that is not on a list is refused, and
those on it stand for functions of this module, not for NumPy's. Opcodes are checked before anything is unpickled, so
that a small file cannot ask for much memory or time either.
"""

import io
import math
import pickle
import pickletools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from lightning_gvae.errors import DataError

__all__ = ["MAX_BYTES", "check_size", "read_pickle"]

MAX_BYTES = 2**28  # a file of CIFAR-10 has 31 MB
MAX_TUPLES = 1000  # an array takes about six
DAMAGE = (pickle.UnpicklingError, ValueError, TypeError, LookupError, AttributeError, EOFError, OverflowError)

# What may be used twice in a pickle: tuples of tuples of tuples, each used twice, would take for ever to hash.
SHAREABLE = {
    *("NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINSTRING", "SHORT_BINSTRING"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    *("EMPTY_LIST", "EMPTY_DICT", "GLOBAL", "STACK_GLOBAL", "REDUCE"),
}
TUPLES = {"EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"}
PUTS, GETS = {"BINPUT", "LONG_BINPUT", "MEMOIZE"}, {"BINGET", "LONG_BINGET"}
OTHERS = {"PROTO", "FRAME", "STOP", "MARK", "APPEND", "APPENDS", "SETITEM", "SETITEMS", "BUILD"}
OPCODES = SHAREABLE | TUPLES | PUTS | GETS | OTHERS


def check_size(size: int, source: str) -> None:
    """Check a file's size, in bytes, before it is read.

    Raises:
        DataError: The file is larger than ``MAX_BYTES``.
    """
    if size > MAX_BYTES:
        raise DataError(f"{source} has {size} bytes, at most {MAX_BYTES} are read; it is another file: fetch it again")


def read_pickle(content: bytes, source: str) -> object:
    """Value of a pickle of None, booleans, integers, strings, lists, tuples, dicts and uint8 arrays.

    Protocols 2 to 5 of Python 3 and protocol 2 of Python 2, whose strings become ``str`` (latin-1). Arrays may be of a
    subclass of ``np.ndarray``.

    Args:
        content: The pickle; bytes after its end are ignored.
        source: Name of the file, for messages.

    Raises:
        DataError: The pickle is too large, cut off or damaged, an array is not of uint8 in C order or has not as many
            bytes as its shape says, or the pickle asks for anything else than the above; nothing has been executed
            then.

    References:
        Python's Lib/pickletools.py describes the opcodes, NumPy's array_reduce and array_setstate the arrays.
    """
    check_size(len(content), source)
    try:
        _check_opcodes(content)
        return _Unpickler(io.BytesIO(content), fix_imports=False, encoding="latin1").load()
    except _Refused as error:
        raise DataError(
            f"{source} {error}, which a pickle of plain values and arrays of bytes never does; nothing in it was "
            "executed;"
            " it is another file, or one made to harm: fetch it again from its official place"
        ) from None
    # Also what calls and states of the wrong kind raise, and warnings of odd escapes that have been made errors.
    except (*DAMAGE, Warning) as error:
        raise DataError(f"{source} is a damaged or cut off pickle ({error}); fetch it again") from error


class _Refused(Exception):
    """Something that a pickle of CIFAR-10 never asks for."""


def _check_opcodes(content: bytes) -> None:
    memo: dict[object, bool] = {}  # whether each place holds what may be used twice
    tuples, last = 0, ""
    for opcode, argument, _ in pickletools.genops(content):
        name = opcode.name
        if name not in OPCODES:
            raise _Refused(f"uses the opcode {name}")
        tuples += name in TUPLES
        if tuples > MAX_TUPLES:
            raise _Refused(f"makes more than {MAX_TUPLES} tuples")
        if name in PUTS:
            place = len(memo) if argument is None else argument
            if place > len(content):  # the unpickler would allocate all places up to there
                raise ValueError(f"place {place} of the memo")
            memo[place] = last in SHAREABLE
        if name in GETS and not memo.get(argument, True):
            raise _Refused("uses a tuple twice")
        if name != "FRAME":  # may stand between a value and its place in the memo
            last = name


class _Unpickler(pickle.Unpickler):
    """Unpickler whose every name is a stand-in."""

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in STAND_INS:
            raise _Refused(f"asks for {module}.{name}"[:109])
        return STAND_INS[module, name]


class _StandIn:
    """Function that stands for a name of NumPy's; a pickle can call it but not change it."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., object]) -> None:
        self._function = function

    def __call__(self, *arguments: object) -> object:
        return self._function(*arguments)

    def __setstate__(self, state: object) -> None:
        raise _Refused("sets the state of a function")


class _Uint8:
    """Stand-in for the data type of unsigned bytes."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        """Take over nothing: size and byte order are known."""


class _ByteArray(np.ndarray):
    """Array that checks its state before it takes it over."""

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, content = state
        content = _checked(content, dtype, shape, not fortran)
        super().__setstate__((1, shape, np.dtype(np.uint8), False, content))  # type: ignore[arg-type]  # NumPy's own bool


def _checked(content: object, dtype: object, shape: Any, c_order: bool) -> bytes | bytearray:
    if dtype is not UINT8 or not c_order:
        raise _Refused("holds an array that is not of unsigned bytes in C order")
    if isinstance(content, str):
        content = content.encode("latin1")  # the bytes of Python 2
    if not isinstance(shape, tuple) or not all(type(side) is int and 0 <= side < 2**48 for side in shape):
        raise ValueError("the shape of an array must be a tuple of sizes")
    if not isinstance(content, bytes | bytearray) or len(content) != math.prod(shape):
        found = len(content) if isinstance(content, bytes | bytearray) else type(content).__name__
        raise ValueError(f"an array of shape {shape} must have {math.prod(shape)} bytes, found {found}")
    return content


def _reconstruct(kind: object, shape: object, code: object) -> npt.NDArray[np.uint8]:
    if kind is not NDARRAY:
        raise _Refused("makes something else than an array")
    return np.empty(0, np.uint8).view(_ByteArray)


def _frombuffer(content: object, dtype: object, shape: Any, order: object) -> npt.NDArray[np.uint8]:
    return np.frombuffer(_checked(content, dtype, shape, order == "C"), np.uint8).reshape(shape)


def _dtype(code: object, *flags: object) -> _Uint8:
    found = code if isinstance(code, str) else type(code).__name__
    if found != "u1":
        raise _Refused(f"holds an array of type {found[:20]!r} instead of 'u1'")
    return UINT8


def _encode(text: str, encoding: object) -> bytes:
    if not isinstance(text, str) or not isinstance(encoding, str) or encoding != "latin1":
        raise _Refused("encodes something else than bytes")
    return text.encode("latin1")


UINT8 = _Uint8()
NDARRAY = object()  # not to be called
STAND_INS: dict[tuple[str, str], object] = {
    ("numpy.core.multiarray", "_reconstruct"): _StandIn(_reconstruct),  # NumPy 1
    ("numpy._core.multiarray", "_reconstruct"): _StandIn(_reconstruct),  # NumPy 2
    ("numpy.core.numeric", "_frombuffer"): _StandIn(_frombuffer),  # the same in protocol 5
    ("numpy._core.numeric", "_frombuffer"): _StandIn(_frombuffer),
    ("numpy", "ndarray"): NDARRAY,
    ("numpy", "dtype"): _StandIn(_dtype),
    ("_codecs", "encode"): _StandIn(_encode),  # bytes, as Python 3 writes them in protocol 2
}
