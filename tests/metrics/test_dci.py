"""DCI: formulas on matrices made by hand, and small boosted trees."""

import math

import numpy as np
import pytest
from scipy.stats import entropy

from lightning_gvae.errors import ConfigError, DataError
from lightning_gvae.metrics.disentanglement.dci import completeness, dci, disentanglement
from lightning_gvae.rng import numpy_stream
from tests.metrics.factor_codes import axis_aligned, factors

BY_HAND = np.array([[0.8, 0.0, 0.2], [0.2, 0.5, 0.3], [0.0, 0.5, 0.5], [0.0, 0.0, 0.0]])  # 4 latents, 3 factors


def split(codes, classes):
    middle = 2 * len(codes) // 3
    return codes[:middle], classes[:middle], codes[middle:], classes[middle:]


def test_a_matrix_by_hand():
    """All columns sum to 1, all rows but the dead one too: every weight is a third."""

    def h(*shares):
        return -sum(p * math.log(p) for p in shares)

    rows = [h(0.8, 0.2), h(0.2, 0.5, 0.3), h(0.5, 0.5)]
    columns = [h(0.8, 0.2), h(0.5, 0.5), h(0.2, 0.3, 0.5)]
    assert disentanglement(BY_HAND) == pytest.approx(1 - sum(rows) / 3 / math.log(3))
    assert completeness(BY_HAND) == pytest.approx(1 - sum(columns) / 3 / math.log(4))


def test_formulas_agree_with_scipy_and_do_not_depend_on_order():
    matrix = numpy_stream(0, "importances").gamma(0.3, size=(7, 5))
    weights = matrix.sum(1) / matrix.sum()
    assert disentanglement(matrix) == pytest.approx(weights @ (1 - entropy(matrix.T, base=5)))
    assert completeness(matrix) == pytest.approx(matrix.sum(0) / matrix.sum() @ (1 - entropy(matrix, base=7)))
    assert disentanglement(matrix[::-1, [2, 0, 4, 1, 3]]) == pytest.approx(disentanglement(matrix))
    assert disentanglement(3 * matrix) == pytest.approx(disentanglement(matrix))


def test_extremes():
    assert disentanglement(np.eye(5)[:, [3, 1, 0, 2, 4]]) == completeness(np.eye(5)) == 1
    assert max(disentanglement(np.ones((4, 3))), completeness(np.ones((4, 3)))) < 1e-12
    assert disentanglement(np.zeros((4, 3))) == completeness(np.zeros((4, 3))) == 0


def test_trees_find_an_axis_aligned_code():
    sizes = (3, 4)
    classes = factors(450, sizes=sizes)
    codes = axis_aligned(classes, 0.02, latents=3, sizes=sizes)
    result = dci(*split(codes, classes), seed=0, rounds=20)
    assert min(result.disentanglement, result.completeness, result.informativeness) > 0.98
    np.testing.assert_allclose(result.importances.sum(0), 1)
    turned = codes @ [[1, -1, 0], [1, 1, 0], [0, 0, 1]]  # by 45 degrees
    worse = dci(*split(turned, classes), seed=0, rounds=20)
    assert max(worse.disentanglement, worse.completeness) < 0.7
    assert worse.informativeness > 0.8


def test_random_codes_score_almost_nothing():
    classes = factors(450, sizes=(3, 4))
    codes = numpy_stream(0, "random").normal(size=(450, 4))
    result = dci(*split(codes, classes), seed=0, rounds=20)
    assert max(result.disentanglement, result.completeness) < 0.1
    assert result.informativeness < 0.45


def test_the_same_seed_gives_the_same_scores():
    classes = factors(150, sizes=(2, 3))
    codes = axis_aligned(classes, 0.5, latents=3, sizes=(2, 3))
    one, other = (dci(*split(codes, classes), seed=0, rounds=5) for _ in range(2))
    np.testing.assert_array_equal(one.importances, other.importances)


def test_constant_codes_have_no_importance():
    result = dci(*split(np.zeros((90, 2)), factors(90, sizes=(2, 3))), seed=0, rounds=2)
    assert (result.disentanglement, result.completeness) == (0, 0)


def test_errors_name_the_value():
    classes = factors(90)
    with pytest.raises(ConfigError, match="at least 2, got 1"):
        dci(*split(np.zeros((90, 1)), classes), seed=0)
    with pytest.raises(ConfigError, match=r"2 factors, got importances of shape \(2, 1\)"):
        dci(*split(np.zeros((90, 2)), classes[:, :1]), seed=0)
    with pytest.raises(ConfigError, match="`rounds`.*got 0"):
        dci(*split(np.zeros((90, 2)), classes), seed=0, rounds=0)
    with pytest.raises(DataError, match="importances must be 0 or more, got -1"):
        disentanglement([[1, -1], [0, 1]])
