import contextlib
import copyreg
import functools
import operator
import os
import pickle
import pickletools
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from lightning_gvae.datamodules import safe_pickle
from lightning_gvae.datamodules.safe_pickle import read_pickle
from lightning_gvae.errors import DataError

RNG = np.random.default_rng(0)
ARRAY = RNG.integers(0, 256, (3, 5), dtype=np.uint8)
VALUES = [
    None,
    True,
    False,
    0,
    255,
    65_535,
    -1,
    2**40,
    -(2**100),
    "é€",
    b"\xff\0",
    (),
    (1,),
    (1, 2),
    (1, 2, 3),
    ("x",) * 4,
]
BATCH = {"batch_label": "training", "labels": [1, 2, 9], "data": ARRAY, "filenames": ["a.png", "b.png", "a.png"]}
PROTOCOLS = range(2, pickle.HIGHEST_PROTOCOL + 1)


class Call:
    """Pickles as a call of ``function``, which unpickling makes."""

    def __init__(self, function, *arguments):
        self.made = function, arguments

    def __reduce__(self):
        return self.made


class Folder:
    """Makes a folder when its state is restored."""

    def __init__(self, path):
        self.path = path

    def __setstate__(self, state):
        os.mkdir(state["path"])


class OutOfBand(pickle.Pickler):
    def persistent_id(self, value):
        return "elsewhere" if isinstance(value, Call) else None


def short(text: str) -> bytes:
    """A string as Python 2 writes it."""
    content = text.encode("latin1")
    return b"U" + bytes([len(content)]) + content


