"""The callback with real training: small digits, small networks."""

import csv
import gc
import json
import random
import shutil
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
import torch.distributed as dist
import torchmetrics
from torch.nn import functional as F

from lightning_gvae.callbacks.architecture_evolution.callback import ArchitectureEvolution
from lightning_gvae.callbacks.architecture_evolution.output import SearchOutput
from lightning_gvae.callbacks.architecture_evolution.settings import (
    CandidateTrainingSettings,
    FrontSettings,
    SearchFiles,
)
from lightning_gvae.callbacks.architecture_evolution.training import (
    Batches,
    CandidateData,
    CandidateImages,
    CandidateTraining,
    read_candidate,
)
from lightning_gvae.callbacks.history import History
from lightning_gvae.datamodules.base import ImageArrays
from lightning_gvae.datamodules.digits import DigitsDataModule
from lightning_gvae.errors import CheckpointError, ConfigError
from lightning_gvae.evolution.architecture.candidate_trainers import LocalTrainer, PoolTrainer, attempt
from lightning_gvae.evolution.architecture.genome import Block, Genome
from lightning_gvae.evolution.architecture.genome_space import GenomeSpace
from lightning_gvae.evolution.architecture.result_cache import ResultCache
from lightning_gvae.models.conv_autoencoder import ConvAutoencoder, ConvVAE
from lightning_gvae.models.genome_built import genome_optimizer
from lightning_gvae.report.page import FIGURES_INDEX, write_run_report
from tests.evolution.test_ranks import start
from tests.processes import start_ranks

SHAPE = (1, 8, 8)
SPACE = GenomeSpace("robust", max_blocks=2, choices={"filters": [2, 4], "kernel": [3]})
GENOME = Genome((Block(filters=4, pool=1, batch_norm=1), Block(filters=2)), "adam", 3e-3, "robust")
SETTINGS: dict[str, Any] = {
    "population": 3,
    "generations": 2,
    "training": {"epochs": 2, "batch_size": 32, "train_images": 128, "score_images": 64},
    "front": {"finetune_epochs": 1},
    "seed": 2,
}
UNTRAINED = {"finetune_epochs": 0, "probes": False}  # a front that is left as the search made it


@pytest.fixture(scope="module", autouse=True)
def short_probes():
    """Probes of 60 steps: what a long one finds is tested beside it, here it is who gets which number."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lightning_gvae.metrics.probes.STEPS", 60)
        yield


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    """Only the search of ``done`` is drawn."""
    monkeypatch.setattr(SearchOutput, "draw", lambda *args: None)


def evolution(**changes) -> ArchitectureEvolution:
    """Settings besides the usual ones; those of a group are added to the group's."""
    space = changes.pop("space", SPACE)
    settings = {
        name: SETTINGS[name] | value if isinstance(value, dict) and name in SETTINGS else value
        for name, value in changes.items()
    }
    return ArchitectureEvolution(space, **SETTINGS | settings)


def fitted(
    folder: Path, *callbacks: L.Callback, model=None, ckpt_path=None, data=None, **options
) -> tuple[L.Trainer, ConvAutoencoder]:
    model = model or ConvAutoencoder(SHAPE, upsampling="mirror")
    settings: dict[str, Any] = {
        "max_epochs": 1,
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_progress_bar": False,
    }
    trainer = L.Trainer(
        default_root_dir=folder,
        callbacks=list(callbacks),
        enable_model_summary=False,
        enable_checkpointing=options.pop("enable_checkpointing", False),
        num_sanity_val_steps=0,
        **settings | options,
    )
    trainer.ckpt_path = ckpt_path
    trainer.fit(model, datamodule=data or DigitsDataModule(batch_size=64))
    return trainer, model


