"""LatentArchive after a fit: files, pictures, going on, and a model that is left as it was."""

import csv
import json
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor

from lightning_gvae.callbacks.history import History
from lightning_gvae.callbacks.latent_archive import run as latent_archive_run
from lightning_gvae.callbacks.latent_archive.callback import LatentArchive
from lightning_gvae.callbacks.latent_archive.figures import archive_metrics, archive_pictures, heat_board, mosaic_choice
from lightning_gvae.callbacks.latent_archive.run import ArchiveOptions, run_latent_archive
from lightning_gvae.datamodules.digits import DigitsDataModule
from lightning_gvae.errors import CheckpointError, ConfigError
from lightning_gvae.evolution.archive.result import ArchiveResult
from lightning_gvae.evolution.archive.settings import ArchiveSettings
from lightning_gvae.problems.archive_goal import ArchiveGoal
from lightning_gvae.report.page import write_run_report
from tests.callbacks import FakeVAE, quiet_trainer
from tests.callbacks.latent_search.test_callback import Data, counted_decodes

SMALL = ArchiveSettings(shape=(6, 5), iterations=12, batch_size=20, initial=40, iso_sigma=0.3)


def left(images: Tensor) -> Tensor:
    """Brightness of the left half."""
    return images[..., :4].flatten(1).mean(1)


GOAL = ArchiveGoal(
    {"brightness": [0.45, 0.55], "left": {"measure": left, "range": [0.45, 0.55]}}, realism={"typical": [0.0, 0.999]}
)


def bold() -> FakeVAE:
    """A toy VAE whose images differ visibly."""
    model = FakeVAE()
    with torch.no_grad():
        model.get_parameter("decoder.1.weight").mul_(30)
    return model


def options(**changes: Any) -> ArchiveOptions:
    usual: dict[str, Any] = {"goal": GOAL, "bounds": (-3.0, 3.0), "settings": SMALL, "save_every": 5, "seed": 3}
    return ArchiveOptions(**usual | changes)


def same(first: ArchiveResult, second: ArchiveResult) -> None:
    one, other = first.arrays(), second.arrays()
    for name, values in one.items():
        assert np.array_equal(values, other[name]), name


def digits() -> DigitsDataModule:
    data = DigitsDataModule()
    data.prepare_data()
    data.setup()
    return data


def test_a_fit_leaves_archive_history_pictures_and_metrics(tmp_path: Path) -> None:
    callback = LatentArchive(GOAL, settings=SMALL, bounds=(-3.0, 3.0), seed=3)
    logger = CSVLogger(tmp_path / "csv", name="", version="")
    trainer = quiet_trainer(tmp_path, History(), callback, max_epochs=1, log_every_n_steps=2, logger=logger)
    trainer.fit(bold(), datamodule=Data())
    assert callback.found is not None
    found = callback.found.result
    with np.load(tmp_path / "latent_archive" / "archive.npz", allow_pickle=False) as stored:
        same(found, ArchiveResult.from_arrays(stored))
    with (tmp_path / "latent_archive" / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["generation"]) for row in rows] == list(range(13))
    assert [float(row["cells"]) for row in rows] == found.history["cells"].tolist()
    assert found.coverage() > 0.2

    listed = json.loads((tmp_path / "figures" / "latent_archive.index.json").read_text())["figures"]
    files = {"archive_heat_map.png", "archive_mosaic.png", "archive_history.png"}
    assert {item["file"] for item in listed} == files
    assert all((tmp_path / "figures" / name).is_file() for name in files)
    text = write_run_report(tmp_path, {}).read_text(encoding="utf-8")
    assert "Elites of the archive" in text
    assert "of 30 cells have one" in text
    with (tmp_path / "csv" / "metrics.csv").open() as file:
        logged = set(next(csv.reader(file)))
    assert logged >= {"latent_archive/coverage", "latent_archive/coverage_realistic", "latent_archive/outside"}
    assert not (tmp_path / "latent_archive" / "state.npz").exists()


