import base64
import csv
import json
import random
import re
from pathlib import Path
from typing import Any
from unittest.mock import PropertyMock, patch

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger, WandbLogger
from PIL import Image
from torch import Tensor
from torch.distributions import Normal, kl_divergence
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from lightning_gvae.callbacks.figures import Figures
from lightning_gvae.callbacks.history import History
from lightning_gvae.errors import ConfigError
from lightning_gvae.plots.images import pixels
from lightning_gvae.plots.pictures import Views
from lightning_gvae.training.batches import fetch, loader_size, validation_loader
from tests.callbacks import FakeVAE, images, quiet_trainer, train_loader, val_loader

FILES = {
    *("reconstructions.png", "samples.png", "traversals.png", "traversals.gif"),
    *("learning_curves.png", "rate_distortion.png", "beta_and_kl.png", "kl_per_dimension.png"),
}


class Stream(IterableDataset):
    def __iter__(self) -> Any:
        return iter(images(8))


class OwnSet:
    """A data set like those of the package: whole batches by position."""

    def __init__(self) -> None:
        self.images, self.asked = images(10), np.empty(0)

    def __len__(self) -> int:
        return 10

    def batch(self, positions: np.ndarray) -> tuple[Tensor, Tensor]:
        self.asked = positions
        return self.images[positions], torch.as_tensor(positions)


class OwnLoader:
    batch_size = 4

    def __init__(self) -> None:
        self.dataset = OwnSet()


def trainer(folder: Path, *callbacks: L.Callback, **kwargs: Any) -> L.Trainer:
    settings: dict[str, Any] = {"max_epochs": 2, "log_every_n_steps": 2, "logger": False, "enable_checkpointing": False}
    return quiet_trainer(folder, *callbacks, **settings | kwargs)


def fitted(folder: Path, figures: Figures, shape: tuple[int, int, int] = (1, 8, 8), **kwargs: Any) -> Any:
    run, model = trainer(folder, History(), figures, **kwargs), FakeVAE(shape)
    run.fit(model, train_loader(shape=shape), val_loader(shape=shape))
    return run, model


# fetch, loader_size, validation_loader


def test_a_package_loader_gives_a_whole_batch() -> None:
    loader = OwnLoader()
    found = fetch(loader, [7, 2])
    assert torch.equal(found[0], loader.dataset.images[[7, 2]])
    assert isinstance(loader.dataset.asked, np.ndarray) and loader.dataset.asked.dtype == np.int64
    assert loader_size(loader) == 10


@pytest.mark.parametrize("collate", [None, lambda items: {"stacked": torch.stack([image for image, _ in items])}])
def test_a_torch_loader_makes_the_batch_it_would_make(collate: Any) -> None:
    dataset = TensorDataset(images(10), torch.arange(10))
    loader = DataLoader(dataset, batch_size=4, shuffle=True, collate_fn=collate)
    ordered = DataLoader(dataset, batch_size=4, collate_fn=collate)
    found, expected = fetch(loader, np.array([4, 5, 6, 7])), list(ordered)[1]
    pairs = zip(found.values(), expected.values(), strict=True) if collate else zip(found, expected, strict=True)
    assert all(torch.equal(one, two) for one, two in pairs)
    assert loader_size(loader) == 10


@pytest.mark.parametrize("positions", [[], [-1], [0, 10], [[0, 1]]])
def test_positions_must_exist(positions: Any) -> None:
    with pytest.raises(ConfigError, match=r"`positions` must be a row of at least one number in 0\.\.9, got"):
        fetch(OwnLoader(), positions)


@pytest.mark.parametrize("loader", [DataLoader(Stream()), object()])
def test_a_loader_without_positions_is_refused(loader: Any) -> None:
    for call in (loader_size, lambda loader: fetch(loader, [0])):
        with pytest.raises(
            ConfigError, match="images are chosen by position, which (Stream|object) does not allow; use"
        ):
            call(loader)


def test_a_loader_without_a_batch_size_is_refused() -> None:
    loader = DataLoader(TensorDataset(images(10)), batch_size=None)
    with pytest.raises(ConfigError, match="`batch_size=None`"):
        fetch(loader, [0])