def lines(folder: Path) -> list[dict]:
    text = (folder / "search" / "journal.jsonl").read_text()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in text.splitlines()]


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> tuple[Path, ConvAutoencoder, L.Trainer]:
    """A search and the training after it."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    trainer, model = fitted(folder, evolution(), History())
    trainer.save_checkpoint(folder / "last.ckpt", weights_only=False)
    return folder, model, trainer


def test_a_search_leaves_front_journal_weights_and_pictures(done):
    folder, model, _ = done
    front = json.loads((folder / "front.json").read_text())
    members = front["members"]
    assert model.genome == Genome.from_dict(members[front["chosen"] - 1]["genome"])
    assert model.hparams["genome"] == model.genome.to_dict()
    assert front["hypervolume"] == sorted(front["hypervolume"]) and len(front["hypervolume"]) == 2
    for member in members:
        values = member["values"]
        assert 0 < values["loss"] < 4 and 0 < values["finetuned_loss"] < 4 and 0 < values["test_loss"] < 4
        assert 0 <= values["probe_accuracy"] <= 1 and 0 <= values["mlp_probe_accuracy"] <= 1
        assert (folder / member["weights"]).is_file()
    with (folder / "front.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["genome"] for row in rows] == [member["key"] for member in members]
    assert float(rows[0]["loss"]) == members[0]["values"]["loss"]
    index = json.loads((folder / FIGURES_INDEX).read_text())
    assert [item["file"] for item in index["figures"]] == [
        "pareto_front.png",
        "search_hypervolume.png",
        "genealogy.png",
    ]
    page = write_run_report(folder, {}).read_text()
    assert "Front of the architecture search" in page and page.count("data:image/png;base64,") == 3
    assert sum(line["phase"] == "search" for line in lines(folder)[1:]) == 6


def test_the_scores_are_those_of_the_stored_weights(done):
    folder, _, _ = done
    data = DigitsDataModule()
    data.setup()
    for member in json.loads((folder / "front.json").read_text())["members"]:
        genome = Genome.from_dict(member["genome"])
        model = ConvAutoencoder(SHAPE, genome.to_dict(), "mirror")
        model.configure_model()
        model.load_state_dict(read_candidate((folder / member["weights"]).parent, genome))
        model.eval()
        for part, name in ((data.val_set, "finetuned_loss"), (data.test_set, "test_loss")):
            images = model.prepare(part.batch(range(64)))
            with torch.no_grad():
                own = F.binary_cross_entropy(model(images), images).item()
            assert member["values"][name] == pytest.approx(own, rel=1e-4)


def test_training_goes_on_from_the_chosen_members_weights(tmp_path, done):
    folder, _, _ = done
    front = json.loads((folder / "front.json").read_text())
    chosen = front["members"][front["chosen"] - 1]

    class First(L.Callback):
        def on_train_start(self, trainer, pl_module):
            self.weights = {name: value.clone() for name, value in pl_module.state_dict().items()}

    first = First()
    shutil.copytree(folder / "search", tmp_path / "search")
    fitted(tmp_path, evolution(), first)
    stored = read_candidate((folder / chosen["weights"]).parent, Genome.from_dict(chosen["genome"]))
    assert all(torch.equal(first.weights[name], value) for name, value in stored.items())
    # And the journal was enough: nothing was trained, nothing written.
    assert lines(tmp_path) == lines(folder)


def test_weights_that_are_gone_are_trained_again_to_the_last_bit(tmp_path, done):
    folder, _, _ = done
    shutil.copytree(folder / "search", tmp_path / "search")
    shutil.rmtree(tmp_path / "search" / "weights")
    shutil.rmtree(tmp_path / "search" / "finetuned1")
    fitted(tmp_path, evolution())
    for path in (tmp_path / "search").glob("*/*.safetensors"):
        assert path.read_bytes() == (folder / "search" / path.parent.name / path.name).read_bytes()
    assert lines(tmp_path) == lines(folder)


def test_the_outer_runs_random_numbers_are_not_touched(tmp_path):
    def state():
        return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002

    class Watch(L.Callback):
        def __init__(self) -> None:
            self.states: list[Any] = []

        def setup(self, trainer, pl_module, stage):
            self.states.append(state())

    before, after = Watch(), Watch()
    threads = torch.get_num_threads()
    fitted(tmp_path, before, evolution(generations=1, front=UNTRAINED), after)
    assert before.states == after.states and torch.get_num_threads() == threads


def test_a_resumed_run_does_not_search_again(tmp_path, done):
    folder, model, _ = done
    again = evolution()
    trainer, resumed = fitted(tmp_path, again, History(), ckpt_path=str(folder / "last.ckpt"), max_epochs=2)
    assert resumed.genome == model.genome and not (tmp_path / "search").exists()
    assert trainer.current_epoch == 2
    loaded = ConvAutoencoder.load_from_checkpoint(folder / "last.ckpt")
    images = torch.rand(2, *SHAPE)
    assert torch.equal(loaded.eval()(images), model.eval()(images))
    (tmp_path / "broken.ckpt").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="holds no genome to go on with"):
        fitted(tmp_path, evolution(), ckpt_path=str(tmp_path / "broken.ckpt"))


def test_a_member_of_a_saved_front_can_be_picked(tmp_path, done):
    folder, _, _ = done
    members = json.loads((folder / "front.json").read_text())["members"]
    place = len(members)
    _, model = fitted(tmp_path, evolution(front={"pick": place}, files={"front": folder / "front.json"}), max_epochs=0)
    assert model.genome == Genome.from_dict(members[place - 1]["genome"])
    stored = read_candidate((folder / members[place - 1]["weights"]).parent, model.genome)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in stored.items())
    _, model = fitted(
        tmp_path / "other", evolution(front={"pick": 1}, files={"front_dir": folder.parent}), max_epochs=0
    )
    assert model.genome == Genome.from_dict(members[0]["genome"])
    with pytest.raises(ConfigError, match=f"`front.pick` must be 1 to {place}"):
        fitted(tmp_path, evolution(front={"pick": place + 1}, files={"front": folder / "front.json"}))
    with pytest.raises(ConfigError, match="finds no front.json below"):
        fitted(tmp_path / "none" / "run", evolution(front=FrontSettings(pick=1)))


def data() -> CandidateData:
    module = DigitsDataModule()
    module.setup()
    parts = [
        CandidateImages(*(t.numpy() for t in split.batch(range(count))))
        for split, count in ((module.train_set, 128), (module.val_set, 64), (module.test_set, 64))
    ]
    return CandidateData(parts[0], parts[1], parts[1], parts[2])


def training(make=None, epochs=3, patience=1, **changes) -> CandidateTraining:
    model = ConvAutoencoder(SHAPE, upsampling="mirror")
    settings = CandidateTrainingSettings(epochs=epochs, patience=patience, batch_size=32)
    work = CandidateTraining(make or model.candidate_factory(), data(), model.cost_function(), settings)
    return replace(work, **changes)


@pytest.fixture
def one_thread():
    """As many threads as a candidate is trained with: sums over several round otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_the_nested_trainer_does_what_a_plain_loop_does(tmp_path, one_thread):
    work = training(patience=None, save_to=tmp_path, channels_last=False)
    assert work.settings.threads == 1
    result = work(GENOME, 5)
    model = ConvAutoencoder(SHAPE, GENOME.to_dict(), "mirror", seed=5)
    model.configure_model()
    optimizer = genome_optimizer(GENOME, model.parameters())
    batches = Batches(work.data.train, 32, torch.device("cpu"), 5)
    for epoch in range(3):
        batches.set_epoch(epoch)
        for images, _ in batches:
            optimizer.zero_grad()
            model.loss(images.float() / 255).backward()
            optimizer.step()
    model.eval()
    stored = read_candidate(tmp_path, GENOME)
    for name, value in model.state_dict().items():
        assert torch.equal(stored[name], value)
    images = torch.from_numpy(work.data.score.images).float() / 255
    assert result.values["loss"] == pytest.approx(model.loss(images).item(), rel=1e-5)
    assert result.values["epochs"] == 3


