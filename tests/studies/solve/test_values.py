"""Values that SOLVE must reach: a fast tier on small search spaces, and the published sizes (slow)."""

import json

import numpy as np
import pytest
import torch

from lightning_gvae.problems.criteria import make_criterion
from lightning_gvae.problems.generate import generate
from lightning_gvae.problems.islands import islands_of
from lightning_gvae.problems.sources import rejection_source
from lightning_gvae.rng import torch_stream
from lightning_gvae.studies.solve.cells import Piece, SolveSettings, cell_file, run_piece
from lightning_gvae.studies.solve.flow import FlowSettings, fit_flow
from lightning_gvae.studies.solve.published import archived

FAST = SolveSettings(runs=100, n=1000, candidates=1, epochs=60, batch_size=32, kl_scale=1 / 32)
SEEDS = (0, 1, 2)


def cells(folder, piece, settings, seeds=SEEDS):
    run_piece(piece, seeds, settings, folder)
    return [json.loads(cell_file(folder, piece, seed, settings).read_text()) for seed in seeds]


def mean(cell, method, column):
    return float(np.mean(cell["methods"][method][column]))


def test_c1_with_three_variables(tmp_path):
    """Prototype, 3 seeds: 0.28 to 0.73 % and all valid; the plain algorithm 80 % and none, with Deb's rules 3.3 %."""
    for cell in cells(tmp_path, Piece("c1", 3), FAST):
        assert mean(cell, "solve", "paper_error_pct") < 3
        assert mean(cell, "solve", "valid") >= 0.95
        assert mean(cell, "ga", "paper_error_pct") > 60
        assert mean(cell, "ga", "valid") < 0.1
        assert mean(cell, "ga_deb", "valid") >= 0.95
        assert mean(cell, "ga_deb", "paper_error_pct") < 10


def test_c2_with_five_variables(tmp_path):
    """A line with a spacing of 9 has an error of at least (9/8)^2 - 1 = 26.56 %, give or take its training."""
    found = cells(tmp_path, Piece("c2", 5), FAST)
    # Single networks are valid in 0.89 to 1.00 of the runs over six seeds.
    assert np.mean([mean(cell, "solve", "valid") for cell in found]) >= 0.9
    for cell in found:
        assert 15 < mean(cell, "solve", "paper_error_pct") < 40
        assert mean(cell, "solve", "valid") >= 0.8
        assert cell["facts"]["solve"]["spacing"] == pytest.approx(9, abs=0.3)
        assert mean(cell, "ga", "valid") < 0.1 and mean(cell, "ga_deb", "valid") < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("dims", [3, 5, 10])
def test_c1_lands_on_the_published_values(dims, tmp_path):
    """Within 35 % of them, relative, in the mean over three seeds; sizes 1 and 2 depend too much on the seed."""
    found = cells(tmp_path, Piece("c1", dims), SolveSettings())
    known = archived("c1", str(dims), "solve")
    assert known is not None
    error = np.mean([mean(cell, "solve", "paper_error_pct") for cell in found])
    assert error == pytest.approx(known.error, rel=0.35)
    plain = archived("c1", str(dims), "ga")
    assert plain is not None
    assert np.mean([mean(cell, "ga", "paper_error_pct") for cell in found]) == pytest.approx(plain.error, rel=0.05)
    for cell in found:
        assert mean(cell, "solve", "violation") < 0.01 and mean(cell, "solve", "valid") >= 0.98
    share = {3: 0.361, 5: None, 10: 0.550}[dims]
    if share is not None:
        assert found[0]["facts"]["points"]["at_bounds"] == pytest.approx(share, abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("dims", [4, 7, 10])
def test_c2_lands_on_the_published_values(dims, tmp_path):
    """Within 6 points of them; the spacing of what the latent box decodes to is 9."""
    found = cells(tmp_path, Piece("c2", dims), SolveSettings())
    known = archived("c2", str(dims), "solve")
    assert known is not None
    for cell in found:
        assert mean(cell, "solve", "paper_error_pct") == pytest.approx(known.error, abs=6)
        assert mean(cell, "solve", "violation") == 0
        assert cell["facts"]["solve"]["spacing"] == pytest.approx(9, abs=0.3)
        assert cell["facts"]["solve"]["valid"] > 0.99


@pytest.mark.slow
def test_a_flow_as_prior_finds_the_islands_of_c5(tmp_path):
    """Share of the latent box that is valid, against the plain space, and islands that hold 2 % of it or more."""
    problem = make_criterion("c5")
    points = generate(rejection_source(problem), 5000, seed=0)
    (cell,) = cells(tmp_path, Piece("c5", 2), SolveSettings(flow_epochs=60), seeds=(0,))
    plain = cell["facts"]["solve"]["valid"]
    decode = fit_flow(points, 0, FlowSettings(epochs=100))
    decoded = decode(4 * torch.rand(8000, 2, generator=torch_stream(0, "probes")) - 2)
    valid = float((problem.violations(decoded) <= 0).all(1).double().mean())
    assert valid >= 1.5 * plain
    assert cell["facts"]["solvefm"]["valid"] >= 1.5 * plain
    assert (islands_of(problem).shares(decoded) >= 0.02).sum() >= 7
    assert mean(cell, "solvefm", "valid") >= 0.95


@pytest.mark.slow
def test_c3_lands_on_the_published_values(tmp_path):
    """A fifth of the published points, five times as often; three seeds gave 85.4 to 86.9 %, half to 0.71 valid."""
    (cell,) = cells(tmp_path, Piece("c3", 3), SolveSettings(n=1000, epochs=1000), seeds=(0,))
    solve, plain = archived("c3", "3", "solve"), archived("c3", "3", "ga")
    assert solve is not None and plain is not None
    assert mean(cell, "solve", "paper_error_pct") == pytest.approx(solve.error, abs=6)
    assert mean(cell, "solve", "valid") == pytest.approx(solve.valid, abs=0.25)
    assert mean(cell, "solve", "violation") < 2 * solve.violation
    assert mean(cell, "ga", "valid") < 0.1
    assert mean(cell, "ga", "violation") > 0.2 * plain.violation > 1000 * mean(cell, "solve", "violation")
