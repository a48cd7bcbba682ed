"""Parts of the KL of a minibatch against the exact mixture of a small data set, and against a second implementation."""

import itertools
import math

import pytest
import torch
from torch.distributions import MultivariateNormal, Normal

from lightning_gvae.losses.density_ratio import density_ratio_loss, permuted_dimensions, ratio_total_correlation
from lightning_gvae.losses.total_correlation import ESTIMATES, batch_log_weights, kl_parts
from lightning_gvae.metrics.aggregate_posterior import aggregate_kl
from lightning_gvae.rng import torch_stream


def posteriors(n, z=2, seed=0):
    generator = torch_stream(seed, "posteriors")
    mean = 1.5 * torch.randn(n, z, generator=generator)
    return mean, -1 + 0.3 * torch.randn(n, z, generator=generator)


def draws(mean, log_var, seed=0):
    return mean + torch.exp(0.5 * log_var) * torch.randn(mean.shape, generator=torch_stream(seed, "draws"))


def test_the_stratified_weights_give_the_whole_mixture_on_average_over_all_batches():
    n, size = 5, 3
    mean, log_var = posteriors(n)
    latents = draws(mean, log_var)
    densities = Normal(mean, torch.exp(0.5 * log_var)).log_prob(latents[:, None]).sum(2).exp()  # latents x images
    weights = batch_log_weights(size, n, "stratified").exp()
    for own in range(n):
        batches = itertools.permutations([image for image in range(n) if image != own], size - 1)
        estimates = [(weights[0] * densities[own, [own, *others]]).sum() for others in batches]
        torch.testing.assert_close(torch.stack(estimates).mean(), densities[own].mean())


@pytest.mark.parametrize("row", range(3))
def test_every_row_of_the_stratified_weights_has_its_own_image_one_odd_one_and_equal_others(row):
    weights = batch_log_weights(3, 10, "stratified").exp()
    assert weights[row, row].item() == pytest.approx(1 / 10)
    assert sorted(weights[row].tolist()) == pytest.approx(sorted([1 / 10, (10 - 2) / (10 * 2), 1 / 2]))


def test_weighted_estimates_of_the_whole_set_are_the_exact_parts_but_for_their_known_offset():
    n, z = 200, 3
    mean, log_var = posteriors(n, z)
    exact = aggregate_kl(mean, log_var, torch_stream(0, "exact"), draws=40_000)
    found = [kl_parts(draws(mean, log_var, seed), mean, log_var, n, "weighted") for seed in range(40)]
    information, correlation, dimension_wise = (torch.stack(part).mean().item() for part in zip(*found, strict=True))
    # its weights are 1 / N^2 where the mixture has 1 / N: log N too little in the joint and in each of the marginals
    assert information - math.log(n) == pytest.approx(exact.mutual_information.item(), abs=0.03)
    assert correlation - (z - 1) * math.log(n) == pytest.approx(exact.total_correlation.item(), abs=0.05)
    assert dimension_wise + z * math.log(n) == pytest.approx(exact.dimension_wise_kl.item(), abs=0.05)


def test_stratified_estimates_of_minibatches_are_close_to_the_exact_parts():
    n, size = 256, 64
    mean, log_var = posteriors(n)
    exact = aggregate_kl(mean, log_var, torch_stream(0, "exact"), draws=40_000)
    found = []
    for seed in range(100):
        chosen = torch.randperm(n, generator=torch_stream(seed, "batch"))[:size]
        some = mean[chosen], log_var[chosen]
        found.append(kl_parts(draws(*some, seed), *some, n, "stratified"))
    means = [torch.stack(part).mean().item() for part in zip(*found, strict=True)]
    expected = [exact.mutual_information, exact.total_correlation, exact.dimension_wise_kl]
    # the logarithm of an unbiased estimate is too small on average; with 64 of 256 images by little
    assert means == pytest.approx([float(value) for value in expected], abs=0.1)


