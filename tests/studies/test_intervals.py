import numpy as np
import pytest
from scipy import stats

from lightning_gvae.errors import ConfigError
from lightning_gvae.studies.intervals import mean_interval, paired_difference


def test_the_interval_is_that_of_scipys_t_test():
    values = np.random.default_rng(0).normal(3, 2, 8)
    theirs = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    ours = mean_interval(values, level=0.9)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))
    assert ours.mean == pytest.approx(values.mean()) and ours.seeds == 8


def test_ninety_five_of_a_hundred_intervals_hold_the_mean():
    draws = np.random.default_rng(1).normal(5, 3, (4000, 5))
    held = np.mean([interval.low <= 5 <= interval.high for interval in map(mean_interval, draws)])
    assert held == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / 4000))


def test_pairing_takes_out_what_the_seeds_share():
    shared = np.array([0.0, 10.0, 20.0])
    gap = paired_difference(shared + [1.0, 1.1, 0.9], shared)
    assert gap.mean == pytest.approx(1) and gap.excludes_zero
    assert not mean_interval(shared - 10).excludes_zero


def test_one_seed_says_nothing_about_the_spread():
    interval = mean_interval([4.0])
    assert (interval.mean, interval.low, interval.high) == (4, -np.inf, np.inf) and not interval.excludes_zero


@pytest.mark.parametrize("values", [[], [1.0, np.nan], [[1.0], [2.0]]])
def test_values_without_a_mean_are_refused(values):
    with pytest.raises(ConfigError, match="`values` must be at least one finite number"):
        mean_interval(values)


def test_other_mistakes_are_named():
    with pytest.raises(ConfigError, match="`level` must lie between 0 and 1, got 95"):
        mean_interval([1.0], level=95)
    with pytest.raises(ConfigError, match="of the same seeds, got 2 and 1 values"):
        paired_difference([1.0, 2.0], [1.0])
