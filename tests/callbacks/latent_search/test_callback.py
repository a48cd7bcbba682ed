"""LatentSearch after a fit: files, pictures, going on, and a model that is left as it was."""

import csv
import json
import random
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor

from lightning_gvae.callbacks.figures import Figures
from lightning_gvae.callbacks.history import History
from lightning_gvae.callbacks.latent_search import run as latent_run
from lightning_gvae.callbacks.latent_search.callback import LatentSearch
from lightning_gvae.callbacks.latent_search.image_tools import ModelTools
from lightning_gvae.callbacks.latent_search.run import SearchOptions, run_latent_search
from lightning_gvae.datamodules.base import DataSpec, ImageArrays
from lightning_gvae.datamodules.batches import Split
from lightning_gvae.datamodules.digits import DigitsDataModule
from lightning_gvae.errors import CheckpointError, ConfigError
from lightning_gvae.evolution.latent.search import HISTORY, GASettings, SearchResult, latent_bounds, search
from lightning_gvae.problems.images import ImageGoal, pixel_mass
from tests.callbacks import FakeVAE, images, quiet_trainer, train_loader, val_loader

SMALL = GASettings(population=8, generations=12)


class Bright:
    """As bright as can be, with at most so much in the first row."""

    def __repr__(self) -> str:
        return "Bright()"

    def objective(self, images: Tensor, /) -> Tensor:
        return -images.flatten(1).mean(1)

    def violations(self, images: Tensor, /) -> Tensor:
        return (images[:, :, 0].flatten(1).mean(1, keepdim=True) - 0.5).clamp(min=0)


def part(count: int, tag: str) -> Split:
    source = ImageArrays(images(count, tag=tag).numpy(), np.arange(count) % 3)
    return Split(f"toy/{tag}", source, np.arange(count))


class Data(L.LightningDataModule):
    """Loaders of the toy VAE with the parts that goals ask for."""

    def __init__(self) -> None:
        super().__init__()
        self.train_set, self.val_set, self.test_set = part(60, "a"), part(10, "v"), part(20, "b")
        self.spec = DataSpec("toy", (1, 8, 8), 3)

    def train_dataloader(self) -> Any:
        return train_loader()

    def val_dataloader(self) -> Any:
        return val_loader()


def states() -> tuple[Any, ...]:
    return random.getstate(), np.random.get_state(legacy=False)["state"]["key"].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002


def options(**changes: Any) -> SearchOptions:
    usual: dict[str, Any] = {"problem": Bright(), "bounds": (-2.0, 2.0), "runs": 5, "settings": SMALL, "seed": 3}
    usual.update(changes)
    return SearchOptions(**usual)


def fitted(folder: Path, *callbacks: L.Callback, model: FakeVAE | None = None, **settings: Any) -> L.Trainer:
    plain: dict[str, Any] = {"max_epochs": 1, "log_every_n_steps": 2, "logger": False, "enable_checkpointing": False}
    trainer = quiet_trainer(folder, *callbacks, **plain | settings)
    trainer.fit(model or FakeVAE(), datamodule=Data(), ckpt_path=settings.get("ckpt_path"))
    return trainer


def same(first: SearchResult, second: SearchResult) -> None:
    for one, other in ((first.final, second.final), (first.ever, second.ever)):
        for name, values in one.tensors().items():
            assert torch.equal(values, other.tensors()[name]), name
    for name in HISTORY:
        assert torch.equal(first.history[name], second.history[name]), name


