"""Evaluations in which a score fails, memory runs out, or the process is killed."""

import json

import pytest
import torch

from lightning_gvae.datamodules.digits import DigitsDataModule
from lightning_gvae.errors import ConfigError, StoppedError
from lightning_gvae.evaluation import likelihood
from lightning_gvae.evaluation.results import Measured, ScoreSheet, unavailable_reason
from lightning_gvae.evaluation.score_file import write_scores
from lightning_gvae.evaluation.suite import Suite
from lightning_gvae.models import VAE

SUITE = Suite(posteriors=50, importance_samples=2, likelihood_images=20)
NAMES = ["aggregate_kl", "nll"]


@pytest.fixture(scope="module")
def digits():
    module = DigitsDataModule()
    module.setup()
    return module


@pytest.fixture
def model():
    return VAE((1, 8, 8), latent_dim=2, network="mlp")


def failing(error):
    def fail(*args, **kwargs):
        raise error

    return fail


@pytest.mark.parametrize(
    "error",
    [
        TypeError("a bug"),
        KeyError("a bug"),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        AssertionError("a bug"),
        StoppedError("told to stop"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_mistake_in_the_code_is_not_taken_for_a_score_that_cannot_be_had(error, digits, model, monkeypatch):
    monkeypatch.setattr(likelihood, "iwae_nll", failing(error))
    with pytest.raises(type(error)):
        SUITE.measure(NAMES, model, digits)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 9 TiB"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried 9 TB"
        ),
    ],
)
def test_a_score_too_large_for_the_memory_is_left_out(error, digits, model, monkeypatch):
    monkeypatch.setattr(likelihood, "iwae_nll", failing(error))
    sheet = SUITE.measure(NAMES, model, digits)
    assert "score/mutual_information" in sheet and set(sheet.left_out) == {"nll"}
    assert sheet.left_out["nll"].startswith("out of memory (")


def test_what_the_processor_says_when_memory_runs_out_is_known():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert unavailable_reason(caught.value)


def test_a_killed_evaluation_leaves_what_was_done(digits, model, monkeypatch, tmp_path):
    monkeypatch.setattr(likelihood, "iwae_nll", failing(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        SUITE.measure(
            [*NAMES, "mig"], model, digits, on_change=lambda s: write_scores(tmp_path / "s.json", s, {"seed": 0})
        )
    kept = json.loads((tmp_path / "s.json").read_text())
    assert set(kept["scores"]) == {
        f"score/{n}" for n in ("mutual_information", "total_correlation", "dimension_wise_kl")
    }
    assert kept["pending"] == ["nll"] and kept["settings"] == {"seed": 0}
    assert "digits has none" in kept["left_out"]["mig"]
    assert kept["facts"]["score/total_correlation"] == {"images": 50, "part": "test", "draws": 50, "seed": 0}


def test_numbers_that_are_not_finite_are_left_out():
    sheet = ScoreSheet()
    for name, value in (("a", float("nan")), ("b", float("inf")), ("c", 1.0)):
        sheet.add(Measured(name, value))
    assert dict(sheet) == {"score/c": 1.0} and sheet.left_out == {
        "a": "its value is nan, which is no score",
        "b": "its value is inf, which is no score",
    }


def test_an_evaluation_without_a_single_score_is_an_error_only_if_scores_were_named():
    sheet = ScoreSheet()
    sheet.left_out = {"fid": "too few images", "kid": "too few images", "mig": "no factors"}
    assert sheet.reasons() == {"too few images": ["fid", "kid"], "no factors": ["mig"]}
    sheet.require_one("all")
    sheet.require_one(["all"])
    with pytest.raises(ConfigError, match="can be computed: fid, kid: too few images; mig: no factors"):
        sheet.require_one(["fid", "kid", "mig"])


def test_what_cannot_be_had_is_refused_before_any_work_and_the_rest_is_not(digits, model, monkeypatch):
    monkeypatch.setattr(VAE, "encode", failing(AssertionError("nothing is to be computed")))
    SUITE.check(["nll", "mig"], model, digits)
    SUITE.check("all", model, digits)
    with pytest.raises(ConfigError, match="none of the scores .*: mig, factor_vae_score: .*; perplexity: "):
        SUITE.check(["mig", "perplexity", "factor_vae_score"], model, digits)
