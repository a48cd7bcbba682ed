"""A worker that is killed costs only its own candidate, and no worker outlives its search."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lightning_gvae.evolution.architecture.candidate_trainers import RayTrainer, Result
from lightning_gvae.evolution.architecture.genome import Block, Genome
from lightning_gvae.studies import cells
from lightning_gvae.studies.cells import run_cells
from lightning_gvae.studies.executors import RayExecutor
from tests.faults.cases import Solving
from tests.studies.test_cells import TRAIN, collect, made

GENOMES = [Genome((Block(filters=filters),), "adam", 1e-3, "robust") for filters in (2, 4, 8, 16)]


class DiesOnce:
    """Its worker is killed by the first candidate of 8 filters, each time until there is a mark."""

    def __init__(self, folder: Path, times: int) -> None:
        self.folder, self.times = folder, times

    def __call__(self, genome: Genome, seed: int) -> Result:
        if genome.blocks[0].filters == 8 and len(list(self.folder.iterdir())) < self.times:
            (self.folder / str(time.monotonic_ns())).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return Result({"loss": float(seed % 1000)})


@pytest.mark.slow
@pytest.mark.timeout(900)  # workers of Ray import torch, each by itself
@pytest.mark.filterwarnings("ignore")
def test_a_killed_worker_of_ray_costs_only_its_own_candidate_which_is_tried_again(tmp_path, ray_session, fault):
    found = {}
    for workers in (1, 2):
        for times in (0, 1):
            place = tmp_path / f"{workers}-{times}"
            place.mkdir()
            reported: list[int] = []
            with fault("SIGKILL: a worker of Ray", "1 candidate"):
                trainer = RayTrainer(DiesOnce(place, times), workers)
                results = trainer.train(GENOMES, 3, lambda index, result, seen=reported: seen.append(index))
                assert [result.status for result in results] == ["trained"] * 4
                assert sorted(reported) == [0, 1, 2, 3]
                found[workers, times] = [result.values for result in results]
    assert len({str(values) for values in found.values()}) == 1
    (tmp_path / "twice").mkdir()
    results = RayTrainer(DiesOnce(tmp_path / "twice", 2), 2).train(GENOMES, 3)
    assert [result.status for result in results] == ["trained", "trained", "failed", "trained"]


# Ends as a run of train.py does; with the value b it kills the process that started it, once, after a checkpoint.
KILLER = TRAIN.replace(
    'if "ckpt_path" not in settings',
    """if settings["value"] == "b" and settings["seed"] == "0" and "ckpt_path" not in settings:
    os.kill(os.getppid(), 9)
    sys.exit("its parent is gone")
if "ckpt_path" not in settings""",
)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore")
def test_a_killed_worker_of_ray_costs_only_its_own_cell_which_goes_on(tmp_path, ray_session, monkeypatch, fault):
    monkeypatch.setattr(cells, "COMMAND", (sys.executable, "-c", TRAIN))
    expected = run_cells(made(), tmp_path / "pool", collect, 2)
    monkeypatch.setattr(cells, "COMMAND", (sys.executable, "-c", KILLER))
    with fault("SIGKILL: a worker of Ray under a study", "1 cell, from its checkpoint"):
        found = run_cells(made(), tmp_path / "ray", collect, executor=RayExecutor(2))
        attempts = {cell: len(list((tmp_path / "ray" / cell.name).glob("attempt-*"))) for cell in found}
        assert attempts == {cell: 1 + (cell.arm == "b" and cell.seed == 0) for cell in made()}
        for cell, result in found.items():
            resumed = result["from"] is not None
            assert resumed == (attempts[cell] == 2)
            assert result | {"from": None} == expected[cell]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_study_on_ray_is_the_study_on_processes(tmp_path, server, fault):
    case = Solving("study")
    _, arguments = case.command(tmp_path / "pool", 0, tmp_path)
    for name, where in {"pool": "executor=process", "ray": "executor=ray"}.items():
        given = [*arguments[:-1], f"hydra.run.dir={tmp_path / name}/study", where, "workers=2"]
        status = server.run("study", *given, cwd=tmp_path, log=tmp_path / f"{name}.log", seconds=280)
        assert status == 0, (tmp_path / f"{name}.log").read_text()[-3000:]
    case.compare(tmp_path / "pool", tmp_path / "ray")


SCRIPT = """
import os, sys, time
from lightning_gvae.evolution.architecture.candidate_trainers import PoolTrainer, Result
from tests.faults.test_workers import GENOMES

def work(genome, seed):
    open(f"{sys.argv[1]}/{os.getpid()}", "w").close()
    time.sleep(600)

if __name__ == "__main__":
    PoolTrainer(work, 2).train(GENOMES, 0)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
@pytest.mark.slow
def test_processes_of_a_pool_end_with_a_search_that_is_killed(tmp_path, fault):
    script, marks = tmp_path / "search.py", tmp_path / "marks"
    script.write_text(SCRIPT)
    marks.mkdir()
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    with fault("SIGKILL: a search with a pool of processes"):
        search = subprocess.Popen([sys.executable, str(script), str(marks)], env=environment)
        deadline = time.monotonic() + 120
        while len(list(marks.iterdir())) < 2:
            assert time.monotonic() < deadline and search.poll() is None
            time.sleep(0.1)
        search.kill()
        search.wait()
        workers = [int(path.name) for path in marks.iterdir()]
        while any(_running(pid) for pid in workers):
            assert time.monotonic() < deadline, "a worker has outlived its search"
            time.sleep(0.1)


def _running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