def python2_pickle(data: np.ndarray, labels: list[int]) -> bytes:
    """A batch in the opcodes of the official CIFAR-10 files."""
    dtype = b"cnumpy\ndtype\nq\x01U\x02u1K\x00K\x01\x87Rq\x02(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    blank = b"cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04K\x00\x85U\x01b\x87Rq\x05"
    shape = b"".join(b"J" + struct.pack("<i", side) for side in data.shape) + b"\x86"
    array = blank + b"(K\x01" + shape + dtype + b"\x89T" + struct.pack("<i", data.size) + data.tobytes() + b"tb"
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}q\x00(" + short("labels") + numbers + short("data") + array + b"u."


def reshaped(shape: bytes, protocol: int = 2) -> bytes:
    """The pickle of ``ARRAY`` with other opcodes for its shape."""
    content = pickle.dumps(ARRAY, protocol)
    assert content.count(b"K\x03K\x05\x86") == 1
    return content.replace(b"K\x03K\x05\x86", shape)


def same(mine, theirs) -> bool:
    """Equal in value and type, down to the last member."""
    if isinstance(theirs, np.ndarray):
        return isinstance(mine, np.ndarray) and mine.dtype == theirs.dtype and np.array_equal(mine, theirs)
    if isinstance(theirs, dict):
        return list(mine) == list(theirs) and all(same(mine[key], theirs[key]) for key in theirs)
    if isinstance(theirs, list | tuple):
        return type(mine) is type(theirs) and len(mine) == len(theirs) and all(map(same, mine, theirs))
    return type(mine) is type(theirs) and mine == theirs


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_values_and_arrays_come_out_as_they_went_in(protocol):
    read_only = ARRAY.copy()
    read_only.flags.writeable = False
    value = {
        "values": VALUES,
        b"arrays": [ARRAY, read_only, ARRAY[:, ::2], np.array(7, np.uint8), ARRAY[None]],
        "b": BATCH,
    }
    for candidate in (
        *VALUES,
        ARRAY,
        BATCH,
        value,
        {},
        [],
        {"many": list(range(3000)) + [str(n) for n in range(3000)]},
    ):
        assert same(read_pickle(pickle.dumps(candidate, protocol), "file"), candidate)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_is_shared_stays_shared(protocol):
    text, numbers = "shared", [1, 2]
    first, second, *rest = read_pickle(pickle.dumps([ARRAY, ARRAY, text, text, numbers, numbers], protocol), "file")
    assert first is second and np.array_equal(first, ARRAY)
    assert rest[0] is rest[1] and rest[2] is rest[3]


def test_a_pickle_of_python_2_is_read_as_python_reads_it():
    content = python2_pickle(ARRAY, [1, 2, 9])
    mine = read_pickle(content, "file")
    assert same(mine, {"labels": [1, 2, 9], "data": ARRAY})
    assert same(mine, trusted(content))


def trusted(content: bytes):
    # NumPy 2.4 warns of the flags of a dtype, which Python 2 wrote as 0 and 1.
    return pickle.loads(content.replace(b"K\x00K\x01\x87R", b"\x89\x88\x87R"), encoding="latin1")  # noqa: S301


def test_real_files_are_read_as_python_reads_them(data_dir):
    content = (data_dir / "cifar10_subset" / "cifar-10-batches-py" / "batches.meta").read_bytes()
    assert read_pickle(content, "file") == pickle.loads(content, encoding="latin1")  # noqa: S301


def packed(path: Path) -> bytes:
    return b"X" + struct.pack("<I", len(str(path))) + str(path).encode()


HOSTILE = {
    "os.system": lambda path, p: pickle.dumps(Call(os.system, f"mkdir '{path}'"), p),
    "os.mkdir": lambda path, p: pickle.dumps(Call(os.mkdir, str(path)), p),
    "eval": lambda path, p: pickle.dumps(Call(eval, f"__import__('os').mkdir({str(path)!r})"), p),
    "exec": lambda path, p: pickle.dumps(Call(exec, f"import os; os.mkdir({str(path)!r})"), p),
    "partial": lambda path, p: pickle.dumps(Call(functools.partial(os.mkdir, str(path))), p),
    "methodcaller": lambda path, p: pickle.dumps(Call(operator.methodcaller("mkdir"), path), p),
    "getattr": lambda path, p: pickle.dumps(Call(getattr, Call(Path, str(path)), "mkdir"), p)[:-1] + b")R.",
    "setstate": lambda path, p: pickle.dumps(Folder(str(path)), p),
    "as data": lambda path, p: pickle.dumps({"data": Call(os.mkdir, str(path)), "labels": [1]}, p),
    "as a key": lambda path, p: pickle.dumps({Call(os.mkdir, str(path)): 1}, p),
    "in an array of objects": lambda path, p: pickle.dumps(np.array([Call(os.mkdir, str(path))], object), p),
    "after an array": lambda path, p: pickle.dumps([ARRAY, Call(os.mkdir, str(path))], p),
    "INST": lambda path, p: b"\x80\x02(" + packed(path) + b"iposix\nmkdir\n.",
    "OBJ": lambda path, p: b"\x80\x02(cposix\nmkdir\n" + packed(path) + b"o.",
    "EXT1": lambda path, p: b"\x80\x02\x82\xf0" + packed(path) + b"\x85R.",
}


@pytest.fixture
def extension():
    copyreg.add_extension("posix", "mkdir", 0xF0)
    yield
    copyreg.remove_extension("posix", "mkdir", 0xF0)


@pytest.mark.skipif(os.name != "posix", reason="the hostile pickles name the module posix")
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("kind", HOSTILE)
def test_a_pickle_that_wants_to_run_something_is_refused_and_does_not(tmp_path, extension, kind, protocol):
    sentinel = tmp_path / "sentinel"
    content = HOSTILE[kind](sentinel, protocol)
    with pytest.raises(DataError, match="^some/file .*nothing in it was executed"):
        read_pickle(content, "some/file")
    assert not sentinel.exists()
    # The weapon is loaded: Python's own reader runs it. (A key made by `mkdir` is None, and an array may hold None.)
    pickle.loads(content)  # noqa: S301
    assert sentinel.exists()


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (pickle.dumps(Call(os.mkdir, "x"), 2), r"asks for posix\.mkdir, which"),
        (pickle.dumps(Call(eval, "x"), 2), r"asks for __builtin__\.eval, which"),
        (pickle.dumps(Call(eval, "x"), 4), r"asks for builtins\.eval, which"),
        (pickle.dumps(functools.partial(len), 4), r"asks for functools\.partial, which"),
        (pickle.dumps(np.int64(3), 4), r"asks for numpy\._core\.multiarray\.scalar, which"),
        (b"\x80\x02c_codecs\ndecode\n.", r"asks for _codecs\.decode, which"),
        (b"\x80\x02cnumpy\nndarray.tofile\n.", r"asks for numpy\.ndarray\.tofile, which"),
        (b"\x80\x02cnumpy\nload\n.", r"asks for numpy\.load, which"),
        (b"\x80\x02cnumpy\n" + b"x" * 9999 + b"\n.", r"asks for numpy\.x{94}, which"),
        (b"\x80\x04\x8c\x05numpy\x8c\x0cndarray.dump\x93.", r"asks for numpy\.ndarray\.dump, which"),
        (b"\x80\x02c_codecs\nencode\nX\x01\0\0\0xX\x05\0\0\0rot13\x86R.", "encodes something else than bytes"),
        (b"\x80\x02c_codecs\nencode\nK\x05X\x06\0\0\0latin1\x86R.", "encodes something else than bytes"),
        (b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nK\x01))\x87R.", "makes something else than an array"),
        (b"\x80\x02cnumpy\ndtype\n}b.", "sets the state of a function"),
        (b"\x80\x02cnumpy\ndtype\nN}X\x09\0\0\0_functionK\x01s\x86b.", "sets the state of a function"),
        (b"\x80\x02(iposix\nmkdir\n.", "uses the opcode INST"),
        (b"\x80\x02(K\x01o.", "uses the opcode OBJ"),
        (b"\x80\x02\x82\xf0.", "uses the opcode EXT1"),
        (b"\x80\x02cnumpy\nndarray\n)\x81.", "uses the opcode NEWOBJ"),
        (b"\x80\x02K\x01K\x02\x86q\0h\0\x86.", "uses a tuple twice"),
        (b"\x80\x02)(uq\0h\0\x86.", "uses a tuple twice"),
        (b"\x80\x02)" + b"\x85" * 1000 + b".", "makes more than 1000 tuples"),
        (b"\x80\x02Pelsewhere\n.", "uses the opcode PERSID"),
        (b"\x80\x02X\x01\0\0\0xQ.", "uses the opcode BINPERSID"),
        (b"\x80\x05\x97.", "uses the opcode NEXT_BUFFER"),
        (pickle.dumps(np.zeros(2), 2), "holds an array of type 'f8' instead of 'u1'"),
        (pickle.dumps(np.zeros(2, bool), 5), "holds an array of type 'b1' instead of 'u1'"),
        (pickle.dumps(np.array([None]), 4), "holds an array of type 'O8' instead of 'u1'"),
        (pickle.dumps(np.zeros(2, [("a", "u1")]), 4), "holds an array of type 'V1' instead of 'u1'"),
        (pickle.dumps(np.asfortranarray(ARRAY), 4), "holds an array that is not of unsigned bytes in C order"),
        (
            pickle.dumps(np.asfortranarray(ARRAY), 5),
            "holds an array that is not of unsigned bytes in C order|calls frombuffer with unusual",
        ),
    ],
)
def test_what_is_refused_is_named(content, found):
    with pytest.raises(DataError, match=f"^some/file {found}"):
        read_pickle(content, "some/file")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "pickle exhausted before seeing STOP"),
        (b"<html>not found</html>", ""),
        (b"\x80\x02.", ""),
        (b"\x80\x02h\x07.", ""),
        (b"\x80\x02a.", "stack underflow"),
        (b"\x80\x02NK\x01a.", "'NoneType' object has no attribute 'append'"),
        (b"\x80\x02}(]K\x02u.", "unhashable type: 'list'"),
        (b"\x80\x02K\x01)R.", "'int' object is not callable"),
        (b"\x80\x02cnumpy\nndarray\nK\x05\x85\x85R.", "'object' object is not callable"),
        (b"\x80\x02cnumpy\ndtype\n)R.", "missing 1 required positional argument: 'code'"),
        (b"\x80\x02cnumpy\nndarray\n}X\x01\0\0\0xK\x01sb.", "'object' object has no attribute '__dict__'"),
        (b"\x80\x02]}X\x01\0\0\0xK\x01sb.", "'list' object has no attribute '__dict__'"),
        (b"\x80\x04\x95" + b"\xff" * 8 + b"N.", "FRAME length exceeds"),
        (reshaped(b"K\x03K\x06\x86", 2), r"shape \(3, 6\) must have 18 bytes, found 15"),
        (reshaped(b"K\x03K\x04\x86", 5), r"shape \(3, 4\) must have 12 bytes, found 15"),
        (reshaped(b"K\x03J\xff\xff\xff\xff\x86"), "must be a tuple of sizes"),
        (reshaped(b"K\x0f\x88\x86"), "must be a tuple of sizes"),
    ],
)
def test_damage_is_reported_with_the_file(content, message):
    with pytest.raises(DataError, match=f"^some/file is a damaged or cut off pickle .*{message}.*; fetch it again$"):
        read_pickle(content, "some/file")