def test_the_first_of_several_validation_loaders_is_taken(tmp_path: Path) -> None:
    class Two(FakeVAE):
        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
            super().validation_step(batch, batch_idx)

    run, loaders = trainer(tmp_path), [val_loader(), val_loader(20)]
    run.fit(Two(), train_loader(), loaders)
    assert validation_loader(run).dataset is loaders[0].dataset


# Figures


def test_a_fit_leaves_figures_and_a_report(tmp_path: Path) -> None:
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "config.yaml").write_text("model: fake <&>\n")
    run, _ = fitted(tmp_path, Figures(n_images=5, n_samples=9), logger=CSVLogger(tmp_path / "csv", name="", version=""))
    folder = tmp_path / "figures"
    assert {path.name for path in folder.iterdir()} == FILES | {"index.json"}
    with Image.open(folder / "traversals.gif") as image:
        assert (getattr(image, "n_frames", 1), image.info["loop"]) == (40, 0)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    for name in FILES:
        data = base64.b64encode((folder / name).read_bytes()).decode()
        assert f"base64,{data}" in text, name
    assert not re.search("https?://", text)
    assert "FakeVAE was trained on TensorDataset for 16 optimiser steps." in text
    assert "model: fake &lt;&amp;&gt;" in text
    index = json.loads((folder / "index.json").read_text())
    assert {item["file"] for item in index["figures"]} == FILES
    with (tmp_path / "csv" / "metrics.csv").open() as file:
        last = [row["val/elbo"] for row in csv.DictReader(file) if row["val/elbo"]][-1]
    assert f"{float(last):.4g}".replace("-", "−") in text
    assert float(run.callback_metrics["val/elbo"]) == pytest.approx(float(last))


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 8), (1, 64, 64)])
def test_what_is_shown_is_what_the_model_does(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    figures = Figures(n_images=4, n_samples=6, traversal_range=3.0, max_traversal_dims=2, seed=5)
    run, model = fitted(tmp_path, figures, shape, max_epochs=1)
    views = figures._look(run, model)
    model.eval()
    with torch.no_grad():
        everything = model.prepare(images(40, shape, "val"))
        mean, log_var = model.encode(everything)
        standard = Normal(torch.zeros_like(mean), torch.ones_like(mean))
        kl = kl_divergence(Normal(mean, (0.5 * log_var).exp()), standard).mean(0).numpy()
        order = np.argsort(-kl)[:2]
        assert views.dims == order.tolist()
        assert np.allclose(views.kl, kl[order], rtol=1e-4)

        pool = {image.numpy().tobytes(): index for index, image in enumerate(everything)}
        chosen = [pool[image.tobytes()] for image in views.originals]
        assert len(set(chosen)) == 4 and chosen != [0, 1, 2, 3]
        assert np.allclose(views.reconstructions, model.reconstruct(everything[chosen]), atol=1e-6)
        assert views.samples.shape == (6, *shape) and views.frames.shape == (2, 21, *shape)
        assert np.allclose(views.values, np.linspace(-3, 3, 21))
        for row, dim in enumerate(views.dims):
            for column in (0, 10, 20):
                latent = mean[chosen[:1]].clone()
                latent[0, dim] = float(views.values[column])
                assert np.allclose(views.frames[row, column], model.decode(latent)[0], atol=1e-6)

    assert_same(figures._look(run, model), views)
    other = Figures(n_images=4, n_samples=6, seed=6)._look(run, model)
    assert not np.array_equal(other.originals, views.originals)
    assert not np.array_equal(other.samples, views.samples)


def assert_same(one: Views, two: Views) -> None:
    assert all(np.array_equal(value, vars(two)[name]) for name, value in vars(one).items())


def test_only_as_much_is_shown_as_there_is(tmp_path: Path) -> None:
    figures = Figures(n_images=100, max_traversal_dims=50)
    run, model = fitted(tmp_path, figures, max_epochs=1)
    views = figures._look(run, model)
    assert len(views.originals) == 40 and len(views.dims) == 3


def random_states() -> list[Any]:
    return [random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()]  # type: ignore[index]  # noqa: NPY002


def test_looking_changes_nothing(tmp_path: Path) -> None:
    figures = Figures()
    run, model = fitted(tmp_path, figures, max_epochs=1)
    model.train()
    model.encoder[1].eval()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    modes, before = [module.training for module in model.modules()], random_states()
    with_gradients, decode = [], model.decode

    def watched(latents: Tensor) -> Tensor:
        with_gradients.append(torch.is_grad_enabled())
        return decode(latents)

    with patch.object(model, "decode", watched):
        figures.on_fit_end(run, model)
    assert with_gradients and not any(with_gradients)
    assert random_states() == before
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(torch.equal(parameter.grad, torch.ones_like(parameter)) for parameter in model.parameters())
    assert torch.is_grad_enabled()


def test_modes_are_restored_when_drawing_fails(tmp_path: Path) -> None:
    figures = Figures()
    run, model = fitted(tmp_path, figures, max_epochs=1)
    model.train()
    with patch.object(model, "decode", side_effect=RuntimeError("no")), pytest.raises(RuntimeError, match="no"):
        figures.on_fit_end(run, model)
    assert all(module.training for module in model.modules()) and torch.is_grad_enabled()


def test_a_run_with_figures_trains_like_one_without(tmp_path: Path) -> None:
    torch.manual_seed(0)
    _, with_figures = fitted(tmp_path / "a", Figures(every_n_validations=1))
    torch.manual_seed(0)
    without = FakeVAE()
    trainer(tmp_path / "b").fit(without, train_loader(), val_loader())
    wanted = without.state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in with_figures.state_dict().items())


