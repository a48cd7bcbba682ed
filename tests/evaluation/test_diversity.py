"""Scores of diversity by name, and the optimized metric of a search."""

import csv
import json

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module
from torch import Tensor, nn

from lightning_gvae.cli.train import train
from lightning_gvae.datamodules.digits import DigitsDataModule
from lightning_gvae.errors import ConfigError
from lightning_gvae.evaluation.catalogue import names_of_all
from lightning_gvae.evaluation.optimized_metric import OptimizedMetricError, optimized_metric, ranking
from lightning_gvae.evaluation.real_data import RealData
from lightning_gvae.evaluation.suite import Suite


class Repeater(nn.Module):
    """A generator that hands out training images: all of them in turn, or only the first ``kinds``."""

    latent_dim, device = 2, torch.device("cpu")

    def __init__(self, images: Tensor, kinds: int):
        super().__init__()
        self.images, self.kinds, self.at = images.float() / 255, kinds, 0

    def sample(self, count, generator):
        rows = torch.arange(self.at, self.at + count) % self.kinds
        self.at += count
        return self.images[rows]


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    data = DigitsDataModule(val_size=100, test_size=600)
    data.setup()
    images = data.train_set.batch(np.arange(len(data.train_set)))[0]
    return data, images, tmp_path_factory.mktemp("cache")


def scores(digits, kinds, names, **settings):
    data, images, cache = digits
    suite = Suite(samples=500, resamples=1, cache_dir=cache, seed=7, **settings)
    return suite.run(names, Repeater(images, kinds), data)


def test_names_say_space_count_and_seed_and_values_what_the_generator_does(digits):
    names = ["vendi", "duplicates", "class_diversity", "pure_diversity", "memorisation", "fid_train"]
    many, few = (scores(digits, kinds, names, orders=(1.0, 2.0)) for kinds in (500, 5))
    key = "score/{}/domain/n500-seed7/prior".format
    assert many[key("vendi")] > 1.5 * few[key("vendi")]
    assert few[key("vendi")] <= 5 + 1e-6 and few[key("vendi_q2")] <= few[key("vendi")]
    assert many["score/vendi/domain/n500-seed7/real"] == pytest.approx(many[key("vendi")], rel=0.1)
    assert few[key("duplicates")] == 1 and many[key("duplicates")] < 0.05
    assert few[key("pure_diversity")] < 0.1 * many[key("pure_diversity")]
    assert many[key("class_coverage")] == 1 and few[key("class_coverage")] <= 0.5
    assert many[key("class_entropy")] > few[key("class_entropy")]
    # Copies of training images are near them, of course.
    assert many[key("memorised")] == many[key("copies")] == 1 and many[key("train_distance")] < 1e-3
    assert many[key("fid_train")] < 0.3 * few[key("fid_train")]


def test_the_cheap_ones_are_in_all(digits):
    found = scores(digits, 100, ["vendi", "duplicates"])
    data = digits[0]
    names = names_of_all(RealData(data))
    assert set(names) >= {"vendi", "duplicates", "class_diversity", "fid"}
    assert not {"memorisation", "pure_diversity"} & set(names)
    assert len(found) == 3


def test_bad_orders_and_spaces_are_named(digits):
    with pytest.raises(ConfigError, match="`order` must be 0 or more, or inf, got -1"):
        Suite(orders=[-1])
    with pytest.raises(ConfigError, match="it needs a classifier of the data's own classes"):
        scores(digits, 5, "class_diversity", feature_spaces=["efficientnet_lite0"])


METRICS = {
    "score/vendi/domain/n9-seed0/prior": 4.0,
    "score/vendi/domain/n9-seed0/real": 5.0,
    "score/fid/domain/prior": 2.0,
    "score/fid/domain/prior_sd": 0.1,
    "test/elbo": -90.0,
    "score/kid/domain/prior": 1.0,
    "score/kid/domain/gmm": 2.0,
    "score/zero/domain/prior": 0.0,
}


def test_the_optimized_metric_is_the_weighted_sum_of_logarithms_or_values():
    assert optimized_metric(METRICS, {"vendi": 1.0, "fid": -2.0}) == pytest.approx(np.log(4) - 2 * np.log(2))
    assert optimized_metric(METRICS, {"test/elbo": 1, "vendi": 0.5}, "plain") == -88.0
    assert optimized_metric(METRICS, {"score/kid/domain/gmm": 1.0}, "plain") == 2.0


