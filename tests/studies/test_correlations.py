"""Correlations of scores over stored runs: ranks, corpora and intervals over whole runs."""

import numpy as np
import pytest

from lightning_gvae.errors import ConfigError, DataError
from lightning_gvae.report.provenance import changed_files
from lightning_gvae.studies.correlations import CorrelationsStudy, correlations, read_corpora


def rows(count: int, sign: float, each: int = 1) -> list[dict]:
    return [
        {"cluster": f"run {run}", "fid": float(run), "recall": sign * np.exp(run)}
        for run in range(count)
        for _ in range(each)
    ]


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_monotone_relation_has_a_correlation_of_one(sign):
    (found,) = correlations("toy", rows(8, sign), ["fid", "kid"], ["recall"])
    assert (found.rho, found.low, found.high) == pytest.approx((sign, sign, sign))
    assert (found.rows, found.clusters) == (8, 8)


def test_chains_are_resampled_whole():
    random = np.random.default_rng(0)
    single = [{"cluster": str(run), "fid": random.random(), "recall": random.random()} for run in range(20)]
    repeated = [dict(row) for row in single for _ in range(10)]
    (one,), (ten,) = (correlations("toy", given, ["fid"], ["recall"]) for given in (single, repeated))
    assert ten.rho == pytest.approx(one.rho, abs=0.02)
    # Ten copies of every run are no more evidence than one.
    assert ten.high - ten.low == pytest.approx(one.high - one.low, rel=0.2)
    assert one.low < 0 < one.high


def test_too_few_runs_and_scores_that_never_change_are_left_out():
    assert correlations("toy", rows(4, 1.0, each=3), ["fid"], ["recall"]) == []
    constant = [row | {"recall": 0.5} for row in rows(6, 1.0)]
    assert correlations("toy", constant, ["fid"], ["recall"]) == []


def test_a_study_reads_tables_of_both_kinds_and_says_what_it_read(tmp_path):
    scores = ["arm,seed,score/fid/domain/prior,score/recall/domain/prior,command"]
    scores += [f"mnist-vae,{seed},{seed},{seed},c" for seed in range(6)]
    scores += [f"mnist-untrained,{seed},{99},{-seed},c" for seed in range(6)]
    chains = ["data,model,policy,seed,generation,fid,recall"]
    chains += [f"digits,vae,replace,{seed},{g},{g + seed},{-g}" for seed in range(6) for g in range(3)]
    for name, lines in (("scores", scores), ("chains", chains)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.csv").write_text("\n".join(lines))
    assert list(read_corpora(tmp_path / "chains")) == ["chains, digits"]
    folders = [str(tmp_path / "scores"), str(tmp_path / "chains")]
    study = CorrelationsStudy(folders, ["fid"], ["recall"], ["untrained"])
    page = study.run(tmp_path / "out").read_text()
    table = (tmp_path / "out/tables.md").read_text()
    assert "| scores, mnist: fid | recall | 6 | 6 | 1.00 | 1.00 to 1.00 |" in table
    assert "| chains, digits: fid | recall | 18 | 6 | -0." in table
    assert "2 of 2 pairs" in page and changed_files(tmp_path / "out") == []


def test_mistakes_are_named(tmp_path):
    with pytest.raises(ConfigError, match="`folders`"):
        CorrelationsStudy([], ["fid"], ["recall"])
    with pytest.raises(DataError, match=r"no results\.csv"):
        CorrelationsStudy([str(tmp_path)], ["fid"], ["recall"]).run(tmp_path / "out")
