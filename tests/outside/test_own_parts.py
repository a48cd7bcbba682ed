"""Parts of somebody else's package, as docs/own_parts.md says: each from Python and from Hydra, then eval.py."""

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import lightning as L
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from torch.utils.data import DataLoader, IterableDataset

import lightning_gvae
from lightning_gvae.callbacks.beta_evolution import BetaEvolution
from lightning_gvae.callbacks.latent_search import LatentSearch
from lightning_gvae.callbacks.scores import Scores
from lightning_gvae.cli.evaluate import main as eval_main
from lightning_gvae.cli.inspect import main as inspect_main
from lightning_gvae.cli.train import main as train_main
from lightning_gvae.datamodules.dataset import DatasetDataModule
from lightning_gvae.datamodules.own import as_datamodule, loaders_datamodule
from lightning_gvae.errors import CheckpointError, ConfigError, DataError
from lightning_gvae.evaluation.suite import Suite
from lightning_gvae.evolution.beta import BetaSearch
from lightning_gvae.evolution.latent import GASettings
from lightning_gvae.losses.elbo import build_likelihood
from lightning_gvae.models import EVAE, VAE
from lightning_gvae.problems.images import ImageGoal

HERE = Path(__file__).parent
SHAPE = (1, 12, 12)
FAST = [
    *("trainer=cpu", "trainer.max_steps=6", "trainer.val_check_interval=3", "trainer.log_every_n_steps=2"),
    "callbacks.figures.n_samples=4",
]
NETWORK = (
    "model.network={encoder:{_target_:pebbles.networks.Encoder,image_shape:${model.image_shape},latent_dim:3},"
    "decoder:{_target_:pebbles.networks.Decoder,image_shape:${model.image_shape},latent_dim:3}}"
)
OWN = [
    *("data=own", "data._target_=pebbles.data.PebblesDataModule", "+data.count=64"),
    *("latent_dim=3", NETWORK, "model.likelihood={_target_:pebbles.parts.LaplaceLikelihood,scale:0.2}"),
    *("metrics=[nll,brightness]", "+evaluation.own.brightness={_target_:pebbles.parts.Brightness,count:16}"),
    "+callbacks.tally._target_=pebbles.parts.Tally",
    *("+callbacks/latent_search=default", "callbacks.latent_search.runs=2"),
    *("callbacks.latent_search.settings.population=4", "callbacks.latent_search.settings.generations=2"),
    "callbacks.latent_search.problem.objective={_target_:pebbles.parts.Darkness}",
    "callbacks.latent_search.problem.wanted=null",
    "+callbacks.latent_search.problem.criteria.visible={_target_:pebbles.parts.Visible,least:0.2}",
]


@pytest.fixture
def pebbles(monkeypatch):
    """The package as a user has it: importable, and allowed."""
    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.setenv("GVAE_ALLOW_TARGETS", "pebbles")
    names = ("data", "networks", "parts")
    return SimpleNamespace(**{name: importlib.import_module(f"pebbles.{name}") for name in names})


def run(main, folder, *overrides, monkeypatch):
    """A command in this process; what it ends with."""
    folder.mkdir(exist_ok=True)
    monkeypatch.chdir(folder)
    monkeypatch.setattr("sys.argv", ["gvae", *overrides])
    monkeypatch.setenv("GVAE_SHORT_ERRORS", "1")
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    GlobalHydra.instance().clear()
    main()


def refused(main, folder, *overrides, monkeypatch):
    """The one paragraph that a command ends with."""
    with pytest.raises(SystemExit) as caught:
        run(main, folder, *overrides, monkeypatch=monkeypatch)
    text = str(caught.value).strip()
    assert "\n\n" not in text
    assert "Traceback" not in text
    return " ".join(text.split())


def trainer(folder, *callbacks, steps=8):
    return L.Trainer(
        max_steps=steps,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=list(callbacks),
    )


