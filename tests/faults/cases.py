"""Commands small enough to be killed often, with what must be the same when they have been restarted."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from tests.cli.test_train import same
from tests.datamodules.pictures import write
from tests.datamodules.sentences import write_corpus
from tests.faults.checks import rows, same_rows, same_training, without_times
from tests.faults.witness import told

EVERY = 20  # optimiser steps between checkpoints
RUN = (
    "trainer=cpu",
    "trainer.val_check_interval=50",
    "trainer.log_every_n_steps=5",
    f"callbacks.last_checkpoint.every_n_train_steps={EVERY}",
    "callbacks.figures=null",
    "callbacks.progress_bar=null",
    "++trainer.enable_progress_bar=false",
    "keep_freed_memory=false",
    "+callbacks.witness._target_=tests.faults.witness.Witness",
)
TRAIN = ("data=digits", *RUN)
# The official files of the Penn Treebank in small; 20 batches an epoch, as with the digits. Places are filled in.
TEXT = (
    "data=ptb",
    "data.root={root}/ptb",
    "paths.cache_dir={cache}",
    "data.batch_size=16",
    "data.max_length=20",
    "model=text_vae",
    "model.embedding=8",
    "model.hidden=12",
    "latent_dim=4",
    "target_kl=2",
    "callbacks.text_samples.n_samples=2",
    "callbacks.text_samples.n_interpolations=1",
    "callbacks.text_samples.beam=2",
)
EVOLVE = tuple(
    f"callbacks.beta_evolution.{name}={value}"
    for name, value in {"interval": 15, "warmup": 10, "lookahead_steps": 2, "probe_size": 64}.items()
)
# Sleeps from the third generation on, at step 45: any KL is near the target, any two genomes are the same.
ASLEEP = (
    "callbacks.beta_evolution.search.tolerance=0.99",
    "callbacks.beta_evolution.search.convergence.window=2",
    "callbacks.beta_evolution.search.convergence.std=100.0",
)


def write_text(folder: Path) -> None:
    """``ptb.{train,valid,test}.txt`` for :data:`TEXT`."""
    write_corpus(folder / "ptb", "ptb", train=320, held_out=40)


@dataclass(frozen=True)
class Case:
    """A command that is killed and started again.

    Args:
        name: In the table.
        unit: Of the work that is lost.
        most: So much may be lost by one kill.
    """

    name: str
    unit: str
    most: float

    def prepare(self, folder: Path) -> None:
        """Make what the command works on; ``folder`` is shared by all tries."""

    def command(self, folder: Path, attempt: int, shared: Path) -> tuple[str, list[str]]:
        """Entry and arguments of the first start, and of each further one."""
        raise NotImplementedError

    def until(self, folder: Path) -> Path | None:
        """File that ends the part of the command in which it is killed; None: it is killed at any moment."""
        return None

    def lost(self, folder: Path) -> float:
        """Work that is done and not kept at this moment."""
        raise NotImplementedError

    def kept(self, folder: Path) -> Any:
        """Whatever may not be done again; must be part of what it is at the end."""
        return None

    def compare(self, whole: Path, folder: Path) -> None:
        """Assert that nothing differs from the run in one piece."""
        raise NotImplementedError


@dataclass(frozen=True)
class Training(Case):
    """``train.py``; every other try goes on in the folder of the killed run, the others in one of their own."""

    settings: Sequence[str] = ()
    steps: int = 200
    data: Sequence[str] = ("data=digits",)
    unit: str = "steps"
    most: float = EVERY

    def prepare(self, folder: Path) -> None:
        write_text(folder)

    def command(self, folder: Path, attempt: int, shared: Path) -> tuple[str, list[str]]:
        data = [setting.format(root=shared, cache=folder / "cache") for setting in self.data]
        arguments = [*RUN, *data, *self.settings, f"trainer.max_steps={self.steps}"]
        if self._in_place(folder):
            return "train", [*arguments, f"hydra.run.dir={folder}/run", "ckpt_path=auto"]
        last = [run / "checkpoints/last.ckpt" for run in reversed(self._runs(folder))]
        from_ = next((path for path in last if path.is_file()), None)
        arguments.append(f"hydra.run.dir={folder}/run{attempt}")
        return "train", arguments if from_ is None else [*arguments, f"ckpt_path={from_}"]

    def lost(self, folder: Path) -> float:
        paths = [run / "checkpoints/last.ckpt" for run in self._runs(folder)]
        saved = [torch.load(path, weights_only=True)["global_step"] for path in paths if path.is_file()]
        return max(0, told(folder / "witness") - max(saved, default=0))

    def compare(self, whole: Path, folder: Path) -> None:
        runs, (straight,) = self._runs(folder), self._runs(whole)
        same_training(straight, runs[-1])
        # Lightning logs the row of a step after its checkpoint; the checkpoint has it too (History).
        spare = {step - 1 for step in range(0, self.steps + 1, EVERY)}
        same_rows(straight, runs, "metrics.csv", "step", spare)
        if (straight / "evolution.csv").is_file():
            same_rows(straight, runs, "evolution.csv", "generation")

    @staticmethod
    def _in_place(folder: Path) -> bool:
        return folder.name.endswith(("0", "2", "4", "6", "8"))

    @staticmethod
    def _runs(folder: Path) -> list[Path]:
        return sorted(path for path in folder.glob("run*") if path.is_dir())


@dataclass(frozen=True)
class Caching(Case):
    """The first start with a folder of images, killed while it decodes them."""

    layout: str = "folder"
    images: int = 1500
    unit: str = "images"
    most: float = 2 * 256  # a chunk that is written and not noted, and the next one under way

    def prepare(self, folder: Path) -> None:
        if self.layout == "folder":
            for number in range(self.images):
                write(folder / f"in/{number % 7}/{number:05}.png", number % 50, height=80, width=100)
            return
        for number in range(self.images):
            write(folder / f"in/celeba/img_align_celeba/{number + 1:06}.jpg", number % 50, height=218, width=178)
        lines = [f"{number + 1:06}.jpg {(number % 10 == 8) + 2 * (number % 10 == 9)}" for number in range(self.images)]
        (folder / "in/celeba/list_eval_partition.txt").write_text("\n".join(lines) + "\n")

    def command(self, folder: Path, attempt: int, shared: Path) -> tuple[str, list[str]]:
        data = [f"data=image_folder data.root={shared}/in", "data.val_size=10", "data.test_size=10"]
        if self.layout == "celeba":
            data = [f"data=celeba paths.data_dir={shared}/in data.targets=none"]
        settings = [
            "data.image_size=32",
            "++data.decoding.workers=1",
            f"++data.cache_dir={folder}/cache",
            "data.batch_size=8",
        ]
        arguments = [*" ".join(data).split(), *settings, "trainer=cpu", "+trainer.fast_dev_run=true", "callbacks=none"]
        return "train", [*arguments, "test=false", "keep_freed_memory=false", f"hydra.run.dir={folder}/run{attempt}"]

    def until(self, folder: Path) -> Path | None:
        return next(iter(folder.glob("cache/*[0-9a-f]/index.json")), folder / "cache/none")

    def lost(self, folder: Path) -> float:
        size = 3 * 32 * 32
        written = sum(path.stat().st_size for path in folder.glob("cache/*.partial/images.u8")) // size
        noted = sum(json.loads(path.read_text())["done"] for path in folder.glob("cache/*.partial/progress.json"))
        return max(0, written - noted)

    def compare(self, whole: Path, folder: Path) -> None:
        places = [next(path for path in run.glob("cache/*") if path.is_dir()) for run in (whole, folder)]
        assert [path.name for path in folder.glob("cache/*") if path.is_dir()] == [places[0].name]
        assert sorted(path.name for path in places[1].iterdir()) == ["contents.u64", "images.u8", "index.json"]
        for name in ("contents.u64", "images.u8", "index.json"):
            assert places[0].joinpath(name).read_bytes() == places[1].joinpath(name).read_bytes(), name


@dataclass(frozen=True)
class Solving(Case):
    """``study.py study=solve``: cells in one process, a file each."""

    unit: str = "cells"
    most: float = 2  # a piece's seeds are computed together

    def command(self, folder: Path, attempt: int, shared: Path) -> tuple[str, list[str]]:
        scale = {"name": "toy", "runs": 6, "n": 60, "candidates": 2, "epochs": 4, "batch_size": 20}
        settings = [f"study.scale.{name}={value}" for name, value in scale.items()]
        arguments = ["study=solve", "study/scale=solve_quick", *settings, "study.problems=[c1]", "study.seeds=[0,1]"]
        return "study", [*arguments, "study.dims=[1,2,3]", f"hydra.run.dir={folder}/study"]

    def lost(self, folder: Path) -> float:
        return self.most  # by construction: what is finished is proved to be kept, what is under way is one piece

    def kept(self, folder: Path) -> Any:
        return {path.name: path.read_bytes() for path in folder.glob("study/cells/*.json")}

    def compare(self, whole: Path, folder: Path) -> None:
        first, second = (self.kept(run) for run in (whole, folder))
        assert first.keys() == second.keys() and len(first) == 6
        for name in first:
            assert without_times(json.loads(first[name])) == without_times(json.loads(second[name])), name
        assert (folder / "study/report.html").is_file()
        assert rows(whole / "study/results.csv") == rows(folder / "study/results.csv")


@dataclass(frozen=True)
class Searching(Case):
    """``study.py study=latent_search`` in a model that was trained before."""

    unit: str = "generations"
    most: float = 11  # save_every, and the one under way

    def prepare(self, folder: Path) -> None:
        """The trained model is made by the first start; see ``command``."""

    def command(self, folder: Path, attempt: int, shared: Path) -> tuple[str, list[str]]:
        goal = ["study.problem._target_=tests.faults.witness.Goal", "study.problem.objective=target_distance"]
        goal += ["study.problem.wanted=null", "study.problem.target=3", "+study.problem.criteria.pixel_mass=[0.1,0.5]"]
        size = ["study.runs=3", "study.settings.generations=300", "study.save_every=10", "study.frames=4"]
        arguments = ["study=latent_search", f"ckpt_path={shared}/model/checkpoints/last.ckpt", *goal, *size]
        return "study", [*arguments, f"hydra.run.dir={folder}/study"]

    def lost(self, folder: Path) -> float:
        states = [torch.load(path, weights_only=True) for path in folder.glob("study/*/latent_search/state.pt")]
        finished = any(folder.glob("study/*/latent_search/result.pt"))
        done = states[0]["state"]["number"] if states else 0
        return 0 if finished else max(0, told(folder / "witness") - done)

    def compare(self, whole: Path, folder: Path) -> None:
        files = [next(run.glob("study/*/latent_search/result.pt")) for run in (whole, folder)]
        same(*(torch.load(path, weights_only=True) for path in files))
        for name in ("latent_search/history.csv", "runs.csv"):
            first, second = (path.parents[1] / name for path in files)
            assert first.read_bytes() == second.read_bytes(), name
        assert not list(folder.glob("study/*/latent_search/state.pt"))


@dataclass(frozen=True)
class Evolving(Case):
    """``train.py model=conv_autoencoder``: a search for an architecture, and the training of what it has found."""

    settings: Sequence[str] = field(default_factory=tuple)
    unit: str = "candidates"
    most: float = 1

    def command(self, folder: Path, attempt: int, shared: Path) -> tuple[str, list[str]]:
        search = {
            "population": 4,
            "generations": 2,
            "training.epochs": 1,
            "training.batch_size": 64,
            "training.train_images": 256,
            "training.score_images": 64,
            "front.finetune_epochs": 1,
            "front.probes": "false",
            "parallel.backend": "local",
            "limits.max_macs": 200000,
        }
        own = [f"callbacks.architecture_evolution.{name}={value}" for name, value in search.items()]
        space = ["callbacks.architecture_evolution.space.max_blocks=2"]
        space += ["callbacks.architecture_evolution.space.choices={filters:[2,4],kernel:[3]}"]
        model = ["model=conv_autoencoder", "~callbacks.code_probe", *own, *space, *self.settings]
        run = ["trainer.max_steps=60", f"hydra.run.dir={folder}/run", "ckpt_path=auto"]
        return "train", [*TRAIN, *model, *run]

    def lost(self, folder: Path) -> float:
        return self.most  # what has been noted is proved to be kept; under way is one candidate

    def kept(self, folder: Path) -> Any:
        """Results of candidates, with the seconds they took: another training would take others."""
        found = {}
        for path in folder.glob("run/search/journal*.jsonl"):
            for line in path.read_bytes().split(b"\n")[:-1]:
                entry = json.loads(line)
                if entry.get("status") == "trained":
                    found[f"{entry['phase']}: {entry['key']}"] = entry["seconds"]
        return found

    def compare(self, whole: Path, folder: Path) -> None:
        journals = [
            [json.loads(line) for line in (run / "run/search/journal.jsonl").read_text().splitlines()]
            for run in (whole, folder)
        ]
        first, second = (sorted(map(str, map(without_times, journal[1:]))) for journal in journals)
        assert first == second
        same_training(whole / "run", folder / "run")


def remove(folder: Path) -> None:
    """Room for the next try."""
    shutil.rmtree(folder, ignore_errors=True)


# case -> kills
CASES: list[tuple[Case, int]] = [
    (Training("training, VAE"), 5),
    (Training("training, eVAE awake", settings=("model=evae", *EVOLVE)), 6),
    (Training("training, eVAE asleep", settings=("model=evae", *EVOLVE, *ASLEEP, "target_kl=8")), 4),
    (Training("training, beta-VAE", settings=("model=beta_vae", "model.beta=4")), 2),
    (Training("training, ControlVAE", settings=("model=control_vae",)), 3),
    (Training("training, GAN", settings=("model=gan",), steps=100), 3),
    (Training("training, VAE-GAN", settings=("model=vae_gan",), steps=100), 5),
    (Training("training, TextVAE", data=TEXT, steps=100), 3),
    (Caching("caching, folder of images"), 5),
    (Caching("caching, CelebA layout", layout="celeba", images=1000), 4),
    (Solving("study, SOLVE"), 6),
    (Searching("latent search"), 6),
    (Evolving("architecture evolution"), 6),
]
