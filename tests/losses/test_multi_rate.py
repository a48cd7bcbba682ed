"""Draws of KL weights and the loss over many of them, against direct computation."""

import math

import pytest
import torch

from lightning_gvae.losses.multi_rate import group_sums, mean_weight, normalised_loss, stratified_rates
from lightning_gvae.rng import torch_stream

LOW, HIGH = 0.1, 10.0


def test_draws_are_one_in_each_part_of_the_range_and_repeat():
    like = torch.zeros((), dtype=torch.float64)
    rates = stratified_rates(50, 2, LOW, HIGH, torch_stream(0, "r"), like)
    assert rates.shape == (50, 2) and rates.dtype == torch.float64
    parts = (torch.log(rates / LOW) / math.log(HIGH / LOW) * 50).floor().long()
    assert all(sorted(column) == list(range(50)) for column in parts.T.tolist())
    assert parts[:, 0].tolist() != parts[:, 1].tolist() != sorted(parts[:, 1].tolist())
    assert torch.equal(rates, stratified_rates(50, 2, LOW, HIGH, torch_stream(0, "r"), like))
    single = torch.cat([stratified_rates(1, 1, LOW, HIGH, torch_stream(0, "r", k), like) for k in range(400)])
    assert float(single.log().mean()) == pytest.approx(0.0, abs=0.25)  # uniform in the logarithm


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_the_loss_of_each_image_by_hand(power):
    recon, kl, rates = torch.tensor([80.0, 90.0]), torch.tensor([[3.0, 5.0], [1.0, 2.0]]), torch.tensor([[0.5, 2.0]])
    rates = torch.cat([rates, torch.tensor([[4.0, 9.0]])])
    expected = [(80 + 0.5 * 3 + 2 * 5) / 1.0**power, (90 + 4 * 1 + 9 * 2) / 6.0**power]
    assert normalised_loss(recon, kl, rates, power).tolist() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("power", [0.0, 0.3, 1.0])
def test_the_mean_weight_is_the_mean_of_the_weights(power, groups):
    grid = torch.linspace(math.log(LOW), math.log(HIGH), 20001, dtype=torch.float64)[:, None]
    one = (grid * (-power / groups)).exp().mean() ** groups  # groups are drawn independently
    assert mean_weight(LOW, HIGH, power, groups) == pytest.approx(float(one), rel=1e-3)


def test_sums_over_groups():
    values = torch.arange(10.0).view(2, 5)
    assert group_sums(values, (5,)).tolist() == [[10.0], [35.0]]
    assert group_sums(values, (2, 3)).tolist() == [[1.0, 9.0], [11.0, 24.0]]
