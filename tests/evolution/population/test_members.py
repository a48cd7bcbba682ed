"""Members trained together are those trained one after the other, and noise that is given is noise that was drawn."""

import copy

import pytest
import torch
from torch import nn

from lightning_gvae.evolution.beta.lookahead import Clip
from lightning_gvae.evolution.population.members import Member, OneByOne, score_member
from lightning_gvae.evolution.population.stacked import Stacked, stacking_obstacle
from lightning_gvae.losses.elbo import ElboTerms
from lightning_gvae.models import VAE
from lightning_gvae.rng import GivenNoise, standard_normal, torch_stream

BETAS = (0.1, 1.0, 10.0)
OPTIMIZERS = {
    "adam": lambda p: torch.optim.Adam(p, 1e-3, fused=True),
    "sgd": lambda p: torch.optim.SGD(p, 1e-3, momentum=0.9, weight_decay=1e-3),
    "adamw": lambda p: torch.optim.AdamW(p, 1e-3),
}
SHAPES = {"mlp": (1, 6, 6), "conv": (1, 28, 28)}


def loss(module, images, generator):
    terms = module.trained_terms(images, generator)
    return module.loss(terms), terms.recon, terms.kl


def made(network, optimizer="adam", likelihood="bernoulli"):
    members = []
    for number, beta in enumerate(BETAS):
        torch.manual_seed(number)
        module = VAE(SHAPES[network], 3, network=network, beta=beta, likelihood=likelihood, seed=number).train()
        members.append(Member(number, module, OPTIMIZERS[optimizer](module.parameters())))
    return members


def trained(training, network, steps):
    for number in steps:
        images = torch.rand(8, *SHAPES[network], generator=torch_stream(1, "images", number))
        noises = [member.module.training_noise(0, number) for member in training.members]
        losses = training.step(images, noises)
    return losses


@pytest.mark.parametrize(
    ("network", "optimizer", "likelihood", "clip"),
    [
        ("mlp", "adam", "bernoulli", None),
        ("mlp", "adam", "bernoulli", 1.0),
        ("mlp", "sgd", "learnt_sigma", 1.0),
        ("mlp", "adamw", "gaussian", None),
        ("conv", "sgd", "bernoulli", 1.0),  # Adam makes full steps of gradients that are nothing but rounding
    ],
)
def test_stacked_members_are_those_trained_one_after_the_other(network, optimizer, likelihood, clip):
    alone, together = made(network, optimizer, likelihood), made(network, optimizer, likelihood)
    first = OneByOne(alone, loss, Clip(clip))
    second = Stacked(together, loss, Clip(clip), latent_dim=3)
    start = copy.deepcopy(alone[0].module.state_dict())
    for _ in range(2):
        torch.testing.assert_close(
            trained(first, network, range(4)), trained(second, network, range(4)), rtol=1e-4, atol=1e-3
        )
    for mine, other in zip(alone, together, strict=True):
        for name, value in mine.module.state_dict().items():
            torch.testing.assert_close(other.module.state_dict()[name], value, rtol=1e-3, atol=2e-4, msg=name)
    assert not torch.equal(start["encoder.head.weight"], alone[0].module.state_dict()["encoder.head.weight"])


def test_states_go_from_one_way_of_training_to_the_other():
    first = Stacked(made("mlp"), loss, Clip(), latent_dim=3)
    trained(first, "mlp", range(3))
    states = [member.state_dict() for member in first.members]
    assert all(value.is_contiguous() for state in states for value in state["weights"].values())
    single, stack = OneByOne(made("mlp"), loss, Clip()), Stacked(made("mlp"), loss, Clip(), latent_dim=3)
    for training in (single, stack):
        for member, state in zip(training.members, states, strict=True):
            member.load_state_dict(copy.deepcopy(state))
    expected = trained(first, "mlp", range(3, 6))
    torch.testing.assert_close(trained(stack, "mlp", range(3, 6)), expected, rtol=0, atol=0)
    torch.testing.assert_close(trained(single, "mlp", range(3, 6)), expected, rtol=1e-4, atol=1e-3)
    stack.release()
    assert all(p.is_contiguous() for member in stack.members for p in member.parameters)
    torch.testing.assert_close(stack.members[1].module.encoder.head.weight, first.members[1].module.encoder.head.weight)


class OwnDraw(VAE):
    """Draws its noise by itself."""

    def posterior_terms(self, images, mean, log_var, generator=None):
        latents = mean + torch.randn(mean.shape, generator=generator) * (0.5 * log_var).exp()
        kl, kl_dims = self.divergence(latents, mean, log_var)
        return ElboTerms(self.likelihood(self.decoder(latents), images).mean(), kl, kl_dims)


class NoDraw(VAE):
    """Draws no noise."""

    def posterior_terms(self, images, mean, log_var, generator=None):
        kl, kl_dims = self.divergence(mean, mean, log_var)
        return ElboTerms(self.likelihood(self.decoder(mean), images).mean(), kl, kl_dims)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda module: None, None),
        (lambda module: module.encoder.layers.append(nn.Dropout(0.5)), "at random"),
        (lambda module: module.encoder.layers.append(nn.BatchNorm1d(400)), "changes the buffer"),
        (lambda module: setattr(module, "__class__", OwnDraw), "do not run together"),
        (lambda module: setattr(module, "__class__", NoDraw), "draws its noise otherwise"),
    ],
)
def test_obstacles_to_training_together_are_found(change, reason):
    members = made("mlp")
    for member in members:
        change(member.module)
        member.module.train()
    stacked = Stacked(members, loss, Clip(), latent_dim=3)
    noises = [member.module.training_noise(0, 0) for member in members]
    found = stacking_obstacle(members, stacked, torch.rand(8, 1, 6, 6), noises)
    assert found is None if reason is None else reason in found


def test_scores_are_in_evaluation_mode_and_leave_the_module_as_it_was():
    module = made("mlp")[0].module
    images = torch.rand(10, 1, 6, 6, generator=torch_stream(0, "images"))
    probe = [(images[:6], 0.6), (images[6:], 0.4)]
    scores = score_member(module, loss, probe, lambda index: torch_stream(5, "probe", index))
    assert module.training
    expected = torch.zeros(2)
    with torch.no_grad():
        for index, (batch, weight) in enumerate(probe):
            expected += weight * torch.stack(loss(module, batch, torch_stream(5, "probe", index))[1:])
    assert (scores["distortion"], scores["rate"]) == pytest.approx(tuple(expected.tolist()), rel=1e-5)
    assert scores["nelbo"] == scores["distortion"] + scores["rate"]


def test_given_noise_is_returned_once_asked_and_of_the_right_shape():
    like = torch.zeros(4, 2)
    drawn = standard_normal(like, torch_stream(0, "noise"))
    assert torch.equal(drawn, torch.randn(4, 2, generator=torch_stream(0, "noise")))
    given = GivenNoise(drawn)
    assert standard_normal(like, given) is drawn
    assert given.taken == 1
    with pytest.raises(ValueError, match="shape"):
        standard_normal(torch.zeros(3, 2), given)
