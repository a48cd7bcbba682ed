"""SBX, Cauchy mutation and reflection against their laws, their distributions and DEAP."""

import math

import numpy as np
import pytest
from deap import tools
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lightning_gvae.evolution.operators import cauchy, reflect, sbx, spread_factor
from lightning_gvae.rng import numpy_stream

RNG = numpy_stream(0, "test_operators")
FIRST, SECOND = RNG.uniform(0.2, 0.8, (2, 50))


@pytest.mark.parametrize("eta", [1e-3, 2.0, 15.0, 1e6])
def test_sbx_keeps_the_mean_of_the_parents(eta):
    a, b = sbx(FIRST, SECOND, eta, numpy_stream(1, "sbx"))
    spread = np.abs(a - b).max()
    np.testing.assert_allclose(a + b, FIRST + SECOND, rtol=0, atol=1e-15 * max(1.0, spread))
    assert np.abs(a - FIRST).max() > 0


@pytest.mark.parametrize("eta", [1e-3, 2.0, 15.0])
def test_sbx_at_one_half_returns_the_parents(eta):
    a, b = sbx(FIRST, SECOND, eta, 0.5)
    np.testing.assert_allclose(a, FIRST, rtol=1e-15)
    np.testing.assert_allclose(b, SECOND, rtol=1e-15)


def test_equal_parents_return_the_parent():
    a, b = sbx(FIRST, FIRST, 2.0, numpy_stream(2, "sbx"))
    assert (a == FIRST).all()
    assert (b == FIRST).all()


def test_a_huge_eta_returns_the_parents():
    a, _ = sbx(FIRST, SECOND, 1e9, numpy_stream(3, "sbx"))
    np.testing.assert_allclose(a, FIRST, atol=1e-6)


def test_half_of_the_spreads_contract():
    u = np.linspace(0.0, 1.0, 1001)[:-1]
    q = spread_factor(u, 2.0)
    assert ((q <= 1.0) == (u <= 0.5)).all()


@pytest.mark.parametrize("eta", [2.0, 15.0])
def test_quartiles_of_the_spread_match_the_closed_form(eta):
    q = spread_factor(numpy_stream(4, "sbx").random(100_000), eta)
    expected = [0.5 ** (1 / (eta + 1)), 1.0, 2.0 ** (1 / (eta + 1))]
    np.testing.assert_allclose(np.quantile(q, [0.25, 0.5, 0.75]), expected, atol=0.01)

    def distribution(x):
        return np.where(x <= 1, 0.5 * x ** (eta + 1), 1 - 0.5 * x ** -(eta + 1))

    assert stats.kstest(q, distribution).pvalue > 0.01


def test_the_largest_uniform_gives_a_finite_child():
    assert np.isfinite(sbx([0.0], [1.0], 1e-3, [1.0])).all()


@pytest.mark.parametrize("eta", [2.0, 15.0])
def test_sbx_agrees_with_deap(eta, monkeypatch):
    u = numpy_stream(5, "sbx").random(50)
    draws = iter(u.tolist())
    monkeypatch.setattr("deap.tools.crossover.random.random", lambda: next(draws))
    theirs = tools.cxSimulatedBinary(FIRST.tolist(), SECOND.tolist(), eta)
    np.testing.assert_allclose(sbx(FIRST, SECOND, eta, u), theirs, rtol=1e-13)


@pytest.mark.parametrize("eta", [0.0, -1.0, math.nan])
def test_sbx_refuses_an_eta_that_is_not_positive(eta):
    with pytest.raises(ValueError, match="`eta` must be positive, got"):
        sbx(FIRST, SECOND, eta, 0.5)


def test_sbx_refuses_parents_of_different_length():
    with pytest.raises(ValueError, match="the same shape"):
        sbx(FIRST, SECOND[:3], 2.0, 0.5)


def test_cauchy_jumps_follow_the_cauchy_law():
    jumps = cauchy(np.zeros(100_000), 0.25, numpy_stream(6, "cauchy"))
    assert np.median(np.abs(jumps)) == pytest.approx(0.25, rel=0.02)
    assert stats.kstest(jumps, stats.cauchy(scale=0.25).cdf).pvalue > 0.01


def test_cauchy_with_given_uniforms():
    # tan(pi / 4) = 1: the quartiles of the law are one scale away
    np.testing.assert_allclose(cauchy([1.0, 1.0, 1.0], 0.25, [0.25, 0.5, 0.75]), [0.75, 1.0, 1.25], rtol=1e-15)


def test_cauchy_of_scale_zero_is_the_identity():
    assert (cauchy(FIRST, 0.0, numpy_stream(7, "cauchy")) == FIRST).all()
    with pytest.raises(ValueError, match="`scale` must not be negative"):
        cauchy(FIRST, -1.0, 0.5)


@pytest.mark.parametrize("u", [0.0, 1e-300, 1e-6, 1 - 1e-16, 1.0])
def test_the_longest_jump_is_finite_and_is_folded_inside(u):
    jumped = cauchy([0.0, 0.3, 1.0], 10.0, u)
    assert np.isfinite(jumped).all()
    assert ((reflect(jumped) >= 0) & (reflect(jumped) <= 1)).all()


@given(st.floats(0.0, 1.0))
def test_reflect_is_exactly_the_identity_inside(x):
    assert reflect(x) == x


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_reflect_lands_inside_from_anywhere(x):
    assert 0.0 <= reflect(x) <= 1.0


@given(st.floats(-50.0, 50.0), st.integers(-5, 5))
def test_reflect_is_a_triangle_wave(x, periods):
    assert reflect(-x) == pytest.approx(reflect(x), abs=1e-12)
    assert reflect(x + 2 * periods) == pytest.approx(reflect(x), abs=1e-12)
    assert abs(float(reflect(x) - reflect(x + 0.01))) <= 0.01 + 1e-12


@pytest.mark.parametrize("x", [math.nan, math.inf, -math.inf])
def test_reflect_refuses_what_is_not_finite(x):
    with pytest.raises(ValueError, match="`x` must be finite"):
        reflect([0.5, x])
