"""Points as a data module: scaled batches, kept between runs, resumable, refused when damaged."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_gvae.datamodules import criterion
from lightning_gvae.datamodules.criterion import CriterionDataModule
from lightning_gvae.errors import ConfigError, DataError
from lightning_gvae.models.solve_vae import SolveVAE
from lightning_gvae.problems.criteria import make_criterion
from lightning_gvae.problems.recipes import GeneratorSettings

SMALL = {"n": 120, "val_size": 30, "test_size": 20, "batch_size": 32}


def module(folder, problem="c2", dims=3, **kwargs):
    return CriterionDataModule(problem, dims, cache_dir=folder, **SMALL | kwargs)


def ready(*args, **kwargs):
    data = module(*args, **kwargs)
    data.prepare_data()
    data.setup()
    return data


def test_batches_hold_valid_points_scaled_to_the_range_of_the_training_part(tmp_path):
    data = ready(tmp_path)
    assert (len(data.train_set), len(data.val_set), len(data.test_set)) == (120, 30, 20)
    assert data.spec.image_shape == (3,)
    points, targets = data.train_set.batch(range(120))
    assert points.dtype == torch.float32 and points.shape == (120, 3)
    torch.testing.assert_close(points.amin(0), -torch.ones(3), rtol=0, atol=1e-6)
    torch.testing.assert_close(points.amax(0), torch.ones(3), rtol=0, atol=1e-6)
    low, high = data.data_range
    raw = low + (points + 1) / 2 * (high - low)
    assert make_criterion("c2", 3).violations(raw).max() < 1e-3
    assert torch.equal(targets, torch.zeros(120, dtype=torch.int64))
    batch = next(iter(data.train_dataloader()))
    assert batch[0].shape == (32, 3)
    assert len(data.train_dataloader()) == 3


def test_points_are_made_once(tmp_path, monkeypatch):
    first = ready(tmp_path)
    monkeypatch.setattr(criterion, "generate", lambda *args: pytest.fail("generated again"))
    again = ready(tmp_path)
    assert torch.equal(first.train_set.batch(range(50))[0], again.train_set.batch(range(50))[0])
    assert again.folder == first.folder


def test_other_settings_make_other_points(tmp_path):
    folders = {
        module(tmp_path, **settings).folder
        for settings in (
            {},
            {"seed": 1},
            {"n": 130},
            {"dims": 4},
            {"generator": {"method": "ga"}},
            {"paper": True},
            {"generator": {"population": 30}},
        )
    }
    assert len(folders) == 7


def test_a_killed_generation_goes_on(tmp_path, monkeypatch):
    straight = ready(tmp_path / "straight", "c1", 2, n=600)
    data = module(tmp_path / "killed", "c1", 2, n=600)
    draw, calls = data.sources[0].draw, []

    def dying(seed, chunk):
        calls.append(chunk)
        if calls == [0, 1]:
            raise KeyboardInterrupt
        return draw(seed, chunk)

    object.__setattr__(data.sources[0], "draw", dying)
    with pytest.raises(KeyboardInterrupt):
        data.prepare_data()
    assert len(list(data.folder.glob("parts-0/*.npy"))) == 1
    data.prepare_data()
    data.setup()
    assert calls == [0, 1, 1, 2]
    assert torch.equal(data.train_set.batch(range(600))[0], straight.train_set.batch(range(600))[0])
    assert [path.name for path in data.folder.iterdir()] == ["points-0.npy"]


def test_c4_as_published_has_points_of_each_criterion(tmp_path):
    data = ready(tmp_path, "c4", None, order=[1, 2], paper=True, generator={"population": 20, "generations": 100})
    assert len(data.train_set) + len(data.val_set) + len(data.test_set) == 2 * (120 + 25)
    source = data.train_set.source
    violations = make_criterion("c4", order=[1, 2]).violations(source.points)
    for number in (0, 1):
        own = violations[source.targets == number]
        assert (own[:, number] == 0).all()
        assert (own[:, 1 - number] > 0).any()


def test_points_can_come_from_the_latents_of_a_trained_model(tmp_path):
    model = SolveVAE((2,), candidates=1).eval().requires_grad_(False)
    model.low.fill_(-50)
    model.high.fill_(50)
    settings = {"method": "latent_ga", "population": 20, "generations": 50}
    data = ready(tmp_path, "c5", None, generator=settings | {"decode": model})
    source = data.train_set.source
    assert (make_criterion("c5").violations(source.points) == 0).all()
    other = SolveVAE((2,), candidates=1, seed=1).eval().requires_grad_(False)
    assert module(tmp_path, "c5", None, generator=settings | {"decode": other}).folder != data.folder
    again = SolveVAE((2,), candidates=1).eval().requires_grad_(False)
    again.load_state_dict(model.state_dict())
    assert module(tmp_path, "c5", None, generator=settings | {"decode": again}).folder == data.folder
    with pytest.raises(ConfigError, match="`generator.decode` must have an attribute `latent_dim`"):
        module(tmp_path, "c5", None, generator=GeneratorSettings("latent_ga", decode=torch.tanh))


class Own:
    """A decoder that is linear but for a small region."""

    latent_dim = 2

    def __init__(self, bump, generator=None):
        self.bump, self.generator = bump, generator

    def __call__(self, latents):
        return 10 * latents + self.bump * torch.exp(-100 * (latents - torch.tensor([1.0, -1.0])).square().sum(1, True))


def test_decoders_that_agree_almost_everywhere_have_points_of_their_own(tmp_path, capsys):
    def folder(decode):
        return module(tmp_path, "c5", None, generator={"method": "latent_ga", "decode": decode}).folder

    assert folder(Own(1.0)) == folder(Own(1.0)) != folder(Own(2.0))
    assert folder(Own(1.0, iter([1]))) != folder(Own(1.0, iter([1])))
    assert "made anew at every start, because their decoder cannot be identified: decode.generator: an iterator." in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize("damage", ["truncated", "other shape", "pickle"])
def test_a_damaged_file_is_named_and_not_executed(damage, tmp_path):
    data = ready(tmp_path)
    file = data.folder / "points-0.npy"
    if damage == "truncated":
        file.write_bytes(file.read_bytes()[:-50])
    elif damage == "other shape":
        np.save(file, np.zeros((4, 7), np.float32))
    else:
        np.save(file, np.array([Path("x")], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"points-0.npy .*delete it, and the points are made again"):
        module(tmp_path).setup()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        DataError, match="the points of c2-3d cannot be kept in .*choose another folder with data.cache_dir"
    ):
        module(tmp_path / "file").prepare_data()


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"problem": "c9"}, "`name` must be one of c1, c2, c3, c4, c5, got 'c9'"),
        ({"dims": 99}, "`dims` of c2 must be an integer from 2 to 10, got 99"),
        ({"n": 0}, r"`n` must be an integer of at least 1 \(points\), got 0"),
        ({"val_size": 0}, "`val_size` must be an integer of at least 1"),
        (
            {"generator": {"method": "direct"}, "problem": "c1"},
            "`generator.method=direct` can construct points of c2 only",
        ),
    ],
)
def test_mistakes_are_named(kwargs, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        module(tmp_path, **kwargs)