def test_everything_from_hydra_and_evaluated_from_the_checkpoint(pebbles, tmp_path, monkeypatch):
    run(train_main, tmp_path, *FAST, *OWN, monkeypatch=monkeypatch)
    (folder,) = tmp_path.glob("logs/train/runs/*")
    facts = json.loads((folder / "run.json").read_text())
    assert facts["status"] == "finished"
    assert facts["data"] == "PebblesDataModule"
    assert facts["examples"] == {"train": 64, "val": 32, "test": 32}
    scores = json.loads((folder / "scores.json").read_text())
    names = set(scores["scores"])
    assert {"score/nll", "score/brightness/samples", "score/brightness/real"} <= names
    assert "tally/images" in (folder / "metrics.csv").read_text().splitlines()[0]
    assert (folder / "latent_search" / "result.pt").is_file()
    checkpoint = f"ckpt_path={folder / 'checkpoints' / 'last.ckpt'}"
    run(eval_main, tmp_path, checkpoint, "trainer=cpu", "metrics=[nll]", monkeypatch=monkeypatch)
    (evaluated,) = tmp_path.glob("logs/eval/runs/*")
    again = json.loads((evaluated / "scores.json").read_text())
    assert again["scores"]["score/nll"] == pytest.approx(scores["scores"]["score/nll"], rel=1e-5)
    loaded = lightning_gvae.load(folder)
    assert type(loaded.likelihood).__name__ == "LaplaceLikelihood"
    exported = lightning_gvae.load(loaded.save_pretrained(tmp_path / "exported"))
    generators = [torch.Generator().manual_seed(0) for _ in range(2)]
    assert torch.equal(loaded.sample(2, generators[0]), exported.sample(2, generators[1]))
    monkeypatch.delenv("GVAE_ALLOW_TARGETS")
    with pytest.raises(CheckpointError, match="GVAE_ALLOW_TARGETS="):
        lightning_gvae.load(folder)
    text = refused(eval_main, tmp_path, checkpoint, "trainer=cpu", monkeypatch=monkeypatch)
    assert "pebbles" in text
    assert "GVAE_ALLOW_TARGETS=" in text


def test_everything_from_python(pebbles, tmp_path):
    data = as_datamodule(pebbles.data.PebblesDataModule())
    assert len(data.test_set) == 32  # asked for before Lightning sets anything up
    networks = (pebbles.networks.Encoder(SHAPE, 3), pebbles.networks.Decoder(SHAPE, 3))
    model = EVAE(SHAPE, 3, network=networks, likelihood=pebbles.parts.LaplaceLikelihood())
    evolution = BetaEvolution(BetaSearch(target=3), interval=4, warmup=2, lookahead_steps=1, probe_size=16)
    goal = ImageGoal(pebbles.parts.darkness, criteria={"visible": pebbles.parts.Visible()})
    search = LatentSearch(goal, runs=2, settings=GASettings(population=4, generations=2), cache_dir=tmp_path)
    tally = pebbles.parts.Tally()
    fit = trainer(tmp_path, evolution, search, tally)
    fit.fit(model, datamodule=data)
    assert tally.images == 8 * 16
    assert data.inner.calls == ["prepare_data", "setup fit", "setup test"]  # once each, though asked for before
    fit.test(model, datamodule=data, verbose=False)
    assert data.inner.calls[3:] == ["prepare_data"]
    found = Suite(own={"brightness": pebbles.parts.Brightness(32)}).run(["brightness"], model, data)
    images = torch.cat([pebbles.data.Pebbles(32, 12, seed=2).images])
    assert found["score/brightness/real"] == pytest.approx(float(images.mean()), abs=1 / 255)
    assert found.facts["score/brightness/real"] == {"seed": 0}
    assert torch.load(tmp_path / "latent_search" / "result.pt", weights_only=True)["result"]