# RMSprop's first steps have full length even where the gradient is rounding, which training then carries on.
@pytest.mark.parametrize(("only_score", "tolerance"), [(True, 1e-6), (False, 1e-3)])
def test_channels_last_differs_by_rounding_and_saves_weights_as_ever(only_score, tolerance, tmp_path):
    stored, losses = [], []
    for channels_last in (False, True):
        work = training(
            patience=None, only_score=only_score, save_to=tmp_path / str(channels_last), channels_last=channels_last
        )
        losses.append(work(GENOME, 5).values["loss"])
        stored.append(read_candidate(work.save_to, GENOME))
    assert losses[1] == pytest.approx(losses[0], rel=tolerance)
    assert stored[1].keys() == stored[0].keys()
    for name, value in stored[0].items():
        assert stored[1][name].stride() == value.stride()
        if value.ndim == 4:  # the gradients of biases in front of a batch norm are nothing but rounding
            torch.testing.assert_close(stored[1][name].norm(), value.norm(), rtol=0.01, atol=0)


def test_a_candidates_result_depends_on_genome_and_seed_alone():
    work = training()
    first = work(GENOME, 5)
    torch.rand(7), random.random()
    assert work(GENOME, 5).values == first.values
    assert work(GENOME, 6).values != first.values


@pytest.mark.slow
def test_local_and_pool_train_alike():
    genomes = [GENOME, replace(GENOME, lr=1e-3), replace(GENOME, optimizer="rmsprop")]
    mine = LocalTrainer(training()).train(genomes, 3)
    pool = PoolTrainer(training(), 2)
    try:
        assert [r.values for r in pool.train(genomes, 3)] == [r.values for r in mine]
    finally:
        pool.close()


