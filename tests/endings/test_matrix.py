"""One contract for every ending: what a run leaves, whatever ended it, with and without gradient accumulation.

``last.ckpt`` is of the last step; ``best.ckpt`` is the best row of ``metrics.csv``; a run that ends by plan has been
validated; ``run.json`` tells the truth; a run that goes on from any checkpoint equals the run in one piece.
"""

import csv
import json

import pytest
import torch

from lightning_gvae.datamodules.batches import Split
from lightning_gvae.errors import ConfigError, StoppedError
from tests.cli.test_train import run_train, same

STOPS = "tests.endings.stops"
BATCHES = 18  # an epoch of the digits
RUN = (
    *("callbacks.figures=null", "callbacks.progress_bar=null", "++trainer.enable_progress_bar=false", "test=false"),
    *("trainer.val_check_interval=7", "keep_freed_memory=false"),
)
PLAIN = ("trainer.max_steps=40",)


def callback(name, target, **settings):
    return tuple(f"+callbacks.{name}.{key}={value}" for key, value in {"_target_": target, **settings}.items())


def early(**settings):
    fixed = {"mode": "max", "min_delta": 1e9}
    return callback("early", "lightning.pytorch.callbacks.EarlyStopping", **fixed, **settings)


# ending -> settings of the run; by plan, and in the plan of a run of 40 steps something that ends it before.
ENDINGS = {
    "max_steps": ("trainer.max_steps=16",),
    "max_steps before any validation": ("trainer.max_steps=5",),
    "max_epochs": ("trainer.max_steps=-1", "trainer.max_epochs=2"),
    "max_epochs before any validation": (
        "trainer.max_steps=-1",
        "trainer.max_epochs=1",
        "trainer.val_check_interval=99",
    ),
    "max_epochs, validation every third": (
        *("trainer.max_steps=-1", "trainer.max_epochs=2", "trainer.val_check_interval=1.0"),
        "trainer.check_val_every_n_epoch=3",
    ),
    "half an epoch": (*PLAIN, "trainer.val_check_interval=0.5", "trainer.check_val_every_n_epoch=1"),
    "few batches": (
        "trainer.max_steps=-1",
        "trainer.max_epochs=2",
        "+trainer.limit_train_batches=4",
        "+trainer.limit_val_batches=1",
    ),
    "max_time": (*PLAIN, "+trainer.max_time={seconds: 0.3}", *callback("slow", f"{STOPS}.Slow")),
    "asked between two steps": (*PLAIN, *callback("stop", f"{STOPS}.AskToStop", batch=10)),
    "asked in a validation": (*PLAIN, *callback("stop", f"{STOPS}.AskToStop", batch=10, hook="on_validation_start")),
    "asked at the start of a batch": (
        *PLAIN,
        *callback("stop", f"{STOPS}.AskToStop", batch=2, hook="on_train_batch_start"),
    ),
    "asked at an epoch's end": (
        *(*PLAIN, "trainer.val_check_interval=99"),
        *callback("stop", f"{STOPS}.AskToStop", batch=1, hook="on_train_epoch_end"),
    ),
    "early stopping at a validation": (*PLAIN, *early(monitor="val/elbo", patience=1)),
    "early stopping at an epoch's end": (
        *(*PLAIN, "trainer.val_check_interval=99", "trainer.log_every_n_steps=1"),
        *early(monitor="train/elbo", patience=1, check_on_train_epoch_end="true"),
    ),
    "early stopping after min_steps": (*PLAIN, *early(monitor="val/elbo", patience=1), "+trainer.min_steps=20"),
}

# settings of the checkpoint callbacks -> monitor and the sign that makes the best value the largest
CHECKPOINTS = {
    (): ("val/elbo", 1),
    ("callbacks.best_checkpoint.save_top_k=3",): ("val/elbo", 1),
    ("callbacks.best_checkpoint.monitor=val/kl", "callbacks.best_checkpoint.save_top_k=-1"): ("val/kl", 1),
    (
        "callbacks.best_checkpoint.monitor=val/kl",
        "callbacks.best_checkpoint.mode=min",
        "callbacks.best_checkpoint.filename='top-{val/kl:.2f}'",
        "+callbacks.best_checkpoint.save_top_k=2",
    ): ("val/kl", -1),
    ("callbacks.best_checkpoint.filename='{epoch}'", "+callbacks.best_checkpoint.save_top_k=2"): ("val/elbo", 1),
}


def given(settings):
    """Settings with a plus where conf has no such key."""
    return tuple(text if "save_top_k" not in text or text.startswith("+") else f"+{text}" for text in settings)


def read(path):
    return torch.load(path, map_location="cpu", weights_only=True)


