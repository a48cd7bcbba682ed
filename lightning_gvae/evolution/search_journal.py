"""The journal of an architecture search: one JSON line a candidate, from which a stopped search goes on."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lightning_gvae.errors import ConfigError, DataError
from lightning_gvae.evolution.candidates import Result

__all__ = ["SearchJournal", "differing"]

VERSION = 1


class SearchJournal:
    """Keeps what was found out about candidates.

    The first line holds the settings; every further one a candidate, in the order of the proposals, whatever the
    number of processes. As soon as a candidate is finished, the process that trained it notes the result in a file of
    its own beside the journal, so that nothing is trained twice after a crash; the lines go to the journal when the
    generation is complete. Every line is on disk when its method returns.

    Args:
        path: The journal.
        settings: What results depend on, as plain containers.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self.path, self.settings = path, json.loads(json.dumps(settings))
        self.lines: list[dict[str, Any]] = []

    def open(self) -> dict[str, Result]:
        """Read what is there, or begin; only one process may call this.

        Returns:
            Known results by phase and key, as :meth:`name` composes them.

        Raises:
            ConfigError: The journal is of a search with other settings.
            DataError: A line cannot be read. A last line that broke off is dropped.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lines = self._read(self.path)
        if not lines:
            self._append(self.path, [{"journal": VERSION, "settings": self.settings}])
        else:
            head = lines[0]
            if head.get("journal") != VERSION or "settings" not in head:
                raise DataError(
                    f"{self.path}, line 1: this is no journal of an architecture search; move it away, or name another "
                    "`journal`"
                )
            if changed := differing(head["settings"], self.settings):
                raise ConfigError(
                    f"the journal {self.path} is of a search with other settings: {'; '.join(changed)}. Restore them, "
                    "or name another `journal`"
                )
        self.lines = lines[1:]
        spooled = [line for spool in self._spools() for line in self._read(spool)]
        return {self.name(line["phase"], line["key"]): _result(line) for line in [*spooled, *self.lines]}

    @staticmethod
    def name(phase: str, key: str) -> str:
        """How a result is found."""
        return f"{phase}: {key}"

    def note(self, rank: int, phase: str, key: str, result: Result) -> None:
        """Note a result that has just become known."""
        self._append(self._spool(rank), [{"phase": phase, "key": key, **asdict(result)}])

    def commit(self, phase: str, lines: Sequence[Mapping[str, Any]]) -> None:
        """Append the lines of a phase that are not there yet.

        Args:
            phase: ``search`` lines are those of a whole search up to now, or of its latest generation; they are told
                apart by their ``number``. Lines of other phases are told apart by their ``key``.
            lines: With ``key``, the fields of the result and, in a search, ``number``.

        Raises:
            DataError: A line that is there already is about another candidate.
        """
        there = {
            line["number"]: (at, line) for at, line in enumerate(self.lines, 2) if line["phase"] == phase == "search"
        }
        keys = {line["key"] for line in self.lines if line["phase"] == phase}
        new = []
        for line in lines:
            if phase == "search" and line["number"] in there:
                at, found = there[line["number"]]
                if found["key"] != line["key"]:
                    raise DataError(
                        f"{self.path}, line {at}: holds the candidate {found['key']}, but this search proposes "
                        f"{line['key']}; the file was edited or written by another version. Move it away"
                    )
            elif phase == "search" or line["key"] not in keys:
                new.append(dict(line))
        self._append(self.path, new)
        self.lines += new

    def forget_notes(self) -> None:
        """Drop all processes' own notes; their content is in the journal now."""
        for spool in self._spools():
            spool.unlink(missing_ok=True)

    def _spools(self) -> list[Path]:
        return sorted(self.path.parent.glob(f"{self.path.stem}.rank*.jsonl"))

    def _spool(self, rank: int) -> Path:
        return self.path.with_name(f"{self.path.stem}.rank{rank}.jsonl")

    @staticmethod
    def _append(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
        if not lines:
            return
        with path.open("a", encoding="utf-8") as file:
            file.write("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))
            file.flush()
            os.fsync(file.fileno())

    @staticmethod
    def _read(path: Path) -> list[dict[str, Any]]:
        if not path.is_file():
            return []
        content = path.read_bytes()
        # A line is complete with its end: what follows the last one broke off in a crash.
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            with path.open("r+b") as file:
                file.truncate(len(whole))
        lines = []
        for number, text in enumerate(whole.decode("utf-8", errors="replace").splitlines(), 1):
            try:
                line = json.loads(text)
                if not isinstance(line, dict) or (
                    number > 1 and not {"phase", "key", "values", "status"} <= line.keys()
                ):
                    raise ValueError("it is no entry of a search")
            except ValueError as error:
                raise DataError(
                    f"{path}, line {number} cannot be read ({error}): {text[:80]!r}. Remove the line to train that "
                    "candidate anew, or move the file away"
                ) from error
            lines.append(line)
        return lines


def differing(stored: Any, own: Any, name: str = "") -> list[str]:
    """Differences of two settings in words, each with the path of the setting."""
    if isinstance(stored, dict) and isinstance(own, dict):
        return [
            text
            for key in sorted({*stored, *own})
            for text in differing(stored.get(key), own.get(key), f"{name}.{key}".lstrip("."))
        ]
    return [] if stored == own else [f"{name}: stored {stored!r}, now {own!r}"]


def _result(line: Mapping[str, Any]) -> Result:
    return Result(line["values"], line["status"], line.get("note", ""), line.get("seconds", 0.0))
