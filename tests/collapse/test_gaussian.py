"""Chains against their closed forms, against chains of actual points, and against each other."""

import numpy as np
import pytest

from lightning_gvae.collapse.gaussian import POLICIES, simulate
from lightning_gvae.collapse.theory import Theory, accumulate_limit, c4, half_life, theory
from lightning_gvae.errors import ConfigError
from lightning_gvae.rng import numpy_stream

M, N, CHAINS = 20, 20, 2000
KNOWN = [
    ("replace", "unbiased", None),
    ("replace", "mle", None),
    ("accumulate", "mle", None),
    ("augment", "mle", None),
    ("fresh", "mle", 0.2),
    ("fresh", "mle", 1.0),
]
SHARES = {"fresh": 0.25}


def assert_within(estimate, expected, where):
    deviation = np.abs(estimate.value[1:] - expected[1:]) / estimate.error[1:]
    assert deviation.max() < 4, (where, deviation.max())


@pytest.mark.parametrize(("policy", "estimator", "fresh"), KNOWN)
@pytest.mark.parametrize("samples", [M, 100])
def test_every_closed_form_is_met_within_four_standard_errors(policy, estimator, fresh, samples):
    chains = simulate(policy, samples, N, CHAINS, 1, estimator=estimator, fresh=fresh, mean=3.0, variance=4.0)
    expected = theory(policy, samples, N, estimator=estimator, fresh=fresh, variance=4.0)
    assert_within(chains.variance(), expected.variance, "variance")
    assert_within(chains.squared_mean(), expected.squared_mean, "squared mean")
    if policy == "replace":
        assert_within(chains.log_variance(), expected.log_variance, "log variance")
        assert_within(chains.log_variance_spread(), expected.log_variance_spread, "spread")
        assert_within(chains.deviation(), expected.deviation, "deviation")
        assert_within(chains.wasserstein(), expected.wasserstein, "wasserstein")


@pytest.mark.parametrize("policy", POLICIES)
def test_under_maximum_likelihood_the_second_moment_stays(policy):
    """E v + E mu^2 = 1 at every step: what the mean gains, the variance loses."""
    chains = simulate(policy, M, N, CHAINS, 2, estimator="mle", fresh=SHARES.get(policy))
    assert_within(chains.second_moment(), np.ones(N + 1), policy)
    if policy != "accumulate_subsample":
        expected = theory(policy, M, N, estimator="mle", fresh=SHARES.get(policy))
        np.testing.assert_allclose(expected.variance + expected.squared_mean, 1, rtol=1e-12)


def test_the_numbers_computed_beforehand():
    """For M = 20, n = 50, found once by an own derivation and simulation; to the digits given there."""
    unbiased, mle = theory("replace", 20, 50), theory("replace", 20, 50, estimator="mle")
    accumulate = theory("accumulate", 20, 50, estimator="mle")
    fresh = theory("fresh", 20, 50, estimator="mle", fresh=0.2)
    assert unbiased.log_variance is not None
    assert unbiased.log_variance_spread is not None
    assert unbiased.deviation is not None
    found = [
        np.exp(unbiased.log_variance[-1]),
        unbiased.log_variance_spread[-1],
        unbiased.deviation[-1],
        mle.variance[-1],
        accumulate.variance[-1],
        accumulate_limit(20),
        fresh.variance[-1],
        fresh.squared_mean[-1],
    ]
    wanted = [0.0687, 5.55, 0.518, 0.0769, 0.9207, 0.9198, 0.8750, 0.1250]
    for value, number in zip(found, wanted, strict=True):
        assert value == pytest.approx(number, rel=1e-3), number
    assert [round(half_life(count)) for count in (10, 100, 1000)] == [6, 68, 692]


def test_a_chain_of_actual_points_has_the_same_law():
    """The second implementation: no statistics, no pools, points and numpy's own mean and variance."""
    rng = numpy_stream(5, "points")
    real = rng.standard_normal((CHAINS, M))
    for policy in ("replace", "accumulate", "augment"):
        data, pool = real, real
        for _ in range(8):
            mean, deviation = data.mean(1, keepdims=True), data.std(1, keepdims=True)
            new = mean + deviation * rng.standard_normal((CHAINS, M))
            pool = np.concatenate([pool, new], axis=1)
            data = {"replace": new, "accumulate": pool, "augment": np.concatenate([real, new], axis=1)}[policy]
        ours = simulate(policy, M, 9, CHAINS, 6, estimator="mle")
        for mine, theirs in ((ours.variances[-1], data.var(1)), (ours.means[-1], data.mean(1))):
            for moment in (lambda x: x, np.square):
                one, other = moment(mine), moment(theirs)
                error = np.hypot(one.std(), other.std()) / np.sqrt(CHAINS)
                assert abs(one.mean() - other.mean()) < 4 * error, policy


