"""Architecture evolution from the command line: what a run leaves, forced genomes, loggers, processes, a kill."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module
from hydra.errors import HydraException

from lightning_gvae import cli
from lightning_gvae.callbacks.architecture_evolution.training import read_candidate
from lightning_gvae.datamodules.digits import DigitsDataModule
from lightning_gvae.errors import ConfigError
from lightning_gvae.evolution.architecture.genome import Genome
from lightning_gvae.models.conv_autoencoder import ConvAutoencoder
from lightning_gvae.nets.genome_plan import plan

ROOT = Path(__file__).resolve().parents[3]
OWN = "callbacks.architecture_evolution"
TOY = [
    "model=conv_autoencoder",
    "data=digits",
    "trainer=cpu",
    "trainer.max_steps=4",
    "callbacks.progress_bar=null",
    "callbacks.code_probe.images=64",
    *(
        f"{OWN}.{name}={value}"
        for name, value in {
            "population": 3,
            "generations": 2,
            "training.epochs": 1,
            "training.batch_size": 32,
            "training.train_images": 64,
            "training.score_images": 64,
            "front.finetune_epochs": 1,
            "space.max_blocks": 2,
            "space.choices": "{filters:[2,4],kernel:[3]}",
        }.items()
    ),
]
KEY = "8k3nrp-4k3rp adam 0.003 robust"
# What the paper's best MNIST example has: a code of 4x4x4.
FOUR = "32k3nrp-16k3nrp-4k3nrp adam 0.001 robust"


@pytest.fixture(scope="module", autouse=True)
def short_probes():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lightning_gvae.metrics.probes.STEPS", 60)
        yield


def config(folder, *overrides, name="train"):
    with initialize_config_module("lightning_gvae.conf", version_base="1.3"):
        return compose(name, [f"paths.output_dir={folder}", *overrides])


def lines(folder: Path) -> list[dict]:
    text = (folder / "search" / "journal.jsonl").read_text()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in text.splitlines()]


@pytest.fixture(scope="module")
def searched(tmp_path_factory) -> tuple[Path, dict[str, float]]:
    """A whole run: search, front, choice, fine-tuning, probes, test, report."""
    folder = tmp_path_factory.mktemp("searched")
    return folder, cli.train(config(folder, *TOY))


@pytest.fixture(scope="module")
def forced(tmp_path_factory) -> tuple[Path, dict[str, float]]:
    """A run of a genome that was given."""
    folder = tmp_path_factory.mktemp("forced")
    return folder, cli.train(config(folder, *TOY, f"model.genome='{KEY}'", "trainer.max_steps=300"))


def test_the_model_brings_all_it_needs_along(searched):
    folder, metrics = searched
    page = (folder / "report.html").read_text()
    for title in ("Front of the architecture search", "Hypervolume of the search", "Genealogy", "Reconstructions"):
        assert page.count(f">{title}<") == 1, title
    assert 0 < metrics["test/bce"] < 4
    assert {"test/probe_accuracy", "test/probe_loss", "test/mlp_probe_accuracy", "test/mlp_probe_loss"} <= set(metrics)
    assert (folder / "checkpoints" / "best.ckpt").is_file() and (folder / "checkpoints" / "last.ckpt").is_file()
    for choice in ("callbacks=none", "callbacks=ema"):
        names = set(config(folder, "model=conv_autoencoder", choice).callbacks)
        assert {"architecture_evolution", "best_checkpoint", "code_figures"} <= names


def test_a_checkpoint_of_an_evolved_network_is_evaluated_and_rebuilt(searched, tmp_path):
    folder, metrics = searched
    path = folder / "checkpoints" / "last.ckpt"
    again = cli.evaluate(config(tmp_path, f"ckpt_path={path}", "trainer=cpu", name="eval"))
    assert again["test/bce"] == pytest.approx(metrics["test/bce"], rel=1e-5)
    model = ConvAutoencoder.load_from_checkpoint(path)
    front = json.loads((folder / "front.json").read_text())
    assert model.genome == Genome.from_dict(front["members"][front["chosen"] - 1]["genome"])


def test_a_genome_that_is_given_is_trained_without_a_search(forced):
    folder, _ = forced
    assert not (folder / "search").exists()
    model = ConvAutoencoder.load_from_checkpoint(folder / "checkpoints" / "last.ckpt")
    assert model.genome.key == KEY and isinstance(model.hparams["genome"], dict)
    page = (folder / "report.html").read_text()
    assert page.count(">Reconstructions<") == page.count(">Learning curves<") == 1


def test_bce_is_the_papers(forced):
    """Keras's binary cross-entropy: predictions clipped to [1e-7, 1 - 1e-7], mean over all pixels of the test set."""
    folder, metrics = forced
    model = ConvAutoencoder.load_from_checkpoint(folder / "checkpoints" / "last.ckpt").eval()
    data = DigitsDataModule()
    data.setup()
    wanted = data.test_set.batch(range(400))[0].numpy().astype(np.float64) / 255
    with torch.no_grad():
        made = model.reconstruct(torch.from_numpy(wanted).float()).numpy().astype(np.float64)
    made = made.clip(1e-7, 1 - 1e-7)
    keras = -(wanted * np.log(made) + (1 - wanted) * np.log1p(-made)).mean()
    assert metrics["test/bce"] == pytest.approx(keras, rel=1e-5)
    # And it has learnt something: better than every pixel at its own mean.
    mean = data.train_set.batch(range(1000))[0].numpy().mean(0) / 255
    mean = mean.clip(1e-3, 1 - 1e-3)
    assert metrics["test/bce"] < -(wanted * np.log(mean) + (1 - wanted) * np.log1p(-mean)).mean()


