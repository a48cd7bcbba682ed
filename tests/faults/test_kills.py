"""Kill a command at a random moment, start it again: the end is that of the command that nobody killed."""

import hashlib
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from lightning_gvae.rng import numpy_stream
from tests.faults.cases import CASES, TRAIN, Case, Searching, remove
from tests.faults.checks import corrupt_files
from tests.faults.fork_server import ForkServer

SEED = int(os.environ.get("GVAE_FAULT_SEED", "0"))  # other moments
MOST = int(os.environ.get("GVAE_FAULT_TRIES", "1000"))  # fewer, to try a case
ALLOW = {"GVAE_ALLOW_TARGETS": "tests.faults."}


def launch(server: ForkServer, case: Case, folder: Path, attempt: int, shared: Path) -> int:
    command, arguments = case.command(folder, attempt, shared)
    witness = {"GVAE_FAULT_WITNESS": str(folder / "witness")}
    return server.start(command, *arguments, cwd=folder, log=folder / f"{attempt}.log", **ALLOW, **witness)


def finish(server: ForkServer, case: Case, folder: Path, attempt: int, shared: Path) -> float:
    """Run to the end; seconds it took."""
    start = time.monotonic()
    pid = launch(server, case, folder, attempt, shared)
    status = server.wait(pid, 150)
    log = (folder / f"{attempt}.log").read_text()
    if status is None:
        server.kill(pid)
    assert status == 0, f"{case.name}: the command ended with {status}: {log[-3000:]}"
    return time.monotonic() - start


def killed(server: ForkServer, case: Case, folder: Path, shared: Path, seconds: float) -> bool:
    """Start, and kill after so many seconds; whether there was still something to kill."""
    pid = launch(server, case, folder, 0, shared)
    time.sleep(seconds)
    over = case.until(folder)
    return server.kill(pid) == -signal.SIGKILL and not (over is not None and over.exists())


def fingerprint(folder: Path) -> str:
    digest = hashlib.blake2b()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path}\0{path.stat().st_mtime_ns}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def survive(server: ForkServer, case: Case, tries: int, place: Path, fault) -> None:
    """Kill ``tries`` times, each at its own moment."""
    shared = place / "shared"
    case.prepare(shared)
    if isinstance(case, Searching):
        model = [*TRAIN, "trainer.max_steps=40", "test=false", f"hydra.run.dir={shared}/model"]
        environment: dict[str, Any] = ALLOW | {"GVAE_FAULT_WITNESS": str(shared / "witness")}
        assert server.run("train", *model, cwd=shared, log=shared / "log", **environment) == 0
    before, whole = fingerprint(shared), place / "whole"
    seconds = finish(server, case, whole, 0, shared)
    most, number, misses = 0.0, 0, 0
    while number < tries:
        moment = numpy_stream(SEED, f"kill/{case.name}", number, misses).uniform(0.02, 1.0)
        folder = place / f"try{number}"
        remove(folder)
        if not killed(server, case, folder, shared, moment * seconds * 0.85**misses):
            misses += 1  # it was quicker than the run in one piece
            assert misses < 20, "the command ends before it can be killed"
            continue
        with fault(f"SIGKILL: {case.name}") as row:
            assert corrupt_files(folder) == []
            lost, kept = case.lost(folder), case.kept(folder)
            assert lost <= case.most, f"{lost} {case.unit} are lost, allowed are {case.most}"
            finish(server, case, folder, 1, shared)
            case.compare(whole, folder)
            assert corrupt_files(folder) == []
            if kept:
                assert kept.items() <= case.kept(folder).items(), "something finished was done again"
            most = max(most, lost)
            row.lost = f"{most:g} {case.unit}"
        remove(folder)
        number, misses = number + 1, 0
    assert fingerprint(shared) == before, "an input was changed"


def test_training_survives_a_kill(server, fault, tmp_path):
    survive(server, CASES[1][0], 1, tmp_path, fault)


@pytest.mark.slow
@pytest.mark.parametrize(("case", "tries"), CASES, ids=[case.name for case, _ in CASES])
@pytest.mark.timeout(1200)
def test_survives_kills(case, tries, server, fault, tmp_path):
    survive(server, case, min(tries, MOST), tmp_path, fault)


def test_there_are_fifty_kills():
    assert sum(tries for _, tries in CASES) >= 50