def test_a_fit_leaves_result_history_pictures_and_metrics(tmp_path: Path) -> None:
    callback = LatentSearch(Bright(), bounds=(-2.0, 2.0), runs=5, settings=SMALL, seed=3)
    logger = CSVLogger(tmp_path / "csv", name="", version="")
    trainer = fitted(tmp_path, History(), Figures(), callback, logger=logger)
    stored = torch.load(tmp_path / "latent_search" / "result.pt", weights_only=True)
    result = SearchResult.from_tensors(stored["result"])
    assert callback.found is not None
    same(result, callback.found.result)
    model: Any = trainer.lightning_module

    # Without a Trainer, by hand: the same.
    low = torch.full((3,), -2.0)
    model.eval()
    by_hand = search(model.decode, Bright(), low, -low, runs=5, settings=SMALL, seed=3)
    assert torch.equal(by_hand.final.latents, result.final.latents)
    torch.testing.assert_close(by_hand.final.objective, result.final.objective)
    assert result.decodes == 13

    with (tmp_path / "latent_search" / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(int(row["run"]), int(row["generation"])) for row in rows] == [(r, g) for r in range(5) for g in range(13)]
    assert [float(row["best_objective"]) for row in rows[:13]] == result.history["best_objective"][:, 0].tolist()

    pictures = {"latent_search_history.png", "latent_search_strip.png", "latent_search_best.png"}
    listed = json.loads((tmp_path / "figures" / "latent_search.index.json").read_text())["figures"]
    assert {item["file"] for item in listed} == pictures
    assert all((tmp_path / "figures" / name).is_file() for name in pictures)
    logged = {name for name in _logged(tmp_path / "csv" / "metrics.csv") if name.startswith("latent_search/")}
    assert logged >= {"latent_search/objective_mean", "latent_search/valid", "latent_search/decodes"}
    assert not list((tmp_path / "latent_search").glob("state*"))


def _logged(path: Path) -> list[str]:
    with path.open() as file:
        return next(csv.reader(file))


def test_the_report_shows_the_search_also_if_it_comes_before_the_other_figures(tmp_path: Path) -> None:
    from lightning_gvae.report.page import write_run_report

    callback = LatentSearch(Bright(), bounds=(-2.0, 2.0), runs=2, settings=SMALL)
    fitted(tmp_path, History(), callback, Figures())
    text = write_run_report(tmp_path, {}).read_text(encoding="utf-8")
    assert "Latent search, generation by generation" in text
    assert "Reconstructions" in text


def test_frames_are_the_best_of_run_0(tmp_path: Path) -> None:
    model = FakeVAE().eval()
    found = run_latent_search(model, None, options(frames=4), tmp_path)
    assert sorted(found.frames) == [0, 1, 5, 12]
    for number, frame in found.frames.items():
        value = found.result.history["best_objective"][number, 0].item()
        assert found.frame_values[number] == pytest.approx(value)
        assert Bright().objective(frame[None]).item() == pytest.approx(value, abs=1e-6)


def test_model_gradients_and_generators_are_as_before(tmp_path: Path) -> None:
    model = FakeVAE()
    model.train()
    model.decoder[1].eval()  # a part that someone froze
    model.elbo_terms(images(4).float() / 255).recon.backward()
    modes = [module.training for module in model.modules()]
    grads = [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    before = states()
    for engine in ("torch", "deap", "pymoo"):
        goal = ImageGoal("class_probability", wanted=1, criteria={"typicality": 2.0})
        run_latent_search(model, Data(), options(problem=goal, bounds="auto", engine=engine), tmp_path)
        assert states() == before
    assert [module.training for module in model.modules()] == modes
    assert all(value.requires_grad for value in model.parameters())
    after = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert all(torch.equal(one, two) for one, two in zip(grads, after, strict=True))
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


def test_decoder_runs_in_evaluation_mode_without_gradients(tmp_path: Path) -> None:
    seen = []

    class Watched(FakeVAE):
        def decode(self, latents: Tensor) -> Tensor:
            seen.append((self.training, torch.is_inference_mode_enabled(), len(latents)))
            return super().decode(latents)

    model = Watched().train()
    found = run_latent_search(model, None, options(), tmp_path)
    assert seen[0] == (False, True, 40)
    assert len(seen) == 13
    assert {ways[:2] for ways in seen} == {(False, True)}
    assert not found.result.final.decoded.is_inference()
    assert model.training


class Killed(RuntimeError):
    pass


def killed_after(monkeypatch: pytest.MonkeyPatch, folder: Path, generation: int, **changes: Any) -> None:
    """Run a search that dies when ``generation`` has been seen."""
    keeper = latent_run._Keeper.__call__

    def dying(self: Any, seen: Any) -> None:
        keeper(self, seen)
        if seen.number == generation:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(latent_run._Keeper, "__call__", dying)
        with pytest.raises(Killed):
            run_latent_search(FakeVAE().eval(), Data(), options(**changes), folder)


def counted_decodes(monkeypatch: pytest.MonkeyPatch, module: Any) -> list[int]:
    """Sizes of the batches that searches decode from now on; the model itself stays as it is, or it were another."""
    decoded: list[int] = []
    usual = module.decoder

    def counting(*arguments: Any) -> Any:
        decode = usual(*arguments)

        def count(latents: Tensor) -> Tensor:
            decoded.append(len(latents))
            return decode(latents)

        return count

    monkeypatch.setattr(module, "decoder", counting)
    return decoded


@pytest.mark.parametrize("earlier", [False, True])
def test_a_killed_search_goes_on_as_if_nothing_had_happened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, earlier: bool
) -> None:
    settings = {"problem": ImageGoal("class_probability", wanted=1), "bounds": "auto", "save_every": 5}
    whole = run_latent_search(FakeVAE().eval(), Data(), options(**settings), tmp_path / "whole")
    killed_after(monkeypatch, tmp_path / "killed", 8, **settings)
    assert (tmp_path / "killed" / "latent_search" / "state.pt").is_file()
    decoded = counted_decodes(monkeypatch, latent_run)
    # A resumed run has a folder of its own and looks into that of the run it continues.
    places = (tmp_path / "next", tmp_path / "killed") if earlier else (tmp_path / "killed", None)
    again = run_latent_search(FakeVAE().eval(), Data(), options(**settings), places[0], earlier=places[1])
    assert len(decoded) == 12 - 5  # from the state after generation 5
    same(again.result, whole.result)
    assert again.result.decodes == whole.result.decodes
    assert again.frames.keys() == whole.frames.keys()
    assert all(torch.equal(frame, whole.frames[number]) for number, frame in again.frames.items())
    assert (places[0] / "latent_search" / "result.pt").is_file()

    # Once finished it is not repeated.
    run_latent_search(FakeVAE().eval(), Data(), options(**settings), places[0])
    assert len(decoded) == 12 - 5


