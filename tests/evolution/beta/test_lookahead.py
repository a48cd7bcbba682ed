"""Look-ahead: against plain training, purity, common noise, and the first-order prediction."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from lightning_gvae.evolution.beta.lookahead import (
    Clip,
    first_order,
    first_order_passes,
    lookahead,
    lookahead_passes,
    score,
)
from lightning_gvae.evolution.model_copy import ModelCopy, preserved_rng
from tests.evolution.beta.toy import CPU, ToyVAE, fingerprint, make_trial, probe_loss, toy_data, train

DATA = toy_data()
BETAS = np.array([[0.5], [1.0], [2.0], [4.0]])
OPTIMISERS = {
    "adam": lambda group: torch.optim.Adam(group, lr=3e-3),
    "adam-fused": lambda group: torch.optim.Adam(group, lr=3e-3, fused=True),
    "adamw": lambda group: torch.optim.AdamW(group, lr=3e-3, amsgrad=True),
    "adamw-fused": lambda group: torch.optim.AdamW(group, lr=3e-3, fused=True),
    "sgd": lambda group: torch.optim.SGD(group, lr=1e-2),
    "sgd-momentum": lambda group: torch.optim.SGD(group, lr=1e-3, momentum=0.9),
}
each_optimiser = pytest.mark.parametrize("name", OPTIMISERS)


def trained(name="adam", steps=60, **kwargs):
    model = ToyVAE(**kwargs)
    optimizer = OPTIMISERS[name](model.parameters())
    with preserved_rng(CPU):
        train(model, optimizer, DATA, steps)
    return model, optimizer


def plainly(model, optimizer, trial, beta):
    """Second implementation: a fresh copy for the candidate, an ordinary training loop, no model_copy."""
    model, optimizer = copy.deepcopy((model, optimizer))
    model.beta.fill_(beta)
    for k, (batch,) in enumerate(trial.steps):
        optimizer.zero_grad()
        probe_loss(model, batch, trial.noise.generator(k))[0].backward()
        if trial.clip.value:
            nn.utils.clip_grad_norm_(model.parameters(), trial.clip.value)
        optimizer.step()
    with torch.no_grad():
        terms = [model.terms(batch, trial.noise.generator(-1 - i)) for i, (batch, _) in enumerate(trial.probe)]
    return np.mean([[float(d), float(r)] for d, r in terms], axis=0)


@each_optimiser
@pytest.mark.parametrize("steps", [0, 60])
def test_look_ahead_equals_training_a_fresh_copy(name, steps):
    model, optimizer = trained(name, steps)
    trial = make_trial(DATA)
    scores = lookahead(ModelCopy(model, optimizer), trial, BETAS)
    expected = [plainly(model, optimizer, trial, beta) for (beta,) in BETAS]
    np.testing.assert_allclose(scores, expected, rtol=1e-6)


def test_the_order_of_the_candidates_does_not_matter():
    model, optimizer = trained(norm=True, dropout=0.2)
    trial, model_copy = make_trial(DATA), ModelCopy(model, optimizer)
    with preserved_rng(CPU):
        forward = lookahead(model_copy, trial, BETAS)
        backward = lookahead(model_copy, trial, BETAS[::-1])
        alone = lookahead(ModelCopy(model, optimizer), trial, BETAS[2:3])
    np.testing.assert_array_equal(forward, backward[::-1])
    np.testing.assert_array_equal(forward[2:3], alone)


def test_without_steps_all_candidates_are_equal():
    model, optimizer = trained(norm=True, dropout=0.2)
    trial = dataclasses.replace(make_trial(DATA), steps=[])
    with preserved_rng(CPU):
        scores = lookahead(ModelCopy(model, optimizer), trial, BETAS)
    assert (scores == scores[0]).all()
    assert np.isfinite(scores).all()


def test_the_rate_falls_with_beta():
    model, optimizer = trained(steps=600)
    betas = np.array([[2.0], [2.5], [3.0], [3.5], [4.0], [4.5]])
    scores = lookahead(ModelCopy(model, optimizer), make_trial(DATA, k=5), betas)
    assert (np.diff(scores[:, 1]) < 0).all()
    assert (np.diff(scores[:, 0]) > 0).all()


@each_optimiser
@pytest.mark.parametrize("evaluate", [lookahead, first_order])
@pytest.mark.parametrize("steps", [0, 30])
def test_nothing_outside_the_copy_changes(name, evaluate, steps):
    model, optimizer = trained(name, steps, norm=True, dropout=0.3)
    model.decoder[0].eval()
    model.encoder[0].bias.requires_grad_(False)
    if steps:
        with preserved_rng(CPU):
            probe_loss(model, DATA[:64], torch.Generator().manual_seed(0))[0].backward()  # gradients in flight
    before = fingerprint(model, optimizer)
    with preserved_rng(CPU):
        model_copy, trial = ModelCopy(model, optimizer), make_trial(DATA)
        trial.noise.reseed()
        score(model_copy, trial)
        evaluate(model_copy, trial, BETAS)
    assert fingerprint(model, optimizer) == before


def test_the_fingerprint_sees_everything():
    """A control for the test above."""

    def touch(what):
        model, optimizer = trained(steps=5, norm=True)
        before = fingerprint(model, optimizer)
        with preserved_rng(CPU):
            what(model, optimizer)
            return fingerprint(model, optimizer) != before

    assert touch(lambda model, _: model.beta.add_(1e-12))
    assert touch(lambda model, _: model.encoder[1].running_mean.add_(1e-6))
    assert touch(lambda model, _: model.encoder.eval())
    assert touch(lambda model, _: model.zero_grad())
    assert touch(lambda _, optimizer: next(iter(optimizer.state.values()))["exp_avg"].add_(1e-6))
    assert touch(lambda *_: torch.rand(1))
    assert not touch(lambda *_: None)


def test_preserved_rng_restores_after_an_error():
    state = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError), preserved_rng(CPU):
        torch.rand(1)
        _ = 1 / 0
    assert (torch.get_rng_state() == state).all()


def test_the_copied_optimiser_holds_the_copied_parameters():
    model, optimizer = trained()
    model_copy = ModelCopy(model, optimizer)
    copies = {id(parameter) for parameter in model_copy.module.parameters()}
    assert {id(parameter) for parameter in model_copy.parameters} == copies
    assert copies.isdisjoint({id(parameter) for parameter in model.parameters()})
    assert {id(parameter) for parameter in model_copy.optimizer.state} == copies


@each_optimiser
def test_restore_brings_back_the_whole_state(name):
    for steps in (0, 20):
        model, optimizer = trained(name, steps, norm=True)
        optimizer.zero_grad()
        model_copy, trial = ModelCopy(model, optimizer), make_trial(DATA)
        with preserved_rng(CPU):
            fresh = fingerprint(model_copy.module, model_copy.optimizer)
            lookahead(model_copy, trial, BETAS)
        assert fingerprint(model_copy.module, model_copy.optimizer) != fresh
        model_copy.restore()
        assert fingerprint(model_copy.module, model_copy.optimizer) == fresh == fingerprint(model, optimizer)


def test_dropout_and_noise_are_common_to_all_candidates():
    model, optimizer = trained(dropout=0.5)
    with preserved_rng(CPU):
        scores = lookahead(ModelCopy(model, optimizer), make_trial(DATA), np.array([[1.0], [1.0 + 1e-9]]))
        torch.rand(7)
        again = lookahead(ModelCopy(model, optimizer), make_trial(DATA), np.array([[1.0]]))
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-5)
    np.testing.assert_array_equal(scores[:1], again)


def test_batch_statistics_are_trained_in_the_copy():
    model, optimizer = trained(norm=True)
    model_copy = ModelCopy(model, optimizer)
    lookahead(model_copy, make_trial(DATA), BETAS[:1])
    assert not torch.equal(model_copy.module.encoder[1].running_mean, model.encoder[1].running_mean)


def test_micro_batches_make_one_step_of_their_mean_gradient():
    model, optimizer = trained()
    whole = make_trial(DATA, k=3, batch=64)

    def noiseless(module, batch, generator):
        mean, log_var = module.encoder(batch).chunk(2, dim=1)
        d = ((batch - module.decoder(mean)) ** 2).sum(1).mean()
        r = 0.5 * (mean**2 + log_var.exp() - log_var - 1).sum(1).mean()
        return d + module.beta.float() * r, d, r

    whole = dataclasses.replace(whole, probe_loss=noiseless)
    halves = dataclasses.replace(whole, steps=[[*batch.chunk(2)] for (batch,) in whole.steps])
    model_copy = ModelCopy(model, optimizer)
    np.testing.assert_allclose(lookahead(model_copy, halves, BETAS), lookahead(model_copy, whole, BETAS), rtol=1e-5)


@pytest.mark.parametrize("algorithm", ["norm", "value"])
def test_gradients_are_clipped_as_in_training(algorithm):
    model, optimizer = trained("sgd")
    trial = dataclasses.replace(make_trial(DATA), clip=Clip(0.05, algorithm))
    free, clipped = (lookahead(ModelCopy(model, optimizer), t, BETAS) for t in (make_trial(DATA), trial))
    assert np.abs(free - clipped).min() > 1e-4
    if algorithm == "norm":
        np.testing.assert_allclose(clipped, [plainly(model, optimizer, trial, b) for (b,) in BETAS], rtol=1e-6)


def test_a_candidate_that_diverges_is_not_finite_and_the_next_is_untouched():
    model, optimizer = trained("sgd")
    scores = lookahead(ModelCopy(model, optimizer), make_trial(DATA), np.array([[1.0], [1e30], [1.0]]))
    assert not np.isfinite(scores[1]).all()
    np.testing.assert_array_equal(scores[0], scores[2])


def test_no_candidates_make_an_empty_table():
    model, optimizer = trained()
    for evaluate in (lookahead, first_order):
        assert evaluate(ModelCopy(model, optimizer), make_trial(DATA), np.empty((0, 1))).shape == (0, 2)


def test_score_is_the_weighted_mean_over_the_probe():
    model, optimizer = trained()
    trial = make_trial(DATA)
    (first, _), (second, _) = trial.probe
    uneven = dataclasses.replace(trial, probe=[(first, 0.25), (second, 0.75)])
    with torch.no_grad():
        a = np.array([float(v) for v in model.terms(first, trial.noise.generator(-1))])
        b = np.array([float(v) for v in model.terms(second, trial.noise.generator(-2))])
    np.testing.assert_allclose(score(ModelCopy(model, optimizer), uneven), 0.25 * a + 0.75 * b, rtol=1e-6)


def test_several_genes_are_written_to_their_buffers():
    model, optimizer = trained()
    model.register_buffer("pull", torch.tensor(0.0))

    def pulled(module, batch, generator):
        loss, d, r = probe_loss(module, batch, generator)
        return loss + module.pull * module.decoder[-1].bias.square().sum(), d, r

    trial = dataclasses.replace(make_trial(DATA), probe_loss=pulled, genes=["beta", "pull"])
    scores = lookahead(ModelCopy(model, optimizer), trial, np.array([[1.0, 0.0], [1.0, 50.0]]))
    np.testing.assert_array_equal(scores[0], lookahead(ModelCopy(model, optimizer), make_trial(DATA), BETAS[1:2])[0])
    assert scores[1, 0] != scores[0, 0]
    assert float(model.pull) == 0.0


def gradients(value, parameters):
    return torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True, materialize_grads=True)


def test_first_order_is_exact_to_first_order_for_sgd():
    """With SGD the move is -lr K (gD + beta gR), so the prediction is linear in beta with a known slope."""
    model, optimizer = trained("sgd")
    trial = make_trial(DATA, k=3)
    batch, parameters = trial.steps[0][0], list(model.parameters())
    _, d, r = probe_loss(model, batch, trial.noise.generator(0))
    g_d, g_r = (gradients(term, parameters) for term in (d, r))
    probe = [probe_loss(model, x, trial.noise.generator(-1 - i))[1:] for i, (x, _) in enumerate(trial.probe)]
    for column in range(2):
        value = sum(terms[column] for terms in probe) / 2
        gradient = gradients(value, parameters)
        slope_d, slope_r = (sum(float((a * b).sum()) for a, b in zip(gradient, g, strict=True)) for g in (g_d, g_r))
        expected = float(value.detach()) - 1e-2 * 3 * (slope_d + BETAS[:, 0] * slope_r)
        predicted = first_order(ModelCopy(model, optimizer), trial, BETAS)[:, column]
        np.testing.assert_allclose(predicted, expected, rtol=1e-4)


def test_first_order_agrees_with_a_tiny_look_ahead():
    model, _ = trained(steps=300)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
    trial = make_trial(DATA, k=1)
    model_copy = ModelCopy(model, optimizer)
    base = np.array(score(model_copy, trial))
    looked = lookahead(model_copy, trial, BETAS * 100) - base
    predicted = first_order(model_copy, trial, BETAS * 100) - base
    np.testing.assert_allclose(predicted, looked, rtol=0.02, atol=2e-6)


@pytest.mark.parametrize("name", ["adam", "adamw-fused", "sgd-momentum"])
@pytest.mark.parametrize("steps", [300, 1000])
def test_first_order_ranks_rates_as_the_look_ahead_does(name, steps):
    model, optimizer = trained(name, steps)
    betas = np.array([[0.25], [0.5], [0.8], [1.25], [2.0], [4.0], [8.0]])
    trial, model_copy = make_trial(DATA, k=5), ModelCopy(model, optimizer)
    looked, predicted = lookahead(model_copy, trial, betas), first_order(model_copy, trial, betas)
    assert stats.spearmanr(looked[:, 1], predicted[:, 1]).statistic > 0.99


def test_first_order_moves_as_the_optimiser_would_with_its_moments():
    model, optimizer = trained(steps=300)
    trial = make_trial(DATA, k=2)
    twin, twin_optimizer = copy.deepcopy((model, optimizer))
    for _ in range(2):
        # the gradient of the weights as they are, both times
        loss = model.terms(trial.steps[0][0], trial.noise.generator(0))
        for mine, gradient in zip(
            twin.parameters(), gradients(loss[0] + 4.0 * loss[1], [*model.parameters()]), strict=True
        ):
            mine.grad = gradient
        twin_optimizer.step()
    moves = [new.detach() - old.detach() for new, old in zip(twin.parameters(), model.parameters(), strict=True)]
    probe = [model.terms(batch, trial.noise.generator(-1 - i)) for i, (batch, _) in enumerate(trial.probe)]
    predicted = first_order(ModelCopy(model, optimizer), trial, np.array([[4.0]]))[0]
    for column in range(2):
        value = sum(terms[column] for terms in probe) / 2
        change = sum(float((g * m).sum()) for g, m in zip(gradients(value, [*model.parameters()]), moves, strict=True))
        assert predicted[column] == pytest.approx(float(value.detach()) + change, rel=1e-5)
    forgetful = torch.optim.Adam(model.parameters(), lr=3e-3)
    assert np.abs(first_order(ModelCopy(model, forgetful), trial, np.array([[4.0]]))[0] - predicted).min() > 0.01


def test_passes_are_counted_one_forward_two_backward():
    calls = {"forward": 0, "samples": 0}
    model, optimizer = trained()

    def counted(module, batch, generator):
        calls["forward"] += 1
        calls["samples"] += len(batch) * (3 if torch.is_grad_enabled() else 1)
        return probe_loss(module, batch, generator)

    trial = dataclasses.replace(make_trial(DATA, k=5, batch=64, probe=256), probe_loss=counted)
    lookahead(ModelCopy(model, optimizer), trial, BETAS)
    assert calls["samples"] == lookahead_passes(4, 5, 64, 256) == 4 * (5 * 64 * 3 + 256)
    calls["forward"] = 0
    first_order(ModelCopy(model, optimizer), trial, BETAS)
    assert calls["forward"] == 3  # one training batch and two halves of the probe, whatever the number of betas
    assert first_order_passes(64, 256) == 5 * (64 + 256)