def test_a_search_that_was_killed_goes_on_bit_for_bit_also_in_a_new_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = bold().eval()
    straight = run_latent_archive(model, Data(), options(), tmp_path / "straight")

    class Killed(Exception):
        pass

    usual = latent_archive_run._saver

    def deadly(*arguments: Any) -> Any:
        save = usual(*arguments)

        def stop(search: Any) -> None:
            save(search)
            if search.generation == 8:
                raise Killed

        return stop

    monkeypatch.setattr(latent_archive_run, "_saver", deadly)
    with pytest.raises(Killed):
        run_latent_archive(model, Data(), options(), tmp_path / "killed")
    monkeypatch.undo()
    assert (tmp_path / "killed" / "latent_archive" / "state.npz").is_file()

    decoded = counted_decodes(monkeypatch, latent_archive_run)
    resumed = run_latent_archive(model, Data(), options(), tmp_path / "new", earlier=tmp_path / "killed")
    assert decoded == [20] * 7  # generations 6 to 12
    same(straight.result, resumed.result)

    again = run_latent_archive(model, Data(), options(), tmp_path / "new")
    assert decoded == [20] * 7  # finished: read
    same(straight.result, again.result)
    other = run_latent_archive(model, Data(), options(seed=4), tmp_path / "new")
    assert not np.array_equal(other.result.raw.latents, straight.result.raw.latents)


def test_another_model_starts_anew_and_a_damaged_state_is_refused(tmp_path: Path) -> None:
    model = bold().eval()
    first = run_latent_archive(model, Data(), options(), tmp_path)
    with torch.no_grad():
        next(iter(model.decoder.parameters())).mul_(1.5)
    second = run_latent_archive(model, Data(), options(), tmp_path)
    assert not np.array_equal(first.result.raw.objective, second.result.raw.objective)
    (tmp_path / "latent_archive" / "state.npz").write_bytes(b"no archive")
    with pytest.raises(CheckpointError, match="delete it, and the search starts anew"):
        run_latent_archive(model, Data(), options(seed=9), tmp_path)


def test_the_model_and_the_global_generators_are_left_as_they_were(tmp_path: Path) -> None:
    model = bold().train()
    states = (random.getstate(), np.random.get_state(legacy=False)["state"]["key"].tolist(), torch.get_rng_state())  # noqa: NPY002
    found = run_latent_archive(model, Data(), options(), tmp_path)
    archive_pictures(found)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert states[0] == random.getstate()
    assert states[1] == np.random.get_state(legacy=False)["state"]["key"].tolist()  # noqa: NPY002
    assert torch.equal(states[2], torch.get_rng_state())


def test_elites_decode_to_what_their_descriptors_say(tmp_path: Path) -> None:
    found = run_latent_archive(bold(), Data(), options(), tmp_path)
    elites = found.result.raw
    images = found.decode(torch.from_numpy(elites.latents))
    np.testing.assert_allclose(images.flatten(1).mean(1).numpy(), elites.descriptors[:, 0], rtol=1e-5)
    np.testing.assert_allclose(left(images).numpy(), elites.descriptors[:, 1], rtol=1e-5)


@pytest.mark.parametrize("algorithm", ["map_elites", "cvt_map_elites", "cma_me", "cma_mae"])
def test_real_images_with_bounds_and_ranges_from_the_data(tmp_path: Path, algorithm: Any) -> None:
    goal = ArchiveGoal({"slant": "auto", "lightness": [0.5, 0.6]}, "confidence", realism={"typical": [0.0, 0.99]})
    settings = ArchiveSettings(algorithm, (8, 8), 40, iterations=4, batch_size=40, initial=60)
    found = run_latent_archive(
        bold(),
        digits(),
        options(goal=goal, settings=settings, bounds="auto", nan="drop"),
        tmp_path,
    )
    result = found.result
    assert result.judges_realism
    assert set(archive_metrics(result)) >= {"latent_archive/coverage_realistic", "latent_archive/unrealistic"}
    assert len(archive_pictures(found)) == 3