class Exploding(ConvAutoencoder):
    """Its loss is not a number."""

    def loss(self, images):
        return super().loss(images) * float("nan")


class Watched(ConvAutoencoder):
    """Can be asked whether it is still there."""

    def configure_model(self):
        if not self._built:
            WATCHED.append(weakref.ref(self))
        super().configure_model()

    def on_validation_start(self):
        if self.seed % 2:
            raise torch.OutOfMemoryError("no memory left")


WATCHED: list[weakref.ref] = []


def test_a_candidates_memory_is_free_when_it_is_done_or_has_failed():
    work = training(make=Watched(SHAPE, upsampling="mirror").candidate_factory(), epochs=1)
    WATCHED.clear()
    found = LocalTrainer(work).train([replace(GENOME, lr=0.001 * (1 + at)) for at in range(6)], 0)
    assert {r.status for r in found} == {"trained", "failed"}
    assert {r.note for r in found if r.status == "failed"} == {"OutOfMemoryError: no memory left"}
    assert len(WATCHED) == 6 and all(watched() is None for watched in WATCHED)
    assert gc.get_freeze_count() == 0


class Measuring(ConvAutoencoder):
    """Scores itself with a metric that would ask all processes."""

    def configure_model(self):
        super().configure_model()
        if not hasattr(self, "metric"):
            self.metric = torchmetrics.MeanMetric()

    def on_validation_epoch_end(self):
        self.metric.update(torch.tensor(10.0 * dist.get_rank()))
        MEASURED.append(float(self.metric.compute()))


MEASURED: list[float] = []


def measure_on_two_ranks(rank: int, folder: str) -> None:
    start(rank, folder)
    work = training(make=Measuring(SHAPE, upsampling="mirror").candidate_factory(), epochs=1)
    # Different numbers of candidates: a collective would wait for ever.
    results = [work(GENOME, seed) for seed in range(1 + rank)]
    Path(folder, f"{rank}.json").write_text(json.dumps([MEASURED, [r.values["loss"] for r in results]]))
    dist.destroy_process_group()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.slow
def test_candidates_on_two_ranks_do_not_hear_of_each_other(tmp_path):
    start_ranks(measure_on_two_ranks, str(tmp_path))
    (first, one), (second, two) = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert first == [0.0] and second == [10.0, 10.0]
    assert one[0] == two[0] != two[1]


def test_a_loss_that_is_no_number_fails_the_candidate():
    result = attempt(training(make=Exploding(SHAPE, upsampling="mirror").candidate_factory()), GENOME, 0)
    assert result.status == "failed" and result.note.startswith("NonFiniteError")


def test_the_variational_twin_can_be_evolved(tmp_path):
    model = ConvVAE(SHAPE, upsampling="mirror")
    _, model = fitted(tmp_path, evolution(generations=1, front=UNTRAINED), model=model)
    assert model.genome is not None and model.sample(2).shape == (2, *SHAPE)
    assert json.loads((tmp_path / "front.json").read_text())["members"]


