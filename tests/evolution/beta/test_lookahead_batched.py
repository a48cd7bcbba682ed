"""Candidates trained together: against those trained one after the other, and what is left to those."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lightning_gvae.evolution.beta.lookahead import Clip, lookahead, score
from lightning_gvae.evolution.beta.lookahead_batched import lookahead_batched, unsupported_reason
from lightning_gvae.evolution.beta.obstacles import Footprint
from lightning_gvae.evolution.model_copy import ModelCopy, preserved_rng
from lightning_gvae.models import VAE
from tests.evolution.beta.test_lookahead import BETAS, DATA, trained
from tests.evolution.beta.toy import CPU, ToyVAE, fingerprint, make_trial, probe_loss

NAMES = ["adam", "adam-fused", "adamw", "adamw-fused", "sgd", "sgd-momentum"]
EIGHT = np.exp(np.linspace(-1, 1, 8))[:, None]


def both(model, optimizer, trial, genomes):
    with preserved_rng(CPU):
        return [evaluate(ModelCopy(model, optimizer), trial, genomes) for evaluate in (lookahead, lookahead_batched)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("steps", [0, 60])
def test_together_is_one_after_the_other(name, steps):
    model, optimizer = trained(name, steps)
    alone, together = both(model, optimizer, make_trial(DATA), EIGHT)
    np.testing.assert_allclose(together, alone, rtol=1e-5)
    # a control: the candidates differ by far more than that
    assert np.ptp(alone[:, 1]) > 1e-3 * alone[0, 1]


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_few_candidates(count):
    model, optimizer = trained()
    alone, together = both(model, optimizer, make_trial(DATA), EIGHT[:count])
    assert together.shape == (count, 2)
    np.testing.assert_allclose(together, alone, rtol=1e-5)


def test_without_steps_it_is_the_score_of_the_weights_as_they_are():
    model, optimizer = trained()
    trial = dataclasses.replace(make_trial(DATA), steps=[])
    expected = score(ModelCopy(model, optimizer), trial)
    together = lookahead_batched(ModelCopy(model, optimizer), trial, BETAS)
    np.testing.assert_allclose(together, np.tile(expected, (len(BETAS), 1)), rtol=1e-6)


def test_a_used_copy_is_restored_first():
    model, optimizer = trained()
    model_copy, trial = ModelCopy(model, optimizer), make_trial(DATA)
    first = lookahead_batched(model_copy, trial, BETAS)
    lookahead(model_copy, trial, BETAS)
    np.testing.assert_array_equal(lookahead_batched(model_copy, trial, BETAS), first)


@pytest.mark.parametrize("steps", [0, 30])
def test_nothing_outside_the_copy_changes(steps):
    model, optimizer = trained("adam-fused", steps)
    model.encoder[0].bias.requires_grad_(False)
    if steps:
        with preserved_rng(CPU):
            probe_loss(model, DATA[:64], torch.Generator().manual_seed(0))[0].backward()
    before = fingerprint(model, optimizer)
    with preserved_rng(CPU):
        model_copy = ModelCopy(model, optimizer)
        copied = fingerprint(model_copy.module, model_copy.optimizer)
        lookahead_batched(model_copy, make_trial(DATA), EIGHT)
    assert fingerprint(model, optimizer) == before
    assert fingerprint(model_copy.module, model_copy.optimizer) == copied


@pytest.mark.parametrize("clip", [Clip(0.05, "norm"), Clip(0.01, "value"), Clip(1e6, "norm")])
def test_each_candidate_is_clipped_by_itself(clip):
    model, optimizer = trained("sgd")
    trial = dataclasses.replace(make_trial(DATA), clip=clip)
    alone, together = both(model, optimizer, trial, EIGHT)
    np.testing.assert_allclose(together, alone, rtol=1e-5)
    free = lookahead_batched(ModelCopy(model, optimizer), make_trial(DATA), EIGHT)
    assert (np.abs(free - together).min() > 1e-4) == (clip.value < 1)


def test_micro_batches_make_one_step_of_their_mean_gradient():
    model, optimizer = trained()
    trial = make_trial(DATA, k=3, micro=2)
    alone, together = both(model, optimizer, trial, EIGHT)
    np.testing.assert_allclose(together, alone, rtol=1e-5)


def test_batches_and_probes_of_several_shapes():
    uneven = [[DATA[:64]], [DATA[64:90], DATA[100:164]], [DATA[:64]]]
    probe = [(DATA[:100], 0.5), (DATA[100:150], 0.25), (DATA[200:300], 0.25)]
    trial = dataclasses.replace(make_trial(DATA), steps=uneven, probe=probe)
    alone, together = both(*trained(), trial, EIGHT)
    np.testing.assert_allclose(together, alone, rtol=1e-5)


def test_batches_that_are_more_than_one_tensor():
    def of_pairs(module, batch, generator):
        images, (mask, scale) = batch
        return probe_loss(module, images * mask * scale, generator)

    masks = (torch.rand(len(DATA), 1, generator=torch.Generator().manual_seed(0)) > 0.2).float()
    steps = [[(DATA[i : i + 64], [masks[i : i + 64], scale])] for i, scale in ((0, 1.0), (64, 1.0), (128, 0.5))]
    trial = dataclasses.replace(make_trial(DATA), probe_loss=of_pairs, steps=steps, probe=[((DATA, [masks, 1.0]), 1.0)])
    alone, together = both(*trained(), trial, EIGHT)
    np.testing.assert_allclose(together, alone, rtol=1e-5)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "learnt_sigma"])
def test_our_networks(likelihood):
    torch.manual_seed(0)
    model = VAE((1, 32, 32), latent_dim=4, network="mlp", likelihood=likelihood)
    images = torch.randint(0, 256, (96, 1, 32, 32), dtype=torch.uint8)

    def elbo(module, batch, generator):
        terms = module.elbo_terms(module.prepare(batch), generator=generator)
        return module.loss(terms), terms.recon, terms.kl

    steps, probe = [[images[:32]], [images[32:64]]], [(images[64:], 1.0)]
    trial = dataclasses.replace(make_trial(DATA), probe_loss=elbo, steps=steps, probe=probe)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-5)
    alone, together = both(model, optimizer, trial, EIGHT[:4])
    np.testing.assert_allclose(together, alone, rtol=1e-5)


def test_a_schedule_in_python_is_followed_from_generation_to_generation():
    model, optimizer = trained()

    def scheduled(module, batch, generator):
        _, d, r = probe_loss(module, batch, generator)
        return d + model.share * module.beta.float() * r, d, r

    trial = dataclasses.replace(make_trial(DATA), probe_loss=scheduled)
    for model.share in (1.0, 0.3):
        alone, together = both(model, optimizer, trial, EIGHT)
        np.testing.assert_allclose(together, alone, rtol=1e-5)


@pytest.mark.parametrize("affine", [True, False])
def test_a_loss_that_bends_with_beta_gets_no_shared_first_step(affine):
    """Two backward passes are all that an affine loss needs in the first step; any other takes the stacked one."""
    model, optimizer = trained("sgd")
    calls = []

    def bent(module, batch, generator):
        calls.append(torch.is_grad_enabled())
        _, d, r = probe_loss(module, batch, generator)
        beta = module.beta.float()
        return d + (beta if affine else beta.square()) * r, d, r

    trial = dataclasses.replace(make_trial(DATA, k=2), probe_loss=bent)
    together = lookahead_batched(ModelCopy(model, optimizer), trial, EIGHT)
    assert calls.count(True) == (2 if affine else 3)
    np.testing.assert_allclose(together, lookahead(ModelCopy(model, optimizer), trial, EIGHT), rtol=1e-5)


def test_several_genes():
    model, optimizer = trained()
    model.register_buffer("pull", torch.tensor([0.0]))

    def pulled(module, batch, generator):
        loss, d, r = probe_loss(module, batch, generator)
        return loss + module.pull.sum() * module.decoder[-1].bias.square().sum(), d, r

    trial = dataclasses.replace(make_trial(DATA), probe_loss=pulled, genes=["beta", "pull"])
    genomes = np.array([[1.0, 0.0], [1.0, 50.0], [2.0, 5.0]])
    alone, together = both(model, optimizer, trial, genomes)
    np.testing.assert_allclose(together, alone, rtol=1e-5)
    assert together[0, 0] != together[1, 0]
    single = dataclasses.replace(trial, genes=["pull"])
    np.testing.assert_allclose(*both(model, optimizer, single, genomes[:, 1:]), rtol=1e-5)


def test_a_candidate_that_diverges_leaves_the_others_alone():
    model, optimizer = trained("sgd")
    genomes = np.array([[1.0], [1e30], [2.0], [4.0]])
    alone, together = both(model, optimizer, make_trial(DATA), genomes)
    assert not np.isfinite(together[1]).all()
    kept = [0, 2, 3]
    np.testing.assert_allclose(together[kept], alone[kept], rtol=1e-5)


def test_scalar_parameters_and_groups_with_settings_of_their_own():
    model, _ = trained()
    model.scale = nn.Parameter(torch.tensor(0.1))

    def scaled(module, batch, generator):
        loss, d, r = probe_loss(module, batch, generator)
        return loss + (module.scale - r).square(), d, r

    groups = [
        {"params": [*model.encoder.parameters(), model.scale], "lr": 1e-2, "initial_lr": 1e-2},
        {"params": [*model.decoder.parameters()], "weight_decay": 0.1},
    ]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, fused=True)
    trial = dataclasses.replace(make_trial(DATA), probe_loss=scaled)
    scaled(model, DATA[:64], torch.Generator().manual_seed(0))[0].backward()
    optimizer.step()
    alone, together = both(model, optimizer, trial, EIGHT)
    np.testing.assert_allclose(together, alone, rtol=1e-5)
    assert unsupported_reason(model, optimizer) is None


def test_weights_of_another_optimiser_are_shared_and_stay():
    model, _ = trained()
    optimizer = torch.optim.Adam(model.encoder.parameters(), lr=1e-2)
    alone, together = both(model, optimizer, make_trial(DATA), EIGHT)
    np.testing.assert_allclose(together, alone, rtol=1e-5)


def test_a_bernoulli_likelihood():
    model, optimizer = trained("adam-fused")

    def bernoulli(module, batch, generator):
        _, d, r = probe_loss(module, batch, generator)
        output = module.decoder(module.encoder(batch)[:, :6])
        targets = torch.sigmoid(batch)
        d = d + F.binary_cross_entropy_with_logits(output, targets, reduction="none").sum(1).mean()
        return d + module.beta.float() * r, d, r

    trial = dataclasses.replace(make_trial(DATA), probe_loss=bernoulli)
    alone, together = both(model, optimizer, trial, EIGHT)
    np.testing.assert_allclose(together, alone, rtol=1e-5)


class Own(torch.optim.Adam):
    """A stranger's optimiser: who knows what it does."""


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda model: torch.optim.LBFGS(model.parameters()), "the optimiser is LBFGS, not one of Adam, AdamW"),
        (lambda model: Own(model.parameters()), "the optimiser is Own"),
        (lambda model: model.encoder.append(nn.BatchNorm1d(12)), "`encoder.3` is a BatchNorm1d"),
        (lambda model: model.encoder.insert(1, nn.Dropout(0.1)), "`encoder.1` drops units out at random"),
        (lambda model: model.encoder.append(nn.Conv1d(1, 1, 3)), "`encoder.3` is a Conv1d, not a linear layer"),
        (lambda model: model.decoder.compile(), None),  # its copies are not
        (lambda model: model.encoder.insert(1, nn.Dropout(0.1).eval()), None),
        (lambda model: model.encoder.append(nn.Conv1d(1, 1, 3).requires_grad_(False)), None),
        (lambda model: None, None),
    ],
)
def test_what_cannot_be_trained_together_is_named(change, reason):
    model = ToyVAE()
    made = change(model)
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    found = unsupported_reason(model, made if isinstance(made, torch.optim.Optimizer) else torch.optim.Adam(trainable))
    assert found is None if reason is None else reason in found


def test_what_a_forward_pass_leaves_behind_is_noticed():
    inputs = torch.ones(8, 4)
    for module, reason in (
        (nn.Linear(4, 4), None),
        (nn.BatchNorm1d(4), "changes the buffer `running_mean`"),
        (nn.BatchNorm1d(4).eval(), None),
        (nn.Dropout(0.5), "draws from torch's global generator"),
    ):
        with preserved_rng(CPU):
            footprint = Footprint(module, CPU)
            module(inputs)
            assert footprint.found() is None if reason is None else reason in (footprint.found() or "")