@pytest.mark.parametrize(
    ("terms", "scale", "error", "message"),
    [
        ({}, "log", ConfigError, "must name at least one score"),
        ({"vendi": 1}, "sqrt", ConfigError, "`optimized_metric.scale` must be one of log, plain"),
        ({"kid": 1}, "log", ConfigError, r"fits several metrics \(score/kid/domain/gmm, score/kid/domain/prior\)"),
        (
            {"is": 1},
            "log",
            OptimizedMetricError,
            "`optimized_metric.terms.is` fits no metric of the run; name it in `metrics` too",
        ),
        ({"zero": 1}, "log", OptimizedMetricError, "the score zero is 0, of which no log metric"),
        ({"vendi": "much"}, "log", ConfigError, "must be a finite weight, got 'much'"),
    ],
)
def test_an_optimized_metric_that_cannot_be_had_is_named(terms, scale, error, message):
    with pytest.raises(error, match=message):
        optimized_metric(METRICS, terms, scale)


def test_runs_are_ranked(tmp_path):
    # One of them is of release 0.1.
    for name, key, value in (("0", "objective", 1.0), ("1", "optimized_metric", 3.0), ("2", "", None)):
        (tmp_path / name / ".hydra").mkdir(parents=True)
        metrics = {} if value is None else {key: value}
        (tmp_path / name / "run.json").write_text(json.dumps({"metrics": metrics}))
        (tmp_path / name / ".hydra" / "overrides.yaml").write_text(f"- model.beta={name}\n- data.weights=null\n")
    rows = ranking(tmp_path)
    assert [row["run"] for row in rows] == ["1", "0"]
    assert rows[0]["overrides"] == "model.beta=1 data.weights=null"


SHORT = [
    *("data=digits", "trainer=cpu", "trainer.max_steps=6", "trainer.val_check_interval=6", "evaluation.samples=200"),
    *("callbacks.progress_bar=null", "test=false", "evaluation.samplers=[prior]"),
]


def test_every_choice_of_the_search_composes_and_training_returns_its_metric(tmp_path):
    with initialize_config_module("lightning_gvae.conf", version_base="1.3"):
        full = compose("train", ["hparams_search=diversity", "data=mnist"], return_hydra_config=True)
        params = full.hydra.sweeper.params
        assert {"data.weights", "model", "model.beta", "evaluation.samplers"} == set(params)
        for weights in ("null", "{strength:0.5}", "{strength:1.0}"):
            assert weights in params["data.weights"].replace(" ", "")
            compose("train", ["hparams_search=diversity", "data=mnist", f"data.weights={weights}"])
        paths = [f"paths.output_dir={tmp_path / 'run'}", f"paths.cache_dir={tmp_path}"]
        cfg = compose("train", ["hparams_search=diversity", *SHORT, *paths], return_hydra_config=False)
    metrics = train(cfg)
    vendi = metrics["score/vendi/domain/n200-seed0/prior"]
    assert metrics["optimized_metric"] == pytest.approx(np.log(vendi) - np.log(metrics["score/fid/domain/prior"]))


def test_the_optuna_search_composes_if_the_sweeper_is_installed():
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    with initialize_config_module("lightning_gvae.conf", version_base="1.3"):
        cfg = compose("train", ["hparams_search=diversity_optuna", "data=mnist"], return_hydra_config=True)
    assert cfg.hydra.sweeper.direction == "maximize" and "data.weights.strength" in cfg.hydra.sweeper.params


@pytest.mark.slow
def test_a_multirun_ranks_its_runs(tmp_path):
    import os
    import subprocess
    import sys

    command = [sys.executable, "-c", "from lightning_gvae.cli.train import main; main()"]
    choices = ["hparams_search=diversity", "data.weights=null,{strength:1.0}", "model=vae", "model.beta=1.0"]
    env = os.environ | {"GVAE_CACHE_DIR": str(tmp_path / "cache")}
    subprocess.run([*command, *choices, *SHORT, f"hydra.sweep.dir={tmp_path}"], check=True, env=env, cwd=tmp_path)
    with (tmp_path / "ranking.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["run"] for row in rows) == ["0", "1"]
    assert float(rows[0]["optimized_metric"]) >= float(rows[1]["optimized_metric"])