def test_an_own_likelihood_is_a_density_like_the_others(pebbles, tmp_path):
    likelihood = pebbles.parts.LaplaceLikelihood(0.2)
    model = VAE(SHAPE, 3, likelihood=likelihood)
    assert model.likelihood is likelihood
    output = torch.full((1, 1, 1, 1), 0.3)
    pixels = torch.linspace(-6, 7, 20_001)
    density = torch.exp(-likelihood(output.expand(len(pixels), 1, 1, 1), pixels[:, None, None, None]))
    assert float(torch.trapezoid(density, pixels)) == pytest.approx(1, abs=1e-3)
    assert model._identity()["likelihood"] == "LaplaceLikelihood"
    with pytest.raises(ConfigError, match="own likelihood, given as an object.*model.likelihood="):
        model.save_pretrained(tmp_path / "out")
    fit = trainer(tmp_path, steps=1)
    fit.fit(model, DataLoader(pebbles.data.Pebbles(32), 16), DataLoader(pebbles.data.Pebbles(16), 16))
    fit.save_checkpoint(tmp_path / "x.ckpt")
    with pytest.raises(CheckpointError, match=r"likelihood=LaplaceLikelihood\(...\)"):
        lightning_gvae.load(tmp_path / "x.ckpt")
    again = lightning_gvae.load(tmp_path / "x.ckpt", likelihood=pebbles.parts.LaplaceLikelihood(0.2))
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())


def test_loaders_in_python_train_and_are_scored(pebbles, tmp_path):
    loaders = [DataLoader(pebbles.data.Pebbles(count, seed=count), 16) for count in (64, 32, 48)]
    model = VAE(SHAPE, 3)
    trainer(tmp_path).fit(model, *loaders[:2])
    data = loaders_datamodule(*loaders, name="pebbles")
    assert data.spec.image_shape == SHAPE
    assert {name: len(getattr(data, f"{name}_set")) for name in ("train", "val", "test")} == {
        "train": 64,
        "val": 32,
        "test": 48,
    }
    images, labels = data.test_set.batch([5, 2])
    expected = loaders[2].dataset
    assert torch.equal(images, (expected.images[[5, 2]] * 255).round().to(torch.uint8))
    assert labels.tolist() == expected.labels[[5, 2]].tolist()
    assert Suite(posteriors=32).run(["aggregate_kl"], model, data)


def test_a_data_set_is_cut_into_parts(pebbles, tmp_path, monkeypatch):
    data = as_datamodule(pebbles.data.Pebbles(50))
    assert isinstance(data, DatasetDataModule)
    data.setup()
    assert data.spec.num_classes == 4
    assert data.spec.class_names == pebbles.data.Pebbles.classes
    assert data.part_sizes == {"train": 40, "val": 5, "test": 5}
    held = torch.cat([getattr(data, f"{name}_set").batch(range(n))[0] for name, n in data.part_sizes.items()])
    expected = (pebbles.data.Pebbles(50).images * 255).round().to(torch.uint8)
    assert {bytes(image.numpy().tobytes()) for image in held} == {bytes(image.numpy().tobytes()) for image in expected}
    given = DatasetDataModule(pebbles.data.Pebbles(30), pebbles.data.Pebbles(20, seed=3), val_size=6)
    given.setup()
    assert given.part_sizes == {"train": 24, "val": 6, "test": 20}
    options = ["data=dataset", "data.dataset._target_=pebbles.data.make_pebbles", "+data.dataset.count=40"]
    options.append("data.batch_size=8")
    run(inspect_main, tmp_path, *options, monkeypatch=monkeypatch)
    (folder,) = tmp_path.glob("logs/inspect/runs/*")
    assert json.loads((folder / "data.json").read_text())["sizes"] == {"train": 32, "val": 4, "test": 4}


def test_a_file_of_ones_own_holds_the_networks(pebbles, tmp_path, monkeypatch):
    page = (HERE.parents[1] / "docs" / "own_parts.md").read_text()
    text = page.split("`--config-dir=my_conf model=pebbles`:")[1].split("```yaml\n")[1].split("```")[0]
    (tmp_path / "my_conf" / "model").mkdir(parents=True)
    (tmp_path / "my_conf" / "model" / "pebbles.yaml").write_text(text)
    data = ["data=own", "data._target_=pebbles.data.PebblesDataModule", "model=pebbles", "callbacks=none", "test=false"]
    run(train_main, tmp_path, "--config-dir=my_conf", *data, *FAST[:3], "latent_dim=4", monkeypatch=monkeypatch)
    (checkpoint,) = tmp_path.glob("logs/train/runs/*/run.json")
    assert json.loads(checkpoint.read_text())["status"] == "finished"
    config = (checkpoint.parent / ".hydra" / "config.yaml").read_text()
    assert "pebbles.networks.Decoder" in config
    assert "likelihood: bernoulli" in config  # of the shipped file


