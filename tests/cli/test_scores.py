"""Scores from the command line: checked before any work, kept one by one, left out with their reasons."""

import csv
import json
import sys

import pytest
import torch
from hydra import compose, initialize_config_module

from lightning_gvae.cli.evaluate import evaluate
from lightning_gvae.cli.train import train
from lightning_gvae.errors import CheckpointError, ConfigError
from lightning_gvae.evaluation import likelihood

SHORT = [
    *("data=digits", "trainer=cpu", "trainer.max_steps=4", "trainer.val_check_interval=4", "callbacks.figures=null"),
    *("callbacks.progress_bar=null", "++trainer.enable_progress_bar=false", "model.network=mlp"),
    *("evaluation.samples=50", "evaluation.importance_samples=2", "evaluation.likelihood_images=20"),
    *("evaluation.posteriors=40", "evaluation.resamples=1"),
]


def composed(folder, *overrides, name="train"):
    with initialize_config_module("lightning_gvae.conf", version_base="1.3"):
        return compose(name, [f"paths.output_dir={folder}", f"paths.cache_dir={folder}/cache", *overrides])


def run(folder, *overrides):
    return train(composed(folder, *SHORT, *overrides))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A short run: its checkpoint."""
    folder = tmp_path_factory.mktemp("trained")
    run(folder, "test=false")
    return folder / "checkpoints" / "last.ckpt"


@pytest.mark.parametrize(("main", "name"), [(train, "train"), (evaluate, "eval")])
def test_a_wrong_name_is_an_error_before_any_work(main, name, tmp_path, monkeypatch):
    module = sys.modules[train.__module__]
    monkeypatch.setattr(module, "build_data_and_model", lambda *args: pytest.fail("work has begun"))
    given = SHORT if name == "train" else ["ckpt_path=nowhere.ckpt"]
    with pytest.raises(ConfigError, match=r"`metrics` may name nll, .*, or be all; got fidd"):
        main(composed(tmp_path, *given, "metrics=[nll,fidd]", name=name))


def test_scores_of_which_none_can_be_had_are_an_error_before_the_first_step(tmp_path):
    with pytest.raises(ConfigError, match="none of the scores .*: mig, dci: it compares codes with factors"):
        run(tmp_path, "metrics=[mig,dci]")
    assert not list(tmp_path.glob("checkpoints/*.ckpt"))


def test_all_goes_on_without_what_cannot_be_had_and_says_it_everywhere(tmp_path, capsys):
    metrics = run(tmp_path, "metrics=all", "evaluation.samplers=[prior,gmm]")
    kept = json.loads((tmp_path / "scores.json").read_text())
    assert {name for name in metrics if name.startswith("score/")} == set(kept["scores"]) and not kept["pending"]
    assert {"score/nll", "score/kid/domain/gmm", "score/vendi/domain/n50-seed0/prior"} <= set(kept["scores"])
    assert "needs at least 129 images, got 50" in kept["left_out"]["fid/domain/prior"]
    assert kept["facts"]["score/nll"]["importance_samples"] == 2 and kept["settings"]["seed"] == 0
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["status"] == "finished" and record["left_out"] == kept["left_out"]
    said = capsys.readouterr().out
    assert "left out:   mig, sap, modularity, beta_vae_score, factor_vae_score: it compares codes" in said
    page = (tmp_path / "report.html").read_text()
    assert "Left out" in page and "fid/domain/gmm" in page
    with (tmp_path / "metrics.csv").open() as file:
        columns = {name for row in csv.DictReader(file) for name, value in row.items() if value}
    assert set(kept["scores"]) <= columns


def test_a_run_whose_scores_all_fail_in_the_end_is_kept_and_ends_in_an_error(tmp_path):
    with pytest.raises(ConfigError, match="none of the scores that `metrics` names .* at least 129 images, got 50"):
        run(tmp_path, "metrics=[fid]")
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["status"] == "finished" and set(record["left_out"]) == {"fid/domain/prior"}
    assert (tmp_path / "report.html").is_file() and (tmp_path / "checkpoints" / "last.ckpt").is_file()


def test_a_killed_evaluation_leaves_the_scores_it_has_computed(trained, tmp_path, monkeypatch):
    def killed(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(likelihood, "iwae_nll", killed)
    settings = [*SHORT[-5:], f"ckpt_path={trained}", "trainer=cpu", "metrics=[aggregate_kl,nll,kid]"]
    with pytest.raises(KeyboardInterrupt):
        evaluate(composed(tmp_path, *settings, name="eval"))
    kept = json.loads((tmp_path / "scores.json").read_text())
    assert "score/total_correlation" in kept["scores"] and kept["pending"] == ["nll", "kid/domain/prior"]
    assert "score/total_correlation" in (tmp_path / "metrics.csv").read_text()


@pytest.mark.parametrize(
    ("name", "overrides", "seed"),
    [
        ("train", ["seed=3"], 0),
        ("train", ["evaluation.seed=5"], 5),
        ("eval", ["ckpt_path=x"], 0),
        ("eval", ["ckpt_path=x", "seed=4"], 4),
        ("eval", ["ckpt_path=x", "evaluation.seed=6"], 6),
    ],
)
def test_the_seed_of_the_evaluation_is_its_own(name, overrides, seed, tmp_path):
    assert composed(tmp_path, *overrides, name=name).evaluation.seed == seed
    if name == "train":
        callback = composed(tmp_path, *overrides, "+callbacks/scores=cheap").callbacks.scores
        assert callback.suite.seed == 0


@pytest.mark.parametrize("data", ["digits", "dsprites", "mnist", "cifar10", "image_folder", "celeba", "text"])
def test_parts_are_the_same_for_all_seeds_of_runs(data, tmp_path):
    cfg = composed(tmp_path, f"data={data}", "seed=7", *(["model=text_vae"] if data == "text" else []))
    assert (cfg.data.seed, cfg.data.split_seed) == (7, 0)


def test_a_run_does_not_go_on_with_other_parts(trained, tmp_path):
    message = "cut into parts by the seed 0, here it is 1, .*; go on with data.split_seed=0"
    with pytest.raises(CheckpointError, match=message):
        run(tmp_path, f"ckpt_path={trained}", "data.split_seed=1")
    checkpoint = torch.load(trained, weights_only=True)
    del checkpoint["gvae_config"]["data"]["split_seed"]  # as earlier versions wrote it: `seed` cut the parts too
    checkpoint["gvae_config"]["data"]["seed"] = 3
    torch.save(checkpoint, tmp_path / "old.ckpt")
    with pytest.raises(CheckpointError, match="by the seed 3, here it is 0, .*; go on with data.split_seed=3"):
        run(tmp_path, f"ckpt_path={tmp_path}/old.ckpt")