@pytest.mark.parametrize(
    ("names", "reference"),
    [
        (["loss", "macs"], [4.0, 13.0]),
        (["probe_error", "loc"], [1.1, 12.0]),
        (["loss", "fid"], [4.0, 6.0]),
        (["loss", "loc", "probe_error"], [4.0, 12.0, 1.1]),
        (["loss", "parameters", "fid"], [4.0, 10.0, 6.0]),
    ],
)
def test_objectives_are_chosen_by_name(tmp_path, names, reference):
    settings = {"generations": 1, "front": UNTRAINED, "training": {"score_images": None}}
    fitted(tmp_path, evolution(objectives=names, **settings))
    front = json.loads((tmp_path / "front.json").read_text())
    assert front["objectives"] == names and front["reference"] == reference
    transforms = {"macs": np.log10, "parameters": np.log10, "fid": lambda fid: np.log10(1 + fid)}
    keys = {"probe_error": "probe_accuracy"}
    rows = {}
    for line in lines(tmp_path)[1:]:
        if line["phase"] == "search" and line["status"] == "trained":
            values = [transforms.get(n, float)(line["values"][keys.get(n, n)]) for n in names]
            rows[line["key"]] = [1 - v if n == "probe_error" else v for n, v in zip(names, values, strict=True)]
            assert line["objectives"] == pytest.approx(rows[line["key"]], abs=1e-6)
    # The front by brute force.
    table = np.round(list(rows.values()), 6)
    beaten = [any((other <= own).all() and (other < own).any() for other in table) for own in table]
    expected = {key for key, lost in zip(rows, beaten, strict=True) if not lost}
    assert {member["key"] for member in front["members"]} == expected
    if "fid" in names:
        assert all(member["values"]["test_fid"] >= 0 for member in front["members"])


def test_every_member_can_be_trained_from_several_seeds(tmp_path):
    settings: dict[str, Any] = {"generations": 1, "front": {"probes": False, "seeds": 2}}
    fitted(tmp_path, evolution(**settings))
    data = DigitsDataModule()
    data.setup()
    for member in json.loads((tmp_path / "front.json").read_text())["members"]:
        values, genome, losses = member["values"], Genome.from_dict(member["genome"]), []
        for folder in ("finetuned1", "seed1/finetuned1"):
            model = ConvAutoencoder(SHAPE, genome.to_dict(), "mirror")
            model.configure_model()
            model.load_state_dict(read_candidate(tmp_path / "search" / folder, genome))
            images = model.prepare(data.test_set.batch(range(64)))
            with torch.no_grad():
                losses.append(model.eval().loss(images).item())
        assert losses[0] != losses[1] and values["seeds"] == 2
        assert values["test_loss"] == pytest.approx(losses[0], rel=1e-4)
        assert values["test_loss_mean"] == pytest.approx(np.mean(losses), rel=1e-4)
        assert values["test_loss_sd"] == pytest.approx(np.std(losses, ddof=1), rel=1e-2)
    # The journal has all of it: nothing is trained again.
    before = lines(tmp_path)
    fitted(tmp_path, evolution(**settings))
    assert lines(tmp_path) == before


def test_searches_that_share_their_candidates_find_what_they_would_find_alone(tmp_path):
    settings = {"front": UNTRAINED, "population": 4, "generations": 2, "training": {"epochs": 1}}
    trained = []

    class Counting(ConvAutoencoder):
        def on_train_start(self):
            trained.append(self.genome.key)

    def run(name: str, **changes) -> tuple[list[str], list[dict]]:
        trained.clear()
        fitted(
            tmp_path / name, evolution(**settings | changes), model=Counting(SHAPE, upsampling="mirror"), max_epochs=0
        )
        return list(trained), lines(tmp_path / name)

    shared = {"files": {"shared_journal": tmp_path / "shared"}}
    _, alone = run("alone", algorithm="random")
    first, _ = run("first", algorithm="sms_emoa", **shared)
    second, found = run("second", algorithm="random", **shared)
    # All algorithms begin with the same generation, which is trained once.
    assert len(first) > 4 and len(second) <= 4 and not set(first) & set(second)
    assert found == alone
    assert (tmp_path / "second" / "front.csv").read_text() == (tmp_path / "alone" / "front.csv").read_text()
    # Another seed has other results, and a folder of its own.
    other, _ = run("other", algorithm="random", seed=3, **shared)
    assert len(other) > 4 and len(list((tmp_path / "shared").iterdir())) == 2


class Negatives(DigitsDataModule):
    """As many images of the same name, but others."""

    def load(self) -> Any:
        pool, test = super().load()
        return ImageArrays(255 - pool.images, pool.targets), test


