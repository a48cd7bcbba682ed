"""The promises about going on, kept by real commands: bit for bit, who wins, and signals."""

import json
import signal
import time
from pathlib import Path

import pytest
import torch

from lightning_gvae.callbacks.beta_evolution.callback import BetaEvolution
from lightning_gvae.evolution.beta.search import BetaSearch
from tests.faults.cases import ASLEEP, CASES, EVERY, EVOLVE, RUN, TEXT, write_text
from tests.faults.checks import corrupt_files, same_training
from tests.faults.fork_server import ForkServer
from tests.faults.witness import told

ALLOW = {"GVAE_ALLOW_TARGETS": "tests.faults."}
DIGITS = ("data=digits", "data.batch_size=59")  # 20 batches an epoch, as with TEXT
# model -> its settings; generations are at 15, 30, 45, ...
MODELS = {
    "VAE": (),
    "beta-VAE": ("model=beta_vae", "model.beta=4"),
    "eVAE": ("model=evae", *EVOLVE),
    "eVAE, asleep": ("model=evae", *EVOLVE, *ASLEEP, "target_kl=8"),
    "ControlVAE": ("model=control_vae",),
    "GAN": ("model=gan",),
    "VAE-GAN": ("model=vae_gan",),
    "VAE-GAN, evolved": ("model=vae_gan", "+callbacks/beta_evolution=evae", *EVOLVE),
    "TextVAE": TEXT,
    "TextVAE, evolved": (*(text for text in TEXT if text != "model=text_vae"), "model=text_evae", *EVOLVE),
}
EVERY_EPOCH_AND_A_HALF = "trainer.val_check_interval=30"  # the last validation, at 90, is part of every resumed run
STOPS = {
    "an epoch's end": 40,
    "mid-interval": 52,
    "an epoch's end and a validation": 60,
    "mid-epoch": 67,
    "on a generation": 75,
}


class Runs:
    """Runs of one test, below one folder."""

    def __init__(self, server: ForkServer, folder: Path) -> None:
        self.server, self.folder = server, folder
        write_text(folder)

    def arguments(self, name: str, *settings: str) -> tuple[list[str], dict]:
        run = self.folder / name
        places = {"root": self.folder, "cache": self.folder / "cache"}
        given = [text.format(**places) if text in TEXT else text for text in settings]
        data = () if any(text.startswith("data=") for text in given) else DIGITS
        process = {"cwd": self.folder, "log": self.folder / f"{name}.log"}
        environment = ALLOW | {"GVAE_FAULT_WITNESS": str(self.folder / f"{name}.witness")}
        return [*RUN, *data, *given, f"hydra.run.dir={run}"], {**process, **environment}

    def run(self, name: str, *settings: str, status: int = 0) -> Path:
        arguments, places = self.arguments(name, *settings)
        found = self.server.run("train", *arguments, **places)
        assert found == status, self.log(name)
        return self.folder / name

    def start(self, name: str, *settings: str, until: int) -> int:
        """Start a run; its process id, once it has done ``until`` steps."""
        arguments, places = self.arguments(name, *settings)
        pid = self.server.start("train", *arguments, **places)
        deadline = time.monotonic() + 100
        while told(self.folder / f"{name}.witness") < until:
            assert time.monotonic() < deadline, self.log(name)
            time.sleep(0.01)
        return pid

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()[-3000:]


