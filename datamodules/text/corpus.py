"""Reads corpora: one sentence a line, words parted by white space."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from lightning_gvae.errors import DataError

__all__ = ["PARTS", "corpus_files", "count_words", "sentences"]

PARTS = {"train": ("train",), "val": ("valid", "val"), "test": ("test",)}
BOM = b"\xef\xbb\xbf"


def corpus_files(root: Path, name: str) -> dict[str, Path]:
    """The files of the parts ``train``, ``val`` and ``test`` in a folder, as far as they are there.

    Of each part the first that exists: ``<name>.train.txt``, the only file that ends in ``.train.txt``, ``train.txt``;
    validation is ``valid`` or ``val``. Of a single file, ``{"all": root}``.

    Raises:
        DataError: There is nothing at ``root``, no such file in it, or several candidates for a part.
    """
    if root.is_file():
        return {"all": root}
    if not root.is_dir():
        raise DataError(f"there is no corpus at {root}; set data.root to a folder or a file with one sentence a line")
    found: dict[str, Path] = {}
    for part, words in PARTS.items():
        for word in words:
            others = sorted(root.glob(f"*.{word}.txt"))
            exact = [path for path in (root / f"{name}.{word}.txt", root / f"{word}.txt") if path.is_file()]
            if not exact and len(others) > 1:
                raise DataError(
                    f"{root} has {len(others)} files for `{part}` ({', '.join(path.name for path in others)}); say "
                    "which corpus is meant with data.name=..., or keep one corpus a folder"
                )
            if candidates := [*exact[:1], *others]:
                found.setdefault(part, candidates[0])
    if not found:
        raise DataError(
            f"{root} holds no corpus: expected {name}.train.txt, {name}.valid.txt and {name}.test.txt, or train.txt, "
            "valid.txt and test.txt, each with one sentence a line"
        )
    return found


def sentences(path: Path, encoding: str = "utf-8", lowercase: bool = False) -> Iterator[list[str]]:
    """The words of every line, an empty list for a line without any.

    Lines end as on Unix, Windows or old Macs; a byte order mark is left out.

    Raises:
        DataError: A line is not text of the encoding, or there is no such encoding.
    """
    number = 0
    with path.open("rb") as file:
        for chunk in file:
            # Only these three end a line: Python's own splitting of text knows eight more.
            for line in chunk.removeprefix(BOM if number == 0 else b"").splitlines() or [b""]:
                number += 1
                try:
                    text = line.decode(encoding)
                except UnicodeDecodeError as error:
                    raise DataError(
                        f"line {number} of {path} is not {encoding} text: byte 0x{line[error.start]:02x} at position "
                        f"{error.start + 1}; convert the file, or name its encoding (data.encoding=latin-1)"
                    ) from error
                except LookupError as error:
                    raise DataError(f"`encoding` must be one that Python knows, got {encoding!r}") from error
                yield (text.lower() if lowercase else text).split()


def count_words(path: Path, encoding: str, lowercase: bool) -> Counter[str]:
    """Counts of all words.

    Raises:
        DataError: The file has no word, or as for :func:`sentences`.
    """
    counts: Counter[str] = Counter()
    for words in sentences(path, encoding, lowercase):
        counts.update(words)
    if not counts:
        raise DataError(f"{path} is empty: it has no word; give a file with one sentence a line")
    return counts
