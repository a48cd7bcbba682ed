"""The generations of a study, and the Gaussian lab."""

import json
import math

import numpy as np
import pytest

from lightning_gvae.app.service.gaussian_lab import ESTIMATORS, POLICIES, gaussian_lab
from lightning_gvae.app.service.generations import chains_below, read_chain, read_generation
from lightning_gvae.errors import ConfigError, DataError
from tests.app.conftest import write_chain


@pytest.fixture
def chain(tmp_path):
    write_chain(tmp_path / "cell", 3)
    return tmp_path / "cell"


def samples(chain, number):
    return chain / "generations" / f"{number:03d}" / "samples.npz"


def test_chains_are_found_and_read(chain, tmp_path):
    assert chains_below(tmp_path) == ["cell"] and chains_below(tmp_path / "nowhere") == []
    found = read_chain(chain)
    assert found.numbers == (0, 1, 2)
    assert found.metrics == {"fid": [0.5, 1.5, 2.5], "classes/entropy": [2.0, 2.0, 2.0]}
    second = read_generation(chain, 1, 4)
    assert (second.number, second.total, second.images.shape) == (1, 5, (4, 1, 8, 8)) and (second.images == 150).all()
    assert second.metrics == {"fid": 1.5, "classes/entropy": 2.0}


def test_a_running_study_lacks_what_is_not_there_yet(chain):
    (chain / "generations" / "002" / "metrics.json").unlink()
    (chain / "generations" / "notes").mkdir()
    found = read_chain(chain)
    assert found.numbers == (0, 1, 2) and math.isnan(found.metrics["fid"][2])
    assert read_generation(chain, 2, 1).metrics == {}


def test_a_folder_without_generations_says_how_to_make_some(tmp_path):
    with pytest.raises(DataError, match=r"no generations in .*study=collapse"):
        read_chain(tmp_path)


def test_damaged_files_are_named_and_pickles_are_not_opened(chain):
    class Evil:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was opened",))

    np.savez(samples(chain, 0), images=np.array([Evil()], dtype=object))
    samples(chain, 1).write_text("text")
    np.savez(samples(chain, 2), other=np.zeros(3))
    for number, expected in ((0, "allow_pickle"), (1, "not a zip file"), (2, "images")):
        with pytest.raises(DataError, match=f"samples of generation {number} cannot be read.*{expected}"):
            read_generation(chain, number, 1)
    np.savez(samples(chain, 0), images=np.zeros((2, 8, 8)))
    with pytest.raises(DataError, match=r"float64 of \(2, 8, 8\)"):
        read_generation(chain, 0, 1)
    samples(chain, 1).unlink()
    with pytest.raises(DataError, match="has no samples any more"):
        read_generation(chain, 1, 1)
    (chain / "generations/000/metrics.json").write_text("{")
    with pytest.raises(DataError, match="metrics of generation 000 cannot be read"):
        read_chain(chain)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_measured_variances_follow_the_theory(policy, estimator):
    lab = gaussian_lab(policy, 20, 12, 500, estimator, fresh=0.25, seed=2)
    assert lab.chains.variances.shape == (13, 500)
    assert (lab.theory is not None) == (
        policy == "replace" or (estimator == "mle" and policy != "accumulate_subsample")
    )
    if lab.theory is not None:
        found = lab.chains.variance()
        assert (np.abs(found.value - lab.theory.variance)[1:] < 4 * found.error[1:]).all()


def test_a_seed_gives_the_same_chains():
    first, again, other = (gaussian_lab("replace", 10, 5, 20, seed=seed) for seed in (1, 1, 2))
    assert (first.chains.means == again.chains.means).all() and (first.chains.means != other.chains.means)[1:].all()


def test_the_words_say_what_there_is_to_see():
    assert "halves about every" in gaussian_lab("replace", 20, 5).words
    assert "never falls below" in gaussian_lab("accumulate", 20, 5).words
    assert gaussian_lab("fresh", 7, 5, fresh=0.2).samples == 7  # a fifth of seven points is rounded to one


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"samples": 1}, "points a generation must be from 2 to 10,000, got 1"),
        ({"generations": 10_000}, "generations must be from 1 to 500, got 10,000"),
        ({"chains": 0.5}, "chains must be a whole number"),
        ({"policy": "hope"}, "`policy` must be one of"),
        ({"estimator": "guess"}, "`estimator` must be one of"),
        ({"policy": "fresh", "fresh": 2}, "share of fresh real points"),
        (
            {"policy": "accumulate_subsample", "samples": 10_000, "chains": 2000},
            "keeps every point.*more than 5,000,000",
        ),
    ],
)
def test_limits_of_the_gaussian_lab(change, expected):
    with pytest.raises(ConfigError, match=expected):
        gaussian_lab(**{"policy": "replace", "samples": 20, "generations": 10, **change})


def test_metrics_may_be_numbers_alone(chain):
    path = chain / "generations" / "000" / "metrics.json"
    path.write_text(json.dumps({"a": {"b": {"c": 1}}, "done": True, "name": "x", "list": [1, 2], "nan": float("nan")}))
    found = read_generation(chain, 0, 1).metrics
    assert found["a/b/c"] == 1 and set(found) == {"a/b/c", "nan"}
