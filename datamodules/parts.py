"""Parts of a set of named items: what an item is called decides in which part it is, whatever lies beside it."""

import hashlib
import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lightning_gvae.datamodules.batches import Indices
from lightning_gvae.errors import ConfigError, DataError
from lightning_gvae.rng import numpy_stream, stream_key

__all__ = [
    "RULES",
    "Hashes",
    "Rule",
    "Size",
    "checked_sizes",
    "count_of",
    "cut_by_hash",
    "cut_by_permutation",
    "keyed",
    "text_hashes",
]

Size = int | float  # a count of items, or a share of them between 0 and 1
Hashes = npt.NDArray[np.uint64]
RULES = ("names", "permutation", "files")


class Rule(NamedTuple):
    """Rule by which an item gets its part.

    Args:
        kind: ``"names"`` (:func:`cut_by_hash`), ``"permutation"`` (:func:`cut_by_permutation`), or ``"files"``: the
            data come in parts.
        seed: Seed of the parts.
    """

    kind: str
    seed: int


def checked_sizes(val_size: Size | None, test_size: Size | None) -> tuple[Size | None, Size | None]:
    """The sizes of the validation and of the test part, if each is None, an integer of at least 1 or a share.

    Raises:
        ConfigError: One is something else, or they leave no share to train on.
    """
    sizes = {"val_size": val_size, "test_size": test_size}
    for name, size in sizes.items():
        count = isinstance(size, int) and not isinstance(size, bool) and size >= 1
        if size is not None and not count and not (isinstance(size, float) and 0 < size < 1):
            raise ConfigError(
                f"`{name}` must be an integer of at least 1, or a share such as 0.1, below 1, got {size!r}"
            )
    if sum(size for size in sizes.values() if isinstance(size, float)) >= 1:
        raise ConfigError(f"`val_size` {val_size} and `test_size` {test_size} leave no share to train on; lower them")
    return val_size, test_size


def count_of(size: Size, total: int) -> int:
    """Number of items that a size means in a set of ``total``: at least 1."""
    return size if isinstance(size, int) else max(1, round(size * total))


def text_hashes(texts: Iterable[str]) -> Hashes:
    """64-bit numbers ``(N,)``, each a function of one text, such as the name of a file.

    Texts that differ in the way in which accents are written down, as the names of one file on two systems may, are
    equal.
    """

    def digest(text: str) -> bytes:
        known = unicodedata.normalize("NFC", text).encode("utf-8", "surrogateescape")
        return hashlib.blake2b(known, digest_size=8).digest()

    return np.frombuffer(b"".join(map(digest, texts)), dtype="<u8").astype(np.uint64)


def keyed(hashes: Hashes, seed: int) -> Hashes:
    """Other numbers for every seed, one to one and as evenly distributed, by the last step of SplitMix64.

    References:
        Steele, Lea, Flood, Fast splittable pseudorandom number generators, 2014.
    """
    mixed = hashes + np.uint64(stream_key(seed, "parts") & (2**64 - 1))
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def cut_by_hash(
    hashes: Hashes, val: Size | None, test: Size | None, what: str, unit: str = "image"
) -> dict[str, Indices]:
    """Items of the parts ``train``, ``val`` and ``test``, in the order of their hashes; together they are all items.

    Seen as numbers in [0, 1), hashes below the share ``test`` are of the test part, those in the share ``val`` above it
    of the validation part, and all others of the training part. So an item stays in its part whatever is added to the
    set or taken from it, and a part has about its share of the items. Only if a part has no item at all, the border
    beside it moves to the next item, until others are added.

    A size that is a count takes that many items of the lowest hashes, the test part first. Then the parts have exactly
    that size, and items beside a border change their part when others are added: at most as many as are added.

    Items of equal hash are never parted; a count is exceeded rather than part them.

    Args:
        hashes: ``(N,)``, one an item, evenly distributed, see :func:`keyed`.
        val: Size of the validation part; None leaves it empty.
        test: Size of the test part; None leaves it empty.
        what: The set, for messages.
        unit: One item, for messages.

    Raises:
        ConfigError: The shares leave nothing, or counts leave fewer training items than they hold out for one part.
        DataError: There are not enough different items for the parts.
    """
    order = np.argsort(hashes, kind="stable")
    ranked = hashes[order]
    sizes = {name: size for name, size in (("val_size", val), ("test_size", test)) if size is not None}
    # Where items of another hash begin, and the end.
    starts = (
        np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1], [True]])) if len(ranked) else np.zeros(1, int)
    )
    if len(starts) - 1 < 1 + len(sizes):
        raise DataError(
            f"{what} has {len(starts) - 1} different {unit}(s), too few for {1 + len(sizes)} parts, each of "
            "which needs one"
        )
    _check_counts(sizes, len(ranked), what, unit)
    first, share = _border(ranked, starts, 0, 0.0, test, groups_after=len(sizes))
    second, _ = _border(ranked, starts, first, share, val, groups_after=1)
    return {"train": order[second:], "val": order[first:second], "test": order[:first]}


def cut_by_permutation(
    total: int, val: Size | None, test: Size | None, seed: int, what: str, unit: str = "image"
) -> dict[str, Indices]:
    """Items of the parts ``train``, ``val`` and ``test``, cut from one random order of all.

    For sets of fixed content: one item more makes other parts.

    Args:
        total: Number of items.
        val: Size of the validation part; None leaves it empty.
        test: Size of the test part; None leaves it empty.
        seed: Seed of the order.
        what: The set, for messages.
        unit: One item, for messages.

    Raises:
        ConfigError: No training item is left.
    """
    sizes = [0 if size is None else count_of(size, total) for size in (test, val)]
    if sum(sizes) >= total:
        raise ConfigError(
            f"`val_size` {val}"
            + (f" and `test_size` {test}" if sizes[0] else "")
            + f" leave no training {unit} of the {total} in {what}; hold out fewer"
        )
    order = numpy_stream(seed, "split").permutation(total)
    testing, validation, training = np.split(order, np.cumsum(sizes))
    return {"train": training, "val": validation, "test": testing}


def _border(
    ranked: Hashes, starts: Indices, begin: int, share: float, size: Size | None, groups_after: int
) -> tuple[int, float]:
    """End of a part that begins at an item, and at a share of all hashes."""
    if size is None:
        return begin, share
    if isinstance(size, int):
        wanted = begin + size
    else:
        wanted = int(np.searchsorted(ranked, np.uint64(min(int((share + size) * 2**64), 2**64 - 1))))
    following = int(np.searchsorted(starts, begin)) + 1
    group = min(max(int(np.searchsorted(starts, wanted)), following), len(starts) - 1 - groups_after)
    end = int(starts[group])
    return end, float(ranked[end]) / 2**64 if isinstance(size, int) else share + size


def _check_counts(sizes: dict[str, Size], total: int, what: str, unit: str) -> None:
    counts = [size for size in sizes.values() if isinstance(size, int)]
    left = total - sum(count_of(size, total) for size in sizes.values())
    if counts and left < max(1, *counts):
        said = " and ".join(f"`{name}` {size}" for name, size in sizes.items())
        few = f"no training {unit}" if left < 1 else f"only {left} training {unit}s, fewer than they hold out,"
        raise ConfigError(
            f"{said} leave {few} of the {total} in {what}; hold out fewer, or shares such as data.val_size=0.1"
        )