def test_the_heat_map_and_the_mosaic_show_the_right_cells(tmp_path: Path) -> None:
    result = run_latent_archive(bold(), Data(), options(), tmp_path).result
    board = heat_board(result, realistic=False)
    assert board.shape == (5, 6)  # rows: the second descriptor
    for cell, objective in zip(result.raw.cell, result.raw.objective, strict=True):
        column, row = divmod(int(cell), 5)
        assert board[row, column] == objective
    assert np.isfinite(board).sum() == len(result.raw)
    chosen = mosaic_choice(result)
    assert chosen.shape == (5, 6)
    elites = result.realistic
    assert sorted(chosen[chosen >= 0].tolist()) == list(range(len(elites)))  # as many blocks as cells
    coarse = mosaic_choice(result, 2)
    for row in range(2):
        for column in range(2):
            place = elites.descriptors[coarse[row, column]]
            if coarse[row, column] >= 0:
                assert 0.45 + 0.05 * column <= place[0] <= 0.5 + 0.05 * column
                assert 0.45 + 0.05 * row <= place[1] <= 0.5 + 0.05 * row


@pytest.mark.parametrize("count", [1, 3])
def test_one_and_three_descriptors_are_drawn(tmp_path: Path, count: int) -> None:
    descriptors = dict(
        list({"brightness": [0.45, 0.55], "mirror_symmetry": [0.5, 1], "width": [0.1, 0.5]}.items())[:count]
    )
    settings = ArchiveSettings(shape=(4,) * count, iterations=3, batch_size=20, initial=30)
    found = run_latent_archive(bold(), Data(), options(goal=ArchiveGoal(descriptors), settings=settings), tmp_path)
    assert len(archive_pictures(found)) == 3
    assert heat_board(found.result, False).shape == ((1, 4) if count == 1 else (4, 4))


def test_what_cannot_work_is_refused_before_the_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(callback: LatentArchive, model: Any = None, data: Any = None) -> Any:
        trainer = quiet_trainer(tmp_path, callback, max_epochs=1, logger=False, enable_checkpointing=False)
        model = model or bold()
        if data is None:
            return trainer.fit(model, Data().train_dataloader(), Data().val_dataloader())
        return trainer.fit(model, datamodule=data)

    with pytest.raises(ConfigError, match="needs a data module .*; there is none"):
        refused(LatentArchive(GOAL, settings=SMALL))
    blind = bold()
    del blind.latent_dim
    with pytest.raises(ConfigError, match="FakeVAE lacks latent_dim"):
        refused(LatentArchive(GOAL, settings=SMALL), blind, Data())
    monkeypatch.setitem(sys.modules, "ribs", None)
    with pytest.raises(ConfigError, match=r"lightning-gvae\[qd\]"):
        refused(LatentArchive(GOAL, settings=SMALL), data=Data())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bounds": (1.0, -1.0)}, "`bounds` must be auto or"),
        ({"bounds": "wide"}, "`bounds` must be auto"),
        ({"space": "noise", "bounds": "auto"}, "looks at codes of data"),
        ({"save_every": 0}, "`save_every`"),
        ({"goal": object()}, "object lacks floor, judge, names, ranges"),
    ],
)
def test_options_out_of_range_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        options(**changes)


def test_a_trial_of_the_code_searches_for_two_iterations(tmp_path: Path) -> None:
    callback = LatentArchive(GOAL, settings=SMALL, bounds=(-3.0, 3.0), seed=3)
    quiet_trainer(tmp_path, callback, fast_dev_run=True).fit(bold(), datamodule=Data())
    assert callback.found is not None
    assert len(callback.found.result.history["cells"]) == 3
