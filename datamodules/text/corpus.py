"""Reads corpora: one sentence a line, words parted by white space."""

import codecs
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from lightning_gvae.errors import DataError

__all__ = ["PARTS", "corpus_files", "count_words", "sentences"]

PARTS = {"train": ("train",), "val": ("valid", "val"), "test": ("test",)}
MARKS = {  # byte order marks; that of UTF-32 begins like that of UTF-16
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
LONGEST = 2**26  # characters of a line


def corpus_files(root: Path, name: str) -> dict[str, Path]:
    """The files of the parts ``train``, ``val`` and ``test`` in a folder, as far as they are there.

    Of each part the first that exists: ``<name>.train.txt``, the only file that ends in ``.train.txt``, ``train.txt``;
    validation is ``valid`` or ``val``. Of a single file, or of a folder with no part and one file that ends in ``.txt``
    (or one file of any name), ``{"all": file}``. Hidden files do not count.

    Raises:
        DataError: There is nothing at ``root``, no such file in it, or several candidates for a part.
    """
    if root.is_file():
        return _readable({"all": root})
    if not root.is_dir():
        raise DataError(f"there is no corpus at {root}; set data.root to a folder or a file with one sentence a line")
    try:
        visible = sorted(path for path in root.iterdir() if path.is_file() and not path.name.startswith("."))
    except OSError as error:
        raise DataError(f"{root} cannot be looked into: {error.strerror or error}") from error
    found: dict[str, Path] = {}
    for part, words in PARTS.items():
        for word in words:
            others = [path for path in visible if path.name.endswith(f".{word}.txt")]
            exact = [path for path in (root / f"{name}.{word}.txt", root / f"{word}.txt") if path in visible]
            if not exact and len(others) > 1:
                raise DataError(
                    f"{root} has {len(others)} files for `{part}` ({', '.join(path.name for path in others)}); say "
                    "which corpus is meant with data.name=..., or keep one corpus a folder"
                )
            if candidates := [*exact[:1], *others]:
                found.setdefault(part, candidates[0])
    texts = [path for path in visible if path.suffix.lower() == ".txt"]
    alone = texts if len(texts) == 1 else visible
    if not found and len(alone) == 1:
        return _readable({"all": alone[0]})
    if not found:
        shown = ", ".join(path.name for path in (texts or visible)[:5])
        raise DataError(
            f"{root} holds no corpus: expected {name}.train.txt, {name}.valid.txt and {name}.test.txt, or train.txt, "
            f"valid.txt and test.txt, each with one sentence a line, or a single file; found {shown or 'nothing'}"
        )
    return _readable(found)


def _readable(files: dict[str, Path]) -> dict[str, Path]:
    for path in files.values():
        try:
            path.open("rb").close()
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    return files


def sentences(path: Path, encoding: str = "utf-8", lowercase: bool = False) -> Iterator[list[str]]:
    """The words of every line, an empty list for a line without any.

    Lines end as on Unix, Windows or old Macs; a byte order mark is left out, and that of UTF-16 or UTF-32 decides.

    Raises:
        DataError: A line is not text of the encoding or longer than :data:`LONGEST`, or there is no such encoding.
    """
    try:
        codecs.lookup(encoding)
        used = _marked(path) or encoding
        # Only the ends named above: universal newlines know no others, unlike Python's splitting of text.
        with path.open(encoding=used, newline=None) as file:
            number = 0
            while line := file.readline(LONGEST):
                number += 1
                if len(line) == LONGEST:
                    raise DataError(
                        f"line {number} of {path} is longer than {LONGEST:,} characters; give a file with one "
                        "sentence a"
                        " line"
                    )
                if "\0" in line:
                    raise DataError(
                        f"line {number} of {path} holds a NUL character, so it is no {used} text; convert the "
                        "file, or name"
                        " its encoding (data.words.encoding=utf-16-le)"
                    )
                yield (line.lower() if lowercase else line).split()
    except UnicodeDecodeError as error:
        raise DataError(_misread(path, used, error)) from error
    except UnicodeError as error:  # UTF-16 without its mark
        raise DataError(
            f"{path} is not {used} text ({error}); name its encoding (data.words.encoding=utf-16-le)"
        ) from error
    except LookupError as error:
        raise DataError(f"`words.encoding` must be one that Python knows, got {encoding!r}") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error


def _marked(path: Path) -> str | None:
    """The encoding that a byte order mark says."""
    with path.open("rb") as file:
        start = file.read(4)
    return next((name for mark, name in MARKS.items() if start.startswith(mark)), None)


def _misread(path: Path, encoding: str, error: UnicodeDecodeError) -> str:
    """Says which line is not text: decoders know the place in their own chunk only."""
    told = f"byte 0x{error.object[error.start]:02x}"
    where = str(path)
    with path.open("rb") as file:
        lines = (line for chunk in file for line in chunk.splitlines() or [b""])
        for number, line in enumerate(lines, 1):
            try:
                line.decode(encoding)
            except UnicodeDecodeError as found:
                told = f"byte 0x{line[found.start]:02x} at position {found.start + 1}"
                where = f"line {number} of {path}"
                break
    return (
        f"{where} is not {encoding} text: {told}; convert the file, or name its encoding (data.words.encoding=latin-1)"
    )


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