@pytest.mark.parametrize("change", ["seed", "weights", "problem"])
def test_another_search_starts_anew_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    killed_after(monkeypatch, tmp_path, 11)
    model = FakeVAE().eval()
    settings: dict[str, Any] = {}
    if change == "seed":
        settings = {"seed": 4}
    elif change == "problem":
        settings = {"problem": ImageGoal("novelty")}
    else:
        with torch.no_grad():
            next(model.parameters())[0, 0] += 1
    with caplog.at_level("INFO", logger="lightning.pytorch.utilities.rank_zero"):
        found = run_latent_search(model, Data(), options(**settings), tmp_path)
    assert (
        "belongs to a search with other settings, another problem or another model; the search starts anew"
        in caplog.text
    )
    assert found.result.decodes == 13


def test_a_damaged_state_is_named(tmp_path: Path) -> None:
    (tmp_path / "latent_search").mkdir()
    (tmp_path / "latent_search" / "state.pt").write_bytes(b"not a state")
    with pytest.raises(CheckpointError, match=r"state.pt cannot be read .*; delete it, and the search starts anew"):
        run_latent_search(FakeVAE().eval(), None, options(), tmp_path)


def test_a_resumed_run_takes_over_what_its_predecessor_found(tmp_path: Path) -> None:
    from lightning_gvae.callbacks.checkpoints import LastCheckpoint

    first = LatentSearch(Bright(), bounds=(-2.0, 2.0), runs=2, settings=SMALL)
    keeper = LastCheckpoint(dirpath=str(tmp_path / "one" / "checkpoints"), every_n_train_steps=4)
    fitted(tmp_path / "one", first, keeper, enable_checkpointing=True)
    second = LatentSearch(Bright(), bounds=(-2.0, 2.0), runs=2, settings=SMALL)
    keeper = LastCheckpoint(dirpath=str(tmp_path / "two" / "checkpoints"), every_n_train_steps=4)
    trainer = quiet_trainer(tmp_path / "two", second, keeper, max_epochs=1, logger=False)
    trainer.fit(
        FakeVAE(), datamodule=Data(), ckpt_path=tmp_path / "one" / "checkpoints" / "last.ckpt", weights_only=True
    )
    assert second._earlier == tmp_path / "one"
    assert first.found is not None and second.found is not None
    same(first.found.result, second.found.result)
    assert (tmp_path / "two" / "latent_search" / "result.pt").is_file()