class Drawings(Figures):
    """Notes the steps at which something is published."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.published: list[tuple[int, int]] = []

    def _publish(self, trainer: L.Trainer, views: Any, pictures: Any) -> None:
        self.published.append((trainer.global_step, len(pictures)))
        super()._publish(trainer, views, pictures)


@pytest.mark.parametrize(("every", "expected"), [(None, []), (1, [8, 16, 24]), (2, [16]), (4, [])])
def test_images_are_drawn_after_every_nth_validation(tmp_path: Path, every: int | None, expected: list[int]) -> None:
    figures = Drawings(every_n_validations=every)
    fitted(tmp_path, figures, max_epochs=3)
    assert figures.published == [(step, 4) for step in expected] + [(24, 8)]


def test_a_resumed_run_draws_after_the_same_validations(tmp_path: Path) -> None:
    keeper = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1, save_on_train_epoch_end=False)
    first, second = Drawings(every_n_validations=2), Drawings(every_n_validations=2)
    run = trainer(tmp_path, History(), first, keeper, max_epochs=1, enable_checkpointing=True)
    run.fit(FakeVAE(), train_loader(), val_loader())
    keeper = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1, save_on_train_epoch_end=False)
    run = trainer(tmp_path, History(), second, keeper, max_epochs=3, enable_checkpointing=True)
    run.fit(FakeVAE(), train_loader(), val_loader(), ckpt_path=tmp_path / "epoch=0.ckpt", weights_only=True)
    assert [step for step, count in second.published if count == 4] == [16]


def test_a_run_that_never_validated_is_drawn_too(tmp_path: Path) -> None:
    _, _ = fitted(tmp_path, Figures(), max_epochs=1, check_val_every_n_epoch=5, num_sanity_val_steps=0)
    assert (tmp_path / "figures" / "reconstructions.png").is_file()


def test_only_rank_zero_draws(tmp_path: Path) -> None:
    figures = Drawings(every_n_validations=1)
    run = trainer(tmp_path, History(), figures)
    with patch.object(L.Trainer, "is_global_zero", new_callable=PropertyMock, return_value=False):
        run.fit(FakeVAE(), train_loader(), val_loader())
    assert figures.published == [] and not (tmp_path / "figures").exists()


def test_tensorboard_gets_every_figure(tmp_path: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    fitted(tmp_path, Figures(), logger=TensorBoardLogger(tmp_path / "tb", name="", version=""))
    found = events.EventAccumulator(str(tmp_path / "tb"), size_guidance={"images": 0})
    found.Reload()
    tags = {f"figures/{Path(name).stem}" for name in FILES if name.endswith(".png")}
    assert set(found.Tags()["images"]) == tags
    (event,) = found.Images("figures/traversals")
    with Image.open(tmp_path / "figures" / "traversals.png") as image:
        assert (event.width, event.height) == image.size


class Recorder(WandbLogger):
    """Takes what would go to the server."""

    def __init__(self, folder: Path) -> None:
        super().__init__(save_dir=folder, offline=True)
        self.sent: dict[str, Any] = {}

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        self.sent |= {name: (step, value) for name, value in metrics.items()}

    @property
    def experiment(self) -> Any:
        return None


def test_wandb_gets_figures_the_animation_and_tables(tmp_path: Path) -> None:
    logger = Recorder(tmp_path)
    run, model = fitted(tmp_path, Figures(n_images=3), logger=logger)
    for name in FILES - {"traversals.gif"}:
        step, (media,) = logger.sent[f"figures/{Path(name).stem}"]
        with Image.open(tmp_path / "figures" / name) as image:
            assert (step, media._width, media._height) == (16, *image.size)
    step, (media,) = logger.sent["figures/traversals_in_motion"]
    assert (step, media._format) == (16, "gif")
    _, table = logger.sent["final_metrics"]
    values = {name: (value, unit) for name, value, unit in table.data}
    assert values["val/elbo"] == (float(run.callback_metrics["val/elbo"]), "nats")
    _, table = logger.sent["images"]
    assert table.columns == ["index", "original", "reconstruction", "sample"] and len(table.data) == 3
    views = Figures(n_images=3)._look(run, model)
    assert np.array_equal(np.asarray(table.data[1][1].image), pixels(views.originals)[1])


def test_a_folder_that_cannot_be_written_is_found_before_training(tmp_path: Path) -> None:
    (tmp_path / "figures").write_text("in the way")
    with pytest.raises(ConfigError, match="`default_root_dir` must be a folder that can be written"):
        fitted(tmp_path, Figures())


def test_a_foreign_model_is_refused(tmp_path: Path) -> None:
    class Classifier(L.LightningModule):
        def training_step(self, batch: Any, batch_idx: int) -> None: ...

        def validation_step(self, batch: Any, batch_idx: int) -> None: ...

        def encode(self, images: Tensor) -> Tensor:
            return images

        def configure_optimizers(self) -> None: ...

    with pytest.raises(
        ConfigError, match="Classifier lacks decode, has_posterior, .*, prepare, sample. Remove the callback"
    ):
        trainer(tmp_path, History(), Figures()).fit(Classifier(), train_loader(), val_loader())


def test_a_missing_history_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"add lightning_gvae.callbacks.history.History\(\)"):
        trainer(tmp_path, Figures()).fit(FakeVAE(), train_loader(), val_loader())


def test_a_run_without_validation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="this run does not validate"):
        fitted(tmp_path, Figures(), limit_val_batches=0)


def test_a_stream_is_refused_before_training(tmp_path: Path) -> None:
    model = FakeVAE()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ConfigError, match="images are chosen by position, which Stream does not allow"):
        trainer(tmp_path, History(), Figures(), num_sanity_val_steps=0).fit(model, train_loader(), DataLoader(Stream()))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_images": 0}, "`n_images` must be a whole number of at least 1, got 0"),
        ({"n_samples": 2.5}, "`n_samples` must be a whole number of at least 1, got 2.5"),
        ({"max_traversal_dims": True}, "`max_traversal_dims` must be a whole number of at least 1, got True"),
        ({"every_n_validations": 0}, "`every_n_validations` must be a whole number of at least 1, got 0"),
        ({"traversal_range": -1.0}, "`traversal_range` must be a positive number, got -1.0"),
        ({"traversal_range": float("nan")}, "`traversal_range` must be a positive number, got nan"),
    ],
)
def test_arguments_out_of_range(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Figures(**arguments)


@pytest.mark.slow
def test_two_ranks_draw_once_with_the_history_of_both(tmp_path: Path) -> None:
    keeper = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1, save_on_train_epoch_end=False)
    callbacks = (History(), Figures(every_n_validations=1), keeper)
    run = trainer(tmp_path, *callbacks, strategy="ddp_spawn", devices=2, enable_checkpointing=True)
    run.fit(FakeVAE(), train_loader(), val_loader())
    assert {path.name for path in (tmp_path / "figures").iterdir()} == FILES | {"index.json"}
    assert "for 8 optimiser steps." in (tmp_path / "report.html").read_text(encoding="utf-8")
    state = torch.load(tmp_path / "epoch=1.ckpt", weights_only=True)["callbacks"]
    assert state["Figures"] == {"validations": 2}
    assert state["History"]["rows"]["train/kl"]["steps"].tolist() == [1, 3, 5, 7]
