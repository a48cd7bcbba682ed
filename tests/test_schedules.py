"""Schedules at known points, controllers in closed loop with a model of the KL."""

import math

import pytest
import torch

from lightning_gvae.errors import ConfigError
from lightning_gvae.schedules import (
    Annealing,
    Cyclical,
    DynamicController,
    PIController,
    cyclical,
    linear_annealing,
    ramp,
    sigmoid_annealing,
)

ZERO = torch.tensor(0.0)


def test_linear_annealing():
    assert [linear_annealing(step, 100, 0.1) for step in (0, 50, 100, 200)] == pytest.approx([0.1, 0.55, 1.0, 1.0])


def test_sigmoid_annealing_is_one_half_in_the_middle_and_one_at_the_end():
    assert sigmoid_annealing(5000, 10_000) == pytest.approx(0.5)
    assert sigmoid_annealing(0, 10_000) == pytest.approx(1 / (1 + math.exp(5)))
    assert sigmoid_annealing(10_000, 10_000) == 1


def test_cyclical_at_the_quarters_of_each_cycle():
    for cycle in range(4):
        steps = [1000 * cycle + offset for offset in (0, 250, 500, 750)]
        assert [cyclical(step, 4000) for step in steps] == pytest.approx([0.0, 0.5, 1.0, 1.0])
    assert cyclical(4000, 4000) == 1


def test_ramp_reaches_16_after_104_increments():
    # ControlVAE on dSprites: 0.5 + 103 * 0.15 = 15.95, 0.5 + 104 * 0.15 = 16.1 > 16
    assert ramp(103 * 5000, 0.5, 0.15, 5000, 16) == pytest.approx(15.95)
    assert ramp(104 * 5000, 0.5, 0.15, 5000, 16) == 16
    assert ramp(4999, 0.5, 0.15, 5000, 16) == 0.5


def test_open_loop_modules_agree_with_their_functions_in_double_precision():
    for schedule, expected in (
        (Annealing(100), 0.37),
        (Annealing(100, "sigmoid"), sigmoid_annealing(37, 100)),
        (Cyclical(100), cyclical(37, 100)),
    ):
        beta = schedule(37, ZERO)
        assert beta.dtype == torch.float64
        assert beta.item() == pytest.approx(expected)
        assert schedule.target_kl is None


class Plant:
    """KL that relaxes in about 20 steps to a decreasing function of beta, as measured on small VAEs."""

    def __init__(self, natural: float) -> None:
        self.natural, self.kl = natural, 0.5

    def step(self, beta: float) -> torch.Tensor:
        self.kl += 0.05 * (self.natural / (0.2 + 0.8 * beta**0.5) - self.kl)
        return torch.tensor(self.kl)


def run(controller, steps: int, natural: float = 25.0):
    plant, beta, kls = Plant(natural), 1.0, []
    for step in range(steps):
        kl = plant.step(beta)
        beta = controller(step, kl).item()
        kls.append(kl.item())
    return kls, beta


@pytest.mark.parametrize("target", [9, 11, 16, 20])
def test_pi_tracks_a_constant_set_point_from_step_0(target):
    # With the authors' integrator 11, 16 and 20 stay at beta = 1 for ever (KL 25 here).
    kls, beta = run(PIController(target, beta_min=1.0), 20_000)
    assert kls[-1] == pytest.approx(target, rel=0.01)
    assert beta > 1


def test_the_published_integrator_would_deadlock_here():
    """The defect that conditional integration removes, so that the test above is known to be able to fail."""
    target, kp, ki = 16, 0.01, -0.001
    plant, beta, integral, last = Plant(25.0), 1.0, 0.0, 1.0
    for _ in range(20_000):
        error = target - plant.step(beta).item()
        if last >= 1:
            integral += ki * error
        last = kp / (1 + math.exp(error)) + integral + 1
        beta = max(last, 1.0)
    assert beta == 1
    assert plant.kl == pytest.approx(25, rel=0.01)