def test_an_own_data_module_is_inspected(pebbles, tmp_path, monkeypatch):
    run(inspect_main, tmp_path, "data=own", "data._target_=pebbles.data.PebblesDataModule", monkeypatch=monkeypatch)
    (folder,) = tmp_path.glob("logs/inspect/runs/*")
    assert json.loads((folder / "data.json").read_text())["sizes"] == {"train": 96, "val": 32, "test": 32}


def test_the_local_configuration_allows_a_package_and_nothing_else_does(pebbles, tmp_path, monkeypatch):
    monkeypatch.setenv("GVAE_ALLOW_TARGETS", "")  # set, so that what is added is taken back
    own = tmp_path / "conf"
    (own / "local").mkdir(parents=True)
    (own / "local" / "default.yaml").write_text("# @package _global_\nallow_targets: [pebbles]\n")
    options = ["data=own", "data._target_=pebbles.data.Pebbles", "+data.count=40"]
    run(inspect_main, tmp_path, f"--config-dir={own}", *options, monkeypatch=monkeypatch)
    assert list(tmp_path.glob("logs/inspect/runs/*/data.json"))
    monkeypatch.setenv("GVAE_ALLOW_TARGETS", "")
    text = refused(inspect_main, tmp_path, *options, "+allow_targets=[pebbles]", monkeypatch=monkeypatch)
    assert "`allow_targets` is taken from conf/local/default.yaml alone" in text
    (own / "data").mkdir()
    (own / "data" / "mine.yaml").write_text(
        "# @package _global_\nallow_targets: [pebbles]\ndata: {_target_: pebbles.data.Pebbles}\n"
    )
    (own / "local" / "default.yaml").unlink()
    text = refused(inspect_main, tmp_path, f"--config-dir={own}", "data=mine", monkeypatch=monkeypatch)
    assert "alone" in text


