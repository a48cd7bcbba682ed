"""The protocol of the diversity-weights study: its runs, its tables and its answer, from made-up results."""

import csv
import json

import pytest
from hydra import compose, initialize_config_module
from hydra.utils import instantiate

from lightning_gvae.errors import ConfigError
from lightning_gvae.studies.diversity_weights import PLAIN, DiversityWeightsStudy, collect

SCALE = {"name": "toy", "about": "made up", "overrides": ["data=digits"]}


def study(**changes):
    return DiversityWeightsStudy(**{"strengths": [1.0, 0.5], "seeds": [0, 1, 2], "scale": SCALE, **changes})


def result(arm, seed, vendi, fid, fid_train):
    metrics = {"vendi": vendi, "fid": fid, "fid_train": fid_train, "class_entropy": vendi / 5, "test/elbo": -90.0}
    return {
        "arm": arm,
        "seed": seed,
        "command": f"python train.py {arm} {seed}",
        "wall_seconds": 30.0,
        "git_revision": "abc",
        "samples": ["5000"],
        "metrics": metrics,
    }


def test_all_strengths_share_data_seeds_and_scores():
    cells = study(settings={"ess": 0.4}).cells()
    assert len(cells) == 9 and len({cell.overrides[:-1] for cell in cells}) == 1
    last = {cell.arm: cell.overrides[-1] for cell in cells}
    assert last == {
        PLAIN: "data.weights=null",
        "strength_0.5": "data.weights={ess:0.4,strength:0.5}",
        "strength_1": "data.weights={ess:0.4,strength:1.0}",
    }


@pytest.mark.parametrize("scale", ["diversity_small", "diversity_gan"])
def test_every_run_of_the_shipped_study_is_a_configuration(scale, tmp_path):
    with initialize_config_module("lightning_gvae.conf", version_base="1.3"):
        names = ["study=diversity_weights", f"study/scale={scale}", f"paths.output_dir={tmp_path}"]
        cells = instantiate(compose("study", names).study, _convert_="all").cells()
        runs = {cell.arm: compose("train", list(cell.overrides)) for cell in cells if cell.seed == 0}
    assert len(runs) == 3 and len(cells) == 9
    assert runs[PLAIN].data.weights is None and runs["strength_0.8"].data.weights.strength == 0.8
    assert dict(runs[PLAIN].data.class_shares) == dict.fromkeys(range(5, 10), 0.1)


def test_the_answer_follows_from_paired_differences(tmp_path):
    results = []
    for seed in range(3):
        results += [
            result(PLAIN, seed, 4.0 + seed, 30.0 + seed, 10.0 + seed),
            result("strength_0.5", seed, 5.0 + seed + 0.1 * seed, 25.0 + seed - 0.1 * seed, 10.5 + seed + (seed - 1)),
            result("strength_1", seed, 6.0 + seed - 0.1 * seed, 20.0 + seed + 0.1 * seed, 14.0 + seed + 0.1 * seed),
        ]
    path = study().report(results, tmp_path)
    half, full = study().answers(
        {arm: [r for r in results if r["arm"] == arm] for arm in (PLAIN, "strength_0.5", "strength_1")}
    )
    assert half.startswith("Weights of strength 0.5 raise the Vendi score of samples by 1.1")
    assert "lower the FID to the balanced test set by 5.1" in half
    assert "make no difference to the FID to the training set that can be told" in half
    assert "raise the FID to the training set by 4.1" in full
    page = path.read_text()
    assert half.replace("'", "&#x27;") in page and page.count("data:image/png;base64,") == 1
    assert "| strength 1 - no weights | 1.9" in (tmp_path / "tables.md").read_text()
    with (tmp_path / "results.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 9


def test_a_score_that_a_run_could_not_compute_leaves_its_answer_open(tmp_path):
    results = [
        result(arm, seed, 4.0 + seed + 0.1 * rise, 30.0 + seed, 10.0 + seed)
        for rise, arm in enumerate((PLAIN, "strength_0.5", "strength_1"))
        for seed in range(3)
    ]
    del results[4]["metrics"]["fid"]
    page = study().report(results, tmp_path).read_text()
    assert "strength 0.5 raise the Vendi score of samples by 0.1" in page
    assert "leave the FID to the balanced test set unknown, for a run has none" in page
    assert "strength 1 raise the Vendi score of samples by 0.2" in page


def test_scores_lose_count_and_seed(tmp_path):
    metrics = {
        "score/vendi/domain/n5000-seed2/prior": 4.0,
        "score/vendi/domain/n5000-seed2/real": 8.0,
        "score/fid/domain/prior": 3.0,
        "score/fid/domain/prior_sd": 3.0,
        "test/elbo": -1.0,
    }
    (tmp_path / "run.json").write_text(json.dumps({"metrics": metrics, "wall_seconds": 1, "git_revision": "a"}))
    kept = collect(tmp_path)
    assert kept["metrics"] == {"test/elbo": -1.0, "vendi": 4.0, "real_vendi": 8.0, "fid": 3.0}
    assert kept["samples"] == ["5000"]


def test_settings_out_of_range_are_named():
    with pytest.raises(ConfigError, match=r"`strengths` must lie in \(0, 1\], got 0"):
        study(strengths=[0, 1])
    with pytest.raises(ConfigError, match="at least one strength and one seed"):
        study(seeds=[])