@pytest.mark.parametrize("estimate", ESTIMATES)
def test_parts_add_up_to_the_log_ratio_of_posterior_and_prior(estimate):
    mean, log_var = posteriors(16, 4)
    latents = draws(mean, log_var)
    parts = kl_parts(latents, mean, log_var, 1000, estimate)
    ratio = Normal(mean, torch.exp(0.5 * log_var)).log_prob(latents) - Normal(0.0, 1.0).log_prob(latents)
    torch.testing.assert_close(sum(parts), ratio.sum(1).mean(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("estimate", ESTIMATES)
def test_parts_agree_with_a_loop_over_images_and_distributions_of_torch(estimate):
    size, data_size = 4, 50
    mean, log_var = (part.double() for part in posteriors(size, 3))
    latents = draws(mean, log_var)
    information = correlation = dimension_wise = 0.0
    for i in range(size):
        if estimate == "weighted":
            weights = [1 / (data_size * size)] * size
        else:
            weights = [1 / (size - 1)] * size
            weights[i] = 1 / data_size
            weights[(i + 1) % size] = (data_size - (size - 1)) / (data_size * (size - 1))
        scales = torch.exp(0.5 * log_var)
        joint = sum(
            w * MultivariateNormal(mean[k], torch.diag(scales[k] ** 2)).log_prob(latents[i]).exp()
            for k, w in enumerate(weights)
        ).log()
        marginals = sum(
            sum(w * Normal(mean[k, j], scales[k, j]).log_prob(latents[i, j]).exp() for k, w in enumerate(weights)).log()
            for j in range(3)
        )
        information += Normal(mean[i], scales[i]).log_prob(latents[i]).sum() - joint
        correlation += joint - marginals
        dimension_wise += marginals - Normal(0.0, 1.0).log_prob(latents[i]).sum()
    found = kl_parts(latents, mean, log_var, data_size, estimate)
    expected = torch.stack([information, correlation, dimension_wise]) / size
    torch.testing.assert_close(torch.stack(list(found)), expected, rtol=1e-5, atol=1e-5)


def test_a_batch_of_one_image_has_no_information_and_no_correlation():
    mean, log_var = posteriors(1, 3)
    parts = kl_parts(draws(mean, log_var), mean, log_var, 100, "stratified")
    assert parts.information.item() == pytest.approx(0, abs=1e-5)
    assert parts.total_correlation.item() == pytest.approx(0, abs=1e-5)


def test_shuffled_dimensions_keep_their_values_and_lose_their_company():
    latents = torch.randn(4000, 1, generator=torch_stream(0, "z")).repeat(1, 3)
    shuffled = permuted_dimensions(latents, torch_stream(1, "shuffle"))
    for column, old in zip(shuffled.T, latents.T, strict=True):
        assert torch.equal(column.sort().values, old.sort().values)
    assert torch.corrcoef(shuffled.T).fill_diagonal_(0).abs().max() < 0.06
    assert torch.equal(shuffled, permuted_dimensions(latents, torch_stream(1, "shuffle")))


def test_density_ratio_of_the_best_discriminator_is_the_total_correlation_of_a_gaussian():
    correlation = 0.8
    covariance = torch.tensor([[1.0, correlation], [correlation, 1.0]])
    joint = MultivariateNormal(torch.zeros(2), covariance)
    factor = torch.linalg.cholesky(covariance)
    drawn = torch.randn(100_000, 2, generator=torch_stream(0, "joint")) @ factor.T
    shuffled = permuted_dimensions(drawn, torch_stream(0, "shuffle"))

    def best(z):
        return joint.log_prob(z) - Normal(0.0, 1.0).log_prob(z).sum(1)

    exact = -0.5 * math.log(1 - correlation**2)
    assert ratio_total_correlation(best(drawn)).item() == pytest.approx(exact, abs=0.02)
    # no other discriminator has a lower loss, and one that cannot tell has ln 2
    least = density_ratio_loss(best(drawn), best(shuffled)).item()
    assert density_ratio_loss(torch.zeros(5), torch.zeros(5)).item() == pytest.approx(math.log(2))
    for wrong in (lambda z: 0.7 * best(z), lambda z: best(z) + 0.3, lambda z: best(z) - 0.3):
        assert density_ratio_loss(wrong(drawn), wrong(shuffled)).item() > least