def test_a_code_of_4x4x4_can_be_forced():
    assert plan(Genome.parse(FOUR), (1, 28, 28)).code_shape == (4, 4, 4)
    assert config("x", "experiment=moncae_4x4x4").model.genome == FOUR
    given = Genome.from_key(FOUR)
    for form in (given.to_dict(), given.to_json(), FOUR):
        assert ConvAutoencoder((1, 28, 28), form).genome == given


@pytest.mark.parametrize("genome", ["8k3", "8k3r adam", "8k3r sgd 0.1 robust", "4k3r-8k3r adam 0.1 robust", "{1}"])
def test_a_genome_that_is_none_is_named(tmp_path, genome):
    with pytest.raises((ConfigError, HydraException), match="genome|optimizer"):
        cli.train(config(tmp_path, *TOY, f"model.genome='{genome}'"))


def test_wandb_gets_figures_tables_and_the_summary(tmp_path, monkeypatch):
    """A real offline run: what `wandb sync` would send is there."""
    import wandb

    monkeypatch.setenv("WANDB_MODE", "offline")
    summary, finish = {}, wandb.Run.finish

    def look_and_finish(self, *arguments, **settings):
        summary.update(dict(self.summary))
        finish(self, *arguments, **settings)

    monkeypatch.setattr(wandb.Run, "finish", look_and_finish)
    cli.train(
        config(
            tmp_path,
            *TOY,
            "logger=wandb",
            f"{OWN}.generations=1",
            f"{OWN}.front.finetune_epochs=0",
            f"{OWN}.front.probes=false",
            "callbacks.code_probe=null",
        )
    )
    assert wandb.run is None
    wandb.teardown()  # its service has then written all; seen once: only the file's head after finish()
    front = json.loads((tmp_path / "front.json").read_text())
    chosen = front["members"][front["chosen"] - 1]
    assert summary["architecture/chosen"] == chosen["key"]
    assert summary["architecture/final_hypervolume"] == pytest.approx(front["hypervolume"][-1])
    assert summary["architecture/members"] == len(front["members"])
    assert summary["architecture/chosen_test_loss"] == pytest.approx(chosen["values"]["test_loss"])
    (run,) = (tmp_path / "wandb").glob("offline-run-*")
    media = run / "files" / "media"
    names = {path.name.rsplit("_", 2)[0] for path in media.rglob("*.png")}
    assert {"pareto_front", "search_hypervolume", "genealogy", "reconstructions"} <= names
    (table,) = media.rglob("front_*.table.json")
    content = json.loads(table.read_text())
    assert content["columns"][:3] == ["member", "chosen", "genome"]
    assert [row[2] for row in content["data"]] == [member["key"] for member in front["members"]]
    (table,) = media.rglob("hypervolume_*.table.json")
    assert json.loads(table.read_text())["data"] == [[0, front["hypervolume"][0]]]
    assert b"architecture/final_hypervolume" in next(run.glob("run-*.wandb")).read_bytes()