def test_automatic_bounds_come_from_the_posteriors_of_training_data(tmp_path: Path) -> None:
    model, data = FakeVAE().eval(), Data()
    found = run_latent_search(model, data, options(bounds="auto"), tmp_path)
    with torch.no_grad():
        mean, log_var = model.encode(images(60, tag="a").float() / 255)
    expected = torch.stack(latent_bounds(mean, (0.5 * log_var).exp()))
    torch.testing.assert_close(found.bounds, expected)
    assert (found.result.ever.latents <= expected[1] + 1e-6).all()


def test_tools_of_a_model(tmp_path: Path) -> None:
    model, data = FakeVAE().eval(), Data()
    tools = ModelTools(model, data, tmp_path, seed=1)
    logits = tools.classifier()(tools.training_images())
    assert logits.shape == (60, 3)
    again = ModelTools(model, data, tmp_path, seed=1).classifier()
    assert torch.equal(again(tools.training_images()), logits)  # from the cache
    torch.testing.assert_close(tools.target_image(7), images(20, tag="b")[7].float() / 255)
    with pytest.raises(ConfigError, match=r"`target` must be a test image of 0\.\.19, got 20"):
        tools.target_image(20)
    # Over the images that define it the squared Mahalanobis distance is one a latent.
    with torch.no_grad():
        distance = tools.typicality()(images(60, tag="a").float() / 255)
    assert distance.mean().item() == pytest.approx(59 / 60, abs=0.03)
    with pytest.raises(ConfigError, match="`realism` needs a model with a discriminator; FakeVAE lacks judge. Take"):
        tools.critic()
    model.judge = lambda images: (images, images.flatten(1).mean(1))  # type: ignore[assignment]
    assert tools.critic()(torch.ones(3, 1, 8, 8)).tolist() == [1, 1, 1]
    data.spec = DataSpec("toy", (1, 8, 8))
    with pytest.raises(ConfigError, match="`class_probability` needs labelled images .* toy has no labels"):
        ModelTools(model, data).classifier()


def test_noise_of_a_learnt_prior_can_be_searched(tmp_path: Path) -> None:
    class Flow(FakeVAE):
        def decode_noise(self, noise: Tensor) -> Tensor:
            return self.decode(2 * noise)

    found = run_latent_search(Flow().eval(), None, options(space="noise"), tmp_path)
    best = found.result.final
    torch.testing.assert_close(best.decoded, Flow().eval().decode(2 * best.latents).detach())


def test_points_instead_of_images_have_a_history_only(tmp_path: Path) -> None:
    from lightning_gvae.callbacks.latent_search.figures import search_pictures
    from lightning_gvae.problems.criteria import make_criterion

    class Points(FakeVAE):
        def decode(self, latents: Tensor) -> Tensor:
            return 25 * latents

    model = Points().eval()
    settings = GASettings(generations=60)
    found = run_latent_search(model, None, options(problem=make_criterion("c1", 3), settings=settings), tmp_path)
    assert [picture.file for picture in search_pictures(found)] == ["latent_search_history.png"]
    assert found.result.final.valid.all()


