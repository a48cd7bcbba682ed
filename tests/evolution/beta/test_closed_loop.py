"""Searches that steer the training of a small VAE; test_search.py has the same laws in closed form."""

import numpy as np
import pytest

from lightning_gvae.evolution.beta.lookahead import first_order
from lightning_gvae.evolution.beta.search import BetaSearch
from tests.evolution.beta.toy import closed_loop, toy_data

DATA = toy_data()


def second_half(values):
    return values[len(values) // 2 :]


def deviation(rates, target):
    """Mean distance of the rate, averaged over 50 steps, from the target."""
    return np.abs(second_half(rates).reshape(-1, 50).mean(1) - target).mean()


@pytest.mark.parametrize("method", ["ga", "random"])
@pytest.mark.parametrize("target", [2.5, 6.0])  # at beta 1 the rate is 4.6
def test_with_a_target_alone_the_rate_is_held(method, target):
    _, rates, _ = closed_loop(BetaSearch(target=target, fitness={"elbo_weight": 0.0}, method=method), DATA)
    assert deviation(rates, target) < 0.05 * target


@pytest.mark.parametrize("target", [2.5, 6.0])
def test_with_the_default_weights_the_rate_is_held(target):
    _, rates, _ = closed_loop(BetaSearch(target=target, seed=1), DATA, seed=1)
    assert deviation(rates, target) < 0.05 * target


@pytest.mark.parametrize("method", ["ga", "random"])
def test_with_the_elbo_alone_beta_stays_near_one(method):
    betas, _, _ = closed_loop(BetaSearch(fitness={"target_weight": 0.0}, method=method), DATA)
    assert len(set(betas.tolist())) > 5
    assert np.abs(second_half(betas) - 1.0).max() < 0.15


@pytest.mark.parametrize("weight", [0.1, 0.2])
def test_mixed_weights_stop_beta_at_one_plus_k(weight):
    # a rate of 1.2 needs a beta of 5
    search = BetaSearch(target=1.2, fitness={"target_weight": weight}, convergence={"window": 99})
    betas, _, negative_elbo = closed_loop(search, DATA)
    k = weight * negative_elbo / 1.2
    assert second_half(betas).mean() == pytest.approx(1 + k, rel=0.1)


@pytest.mark.parametrize("target", [2.5, 6.0])
def test_first_order_holds_the_rate_too(target):
    _, rates, _ = closed_loop(BetaSearch(target=target), DATA, evaluate=first_order)
    assert deviation(rates, target) < 0.08 * target


def test_the_same_seed_gives_the_same_run():
    runs = [closed_loop(BetaSearch(target=2.5, seed=seed), DATA, steps=200, warmup=50) for seed in (0, 0, 1)]
    assert (runs[0][0] == runs[1][0]).all()
    assert (runs[0][1] == runs[1][1]).all()
    assert (runs[0][0] != runs[2][0]).any()
