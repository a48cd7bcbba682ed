"""Set-points: constant, ControlVAE's ramp, and the run's own KL."""

import pytest

from lightning_gvae.errors import CheckpointError, ConfigError
from lightning_gvae.evolution.beta.target_kl import Auto, Constant, Ramp, as_target_kl


def test_a_constant_is_constant():
    assert [Constant(19).at(step) for step in (0, 7, 10**6)] == [19.0] * 3


def test_the_ramp_of_controlvae_reaches_16_after_104_increments():
    ramp = Ramp(0.5, 0.15, 5000, 16.0)
    assert ramp.at(0) == ramp.at(4999) == 0.5
    assert ramp.at(5000) == pytest.approx(0.65)
    assert ramp.at(103 * 5000) == pytest.approx(15.95)
    assert ramp.at(104 * 5000 - 1) == pytest.approx(15.95)
    assert ramp.at(104 * 5000) == ramp.at(10**7) == 16.0


def test_the_ramp_equals_adding_up_stair_by_stair():
    ramp, height = Ramp(0.5, 0.15, 30, 3.0), 0.5
    for step in range(1, 1000):
        if step % 30 == 0:
            height = min(height + 0.15, 3.0)
        assert ramp.at(step) == pytest.approx(height)


def test_auto_keeps_the_first_kl_and_is_unknown_before():
    auto = Auto(0.5)
    assert auto.at(10) is None
    auto.observe(24.0)
    auto.observe(3.0)
    assert auto.at(10) == auto.at(10**6) == 12.0


def test_auto_continues_from_its_state():
    before, after = Auto(0.5), Auto(0.5)
    before.observe(24.0)
    after.load_state_dict(before.state_dict())
    after.observe(3.0)
    assert after.at(0) == 12.0


def test_settings_tell_targets_apart():
    points = [Constant(16.0), Constant(17.0), Ramp(1, 1, 1, 16), Ramp(1, 1, 2, 16), Auto(16.0)]
    settings = [point.settings() for point in points]
    assert all(a != b for i, a in enumerate(settings) for b in settings[:i])


def test_a_number_becomes_a_constant():
    point = as_target_kl(3)
    assert isinstance(point, Constant)
    assert point.at(0) == 3.0
    ramp = Ramp(1, 1, 1, 2)
    assert as_target_kl(ramp) is ramp
    assert as_target_kl(None) is None


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf"), "19", True])
def test_a_target_that_is_no_positive_number_is_refused(value):
    with pytest.raises(ConfigError, match="`target` must be a positive number, got"):
        Constant(value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.0, 0.1, 10, 1.0), "`start` must be a positive number"),
        ((0.5, -0.1, 10, 1.0), "`increment` must be a positive number"),
        ((0.5, 0.1, 0, 1.0), "`period` must be a whole number of steps, at least 1, got 0"),
        ((0.5, 0.1, 1.5, 1.0), "`period` must be a whole number"),
        ((2.0, 0.1, 10, 1.0), "`maximum` must not be below `start`, got 1.0 and 2.0"),
    ],
)
def test_bad_ramps_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        Ramp(*arguments)


def test_auto_refuses_a_factor_or_kl_that_is_not_positive():
    with pytest.raises(ConfigError, match="`factor` must be a positive number"):
        Auto(0)
    with pytest.raises(ConfigError, match="`kl at the end of the warm-up` must be a positive number, got nan"):
        Auto(1.0).observe(float("nan"))


def test_a_state_that_is_not_its_own_is_refused():
    with pytest.raises(CheckpointError, match="has no state"):
        Constant(1.0).load_state_dict({"kl": 3.0})
