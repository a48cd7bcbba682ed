"""The losses against the formulas as written, and the gates against their table."""

import math

import pytest
import torch

from lightning_gvae.errors import ConfigError
from lightning_gvae.losses.adversarial import (
    Game,
    Gates,
    discriminator_loss,
    equilibrium_gates,
    fake_cost,
    feature_nll,
    generator_loss,
    real_cost,
)
from lightning_gvae.rng import torch_stream


def logits(tag, n=64):
    return torch.randn(n, dtype=torch.float64, generator=torch_stream(0, tag)).requires_grad_()


REAL, RECON, PRIOR = logits("real"), logits("recon"), logits("prior")


def gradient(loss, wrt):
    return torch.autograd.grad(loss, wrt, retain_graph=True)[0]


def test_a_discriminator_that_cannot_tell_costs_ln_2():
    zero = torch.zeros(5)
    for cost in (real_cost(zero), fake_cost(zero), generator_loss([zero]), discriminator_loss(zero, [zero, zero])):
        assert cost.item() == pytest.approx(math.log(2))
    assert generator_loss([zero], "minimax").item() == pytest.approx(-math.log(2))


@pytest.mark.parametrize("weight", [None, 0.5, 0.75])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_discriminator_loss_is_the_cross_entropy_written_out(weight, smoothing):
    d_real, d_recon, d_prior = (torch.sigmoid(values) for values in (REAL, RECON, PRIOR))
    real = -((1 - smoothing) * d_real.log() + smoothing * (1 - d_real).log()).mean()
    recon, prior = -(1 - d_recon).log().mean(), -(1 - d_prior).log().mean()
    written = real + recon + prior if weight is None else weight * real + (1 - weight) * (recon + prior) / 2
    ours = discriminator_loss(REAL, [RECON, PRIOR], weight, smoothing)
    torch.testing.assert_close(ours, written)
    for values in (REAL, RECON, PRIOR):
        torch.testing.assert_close(gradient(ours, values), gradient(written, values))


def test_generator_losses_are_those_of_the_paper():
    d = torch.sigmoid(PRIOR)
    torch.testing.assert_close(generator_loss([PRIOR]), -d.log().mean())
    torch.testing.assert_close(generator_loss([PRIOR], "minimax"), (1 - d).log().mean())
    # d/dl of -log sigmoid(l) is sigmoid(l) - 1, of log(1 - sigmoid(l)) it is -sigmoid(l)
    torch.testing.assert_close(gradient(generator_loss([PRIOR]), PRIOR), (d.detach() - 1) / 64)
    torch.testing.assert_close(gradient(generator_loss([PRIOR], "minimax"), PRIOR), -d.detach() / 64)
    torch.testing.assert_close(
        generator_loss([RECON, PRIOR], total=True), generator_loss([RECON]) + generator_loss([PRIOR])
    )


def test_minimax_is_the_discriminators_loss_with_the_other_sign():
    ours = generator_loss([RECON, PRIOR], "minimax", total=True)
    theirs = discriminator_loss(REAL, [RECON, PRIOR], real_weight=None)
    for values in (RECON, PRIOR):
        torch.testing.assert_close(gradient(ours, values), -gradient(theirs, values))


def test_extreme_logits_stay_finite():
    far = torch.tensor([-1e4, 1e4], requires_grad=True)
    for loss in (discriminator_loss(far, [far]), generator_loss([far]), generator_loss([far], "minimax")):
        assert loss.isfinite()
        assert gradient(loss, far).isfinite().all()


def test_feature_likelihood_is_a_unit_gaussian_without_its_constant():
    features, target = (torch.randn(7, 3, 2, 2, generator=torch_stream(0, tag)) for tag in "ab")
    density = torch.distributions.Normal(features, 1.0).log_prob(target).flatten(1).sum(1)
    constant = 12 * 0.5 * math.log(2 * math.pi)
    torch.testing.assert_close(feature_nll(features, target), -density.mean() - constant)
    assert feature_nll(target, target) == 0
    # summed over features, mean over the batch: the batch twice is the same
    torch.testing.assert_close(
        feature_nll(features.repeat(2, 1, 1, 1), target.repeat(2, 1, 1, 1)), feature_nll(features, target)
    )


# (cost of real, cost of fakes) -> who steps, at equilibrium 0.68 and margin 0.35: the band is 0.33 to 1.03
TABLE = [
    (0.68, 0.68, (True, True)),  # balanced
    (0.34, 1.02, (True, True)),  # just inside
    (0.32, 0.68, (False, True)),  # the discriminator is ahead on real images
    (0.68, 0.32, (False, True)),  # and on fakes
    (0.10, 0.10, (False, True)),
    (1.04, 0.68, (True, False)),  # the generator is ahead
    (0.68, 1.04, (True, False)),
    (2.00, 2.00, (True, False)),
    (0.10, 2.00, (True, True)),  # both would wait: both step
    (2.00, 0.10, (True, True)),
]


@pytest.mark.parametrize(("real", "fake", "expected"), TABLE)
def test_gates(real, fake, expected):
    assert equilibrium_gates(real, fake, 0.68, 0.35) == Gates(*expected)


def test_gates_never_let_everyone_wait():
    for real in torch.linspace(0, 3, 31).tolist():
        for fake in torch.linspace(0, 3, 31).tolist():
            assert any(equilibrium_gates(real, fake, 0.68, 0.0))


def test_without_a_margin_both_step():
    assert Game().gates(torch.tensor([0.0, 9.0])) == Gates(True, True)
    assert Game(margin=0.35).gates(torch.tensor([0.1, 0.6])) == Gates(False, True)


def test_costs_are_unsmoothed_means():
    costs = Game(label_smoothing=0.2).costs(REAL, [RECON, PRIOR])
    torch.testing.assert_close(costs[0], real_cost(REAL))
    torch.testing.assert_close(costs[1], (fake_cost(RECON) + fake_cost(PRIOR)) / 2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "hinge"}, "`adversary.loss` must be one of non_saturating, minimax, got 'hinge'"),
        ({"real_weight": 1.0}, "`adversary.real_weight` must lie between 0 and 1, or be null"),
        ({"label_smoothing": 0.5}, "`adversary.label_smoothing` must be at least 0 and below 0.5, got 0.5"),
        ({"equilibrium": 0.0}, "`adversary.equilibrium` must be a positive cost"),
        ({"margin": -0.1}, "`adversary.margin` must be 0 or more nats, or null for no gating, got -0.1"),
        ({"margin": math.nan}, "`adversary.margin` must be 0 or more"),
    ],
)
def test_bad_rules_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        Game(**settings)
