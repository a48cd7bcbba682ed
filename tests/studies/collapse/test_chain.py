"""Chains of image models on real 8x8 digits: what is kept, what a stop costs, and that variety is lost."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from safetensors import safe_open

from lightning_gvae.collapse.policies import Policy
from lightning_gvae.datamodules.digits import DigitsDataModule
from lightning_gvae.errors import ConfigError, DataError
from lightning_gvae.models import GAN, VAE, VAEGAN
from lightning_gvae.studies.collapse.chain import (
    ChainSettings,
    build_model,
    draw_samples,
    generation_folder,
    read_samples,
    run_chain,
)
from lightning_gvae.studies.collapse.metrics import Judge, duplicate_share, nearest_distance, pixel_variance

SETTINGS = {"generations": 3, "train_images": 300, "samples": 200, "steps": 30, "batch_size": 32, "score_images": 300}
MODEL = partial(VAE, latent_dim=6, network="mlp")
KEPT = ["circumstances.json", "metrics.json", "model.safetensors", "samples.npz"]


@pytest.fixture(scope="module")
def digits():
    module = DigitsDataModule()
    module.setup()
    return module


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def judge(digits, cache):
    train = digits.train_set.batch(np.arange(300))[0].numpy()
    return Judge(digits, 300, train, cache)


def run(place, digits, cache, policy="replace", factory=MODEL, tick=lambda: None, seed=0, **changes):
    policy = policy if isinstance(policy, Policy) else Policy(policy)
    return run_chain(place, "vae", factory, digits, policy, seed, ChainSettings(**SETTINGS | changes), cache, tick)


def everything(place):
    """Metrics as text, samples and weights of all generations."""
    found = []
    for folder in sorted((place / "generations").iterdir()):
        with safe_open(folder / "model.safetensors", "np") as file:
            weights = {name: file.get_tensor(name).tobytes() for name in file.keys()}  # noqa: SIM118
        found.append(((folder / "metrics.json").read_text(), read_samples(folder).tobytes(), weights))
    return found


class Stopped(Exception):
    pass


@pytest.mark.parametrize("warm_start", [False, True])
def test_a_stopped_chain_repeats_at_most_a_generation_and_ends_the_same(tmp_path, digits, cache, warm_start):
    straight = run(tmp_path / "straight", digits, cache, "accumulate_subsample", warm_start=warm_start)
    done = iter((False, True))

    def stop():
        if next(done):
            raise Stopped

    with pytest.raises(Stopped):
        run(tmp_path / "stopped", digits, cache, "accumulate_subsample", tick=stop, warm_start=warm_start)
    # A stop while generation 1 was being written leaves its samples, and not what says that it is finished.
    (generation_folder(tmp_path / "stopped", 1) / "metrics.json").unlink()
    first = generation_folder(tmp_path / "stopped", 0) / "samples.npz"
    before = first.stat().st_mtime_ns
    again = run(tmp_path / "stopped", digits, cache, "accumulate_subsample", warm_start=warm_start)
    assert again == straight and everything(tmp_path / "stopped") == everything(tmp_path / "straight")
    assert first.stat().st_mtime_ns == before
    weights = [weights for *_, weights in everything(tmp_path / "straight")]
    assert weights[0] != weights[1]


def test_a_finished_chain_is_only_read(tmp_path, digits, cache):
    first = run(tmp_path, digits, cache, generations=2)

    def refuse(**_):
        raise AssertionError("a model was built")

    assert run(tmp_path, digits, cache, factory=refuse, generations=2) == first


def test_every_generation_is_kept_and_measured(tmp_path, digits, cache):
    rows = run(tmp_path, digits, cache, Policy("fresh", 0.25), sampling_bias=0.5)
    assert [(row["generation"], row["real_share"], row["train_images"]) for row in rows] == [
        *((0, 1.0, 300), (1, 0.25, 200), (2, 0.25, 200))
    ]
    wanted = {"fid", "kid", "is", "precision", "recall", "classes", "class_entropy", "class_tv", "class_confidence"}
    wanted |= {"pixel_variance", "feature_trace", "log_feature_trace", "duplicates", "nearest"}
    wanted |= {"elbo", "recon", "kl", "active_units", "aggregate_variance"}
    assert all(wanted <= set(row) and np.isfinite([row[name] for name in wanted]).all() for row in rows)
    assert all(row["elbo"] == pytest.approx(-row["recon"] - row["kl"]) for row in rows)
    for generation, row in enumerate(rows):
        folder = generation_folder(tmp_path, generation)
        assert sorted(file.name for file in folder.iterdir()) == KEPT
        assert json.loads((folder / "metrics.json").read_text()) == row
        with np.load(folder / "samples.npz") as file:
            assert file["images"].shape == (200, 1, 8, 8) and file["images"].dtype == np.uint8
            assert np.bincount(file["labels"], minlength=10).max() <= 200
        # The kept weights are those that the samples came from.
        with safe_open(folder / "model.safetensors", "pt") as file:
            assert json.loads(file.metadata()["hyper_parameters"])["latent_dim"] == 6
            model = build_model(MODEL, (1, 8, 8), 0, generation)
            model.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
        np.testing.assert_array_equal(draw_samples(model, 200, 0, generation, 0.5), read_samples(folder))


@pytest.mark.parametrize("factory", [partial(GAN, latent_dim=6), partial(VAEGAN, latent_dim=6)])
def test_adversarial_models_make_chains_too(tmp_path, digits, cache, factory):
    rows = run(tmp_path, digits, cache, "augment", factory, generations=2, steps=5)
    assert rows[1]["real_share"] == pytest.approx(300 / 500)
    assert all(np.isfinite(row["fid"]) for row in rows)
    assert ("elbo" in rows[0]) == (factory.func is VAEGAN)


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_variety_is_lost_under_replacement_and_less_under_accumulation(tmp_path, digits, cache, seed):
    last, first = {}, set()
    for policy in ("replace", "accumulate"):
        rows = run(tmp_path / policy, digits, cache, policy, seed=seed, steps=150, samples=300)
        traces = [row["log_feature_trace"] for row in rows]
        assert traces[0] > traces[1] > traces[2] or policy == "accumulate"
        last[policy] = traces[2] - traces[0]
        first.add(traces[0])
    assert len(first) == 1, "generation 0 is the same whatever comes after"
    assert last["replace"] < -0.5 and last["replace"] < last["accumulate"] - 0.3


def test_no_global_generator_moves(tmp_path, digits, cache):
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    run(tmp_path, digits, cache, generations=2, steps=3)
    assert torch.equal(torch.get_rng_state(), torch_state)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002


def test_models_of_other_generations_and_seeds_are_others():
    def weights(seed, generation):
        model = build_model(MODEL, (1, 8, 8), seed, generation)
        return torch.cat([p.flatten() for p in model.parameters()]), model.seed

    (one, a), (same, b), (later, c), (other, d) = (weights(*key) for key in ((0, 1), (0, 1), (0, 2), (1, 1)))
    assert torch.equal(one, same) and a == b
    assert not torch.equal(one, later) and not torch.equal(one, other) and len({a, c, d}) == 3


def test_a_smaller_factor_on_the_noise_makes_samples_alike():
    model = build_model(MODEL, (1, 8, 8), 0, 0)
    spread = [pixel_variance(draw_samples(model, 300, 0, 0, bias)) for bias in (0.3, 1.0, 2.0)]
    assert spread[0] < spread[1] < spread[2]


def test_real_images_are_at_no_distance_from_themselves(judge, digits):
    scores, features = judge.scores(judge.test_images)
    assert scores["fid"] == pytest.approx(0, abs=1e-3)
    assert scores["precision"] == scores["recall"] == 1
    assert scores["classes"] == 10 and scores["class_entropy"] == pytest.approx(np.log(10), abs=0.02)
    assert scores["kid"] == pytest.approx(0, abs=0.01) and scores["nearest"] > 0
    # The floor: other real images, which no model can be expected to pass.
    others, _ = judge.scores(digits.train_set.batch(np.arange(300, 600))[0].numpy())
    assert 0 < others["fid"] < 2 and others["recall"] > 0.9
    np.testing.assert_array_equal(judge.labels(features), features.logits.argmax(1))


def test_copies_and_distances_by_hand(judge):
    twice = np.concatenate([judge.test_images[:50]] * 2)
    assert duplicate_share(twice) == 1
    assert duplicate_share(twice[:51]) == pytest.approx(2 / 51)
    features = judge.scores(judge.test_images[:200])[1]
    assert nearest_distance(features, features) == pytest.approx(0, abs=1e-6)
    images = np.array([[[[0, 255]]], [[[255, 255]]]], dtype=np.uint8)
    assert pixel_variance(images) == pytest.approx(0.5)  # of 0 and 1, divided by one less


def test_one_and_the_same_image_has_a_score(judge):
    """The end of a collapse: no variance at all."""
    scores, _ = judge.scores(np.repeat(judge.test_images[:1], 200, axis=0))
    assert np.isfinite(list(scores.values())).all()
    assert scores["duplicates"] == 1 and scores["classes"] == 1
    assert scores["pixel_variance"] == pytest.approx(0, abs=1e-20)
    assert scores["log_feature_trace"] == pytest.approx(np.log(1e-12))
    assert scores["recall"] < 0.01  # it covers itself


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"generations": 1},
            "`generations` must be an integer of at least 2 .fits, the first one to real images., got 1",
        ),
        ({"train_images": 0}, "`train_images` must be an integer of at least 1"),
        ({"samples": 0}, "`samples` must be an integer of at least 1 .images a generation., got 0"),
        ({"steps": 2.5}, "`steps` must be an integer of at least 1"),
        ({"sampling_bias": 0}, "`sampling_bias` must be a positive factor on the latents, got 0"),
    ],
)
def test_bad_settings_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        ChainSettings(**SETTINGS | change)


@pytest.mark.parametrize(
    ("change", "policy", "message"),
    [
        (
            {"samples": 128},
            "replace",
            "must be at least 129: the covariance of 128 features needs as many images, got 128",
        ),
        ({"score_images": 50}, "replace", "must be at least 129"),
        ({"train_images": 1200}, "replace", "need 1200 real images, digits/train has 1197; lower `train_images`"),
        ({"samples": 600}, Policy("fresh", 1.0), "3 generations under fresh-1 need 1500 real images"),
    ],
)
def test_what_does_not_fit_the_data_is_said_before_anything_is_trained(
    tmp_path, digits, cache, change, policy, message
):
    with pytest.raises(ConfigError, match=message):
        run(tmp_path, digits, cache, policy, **change)
    assert not list(tmp_path.glob("generations/*/*"))


def test_damaged_samples_are_named(tmp_path, digits, cache):
    run(tmp_path, digits, cache, generations=2, steps=2)
    (generation_folder(tmp_path, 0) / "samples.npz").write_bytes(b"PK\x03\x04 half a file")
    (generation_folder(tmp_path, 1) / "metrics.json").unlink()
    with pytest.raises(DataError, match=r"000/samples.npz cannot be read .* delete the folder .*000 and run the study"):
        run(tmp_path, digits, cache, generations=2, steps=2)