def test_pi_does_not_overflow_and_its_integrator_is_bounded_when_saturated():
    controller = PIController(100.0, beta_min=0.0, beta_max=1.0)
    for step in range(1000):
        beta = controller(step, torch.tensor(1e4))  # far too much KL: beta saturates at its upper bound
        assert math.isfinite(beta.item())
    assert beta.item() == 1
    assert abs(controller.integral.item()) <= 1 + 0.01
    for step in range(200):
        beta = controller(step, torch.tensor(-1e4 + 100))  # and back
    assert beta.item() == pytest.approx(0, abs=0.011)
    assert abs(controller.integral.item()) <= 1 + 0.01


def test_pi_leaves_saturation_at_once():
    controller = PIController(10.0, ki=-0.01, beta_min=0.0, beta_max=1.0)
    for step in range(10_000):
        controller(step, torch.tensor(50.0))
    betas = [controller(step, torch.tensor(5.0)).item() for step in range(12)]
    assert betas[-1] < 0.6  # 12 steps of 0.01 * 5 nats, not thousands of steps of unwinding


def test_pi_one_step_by_hand():
    controller = PIController(5.0, kp=0.01, ki=-0.001, beta_min=1.0)
    # e = -2: P = 0.01 / (1 + e^-2), I = 0.002
    expected = 0.01 / (1 + math.exp(-2)) + 0.002 + 1
    assert controller(0, torch.tensor(7.0)).item() == pytest.approx(expected, abs=1e-12)


def test_the_transient_of_a_fresh_network_does_not_wind_beta_up():
    controller = PIController(16.0)
    for step in range(30):
        beta = controller(step, torch.tensor(800.0))
    assert beta.item() == pytest.approx(30 * 0.001 * 16 + 0.01)  # with the full error it would be 23.5


def test_pi_follows_its_ramp():
    controller = PIController(16.0, ramp_start=0.5, ramp_increment=0.15, ramp_period=10)
    assert [controller.target_at(step) for step in (0, 9, 10, 10_000)] == pytest.approx([0.5, 0.5, 0.65, 16.0])


@pytest.mark.parametrize("controller", [PIController(16.0, beta_min=0.5), DynamicController(16.0)])
def test_controllers_continue_exactly_from_their_state(controller):
    fresh = type(controller)(16.0, beta_min=controller.beta_min)
    kls = [torch.tensor(10 + 10 * math.sin(step)) for step in range(60)]
    for step in range(30):
        controller(step, kls[step])
    fresh.load_state_dict(controller.state_dict())
    for step in range(30, 60):
        assert controller(step, kls[step]) == fresh(step, kls[step])


def test_dynamic_starts_large_comes_down_and_holds_the_set_point():
    controller = DynamicController(19.0, beta_start=50.0)
    assert controller(0, torch.tensor(0.5)).item() == pytest.approx(50 - 0.005 * 18.5)
    kls, beta = run(DynamicController(19.0), 20_000)
    assert kls[-1] == pytest.approx(19, rel=0.01)
    assert 0.1 < beta < 50


def test_dynamic_averages_only_what_it_has_seen():
    controller = DynamicController(19.0, window=5)
    # A queue filled with zeros would see a KL of 19 / 5 and push beta down; the error is zero.
    assert controller(0, torch.tensor(19.0)).item() == 50


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PIController(None), "`target_kl` must be a positive number of nats, got None"),
        (lambda: PIController(-3.0), "got -3.0"),
        (lambda: PIController(3.0, ki=0.001), "`ki` negative"),
        (lambda: PIController(3.0, beta_min=-1.0), "`beta_min` must not be negative, got -1.0"),
        (lambda: PIController(3.0, beta_min=2.0, beta_max=1.0), "`beta_min` must be below `beta_max`"),
        (lambda: PIController(3.0, ramp_start=0.5, ramp_period=0), "`ramp_period` must be positive, got 0"),
        (lambda: DynamicController(3.0, beta_start=0.01), "`beta_start` must be within"),
        (lambda: Annealing(0), "`steps` must be positive, got 0"),
        (lambda: Annealing(10, "cosine"), "`shape` must be 'linear' or 'sigmoid', got 'cosine'"),
        (lambda: Annealing(10, end=-1.0), "`end` must not be negative"),
        (lambda: Cyclical(10, ratio=0.0), "`ratio` must be in"),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
