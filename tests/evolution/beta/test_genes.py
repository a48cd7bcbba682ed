"""Genes: positions, step lengths and bounds."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_gvae.errors import ConfigError
from lightning_gvae.evolution.beta.genes import Gene, from_unit, steps, to_unit

BETA = Gene("beta", 0.01, 100.0)
WIDTH = Gene("width", -2.0, 6.0, scale="linear")


@given(st.floats(0.01, 100.0))
def test_log_gene_round_trip(value):
    assert float(BETA.from_unit(BETA.to_unit(value))) == pytest.approx(value, rel=1e-12)


@given(st.floats(-2.0, 6.0))
def test_linear_gene_round_trip(value):
    assert float(WIDTH.from_unit(WIDTH.to_unit(value))) == pytest.approx(value, abs=1e-12)


@given(st.floats(0.0, 1.0))
def test_values_never_leave_the_bounds(x):
    assert BETA.low <= BETA.from_unit(x) <= BETA.high
    assert WIDTH.low <= WIDTH.from_unit(x) <= WIDTH.high


def test_equal_steps_are_equal_ratios_or_equal_differences():
    np.testing.assert_allclose(BETA.from_unit([0.0, 0.25, 0.5, 0.75, 1.0]), [0.01, 0.1, 1.0, 10.0, 100.0])
    np.testing.assert_allclose(WIDTH.from_unit([0.0, 0.25, 0.5, 0.75, 1.0]), [-2.0, 0.0, 2.0, 4.0, 6.0])


def test_one_natural_unit_is_a_factor_of_e_or_a_tenth_of_the_range():
    assert float(BETA.from_unit(0.5 + BETA.step)) == pytest.approx(math.e)
    assert float(WIDTH.from_unit(0.5 + WIDTH.step)) == pytest.approx(2.0 + 0.8)


def test_several_genes_at_once():
    values = np.array([[1.0, 2.0], [10.0, 6.0]])
    positions = to_unit([BETA, WIDTH], values)
    np.testing.assert_allclose(positions, [[0.5, 0.5], [0.75, 1.0]])
    np.testing.assert_allclose(from_unit([BETA, WIDTH], positions), values)
    np.testing.assert_allclose(steps([BETA, WIDTH]), [1 / math.log(1e4), 0.1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("b", 1.0, 1.0), "`low` of gene 'b' must be below `high`, got 1.0 and 1.0"),
        (("b", 2.0, 1.0, "linear"), "must be below `high`"),
        (("b", 0.0, 1.0), "must be positive on a log scale, got 0.0"),
        (("b", -1.0, 1.0), "must be positive on a log scale, got -1.0"),
        (("b", 0.1, math.inf), "must be finite"),
        (("b", math.nan, 1.0), "must be finite"),
        (("b", 0.1, 1.0, "cubic"), "`scale` of gene 'b' must be 'log' or 'linear', got 'cubic'"),
    ],
)
def test_bad_genes_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        Gene(*arguments)


def test_a_gene_is_frozen():
    with pytest.raises(AttributeError):
        BETA.low = 0.5