@pytest.mark.parametrize("content", [python2_pickle(ARRAY, [1, 2, 9]), *(pickle.dumps(BATCH, p) for p in PROTOCOLS)])
def test_every_cut_and_any_damage_gives_an_error_or_a_value_and_never_anything_else(content):
    for end in range(len(content)):
        with pytest.raises(DataError):
            read_pickle(content[:end], "file")
    rng = np.random.default_rng(1)
    codes = [ord(opcode.code) for opcode in pickletools.opcodes]
    outcomes = set()
    for _ in range(3000):
        damaged = bytearray(content)
        for place in rng.integers(0, len(content), rng.integers(1, 4)):
            damaged[place] = rng.choice(codes) if rng.random() < 0.5 else rng.integers(256)
        try:
            read_pickle(bytes(damaged), "file")
            outcomes.add("value")
        except DataError:
            outcomes.add("error")
    assert outcomes == {"value", "error"}


def test_a_pickle_cannot_give_an_array_another_type():
    """The state of a data type has flags that make NumPy take bytes for pointers; here it is not taken over at all."""
    content = pickle.dumps(ARRAY, 2)
    state = b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t"
    assert content.count(state) == 1
    for other in (
        state.replace(b"K\x00t", b"K?t"),
        state.replace(b"\xff\xff\xff\xff", struct.pack("<i", 2**20)),
    ):
        assert same(read_pickle(content.replace(state, other), "file"), ARRAY)