def test_a_digit_is_found_that_the_classifier_calls_so(tmp_path: Path) -> None:
    data = DigitsDataModule()
    data.prepare_data()
    data.setup()

    class Linear(FakeVAE):
        """Principal components: a decoder that needs no training."""

        def __init__(self) -> None:
            super().__init__((1, 8, 8), 12)
            flat = data.train_set.batch(np.arange(len(data.train_set)))[0].flatten(1).float() / 255
            self.mean = flat.mean(0)
            _, scales, components = torch.linalg.svd(flat - self.mean, full_matrices=False)
            self.axes = components[:12] * scales[:12, None] / len(flat) ** 0.5

        def decode(self, latents: Tensor) -> Tensor:
            return (self.mean + latents @ self.axes).clamp(0, 1).unflatten(1, (1, 8, 8))

    goal = ImageGoal("class_probability", wanted=3, criteria={"pixel_mass": [0.25, 0.3]})
    settings = GASettings(population=20, generations=40, mutation=0.5)
    found = run_latent_search(Linear(), data, options(problem=goal, settings=settings), tmp_path)
    assert found.result.final.valid.all()
    chances = (-found.result.history["best_objective"]).exp()
    assert (chances[0] < 0.5).all()
    assert (chances[-1] > 0.8).all()
    assert ((pixel_mass(found.result.final.decoded) - 0.275).abs() <= 0.0251).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"runs": 0}, "`runs` must be an integer of at least 1"),
        ({"frames": 1}, "`frames` must be an integer of at least 2"),
        ({"frames": 101}, "`frames` must be at most 100"),
        ({"save_every": 0}, "`save_every` must be an integer of at least 1"),
        ({"space": "pixel"}, "`space` must be latent or noise"),
        ({"bounds": "wide"}, "`bounds` must be auto or two numbers, got 'wide'"),
        ({"bounds": "auto", "space": "noise"}, "looks at codes of data, not at noise"),
        ({"bounds": (2.0, -2.0)}, r"`bounds` must be auto or \[lower, upper\] with lower < upper, got \[2.0, -2.0\]"),
        ({"bounds": (1.0,)}, "lower < upper"),
        ({"problem": object()}, "`problem` must have methods `objective` and `violations`, object lacks `objective`"),
    ],
)
def test_options_out_of_range(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        options(**changes)


def test_a_model_that_cannot_decode_is_refused_before_training(tmp_path: Path) -> None:
    class Classifier(L.LightningModule):
        def training_step(self, batch: Any, batch_idx: int) -> None: ...

        def configure_optimizers(self) -> None: ...

    trainer = quiet_trainer(tmp_path, LatentSearch(Bright(), bounds=(-1.0, 1.0)), max_epochs=1, logger=False)
    with pytest.raises(ConfigError, match="Classifier lacks decode, latent_dim"):
        trainer.fit(Classifier(), train_loader())


def test_data_are_asked_for_before_training(tmp_path: Path) -> None:
    trainer = quiet_trainer(tmp_path, LatentSearch(Bright()), max_epochs=1, logger=False)
    with pytest.raises(ConfigError, match="LatentSearch with `bounds=auto` .* there is none. Fit with `datamodule=`"):
        trainer.fit(FakeVAE(), train_loader(), val_loader())


def test_a_model_without_encoder_needs_bounds(tmp_path: Path) -> None:
    model = FakeVAE().eval()
    model.encode = None  # type: ignore[assignment]
    with pytest.raises(ConfigError, match="`bounds=auto` needs .*; FakeVAE lacks encode. Give two numbers"):
        run_latent_search(model, Data(), options(bounds="auto"), tmp_path)


class Frozen(FakeVAE):
    """Training leaves it as it is, so that it is the same however many processes train."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder = torch.nn.Sequential(self.decoder[0])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


@pytest.mark.slow
def test_two_processes_share_the_runs_and_find_the_same(tmp_path: Path) -> None:
    goal = ImageGoal("class_probability", wanted=1)
    arguments: dict[str, Any] = {"problem": goal, "runs": 5, "settings": SMALL, "seed": 3, "save_every": 4}
    single = LatentSearch(**arguments)
    fitted(tmp_path / "single", single, model=Frozen())
    both = LatentSearch(**arguments)
    fitted(tmp_path / "both", both, model=Frozen(), strategy="ddp_spawn", devices=2)
    assert single.found is not None
    stored = torch.load(tmp_path / "both" / "latent_search" / "result.pt", weights_only=True)
    result = SearchResult.from_tensors(stored["result"])
    assert result.runs.tolist() == list(range(5))
    assert result.decodes == 2 * 13
    assert not list((tmp_path / "both" / "latent_search").glob("state*"))
    for one, other in ((result.final, single.found.result.final), (result.ever, single.found.result.ever)):
        torch.testing.assert_close(one.latents, other.latents)
        torch.testing.assert_close(one.objective, other.objective)
    assert stored["frames"].keys() == single.found.frames.keys()


def test_a_trial_of_the_code_searches_for_two_generations(tmp_path: Path) -> None:
    callback = LatentSearch(Bright(), bounds=(-2.0, 2.0), runs=5, settings=SMALL, seed=3)
    fitted(tmp_path, callback, fast_dev_run=True)
    assert callback.found is not None and SMALL.generations > 2
    assert len(callback.found.result.runs) == 2
    assert sorted(callback.found.frames) == [0, 1, 2]
