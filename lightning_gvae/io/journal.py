"""Journals: files that only grow, a line at a time, and lose nothing that was finished to a crash.

A line is complete with its end. What follows the last end broke off in a crash and is dropped; a complete line that
cannot be read was damaged later and is an error.
"""

import csv
import io
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning_gvae.io.files import explained

__all__ = ["JournalError", "JsonJournal", "append", "append_rows", "read_rows", "whole_lines"]


class JournalError(ValueError):
    """A complete line of a journal cannot be read.

    Args:
        path: The journal.
        line: Number of the line, from 1.
        reason: Why.
        text: Start of the line.
    """

    def __init__(self, path: Path, line: int, reason: str, text: str) -> None:
        super().__init__(f"{path}, line {line} cannot be read ({reason}): {text!r}")
        self.path, self.line, self.reason, self.text = path, line, reason, text


def whole_lines(path: Path) -> list[bytes]:
    """Complete lines of a file without their ends ``\\n``; none if there is no file."""
    if not path.is_file():
        return []
    return path.read_bytes().split(b"\n")[:-1]


def append(path: Path, lines: bytes, *, sync: bool = True) -> None:
    """Append complete lines in one go; a last line that broke off before is cut away first.

    Args:
        path: The journal; it and its folder are made if they do not exist.
        lines: Lines with their ends.
        sync: Whether they are on the disk when this returns, so that not even a power cut loses them. Otherwise they
            survive a kill of the process alone; for lines that are many and of little worth.

    Raises:
        OSError: They cannot be written.
        ValueError: The last line has no end.
    """
    if not lines.endswith(b"\n"):
        if lines:
            raise ValueError(f"a journal's line must end with a new line, got {lines[-40:]!r}")
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _cut_torn_line(path)
        with path.open("ab", buffering=0) as file:
            rest = memoryview(lines)
            while rest:  # a write may take a part alone
                rest = rest[file.write(rest) :]
            if sync:
                os.fsync(file.fileno())
    except OSError as error:
        raise explained(error, path) from error


class JsonJournal:
    """A journal of JSON objects, one a line.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(
        self, problem: Callable[[int, dict[str, Any]], str | None] = lambda _number, _entry: None
    ) -> list[dict[str, Any]]:
        """All entries in their order.

        Args:
            problem: Given the number of a line and its entry, says what is wrong with it, or None.

        Raises:
            JournalError: A complete line is no JSON object, or ``problem`` says so.
        """
        entries = []
        for number, line in enumerate(whole_lines(self.path), 1):
            try:
                entry = json.loads(line)
                reason = problem(number, entry) if isinstance(entry, dict) else "it is no JSON object"
            except (ValueError, RecursionError) as error:
                reason = str(error) or type(error).__name__
            if reason is not None:
                raise JournalError(self.path, number, reason, line.decode("utf-8", errors="replace")[:80])
            assert entry is not None  # else there would be a reason
            entries.append(entry)
        return entries

    def append(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Append entries, on the disk when this returns.

        Raises:
            OSError: They cannot be written.
            TypeError: JSON cannot express an entry; nothing is written.
        """
        text = "".join(json.dumps(entry, separators=(",", ":")) + "\n" for entry in entries)
        append(self.path, text.encode())

    def repair(self) -> None:
        """Cut away a last line that broke off; only the one process that writes may do it."""
        _cut_torn_line(self.path)


def read_rows(path: Path) -> list[list[str]]:
    """Complete rows of a csv file, its header among them; none if there is no file or it is no csv."""
    text = b"".join(line + b"\n" for line in whole_lines(path)).decode(errors="replace")
    try:
        return list(csv.reader(io.StringIO(text, newline="")))
    except csv.Error:
        return []


def append_rows(path: Path, rows: Iterable[Sequence[Any]], *, sync: bool = True) -> None:
    """Append rows to a csv file; ``sync`` and errors as for :func:`append`."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    append(path, text.getvalue().encode(), sync=sync)


def _cut_torn_line(path: Path) -> None:
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return
    if not size:
        return
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