def test_accumulation_bounds_what_replacement_loses():
    accumulated = simulate("accumulate", M, 50, CHAINS, 3, estimator="mle").variance()
    replaced = simulate("replace", M, 50, CHAINS, 3, estimator="mle").variance()
    assert (accumulated.value > accumulate_limit(M) - 4 * accumulated.error).all()
    assert replaced.value[-1] < 0.1
    # a fixed budget takes from the same pool: between the two
    subsampled = simulate("accumulate_subsample", M, 50, CHAINS, 3, estimator="mle").variance()
    assert replaced.value[-1] < subsampled.value[-1] < accumulated.value[-1]


def test_the_policies_that_hold_on_to_real_data_reach_a_fixed_point():
    for policy in ("augment", "fresh"):
        expected = theory(policy, M, 400, estimator="mle", fresh=SHARES.get(policy)).variance
        assert expected[-1] == pytest.approx(expected[-2], abs=1e-12)
        assert expected[-1] > 0.8


def test_the_first_fit_is_the_same_whatever_comes_after():
    first = [simulate(p, M, 1, CHAINS, 4, estimator="mle", fresh=SHARES.get(p)).variance() for p in POLICIES]
    for estimate in first:
        assert abs(estimate.value[1] - (1 - 1 / M)) < 4 * estimate.error[1]


def test_no_new_points_is_replacement_and_only_new_points_is_no_chain():
    assert theory("fresh", M, 30, estimator="mle", fresh=1.0).variance[1:] == pytest.approx(1 - 1 / M)
    everything = simulate("fresh", M, 30, CHAINS, 1, estimator="mle", fresh=1.0)
    assert np.corrcoef(everything.means[10], everything.means[11])[0, 1] == pytest.approx(0, abs=0.1)


def test_the_same_seed_gives_the_same_chains_and_the_global_generator_is_left_alone():
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    for policy in POLICIES:
        one, same, other = (simulate(policy, M, 5, 10, seed, fresh=SHARES.get(policy)) for seed in (7, 7, 8))
        np.testing.assert_array_equal(one.variances, same.variances)
        assert not np.array_equal(one.variances, other.variances)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


def test_location_and_scale_go_through():
    plain = simulate("accumulate", M, 10, 50, 1)
    moved = simulate("accumulate", M, 10, 50, 1, mean=5.0, variance=9.0)
    np.testing.assert_allclose(moved.variances, 9 * plain.variances, rtol=1e-12)
    np.testing.assert_allclose(moved.means, 5 + 3 * plain.means, rtol=1e-12)
    np.testing.assert_allclose(moved.squared_mean().value, 9 * plain.squared_mean().value, rtol=1e-9)


def test_c4_is_the_mean_of_a_sample_deviation():
    points = numpy_stream(1, "c4").standard_normal((200_000, 5))
    deviations = points.std(1, ddof=1)
    assert abs(deviations.mean() - c4(5)) < 4 * deviations.std() / np.sqrt(len(deviations))
    assert c4(10_000) == pytest.approx(1 - 1 / (4 * 10_000), abs=1e-7)


def test_two_points_a_generation_are_enough():
    for policy in POLICIES:
        chains = simulate(policy, 2, 3, 50, fresh=0.5 if policy == "fresh" else None)
        assert np.isfinite(chains.variances).all()
    assert isinstance(theory("replace", 2, 3), Theory)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"policy": "mix"},
            "`policy` must be one of replace, accumulate, accumulate_subsample, augment, fresh, got 'mix'",
        ),
        ({"estimator": "robust"}, "`estimator` must be one of unbiased, mle, got 'robust'"),
        ({"samples": 1}, "`samples` must be an integer of at least 2"),
        ({"generations": 0}, "`generations` must be an integer of at least 1"),
        ({"chains": 1.5}, "`chains` must be an integer of at least 2"),
        ({"variance": -1.0}, "positive variance, got 0.0, -1.0"),
        ({"policy": "fresh"}, "`fresh` must be the share of new real points, above 0 and at most 1, got None"),
        ({"policy": "fresh", "fresh": 0.33}, "got 0.33 . 20 = 6.6; the nearest share is 0.35"),
        ({"fresh": 0.5}, "`fresh` belongs to policy='fresh', got fresh=0.5 with policy='replace'"),
    ],
)
def test_bad_settings_are_refused(change, message):
    settings = {"policy": "replace", "samples": 20, "generations": 3, "chains": 10} | change
    with pytest.raises(ConfigError, match=message):
        simulate(**settings)


def test_where_nothing_is_known_the_theory_says_so():
    for policy, estimator in (("accumulate", "unbiased"), ("accumulate_subsample", "mle")):
        with pytest.raises(ConfigError, match=f"no closed form for policy='{policy}' with estimator='{estimator}'"):
            theory(policy, M, N, estimator=estimator)
    with pytest.raises(ConfigError, match="`variance` must be positive"):
        theory("replace", M, N, variance=0.0)