def test_results_of_other_images_of_the_same_name_are_not_shared(tmp_path, caplog):
    settings = {"front": UNTRAINED, "population": 2, "generations": 1, "training": {"epochs": 1}}
    shared = tmp_path / "shared"

    def run(name: str, data: DigitsDataModule) -> set[str]:
        fitted(
            tmp_path / name, evolution(**settings, files=SearchFiles(shared_journal=shared)), max_epochs=0, data=data
        )
        return {path.name for path in shared.iterdir()}

    first = run("first", DigitsDataModule(batch_size=64))
    assert len(run("second", Negatives(batch_size=64)) - first) == 1
    with pytest.raises(ConfigError, match="data.content: stored"):
        run("first", Negatives(batch_size=64))

    # As an earlier version left it: nothing says which images the candidates were trained on.
    known = json.loads((shared / next(iter(first)) / "settings.json").read_text())
    del known["data"]["content"], known["data"]["split_seed"]
    shutil.rmtree(shared)
    ResultCache(shared, known).open()
    with caplog.at_level("INFO", logger="lightning.pytorch.utilities.rank_zero"):
        run("third", DigitsDataModule(batch_size=64))
    assert "did not record which images its candidates were trained on; they are trained anew" in caplog.text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"limits": {"loc_max": 0.5}},
            "`limits.loc_max` 0.5 cannot be met: the strongest compression in this space is 0.903",
        ),
        ({"generations": 0}, "`generations` must be an integer of at least 1"),
        ({"limits": {"max_macs": "few"}}, "`limits.max_macs` must be 0 or more, or null, got 'few'"),
        ({"training": {"epochs": 0}}, "`training.epochs` must be an integer of at least 1, got 0"),
        ({"training": {"patience": 0}}, "`training.patience` must be an integer of at least 1"),
        ({"training": {"epoch": 2}}, "`training.epoch` does not exist; `training` has the settings epochs, patience"),
        ({"training": {"score_split": "train"}}, "`training.score_split` must be one of val, test"),
        ({"front": {"members": "all"}}, "`front.members` must be one of archive, population"),
        ({"reference": [1.0]}, "`reference` must have one value an objective"),
        ({"objectives": ["loss", "speed"]}, "got 'speed'"),
        ({"algorithm": "hill"}, "`algorithm` must be one of"),
        ({"parallel": {"backend": "slurm"}}, "`parallel.backend` must be one of local, pool, ray, got 'slurm'"),
        ({"parallel": {"timeout_hours": 0}}, "`parallel.timeout_hours` must be positive"),
        ({"front": {"seeds": 0}}, "`front.seeds` must be an integer of at least 1"),
        (
            {"objectives": ["loss", "fid"]},
            "FID of a candidate needs at least 129 images .* got 64; raise `training.score_images`",
        ),
    ],
)
def test_mistakes_are_named(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        fitted(tmp_path, evolution(**changes))


def test_a_population_larger_than_the_space_is_said(tmp_path, caplog):
    few = {"filters": [4], "kernel": [3], "batch_norm": [0], "activation": ["relu"], "pool": [0, 1], "lr": [1e-3]}
    space = GenomeSpace("robust", 1, few | {"optimizer": ["adam"]})
    with caplog.at_level("INFO"):
        fitted(tmp_path, evolution(space=space, population=4, generations=1))
    assert "`callbacks.architecture_evolution.population` is 4, but the space has 2 genomes" in caplog.text


def test_a_model_without_a_genome_is_refused(tmp_path):
    from lightning_gvae.models import VAE

    with pytest.raises(ConfigError, match="built from a genome; VAE lacks adopt"):
        fitted(tmp_path, evolution(), model=VAE(SHAPE, 2))
    with pytest.raises(ConfigError, match="there is none. Fit with `datamodule=`"):
        trainer = L.Trainer(default_root_dir=tmp_path, callbacks=[evolution()], logger=False, max_epochs=1)
        loader = torch.utils.data.DataLoader(torch.rand(8, *SHAPE))
        trainer.fit(ConvAutoencoder(SHAPE), loader, loader)


def test_a_trial_of_the_code_trains_a_few_candidates_for_two_batches(tmp_path, caplog):
    whole = {"training": {"train_images": None, "score_images": None}, "front": {"finetune_epochs": 9, "seeds": 3}}
    journal = tmp_path / "journal.jsonl"
    search = evolution(population=30, generations=9, files={"journal": journal}, **whole)
    with caplog.at_level("INFO"):
        _, model = fitted(tmp_path, search, fast_dev_run=True)
    candidates = [line for line in lines(tmp_path)[1:] if line["phase"] == "search"]
    assert len(candidates) == 4 and model.genome is not None
    assert not journal.exists()  # that of a real search is left alone
    assert "4 candidates" in caplog.text
