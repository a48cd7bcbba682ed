"""The fork server, and the table of faults."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest

from tests.faults.fork_server import ForkServer
from tests.faults.table import ROWS, Row, add, text

Fault = Callable[..., AbstractContextManager[Row]]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    """Starts commands at once."""
    started = ForkServer(tmp_path_factory.mktemp("server"))
    yield started
    started.close()


@pytest.fixture
def fault() -> Fault:
    """``with fault(name, lost):`` counts one try of a fault, survived if the block ends without an error."""

    @contextmanager
    def counted(name: str, lost: str | None = None, tries: int = 1) -> Iterator[Row]:
        row = ROWS.setdefault(name, Row(name))
        row.tries += tries
        yield row
        row.survived += tries
        if lost is not None:
            row.lost = lost

    return counted


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A process of pytest-xdist hands its rows to the one that started it."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["faults"] = [astuple(row) for row in ROWS.values()]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Take in the rows of a process of pytest-xdist."""
    add(getattr(node, "workeroutput", {}).get("faults", ()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table and write it to the file that ``GVAE_FAULT_TABLE`` names."""
    if not ROWS:
        return
    terminalreporter.section("faults")
    terminalreporter.write_line(text())
    if path := os.environ.get("GVAE_FAULT_TABLE"):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text())