def start(folder: Path, *overrides: str) -> subprocess.Popen:
    command = [sys.executable, str(ROOT / "train.py"), *TOY, *overrides, f"hydra.run.dir={folder}"]
    return subprocess.Popen(command, cwd=folder.parent, env={**os.environ, "OMP_NUM_THREADS": "1"})


LONG = [f"{OWN}.generations=3", "callbacks.code_probe=null", "callbacks.code_figures=null", "test=false"]


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> Path:
    """One process, three generations: what the others must equal."""
    folder = tmp_path_factory.mktemp("reference") / "run"
    assert start(folder, *LONG, f"{OWN}.front.probes=false").wait(280) == 0
    return folder


def same(folder: Path, reference: Path) -> None:
    assert lines(folder) == lines(reference)
    assert (folder / "front.csv").read_text() == (reference / "front.csv").read_text()


@pytest.mark.slow
def test_two_processes_write_the_journal_of_one(tmp_path, reference):
    assert start(tmp_path / "run", *LONG, f"{OWN}.front.probes=false", "trainer=ddp_sim").wait(280) == 0
    same(tmp_path / "run", reference)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["pool", "ray"])
def test_the_journal_does_not_depend_on_the_backend(tmp_path, reference, backend, request):
    if backend == "ray":
        request.getfixturevalue("ray_session")
    threads = torch.get_num_threads()
    cli.train(config(tmp_path, *TOY, *LONG, f"{OWN}.front.probes=false", f"{OWN}.parallel.backend={backend}"))
    assert torch.get_num_threads() == threads
    same(tmp_path, reference)


def keys(path: Path) -> set[str]:
    """Candidates in complete lines of a journal that is being written; none if there is none."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return set()
    return {json.loads(line)["key"] for line in text[: text.rfind("\n") + 1].splitlines() if '"key"' in line}


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_and_trains_nothing_twice(tmp_path, reference):
    """SIGKILL in the middle of a generation of real training."""
    folder = tmp_path / "run"
    process, spool = start(folder, *LONG, f"{OWN}.front.probes=false"), folder / "search" / "journal.rank0.jsonl"
    journal = folder / "search" / "journal.jsonl"
    try:
        # One generation is in the journal, and of the next one at least one candidate is finished.
        while len(keys(journal)) < 3 or not keys(spool) - keys(journal):
            assert process.poll() is None
            time.sleep(0.01)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    known = keys(journal) | keys(spool)
    written = {path: path.stat().st_mtime_ns for path in (folder / "search" / "weights").glob("*.safetensors")}
    assert start(folder, *LONG, f"{OWN}.front.probes=false").wait(280) == 0
    same(folder, reference)
    for line in lines(folder)[1:]:
        if line["phase"] == "search" and line["key"] in known:
            genome = Genome.from_dict(line["genome"])
            assert read_candidate(folder / "search" / "weights", genome)
    # Weights are written when a candidate is finished: those of known ones were not written again.
    kept = [path for path, time_ns in written.items() if path.stat().st_mtime_ns == time_ns]
    assert len(kept) >= len(known & {line["key"] for line in lines(folder)[1:] if line["status"] == "trained"})