def table(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def check_folder(folder, monitor="val/elbo", sign=1):
    """The contract that every ending keeps."""
    record = json.loads((folder / "run.json").read_text())
    last = read(folder / "checkpoints/last.ckpt")
    assert last["global_step"] == record["optimizer_steps"], "last.ckpt is not of the last step"
    rows = [row for row in table(folder) if row.get(monitor)]
    best = folder / "checkpoints/best.ckpt"
    assert best.is_file() == bool(rows), "best.ckpt and validations do not agree"
    if rows:
        top = max(rows, key=lambda row: sign * float(row[monitor]))
        assert read(best)["global_step"] == int(top["step"]) + 1, f"best.ckpt is not of the row {top}"
        assert read(best)["gvae_metrics"][monitor] == pytest.approx(float(top[monitor]), rel=1e-6)
    return record


@pytest.fixture(autouse=True)
def own_targets(monkeypatch):
    monkeypatch.setenv("GVAE_ALLOW_TARGETS", "tests.endings.")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Runs in one piece, by their settings."""
    made = {}

    def run(*settings):
        if settings not in made:
            made[settings] = tmp_path_factory.mktemp("whole")
            run_train(made[settings], *RUN, *PLAIN, *settings)
        return read(made[settings] / "checkpoints/last.ckpt")

    run.folders = made
    return run


def goes_on(folder, checkpoint, whole, *settings, strict=False):
    """A run that goes on from a checkpoint ends as the run in one piece.

    ``strict``: curves and final numbers too, which a validation at the planned end of the first part is in.
    """
    run_train(folder, *RUN, *PLAIN, *settings, f"ckpt_path={checkpoint}")
    straight, resumed = whole(*settings), read(folder / "checkpoints/last.ckpt")
    assert straight["global_step"] == resumed["global_step"]
    for part in ("state_dict", "optimizer_states", "gvae_random", "gvae_means"):
        same(straight[part], resumed[part], part)
    if strict:
        assert straight["gvae_metrics"] == resumed["gvae_metrics"]
        same(straight["loops"], resumed["loops"], "loops")
        for name in straight["callbacks"].keys() - {name for name in straight["callbacks"] if "Checkpoint" in name}:
            same(straight["callbacks"][name], resumed["callbacks"][name], name)
        best = [path / "checkpoints/best.ckpt" for path in (whole.folders[settings], folder)]
        if not any(row.get("val/elbo") for row in table(folder)):
            assert read(best[0])["global_step"] == read(best[1])["global_step"]
    counts = [state["loops"]["fit_loop"]["epoch_loop.state_dict"] for state in (straight, resumed)]
    assert counts[0] == counts[1]


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`, callbacks")  # the run in one piece has others
@pytest.mark.parametrize("accumulated", [1, 4])
@pytest.mark.parametrize("ending", ENDINGS)
def test_by_plan(ending, accumulated, tmp_path, whole):
    number = list(ENDINGS).index(ending) + (accumulated > 1)
    checkpoints, (monitor, sign) = list(CHECKPOINTS.items())[number % len(CHECKPOINTS)]
    accumulation = (f"trainer.accumulate_grad_batches={accumulated}",)
    run_train(tmp_path / "run", *RUN, *ENDINGS[ending], *given(checkpoints), *accumulation)
    record = check_folder(tmp_path / "run", monitor, sign)
    assert record["status"] == "finished"
    assert any(row.get("val/elbo") for row in table(tmp_path / "run")), "there was no validation"
    validation = tuple(
        text for text in ENDINGS[ending] if "val_check" in text or "limit" in text or "check_val" in text
    )
    step = {name: read(tmp_path / f"run/checkpoints/{name}.ckpt")["global_step"] for name in ("last", "best")}
    for name in ("last", "best") if step["best"] < step["last"] else ("best",):
        goes_on(tmp_path / name, tmp_path / f"run/checkpoints/{name}.ckpt", whole, *accumulation, *validation)


SIGNALS = {
    "SIGINT": {"batch": 10},
    "SIGTERM": {"batch": 10, "hook": "on_validation_start"},
    "SIGHUP": {"batch": 11, "hook": "on_train_batch_start"},
    "SIGUSR1": {"batch": 18, "hook": "on_train_epoch_end"},
}


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`, callbacks")  # the run in one piece has others
@pytest.mark.parametrize("accumulated", [1, 4])
@pytest.mark.parametrize("name", SIGNALS)
def test_by_a_signal(name, accumulated, tmp_path, whole):
    checkpoints, (monitor, sign) = list(CHECKPOINTS.items())[list(SIGNALS).index(name)]
    settings = (f"trainer.accumulate_grad_batches={accumulated}", "trainer.val_check_interval=2")
    sent = callback("signal", f"{STOPS}.Signal", signal=name, **SIGNALS[name])
    with pytest.raises(StoppedError, match=f"was told to stop .{name}. and did so after optimiser step"):
        run_train(tmp_path / "run", *RUN, *PLAIN, *settings, *given(checkpoints), *sent)
    record = check_folder(tmp_path / "run", monitor, sign)
    assert (record["status"], record["stopped_by"]) == ("stopped", name)
    assert record["optimizer_steps"] < 40
    assert f"The run was told to stop before its end ({name})" in (tmp_path / "run/report.html").read_text()
    for checkpoint in ("last", "best"):
        goes_on(tmp_path / checkpoint, tmp_path / f"run/checkpoints/{checkpoint}.ckpt", whole, *settings, strict=True)


@pytest.mark.parametrize("stop", [36, 38])
def test_a_run_that_goes_on_past_the_last_validation_has_the_best_of_before(stop, tmp_path, whole):
    """Validations are after steps 7, ..., 35; the rest of the run has none of its own, and neither has its folder."""
    sent = callback("signal", f"{STOPS}.Signal", signal="SIGTERM", batch=stop)
    with pytest.raises(StoppedError):
        run_train(tmp_path / "run", *RUN, *PLAIN, *sent)
    goes_on(tmp_path / "rest", tmp_path / "run/checkpoints/last.ckpt", whole, strict=True)
    assert (tmp_path / "rest/checkpoints/best.ckpt").is_file()
    assert json.loads((tmp_path / "rest/run.json").read_text())["status"] == "finished"


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`, callbacks")
def test_by_a_signal_that_comes_with_the_last_step(tmp_path, whole):
    sent = callback("signal", f"{STOPS}.Signal", signal="SIGTERM", batch=40)
    with pytest.raises(StoppedError, match="after optimiser step 40"):
        run_train(tmp_path / "run", *RUN, *PLAIN, *sent, "test=true")
    record = check_folder(tmp_path / "run")
    assert record["status"] == "stopped" and not any(name.startswith("test/") for name in record["metrics"])
    goes_on(tmp_path / "last", tmp_path / "run/checkpoints/last.ckpt", whole)


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`, callbacks")
@pytest.mark.parametrize("accumulated", [1, 4])
@pytest.mark.parametrize("hook", ["on_train_batch_start", "on_train_batch_end", "on_validation_start"])
def test_by_an_error_within_a_step(hook, accumulated, tmp_path, whole):
    """Weights and random states may be half changed, so the checkpoint before stays."""
    settings = (f"trainer.accumulate_grad_batches={accumulated}", "callbacks.last_checkpoint.every_n_train_steps=2")
    fault = callback("fault", f"{STOPS}.Fail", batch=15, hook=hook)
    with pytest.raises(RuntimeError, match="out of luck"):
        run_train(tmp_path / "run", *RUN, *PLAIN, *settings, *fault)
    record = json.loads((tmp_path / "run/run.json").read_text())
    assert record["status"] == "failed: RuntimeError: out of luck"
    last = tmp_path / "run/checkpoints/last.ckpt"
    assert 0 <= record["optimizer_steps"] - read(last)["global_step"] <= 2
    goes_on(tmp_path / "last", last, whole, settings[0])


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`, callbacks")
def test_by_an_error_of_the_data(tmp_path, whole, monkeypatch):
    """It comes between two steps: the last one is saved."""
    batch, calls = Split.batch, []

    def broken(self, positions):
        calls.append(self.name)
        if calls.count("digits/train") > 9:
            raise OSError("the disk is gone")
        return batch(self, positions)

    with monkeypatch.context() as patch, pytest.raises(OSError, match="the disk is gone"):
        patch.setattr(Split, "batch", broken)
        run_train(tmp_path / "run", *RUN, *PLAIN)
    record = check_folder(tmp_path / "run")
    assert record["status"] == "failed: OSError: the disk is gone"
    assert record["optimizer_steps"] >= 8
    goes_on(tmp_path / "last", tmp_path / "run/checkpoints/last.ckpt", whole)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (("trainer.max_steps=6",), "trainer.max_steps=6"),
        (("trainer.max_steps=4",), "trainer.max_steps=4"),
        (("trainer.max_steps=-1", "trainer.max_epochs=1", "+trainer.limit_train_batches=3"), "trainer.max_epochs=1"),
    ],
)
def test_a_run_with_nothing_left_to_train_names_the_setting(settings, said, tmp_path, capsys):
    run_train(tmp_path / "a", *RUN, "+trainer.limit_train_batches=3", "trainer.max_steps=6")
    capsys.readouterr()
    limit = () if "+trainer.limit_train_batches=3" in settings else ("+trainer.limit_train_batches=3",)
    run_train(tmp_path / "b", *RUN, *settings, *limit, f"ckpt_path={tmp_path}/a/checkpoints/last.ckpt")
    text = capsys.readouterr().out
    assert f"Nothing was left to train: {tmp_path}/a/checkpoints/last.ckpt is at optimiser step 6, and {said}; " in text
    assert f"{said.partition('=')[0]}=..." in text
    assert json.loads((tmp_path / "b/run.json").read_text())["status"] == "finished"
    same(*(read(tmp_path / f"{run}/checkpoints/last.ckpt")["state_dict"] for run in "ab"))


def test_a_checkpoint_of_a_metric_that_is_none_names_those_that_are(tmp_path):
    with pytest.raises(ConfigError, match=r"best_checkpoint.monitor.*got 'val/elbow'; there are: .*val/elbo"):
        run_train(tmp_path, *RUN, "trainer.max_steps=7", "callbacks.best_checkpoint.monitor=val/elbow")
