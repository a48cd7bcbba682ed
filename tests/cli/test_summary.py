"""What a run says in the end is what run.json and the report say, and its commands work."""

import json
import re
import shlex

import pytest

from lightning_gvae import cli
from lightning_gvae.cli import summary
from lightning_gvae.report.page import format_number
from tests.cli.test_train import EVOLVE, config, run_train

QUICK = ("callbacks.figures=null", "callbacks.progress_bar=null", "++trainer.enable_progress_bar=false")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def said(run):
    """What a run prints to the standard output."""
    with pytest.MonkeyPatch.context() as patch:
        lines: list[str] = []
        patch.setattr("builtins.print", lambda *texts, **kwargs: lines.append(" ".join(map(str, texts))))
        patch.setattr("rich.console.Console.print", lambda self, table: lines.append(table))
        run_train(run, *QUICK, *EVOLVE, "trainer.max_steps=12")
    return lines


def cells(tables):
    """Names and numbers of the tables, as they are shown."""
    found = {}
    for table in tables:
        columns = [list(column.cells) for column in table.columns]
        headers = [column.header for column in table.columns]
        for row in zip(*columns, strict=True):
            if headers[1]:
                names = {"training": "train", "validation": "val", "test": "test"}
                found |= {
                    f"{names[head]}/{row[0]}": cell
                    for head, cell in zip(headers, row, strict=True)
                    if head in names and cell
                }
            else:
                found[row[0]] = row[1]
    return found


def test_the_numbers_are_those_of_the_record_and_the_report(run, said):
    metrics = json.loads((run / "run.json").read_text())["metrics"]
    shown = cells(line for line in said if not isinstance(line, str))
    assert shown == {name: format_number(value) for name, value in metrics.items()}
    report = (run / "report.html").read_text()
    for name, text in shown.items():
        assert re.search(rf"<th scope=\"row\">{re.escape(name)}</th><td class=\"number\">{re.escape(text)}<", report), (
            name
        )


def test_data_places_and_commands_are_said(run, said):
    text = "\n".join(line for line in said if isinstance(line, str))
    assert "data:       1,197 to train on, 200 to validate on, 400 to test on" in text
    assert json.loads((run / "run.json").read_text())["examples"] == {"train": 1197, "val": 200, "test": 400}
    for place in ("", "checkpoints/best.ckpt", "checkpoints/last.ckpt", "report.html"):
        assert str(run / place).rstrip("/") in text
    assert f"evaluate:   python eval.py ckpt_path={run}/checkpoints/best.ckpt" in text
    (go_on,) = re.findall(r"go on: +(.*)", text)
    arguments = shlex.split(go_on)
    assert arguments[:2] == ["python", "train.py"]
    assert arguments[-2:] == [f"ckpt_path={run}/checkpoints/last.ckpt", "trainer.max_steps=24"]


def test_an_evaluation_says_the_same_shorter(run, said, tmp_path, capsys):
    cli.evaluate(config(tmp_path, f"ckpt_path={run}/checkpoints/best.ckpt", "trainer=cpu", name="eval"))
    text = capsys.readouterr().out
    assert re.search(r"elbo +−[0-9.]+ +nats", text)
    assert f"run folder: {tmp_path}" in text and f"report:     {tmp_path}/report.html" in text
    assert "data:" in text and "go on" not in text


def test_commands_repeat_the_settings_as_they_must_be_typed(monkeypatch):
    settings = ["model=vae", "ckpt_path=old", "trainer.max_steps=5", "+callbacks.x={a: 1}", "~callbacks.figures"]
    monkeypatch.setattr(summary, "_given", lambda: settings)
    given = summary._overrides("trainer.max_steps=10")
    command = summary._command("train.py", [*given, "ckpt_path=new", "trainer.max_steps=10"])
    assert shlex.split(command) == [
        *("python", "train.py", "model=vae", "+callbacks.x={a: 1}", "~callbacks.figures"),
        *("ckpt_path=new", "trainer.max_steps=10"),
    ]
    monkeypatch.setattr("sys.argv", ["/usr/bin/gvae-train"])
    assert summary._command("eval.py", ["ckpt_path=x"]) == "gvae-eval ckpt_path=x"


def test_a_run_without_a_validation_says_why_there_is_no_best(tmp_path, capsys):
    run_train(tmp_path, *QUICK, "trainer.max_steps=3", "+trainer.limit_val_batches=0", "test=false")
    assert "There was no validation (trainer.limit_val_batches=0), so there is no best.ckpt." in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["last.ckpt"]
