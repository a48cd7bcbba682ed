"""Cells with a stand-in for the training command, which the end-to-end test of the study runs for real."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lightning_gvae.errors import ConfigError, StoppedError
from lightning_gvae.studies import cells
from lightning_gvae.studies.cells import Cell, CellError, by_arm, run_cells

# Writes the value of `value=`; breaks off once if told to, after a checkpoint, and says from where it goes on.
TRAIN = """
import json, os, sys
from pathlib import Path
settings = dict(argument.split("=", 1) for argument in sys.argv[1:])
folder = Path(settings["hydra.run.dir"].strip("'"))
(folder / "checkpoints").mkdir(parents=True)
(folder / "checkpoints/last.ckpt").write_text(settings["value"])
if "ckpt_path" not in settings and settings["value"] in settings.get("break", ""):
    sys.exit("broken off")
record = {"status": "finished", "value": settings["value"], "seed": settings["seed"],
          "from": settings.get("ckpt_path"), "threads": os.environ.get("OMP_NUM_THREADS")}
(folder / "run.json").write_text(json.dumps(record))
"""


@pytest.fixture(autouse=True)
def stand_in(monkeypatch):
    monkeypatch.setattr(cells, "COMMAND", (sys.executable, "-c", TRAIN))


def collect(run_dir: Path) -> dict:
    return json.loads((run_dir / "run.json").read_text())


def made(values="abc", *more) -> list[Cell]:
    return [Cell(value, seed, (f"value={value}", *more)) for seed in (1, 0) for value in values]


def test_every_cell_runs_once_and_results_come_in_order(tmp_path):
    first = run_cells(made(), tmp_path, collect)
    assert [(result["arm"], result["seed"]) for result in first.values()] == [
        *(("a", "1"), ("b", "1"), ("c", "1")),
        *(("a", "0"), ("b", "0"), ("c", "0")),
    ]
    assert first[made()[0]]["command"] == "python train.py value=a seed=1"
    cells.COMMAND = (sys.executable, "-c", "raise SystemExit('ran again')")
    assert run_cells(made(), tmp_path, collect) == first


def test_side_by_side_runs_get_one_thread_each(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert {result["threads"] for result in run_cells(made(), tmp_path / "a", collect, 2).values()} == {"1"}
    assert {result["threads"] for result in run_cells(made("a"), tmp_path / "b", collect).values()} == {None}


def test_a_cell_that_failed_is_named_the_others_finish_and_it_goes_on_from_its_checkpoint(tmp_path):
    asked = made("abc", "break=b")
    with pytest.raises(CellError, match=r"2 of 6 runs failed; the first: b-seed\d-\w+ ended with status 1; see .*cons"):
        run_cells(asked, tmp_path, collect)
    assert len(list(tmp_path.glob("*/cell.json"))) == 4
    results = run_cells(asked, tmp_path, collect)
    for cell, result in results.items():
        goes_on = None if cell.arm != "b" else f"'{tmp_path / cell.name}/attempt-0/checkpoints/last.ckpt'"
        assert result["from"] == goes_on


def test_a_run_that_finished_before_its_result_was_written_is_not_repeated(tmp_path):
    first = run_cells(made("a"), tmp_path, collect)
    for path in tmp_path.glob("*/cell.json"):
        path.unlink()
    assert run_cells(made("a"), tmp_path, collect) == first
    assert len(list(tmp_path.glob("*/attempt-*"))) == 2


def test_other_overrides_are_another_cell():
    assert Cell("a", 0, ("x=1",)).name != Cell("a", 0, ("x=2",)).name
    assert Cell("a", 0, ("x=1",)).name.startswith("a-seed0-")


def test_runs_end_with_the_study_that_started_them(tmp_path):
    code = f"""
import sys
from pathlib import Path
from lightning_gvae.studies import cells
prologue = cells.SCRIPT.split("from lightning_gvae")[0]
cells.COMMAND = (sys.executable, "-c", prologue + "import os, time; from pathlib import Path\\n"
    "Path({str(tmp_path / "pid")!r}).write_text(str(os.getpid())); time.sleep(120)")
cells.run_cells([cells.Cell("a", 0, ())], Path({str(tmp_path)!r}), dict)
"""
    study = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not ((tmp_path / "pid").is_file() and (tmp_path / "pid").read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    child = Path("/proc") / (tmp_path / "pid").read_text() / "stat"
    study.kill()
    study.wait()
    while child.is_file() and child.read_text().split()[2] != "Z":
        assert time.monotonic() < deadline, "the run outlived its study"
        time.sleep(0.05)


def test_results_are_grouped_by_arm_in_the_order_of_the_seeds():
    results = [{"arm": arm, "seed": seed} for seed in (2, 1) for arm in "ba"]
    assert by_arm(results) == {arm: [{"arm": arm, "seed": 1}, {"arm": arm, "seed": 2}] for arm in "ba"}


def test_mistakes_are_named(tmp_path):
    with pytest.raises(ConfigError, match="`workers` must be at least 1, got 0"):
        run_cells(made(), tmp_path, collect, 0)
    with pytest.raises(ConfigError, match="two cells of the study are the same"):
        run_cells(made("aa"), tmp_path, collect)


# Says that it runs, and ends as train.py does when it is told to stop.
PATIENT = """
import json, os, signal, sys, time
from pathlib import Path
settings = dict(argument.split("=", 1) for argument in sys.argv[1:])
folder = Path(settings["hydra.run.dir"].strip("'"))
def stop(number, frame):
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints/last.ckpt").write_text("saved")
    sys.exit(75)
signal.signal(signal.SIGTERM, stop)
(folder / "writing").write_text(str(os.getpid()))
(folder / "writing").rename(folder / "running")
time.sleep(60)
"""


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("to", ["the study", "a cell"])
def test_after_a_stop_no_further_cell_starts_and_those_under_way_have_saved(to, workers, tmp_path, monkeypatch):
    monkeypatch.setattr(cells, "COMMAND", (sys.executable, "-c", PATIENT))

    def send():
        deadline = time.monotonic() + 60
        while len(list(tmp_path.glob("*/*/running"))) < workers and time.monotonic() < deadline:
            time.sleep(0.01)
        if to == "the study":
            os.kill(os.getpid(), signal.SIGINT)
        else:
            running = next(tmp_path.glob("*/*/running"))
            os.kill(int(running.read_text()), signal.SIGTERM)

    thread = threading.Thread(target=send)
    thread.start()
    with pytest.raises(StoppedError, match=r"was told to stop .*: 0 of 6 runs are done"):
        run_cells(made(), tmp_path, collect, workers)
    thread.join()
    assert len(list(tmp_path.glob("*/attempt-*"))) == workers, "another cell was started"
    assert len(list(tmp_path.glob("*/attempt-0/checkpoints/last.ckpt"))) == workers
    monkeypatch.setattr(cells, "COMMAND", (sys.executable, "-c", TRAIN))
    results = run_cells(made(), tmp_path, collect)
    assert sum(result["from"] is not None for result in results.values()) == workers