def test_a_refused_pickle_changes_nothing_for_the_next_one():
    for name in (b"cnumpy\ndtype\n", b"cnumpy\nndarray\n", b"c_codecs\nencode\n"):
        for state in (b"}X\x09\0\0\0_functionK\x01s", b"N}X\x09\0\0\0_functionK\x01s\x86", b"K\x01", b"K\x01\x85"):
            with pytest.raises(DataError):
                read_pickle(b"\x80\x02" + name + state + b"b.", "file")
    for protocol in PROTOCOLS:
        assert same(read_pickle(pickle.dumps(BATCH, protocol), "file"), BATCH)


def test_a_file_that_is_too_large_is_refused_unread(monkeypatch):
    content = pickle.dumps(BATCH, 2)
    monkeypatch.setattr(safe_pickle, "MAX_BYTES", len(content))
    read_pickle(content, "file")
    with pytest.raises(DataError, match=f"^file has {len(content) + 1} bytes, at most {len(content)} are read"):
        read_pickle(content + b"x", "file")


def test_a_small_file_cannot_ask_for_much_memory_or_time():
    tower = b"\x80\x02)" + b"2\x86" * 200  # a pair of a pair of a pair ...
    bombs = [
        b"\x80\x02Nr\xff\xff\xff\xff.",  # place 2**32 - 1 of the memo
        b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"x.",  # bytes
        b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"x.",  # a bytearray
        b"\x80\x04\x8d" + struct.pack("<Q", 2**40) + b"x.",  # a string
        b"\x80\x02\x8b\xff\xff\xff\x7fx.",  # an integer
        b"\x80\x02}q\0)" + b"q\1h\1h\1\x86" * 200 + b"0h\0h\1K\1s.",  # a key whose hash visits 2**200 tuples
        tower + b".",
        b"\x80\x02c_codecs\nencode\nq\0X" + struct.pack("<I", 9999) + b"x" * 9999
        + b"X\6\0\0\0latin1\x86q\1R" + b"h\0h\1R" * 10_000 + b".",
        reshaped(b"\x8a\x06" + b"\xff" * 5 + b"\x00\x85"),  # more bytes than there are
        reshaped(b"(" + b"K\x00" * 100 + b"t"),  # more dimensions than NumPy has
    ]  # fmt: skip
    for bomb in bombs:
        tracemalloc.start()
        with contextlib.suppress(DataError):
            read_pickle(bomb, "file")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2_000_000, bomb[:40]
