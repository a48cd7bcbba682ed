"""The journal of an architecture search: one JSON line a candidate, from which a stopped search goes on."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lightning_gvae.errors import ConfigError, DataError
from lightning_gvae.evolution.architecture.candidate_trainers import Result
from lightning_gvae.io.journal import JournalError, JsonJournal
from lightning_gvae.io.settings import differences

__all__ = ["SearchJournal"]

VERSION = 1
ADDED = ("data.content",)  # settings that journals of earlier versions lack
FIELDS = {"phase", "key", "values", "status"}


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
        lines = self._read(self.path)
        if not lines:
            JsonJournal(self.path).append([{"journal": VERSION, "settings": self.settings}])
        else:
            head = lines[0]
            if head.get("journal") != VERSION or "settings" not in head:
                raise DataError(
                    f"{self.path}, line 1: this is no journal of an architecture search; move it away, or name another "
                    "`journal`"
                )
            if changed := differences(_with_split_seed(head["settings"]), self.settings, added=ADDED):
                raise ConfigError(
                    f"the journal {self.path} is of a search with other settings: {'; '.join(changed)}. Restore them, "
                    "or name another `journal`"
                )
        self.lines = lines[1:]
        spooled = [line for spool in self._spools() for line in self._read(spool)]
        return {self.name(line["phase"], line["key"]): _result(line) for line in [*spooled, *self.lines]}

    @staticmethod
    def name(phase: str, key: str) -> str:
        """Name by which a result is found."""
        return f"{phase}: {key}"

    def note(self, rank: int, phase: str, key: str, result: Result) -> None:
        """Note a result that has just become known."""
        JsonJournal(self._spool(rank)).append([{"phase": phase, "key": key, **asdict(result)}])

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
        JsonJournal(self.path).append(new)
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
    def _read(path: Path) -> list[dict[str, Any]]:
        def problem(number: int, line: dict[str, Any]) -> str | None:
            return None if number == 1 or line.keys() >= FIELDS else "it is no entry of a search"

        journal = JsonJournal(path)
        try:
            lines = journal.read(problem)
        except JournalError as error:
            raise DataError(f"{error}. Remove the line to train that candidate anew, or move the file away") from error
        journal.repair()
        return lines


def _with_split_seed(settings: Any) -> Any:
    """Stored settings with the seed of the parts of the data; in release 0.1 it was that of the data."""
    data = settings.get("data") if isinstance(settings, Mapping) else None
    if not isinstance(data, Mapping) or "seed" not in data:
        return settings
    return {**settings, "data": {"split_seed": data["seed"], **data}}


def _result(line: Mapping[str, Any]) -> Result:
    return Result(line["values"], line["status"], line.get("note", ""), line.get("seconds", 0.0))