BAD = {
    "outside": (["data=own", "data._target_=cobbles.data.Cobbles"], "got 'cobbles.data.Cobbles'.*GVAE_ALLOW_TARGETS="),
    "no such class": (["data=own", "data._target_=pebbles.data.Cobbles"], "no 'Cobbles' in pebbles.data"),
    "no such module": (["data=own", "data._target_=pebbles.rocks.Rocks"], "does not exist.*spelling"),
    "no data": (["data=own", "data._target_=pebbles.parts.Visible"], "LightningDataModule, or a data set.*got Visible"),
    "no class": (["data=own", "data._target_=pebbles.data"], "must name a class or function"),
    "leads out": (["data=own", "data._target_=pebbles.data.DataLoader"], "leads out of the allowed package, to torch"),
    "no file": (["data=arrays", "data.path=nope.npy"], "nope.npy was not found; give the path of an .npy or .npz"),
    "no name": (["data=own"], "`data._target_` must be given"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_name_is_one_paragraph(case, pebbles, tmp_path, monkeypatch):
    options, expected = BAD[case]
    text = refused(inspect_main, tmp_path, *options, monkeypatch=monkeypatch)
    assert re.search(expected, text), text


@pytest.mark.parametrize("listed", ["os", "importlib.", "pebbles, subprocess", "peb-bles", "builtins"])
def test_pythons_own_library_cannot_be_allowed(listed, monkeypatch):
    from lightning_gvae.loading.targets import check_targets

    monkeypatch.setenv("GVAE_ALLOW_TARGETS", listed)
    with pytest.raises(ConfigError, match="GVAE_ALLOW_TARGETS (lists|must list)"):
        check_targets({"_target_": "lightning_gvae.models.vae.VAE"})
    monkeypatch.setenv("GVAE_ALLOW_TARGETS", "pebble")  # part by part: not a beginning of `pebbles`
    with pytest.raises(ConfigError, match="got 'pebbles.data.Pebbles'"):
        check_targets({"_target_": "pebbles.data.Pebbles"})


class Endless(IterableDataset):
    def __iter__(self):
        return iter([(torch.zeros(1, 4, 4), 0)])


class Odd(L.LightningDataModule):
    def __init__(self, dataset):
        super().__init__()
        self.dataset = dataset

    def train_dataloader(self):
        return DataLoader(self.dataset, 2)

    val_dataloader = test_dataloader = train_dataloader


def test_data_that_do_not_fit_are_refused_with_what_to_do():
    endless = as_datamodule(Odd(Endless()))
    assert endless.spec.image_shape == (1, 4, 4)  # may be trained on
    with pytest.raises(DataError, match="single images of Odd/train are needed, which Endless does not give"):
        _ = endless.train_set
    with pytest.raises(DataError, match="batches of dict with the keys image"):
        _ = as_datamodule(Odd([{"image": torch.zeros(1, 4, 4)}])).spec
    with pytest.raises(DataError, match=r"shape \(1, 4, 4\), but images \(B, C, H, W\)"):
        _ = as_datamodule(Odd([torch.zeros(4, 4)])).spec
    with pytest.raises(DataError, match="found 0 to 3; leave out a normalisation"):
        as_datamodule(Odd([torch.tensor([[[0.0, 3.0]]])])).train_set.batch([0])
    with pytest.raises(ConfigError, match="single DataLoader"):
        as_datamodule(DataLoader([1]))
    with pytest.raises(ConfigError, match="got an empty one"):
        DatasetDataModule([])
    with pytest.raises(DataError, match="item 1 of own is an image of shape"):
        DatasetDataModule([torch.zeros(1, 4, 4), torch.zeros(1, 4, 5)]).setup()
    with pytest.raises(ConfigError, match="`likelihood` must be one of bernoulli"):
        build_likelihood(torch.nn.Identity())
    with pytest.raises(ConfigError, match="or a function of images, got 7"):
        ImageGoal(7)
    with pytest.raises(ConfigError, match="may not have the name of a score"):
        Suite(own={"fid": lambda subject: 0.0}).check_names(["nll"])
    with pytest.raises(ConfigError, match="own.x` must be something that can be called"):
        Suite(own={"x": 3})


def test_a_data_set_without_the_named_column_is_one_paragraph(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets", reason="needs the extra datasets")
    datasets.disable_progress_bars()
    datasets.Dataset.from_dict({"picture": [1, 2]}).to_parquet(str(tmp_path / "x.parquet"))
    options = ["data=huggingface", f"data.path={tmp_path / 'x.parquet'}", f"data.cache_dir={tmp_path / 'cache'}"]
    text = refused(inspect_main, tmp_path, *options, monkeypatch=monkeypatch)
    assert "has no column 'image'; its columns are picture: set data.image_key" in text


def test_a_callback_says_how_a_plain_data_module_becomes_one_it_can_use(pebbles, tmp_path):
    scores = Scores(["aggregate_kl"], Suite(posteriors=16))
    with pytest.raises(ConfigError, match=r"PebblesDataModule lacks spec.*own.as_datamodule` makes one of any"):
        trainer(tmp_path, scores).fit(VAE(SHAPE, 3), datamodule=pebbles.data.PebblesDataModule())


def test_a_run_on_own_data_goes_on(pebbles, tmp_path, monkeypatch):
    options = [
        "data=own",
        "data._target_=pebbles.data.PebblesDataModule",
        "callbacks.figures=null",
        "test=false",
        *FAST[:3],
    ]
    run(train_main, tmp_path, *options, monkeypatch=monkeypatch)
    run(train_main, tmp_path, *options, "trainer.max_steps=9", "ckpt_path=last", monkeypatch=monkeypatch)
    records = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("logs/train/runs/*/run.json"))]
    assert [record["optimizer_steps"] for record in records] == [6, 9]


def test_the_command_line_from_an_empty_folder(tmp_path):
    """As a user types it: the package lies somewhere, PYTHONPATH says where."""
    root = str(HERE.parents[1])
    environment = os.environ | {"PYTHONPATH": f"{root}{os.pathsep}{HERE}", "GVAE_ALLOW_TARGETS": "pebbles"}
    code = "from lightning_gvae.cli.train import main; main()"
    options = ["data=own", "data._target_=pebbles.data.PebblesDataModule", "model=evae", "test=false", *FAST]
    done = subprocess.run(
        [sys.executable, "-c", code, *options],
        check=False,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(tmp_path.glob("logs/train/runs/*/checkpoints/last.ckpt"))
