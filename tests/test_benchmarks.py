"""What benchmarks are built from: figures with their spread, contenders that take turns, one file of results."""

import json
import statistics
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import __main__ as every
from benchmarks import check_gpu
from benchmarks.figures import cpu_turns, figure, machine, table, wall_turns, write
from benchmarks.turns import Contender, take_turns

ROOT = Path(__file__).resolve().parents[1]
WORKER = """
import sys, time
from benchmarks.turns import Pause
pause = Pause()
print("chatter that is no answer")
count = 0
while pause.step():
    count += 1
    time.sleep(float(sys.argv[1]))
print(count, file=open(sys.argv[2], "a"))
"""


def contender(tmp_path, name, seconds=0.0):
    return Contender([sys.executable, "-c", WORKER, str(seconds), str(tmp_path / name)], folder=str(ROOT))


def test_a_figure_has_median_and_quartiles():
    ratios = [1.0, 5.0, 2.0, 4.0, 3.0]
    low, median, high = statistics.quantiles(ratios, n=4)
    found = figure("a", "b / c", ratios, rate=7)
    assert (found.low, found.median, found.high, found.turns) == (low, median, high, 5) == (1.5, 3.0, 4.5, 5)
    alone = figure("a", "b / c", [2.0])
    assert (alone.low, alone.median, alone.high, alone.turns) == (2.0, 2.0, 2.0, 1)
    assert "| a | b / c | 3.0 [1.5, 4.5] | 5 | rate 7 |" in table([found])


@pytest.mark.parametrize("turns_of", [wall_turns, cpu_turns])
def test_contenders_in_one_process_take_turns_after_a_warm_up(turns_of):
    calls = []
    rounds = turns_of({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 3)
    assert "".join(calls) == "ba" + "ab" + "ba" + "ab"
    assert len(rounds) == 3
    assert all(turn.keys() == {"a", "b"} and min(turn.values()) >= 0 for turn in rounds)


def test_contenders_in_processes_make_the_steps_they_are_told_to(tmp_path):
    contenders = {"quick": contender(tmp_path, "quick"), "slow": contender(tmp_path, "slow", 0.02)}
    try:
        rounds = take_turns(contenders, 5, 3)
    finally:
        for each in contenders.values():
            each.close()
    assert [(tmp_path / name).read_text() for name in contenders] == ["20\n", "20\n"]  # the warm-up included
    assert len(rounds) == 3
    for turn in rounds:
        assert turn["slow"]["seconds"] >= 0.1  # what it slept; the other does nothing
        assert 0 < turn["quick"]["peak_mb"] < 1000
        assert turn["slow"]["cpu_seconds"] < turn["slow"]["seconds"]


def test_a_contender_that_dies_is_named():
    with pytest.raises(RuntimeError, match=r"raise SystemExit\(3\) ended with status 3"):
        Contender([sys.executable, "-c", "raise SystemExit(3)"])


def test_figures_are_written_with_the_machine_and_a_table(tmp_path):
    found = [figure("a", "b / c", [1.0, 2.0])]
    content = json.loads(write(found, "here", tmp_path).read_text())
    assert content["machine"] == machine()
    assert content["figures"][0]["of"] == "b / c"
    assert (tmp_path / "here.md").read_text() == table(found)


def test_new_figures_replace_those_of_their_module_alone(tmp_path):
    path = tmp_path / "x.json"
    first, second = figure("a", "x / y", [1.0]), figure("b", "x / y", [2.0])
    path.write_text(json.dumps(every.merged(path, {"peers": [first], "data": [first]})))
    content = every.merged(path, {"data": [second]})
    assert [part[0]["name"] for part in content["figures"].values()] == ["a", "b"]
    assert list(content["figures"]) == ["peers", "data"]
    elsewhere = json.loads(path.read_text())
    elsewhere["machine"]["torch"] = "0.4"
    path.write_text(json.dumps(elsewhere))
    assert list(every.merged(path, {"data": [second]})["figures"]) == ["data"]


def test_every_module_has_figures_and_a_command():
    for name in every.MODULES:
        text = (ROOT / "benchmarks" / f"{name}.py").read_text()
        assert "def figures(" in text, name
        assert 'if __name__ == "__main__":' in text, name


@pytest.mark.slow
def test_what_a_gpu_is_checked_with_runs_on_the_cpu(tmp_path, capsys):
    target = tmp_path / "check.json"
    check_gpu.main(["--output", str(target)])
    rows = json.loads(target.read_text())["check"]["rows"]
    assert len(rows) > 30 and all(row["result"] for row in rows)
    assert not [row for row in rows if "FAILED" in row["result"] or "left out" in row["result"]]
    if not torch.cuda.is_available():
        assert sum(row["result"] == check_gpu.NEEDS_GPU for row in rows) >= 20
        assert sum(row["seconds"] for row in rows) < 600
