import numpy as np
import pytest
import torch

from lightning_gvae.errors import ConfigError
from lightning_gvae.problems.criteria import make_criterion
from lightning_gvae.problems.islands import islands_of
from lightning_gvae.problems.scores import score_runs


def test_c5_has_nine_islands_on_a_quarter_of_the_box():
    islands = islands_of(make_criterion("c5"), resolution=501)
    assert islands.count == 9
    assert (islands.labels > 0).mean() == pytest.approx(0.245, abs=0.005)
    # one known centre each
    centres = [(-1, -40), (47, -48), (-48, -30), (33, -18), (-24, -6), (11, 16), (-43, 28), (43, 38), (-11, 46)]
    shares = islands.shares(torch.tensor(centres, dtype=torch.float32))
    np.testing.assert_allclose(shares, np.full(9, 1 / 9))


def test_points_in_the_water_count_for_no_island():
    islands = islands_of(make_criterion("c5"), resolution=201)
    shares = islands.shares(torch.tensor([[0.0, 0.0], [11.0, 16.0], [11.0, 16.0], [-50.0, 50.0]]))
    assert shares.sum() == pytest.approx(0.5)
    assert max(shares) == pytest.approx(0.5)


def test_a_map_has_two_dimensions():
    with pytest.raises(ConfigError, match="the problem must have 2 variables, c1 has 3"):
        islands_of(make_criterion("c1", 3))


def test_errors_are_those_of_the_paper_and_the_true_ones():
    c4 = make_criterion("c4", order=[1, 2, 3])
    scores = score_runs(c4, torch.tensor([6825.0, 5000.0]), torch.tensor([[0.0, 0.0, 0.0], [0.0, 4.0, 2.0]]))
    assert scores.paper_error_pct.tolist() == pytest.approx([0, 100 * 1825 / 6825])
    assert scores.true_gap_pct[0] == pytest.approx(100 * (6825 / c4.true_optimum - 1))
    assert scores.true_gap_pct[1] < 0
    assert scores.violation.tolist() == [0, 1.5]
    assert scores.valid.tolist() == [True, False]