@pytest.fixture
def runs(server, tmp_path):
    return Runs(server, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.timeout(600)
def test_a_run_that_goes_on_equals_the_run_in_one_piece(model, runs, fault):
    settings = (*MODELS[model], EVERY_EPOCH_AND_A_HALF, "trainer.max_steps=92")
    whole = runs.run("whole", *settings)
    for stop, step in STOPS.items():
        with fault(f"resume: {model}"):
            half = runs.run(f"half{step}", *settings[:-1], f"trainer.max_steps={step}", "test=false")
            rest = runs.run(f"rest{step}", *settings, f"ckpt_path={half}/checkpoints/last.ckpt")
            same_training(whole, rest)
            assert stop


def test_every_family_of_models_is_in_the_tables():
    families = {"VAE", "beta-VAE", "ControlVAE", "eVAE", "GAN", "VAE-GAN", "TextVAE"}
    assert families <= MODELS.keys()
    killed = {case.name.removeprefix("training, ").removesuffix(" awake") for case, _ in CASES}
    assert families <= killed


@pytest.mark.slow
def test_the_asleep_case_sleeps(runs):
    run = runs.run("asleep", *MODELS["eVAE, asleep"], "trainer.max_steps=52", "test=false")
    state = torch.load(run / "checkpoints/last.ckpt", weights_only=True)["callbacks"]
    (evolution,) = (value for key, value in state.items() if key.startswith("BetaEvolution"))
    assert evolution["search"]["asleep"]


@pytest.mark.slow
def test_evolved_values_beat_the_configuration_and_the_command_line_beats_both(runs, fault):
    with fault("who wins: checkpoint, configuration, command line"):
        first = runs.run("first", *MODELS["eVAE"], "trainer.max_steps=46", "test=false")
        stored = torch.load(first / "checkpoints/last.ckpt", weights_only=True)
        on = f"ckpt_path={first}/checkpoints/last.ckpt"
        # One step further, before the next generation: nothing has been evolved since.
        for name, settings in {"same": (), "configured": ("model.beta=77",)}.items():
            run = runs.run(name, *MODELS["eVAE"], "trainer.max_steps=47", "test=false", on, *settings)
            found = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
            assert found["state_dict"]["beta"] == stored["state_dict"]["beta"] != 77
            populations = [
                value["search"]["population"]
                for state in (found, stored)
                for key, value in state["callbacks"].items()
                if key.startswith("BetaEvolution")
            ]
            assert populations[0] == populations[1]
        run = runs.run("override", *MODELS["eVAE"], "trainer.max_steps=47", "test=false", on, "beta=3.5")
        assert torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"]["beta"] == 3.5
        assert "beta = 3.5 from the command line overrides" in runs.log("override")


@pytest.mark.slow
def test_evolution_s_share_of_the_wall_time_is_said_and_bounded(runs):
    runs.run("run", *MODELS["eVAE"], "trainer.max_steps=46", "test=false")
    assert "generations, extra compute" in runs.log("run") and "% of the wall time" in runs.log("run")
    planned = BetaEvolution(BetaSearch(target=19.0)).planned_extra_compute(128)
    assert planned < 0.2, "the defaults cost less than a fifth of the training"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"])
@pytest.mark.parametrize("model", ["eVAE", "VAE-GAN"])
def test_a_signal_saves_and_ends_the_run_and_nothing_is_lost(name, model, runs, fault):
    settings = (*MODELS[model], "trainer.max_steps=150", "callbacks.last_checkpoint.every_n_train_steps=1000")
    whole = runs.run("whole", *settings)
    with fault(f"{name}: training, {model}", "0 steps"):
        pid = runs.start("cut", *settings, "ckpt_path=auto", until=33)
        assert runs.server.kill(pid, getattr(signal, name)) == 75, runs.log("cut")
        assert f"the run was told to stop ({name})" in " ".join(runs.log("cut").split())
        cut = runs.folder / "cut"
        assert json.loads((cut / "run.json").read_text())["status"] == "stopped"
        saved = torch.load(cut / "checkpoints/last.ckpt", weights_only=True)["global_step"]
        assert saved == told(runs.folder / "cut.witness") >= 33
        assert corrupt_files(cut) == []
        same_training(whole, runs.run("cut", *settings, "ckpt_path=auto"))


@pytest.mark.slow
def test_a_full_disk_keeps_the_checkpoint_before_and_says_so(runs, fault):
    full = ("~callbacks.witness", "+callbacks.full._target_=tests.faults.witness.FullDisk", "+callbacks.full.step=51")
    steps = "trainer.max_steps=100"
    with fault("full disk while saving", f"{EVERY} steps"):
        whole = runs.run("whole", steps)
        run = runs.run("full", steps, *full, status=1)
        said = " ".join(runs.log("full").split())
        assert "could not be written: File too large" in said and "the earlier one there is kept" in said
        assert torch.load(run / "checkpoints/last.ckpt", weights_only=True)["global_step"] == 40
        assert corrupt_files(run / "checkpoints") == []
        assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]
        rest = runs.run("rest", steps, f"ckpt_path={run}/checkpoints/last.ckpt")
        same_training(whole, rest)
