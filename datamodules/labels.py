"""Labels of images from a table as spreadsheets write them."""

import codecs
import csv
import io
import itertools
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from lightning_gvae.errors import DataError

__all__ = ["UNLABELLED", "LabelTable", "read_labels"]

UNLABELLED = "(none)"
FILE = "file"
SEPARATORS = (",", ";", "\t", "|")
MARKS = {  # of the encodings that have one; that of UTF-32 begins like that of UTF-16
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
SPREADSHEETS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # .xlsx, .ods and .xls


class LabelTable(NamedTuple):
    """Content of a table.

    Args:
        labels: Label by name of the image, for those that have a row; an empty cell is ``(none)``.
        strangers: Files of the table that are none of the images.
    """

    labels: dict[str, str]
    strangers: list[str]


class _Row(NamedTuple):
    line: int
    file: str
    label: str


def read_labels(content: bytes, path: Path, column: str, root: Path, names: Sequence[str]) -> LabelTable:
    """Labels of images from a table with a column ``file`` and one of labels.

    The text is UTF-8, or UTF-16 or UTF-32 with a byte order mark; cells are parted by comma, semicolon, tab or bar, and
    may be quoted. White space around cells does not count and inside them counts as one space, blank rows are left out,
    missing cells are empty. Names of columns may differ in capitals where that is not ambiguous.

    A file is named by its path below the folder of the images, or by its name alone. If no image has exactly that name,
    ``\\`` counts as ``/``, ``./`` does not count, capitals do not count, and the suffix may be missing.

    Args:
        content: The table's bytes.
        path: The table, for messages.
        column: The column of the labels.
        root: Folder of the images, for absolute paths.
        names: Names of the images below it, with ``/`` between folders, at least one.

    Raises:
        DataError: The table is no such text, lacks a column, has a row with too many cells or without a file, names a
            file that may be several images, gives two labels to one image, or names none of the images.
    """
    find = _Finder(names)
    found: dict[str, _Row] = {}
    strangers = []
    for row in _rows(_text(content, path), path, column):
        image = find(row.file.removeprefix(f"{root}/"), f"line {row.line} of {path}")
        if image is None:
            strangers.append(row.file)
        elif image not in found:
            found[image] = row
        elif found[image].label != row.label:
            first = found[image]
            raise DataError(
                f"{path} gives two labels to {image}: {first.label!r} in line {first.line} and {row.label!r} in line"
                f" {row.line}; remove one of the rows"
            )
    if not found:
        named = f"its first row names {strangers[0]!r}" if strangers else "it has no row"
        raise DataError(f"{path} names none of the {len(names)} images, the first of which is {names[0]!r}; {named}")
    return LabelTable({image: row.label for image, row in found.items()}, strangers)


class _Finder:
    """Finds the image that a cell of a table names."""

    def __init__(self, names: Sequence[str]) -> None:
        self._exact = set(names)
        self._levels: list[defaultdict[str, list[str]]] = [defaultdict(list) for _ in range(6)]
        for name in names:
            path = _tidy(name)
            bare, stem = path.rpartition("/")[2], path.rpartition(".")[0]
            keys = (path, path.casefold(), bare, bare.casefold(), stem.casefold(), stem.rpartition("/")[2].casefold())
            for level, key in zip(self._levels, keys, strict=True):
                level[key].append(name)

    def __call__(self, cell: str, place: str) -> str | None:
        """The image, None if there is none; ``place`` is for the message if there are several."""
        if cell in self._exact:
            return cell
        path = _tidy(cell)
        keys = (path, path.casefold(), path, path.casefold(), path.casefold(), path.casefold())
        for level, key in zip(self._levels, keys, strict=True):
            images = level.get(key, [])
            if len(images) > 1:
                shown = ", ".join(images[:3]) + (", ..." if len(images) > 3 else "")
                raise DataError(
                    f"{place} names {cell!r}, which may be any of {len(images)} images ({shown}); write its path below"
                    " the folder of the images"
                )
            if images:
                return images[0]
        return None


def _tidy(path: str) -> str:
    parts = unicodedata.normalize("NFC", path).replace("\\", "/").split("/")
    return "/".join(part for part in parts if part not in ("", "."))


def _text(content: bytes, path: Path) -> str:
    if content.startswith(SPREADSHEETS):
        raise DataError(f"{path} is a spreadsheet's own file and no table of text; save it as CSV")
    encoding = next((name for mark, name in MARKS.items() if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"line {line} of {path} is not {encoding.removesuffix('-sig')} text (byte 0x{content[error.start]:02x});"
            " save the table as CSV in UTF-8"
        ) from error
    if "\0" in text:
        raise DataError(
            f"{path} holds NUL characters, so it is no text, or UTF-16 without a byte order mark; save the table "
            "as CSV in"
            " UTF-8"
        )
    return text


def _rows(text: str, path: Path, column: str) -> Iterator[_Row]:
    """Rows with a file, in the order of the table."""
    text, separators, skipped = _announced(text)
    try:
        headers = [_header(text, separator) for separator in separators]
        # The separator is the one that shows the columns; if none does, the one that shows most is for the message.
        shown = [sum(bool(_places(name, header)) for name in (FILE, column)) for header in headers]
        best = max(range(len(headers)), key=lambda n: (shown[n], len(headers[n])))
        header = headers[best]
        file_at, label_at = (_only(name, header, path, column) for name in (FILE, column))
        for number, cells in itertools.islice(_filled(text, separators[best]), 1, None):
            line = number + skipped
            if any(cells[len(header) :]):
                raise DataError(
                    f"line {line} of {path} has {len(cells)} cells, its header {len(header)}; put cells that hold the"
                    " separator into quotes"
                )
            cells += [""] * (len(header) - len(cells))
            if not cells[file_at]:
                raise DataError(f"line {line} of {path} names no file; complete it or remove it")
            yield _Row(line, cells[file_at], " ".join(cells[label_at].split()) or UNLABELLED)
    except csv.Error as error:
        raise DataError(f"{path} is no table as spreadsheets write them: {error}; save it as CSV again") from error


def _announced(text: str) -> tuple[str, Sequence[str], int]:
    """The table, its possible separators, and the lines before it: Excel may announce the separator in a first line."""
    first, _, rest = text.partition("\n")
    if first.lower().startswith("sep=") and len(first.rstrip("\r")) == 5:
        return rest, first[4], 1
    return text, SEPARATORS, 0


def _header(text: str, separator: str) -> list[str]:
    try:
        return next((cells for _, cells in _filled(text, separator)), [])
    except csv.Error:  # quotes that end before another separator
        return []


def _filled(text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Rows that are not blank, each with the number of its last line, without the white space around cells."""
    table = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True, skipinitialspace=True)
    for cells in table:
        stripped = [cell.strip() for cell in cells]
        if any(stripped):
            yield table.line_num, stripped


def _places(name: str, header: Sequence[str]) -> list[int]:
    """Position of a column in a header."""
    wanted = " ".join(name.split())
    cells = [" ".join(cell.split()) for cell in header]
    exact = [at for at, cell in enumerate(cells) if cell == wanted]
    return exact or [at for at, cell in enumerate(cells) if cell.casefold() == wanted.casefold()]


def _only(name: str, header: Sequence[str], path: Path, column: str) -> int:
    found = _places(name, header)
    if len(found) == 1:
        return found[0]
    names = f"the columns {FILE} and {column}"
    raise DataError(
        f"{path} must have {names}, found {list(header) or 'none'}; data.label_column names the second"
        if not found
        else f"{path} must have {names} once each, found {name} {len(found)} times"
    )
