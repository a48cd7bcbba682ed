"""Candidates trained from recordings: number for number those that are trained one after the other."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from lightning_gvae.evolution.lookahead import Clip, lookahead, score
from lightning_gvae.evolution.lookahead_recorded import RecordedLookahead, lookahead_recorded, why_not_recorded
from lightning_gvae.evolution.recording import CannotRecord, Recorder
from lightning_gvae.evolution.scratch import Scratch, preserved_rng
from lightning_gvae.models import VAE
from tests.evolution.test_lookahead import BETAS, DATA, trained
from tests.evolution.test_lookahead_batched import EIGHT, NAMES
from tests.evolution.toy import CPU, ToyVAE, fingerprint, make_trial, objective


def both(model, optimizer, trial, genomes=EIGHT):
    with preserved_rng(CPU):
        return [evaluate(Scratch(model, optimizer), trial, genomes) for evaluate in (lookahead, lookahead_recorded)]


def assert_equal(model, optimizer, trial, genomes=EIGHT):
    alone, recorded = both(model, optimizer, trial, genomes)
    assert recorded.shape == (len(genomes), 2)
    np.testing.assert_array_equal(recorded, alone)
    return recorded


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("steps", [0, 60])
def test_recorded_is_plain(name, steps):
    scores = assert_equal(*trained(name, steps), make_trial(DATA))
    # a control: the candidates differ
    assert np.ptp(scores[:, 1]) > 1e-3 * scores[0, 1]


@pytest.mark.parametrize("make", [torch.optim.Adagrad, torch.optim.NAdam, torch.optim.Adadelta, torch.optim.RMSprop])
def test_any_optimiser(make):
    model, _ = trained()
    optimizer = make(model.parameters())
    assert_equal(model, optimizer, make_trial(DATA))
    objective(model, DATA[:64], torch.Generator().manual_seed(0))[0].backward()
    optimizer.step()
    assert_equal(model, optimizer, make_trial(DATA))


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_few_candidates(count):
    assert_equal(*trained(), make_trial(DATA), EIGHT[:count])


def test_without_steps_it_is_the_score_of_the_weights_as_they_are():
    model, optimizer = trained()
    trial = dataclasses.replace(make_trial(DATA), steps=[])
    expected = score(Scratch(model, optimizer), trial)
    np.testing.assert_array_equal(lookahead_recorded(Scratch(model, optimizer), trial, BETAS), [expected] * len(BETAS))


def test_a_used_copy_is_restored_first():
    model, optimizer = trained()
    scratch, trial = Scratch(model, optimizer), make_trial(DATA)
    first = lookahead_recorded(scratch, trial, BETAS)
    lookahead(scratch, trial, BETAS)
    np.testing.assert_array_equal(lookahead_recorded(scratch, trial, BETAS), first)


@pytest.mark.parametrize("steps", [0, 30])
def test_nothing_outside_the_copy_changes(steps):
    model, optimizer = trained("adam-fused", steps)
    model.encoder[0].bias.requires_grad_(False)
    if steps:
        objective(model, DATA[:64], torch.Generator().manual_seed(0))[0].backward()
    before, noise = fingerprint(model, optimizer), torch.get_rng_state()
    lookahead_recorded(Scratch(model, optimizer), make_trial(DATA), EIGHT)
    assert fingerprint(model, optimizer) == before
    assert torch.equal(torch.get_rng_state(), noise)


@pytest.mark.parametrize("clip", [Clip(0.05, "norm"), Clip(0.01, "value"), Clip(1e6, "norm")])
@pytest.mark.parametrize("name", ["sgd", "adam-fused"])
def test_each_candidate_is_clipped_by_itself(clip, name):
    model, optimizer = trained(name)
    clipped = assert_equal(model, optimizer, dataclasses.replace(make_trial(DATA), clip=clip))
    free = lookahead_recorded(Scratch(model, optimizer), make_trial(DATA), EIGHT)
    if name == "sgd":
        assert (np.abs(free - clipped).min() > 1e-4) == (clip.value < 1)


@pytest.mark.parametrize("micro", [2, 4])
def test_micro_batches_make_one_step_of_their_mean_gradient(micro):
    assert_equal(*trained(), make_trial(DATA, k=3, micro=micro))


def test_batches_and_probes_of_several_shapes():
    trial = make_trial(DATA)
    uneven = [[DATA[:64]], [DATA[64:90], DATA[100:164]], [DATA[:64]]]
    probe = [(DATA[:100], 0.5), (DATA[100:150], 0.25), (DATA[200:300], 0.25)]
    assert_equal(*trained(), dataclasses.replace(trial, steps=uneven, probe=probe))


def test_batches_that_are_more_than_one_tensor():
    model, optimizer = trained()

    def of_pairs(module, batch, generator):
        images, (mask, scale) = batch
        return objective(module, images * mask * scale, generator)

    masks = (torch.rand(len(DATA), 1, generator=torch.Generator().manual_seed(0)) > 0.2).float()
    steps = [[(DATA[i : i + 64], [masks[i : i + 64], scale])] for i, scale in ((0, 1.0), (64, 1.0), (128, 0.5))]
    trial = dataclasses.replace(make_trial(DATA), objective=of_pairs, steps=steps, probe=[((DATA, [masks, 1.0]), 1.0)])
    assert_equal(model, optimizer, trial)


def test_a_loss_that_bends_with_beta():
    def bent(module, batch, generator):
        _, d, r = objective(module, batch, generator)
        return d + (module.beta.float() - 1.0).abs() * (r - module.beta.float()).abs(), d, r

    assert_equal(*trained("sgd"), dataclasses.replace(make_trial(DATA), objective=bent))


def test_several_genes_and_weights_without_a_gradient():
    model, _ = trained()
    model.register_buffer("pull", torch.tensor([0.0]))
    model.idle = nn.Parameter(torch.ones(3))

    def pulled(module, batch, generator):
        loss, d, r = objective(module, batch, generator)
        return loss + module.pull.sum() * module.decoder[-1].bias.square().sum(), d, r

    trial = dataclasses.replace(make_trial(DATA), objective=pulled, genes=["beta", "pull"])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, weight_decay=0.1)
    scores = assert_equal(model, optimizer, trial, np.array([[1.0, 0.0], [1.0, 50.0], [2.0, 5.0]]))
    assert scores[0, 0] != scores[1, 0]


def test_a_candidate_that_diverges_leaves_the_others_alone():
    scores = assert_equal(*trained("sgd"), make_trial(DATA), np.array([[1.0], [1e30], [2.0], [4.0]]))
    assert np.isfinite(scores).all(1).tolist() == [True, False, True, True]


def test_weights_of_another_optimiser_stay():
    model, _ = trained()
    assert_equal(model, torch.optim.Adam(model.encoder.parameters(), lr=1e-2), make_trial(DATA))


@pytest.mark.parametrize("network", ["conv", "mlp"])
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "learnt_sigma"])
def test_our_networks(network, likelihood):
    torch.manual_seed(0)
    model = VAE((1, 32, 32), latent_dim=4, network=network, likelihood=likelihood)
    images = torch.randint(0, 256, (96, 1, 32, 32), dtype=torch.uint8)

    def elbo(module, batch, generator):
        terms = module.elbo_terms(module.prepare(batch), generator=generator)
        return module.loss(terms), terms.recon, terms.kl

    steps, probe = [[images[:32]], [images[32:64]]], [(images[64:], 1.0)]
    trial = dataclasses.replace(make_trial(DATA), objective=elbo, steps=steps, probe=probe)
    assert_equal(model, torch.optim.Adam(model.parameters(), lr=1e-3, fused=True), trial, EIGHT[:4])


def test_the_first_step_runs_only_what_beta_has_a_part_in():
    """Products of matrices in a generation of P: those of forward and backward passes, far from P times as many."""
    model, optimizer = trained("adam-fused")

    def products(steps, count):
        trial = dataclasses.replace(make_trial(DATA, k=steps), probe=[(DATA[:8], 1.0)])
        with Recorder() as recorder:
            lookahead_recorded(Scratch(model, optimizer), trial, EIGHT[:count])
        return sum(str(call[0]) in ("aten.mm.default", "aten.addmm.default") for call in recorder.calls)

    # 4 layers: 4 products forward, 4 for weights, 3 for inputs; beta has no part in the decoder's and in the
    # forward pass. The probe takes 4.
    assert products(1, 2) - products(1, 1) == products(1, 8) - products(1, 7) == 3 + 4
    assert products(2, 8) - products(2, 7) == 3 + 11 + 4


def test_code_that_cannot_be_recorded_is_refused():
    def reads(module, batch, generator):
        loss, d, r = objective(module, batch, generator)
        return loss * (1.0 if r.detach().item() > 0 else 2.0), d, r

    model, optimizer = trained()
    with pytest.raises(CannotRecord, match="reads a value off a tensor"):
        lookahead_recorded(Scratch(model, optimizer), dataclasses.replace(make_trial(DATA), objective=reads), EIGHT)


def test_values_that_leave_torch_unseen_are_noticed_at_the_first_use():
    """NumPy's share of a loss is a constant in a recording."""

    def smuggles(module, batch, generator):
        loss, d, r = objective(module, batch, generator)
        return loss * float(np.exp(module.encoder[0].weight.detach().numpy()).mean() ** 4), d, r

    model, optimizer = trained("sgd")
    trial = dataclasses.replace(make_trial(DATA), objective=smuggles)
    alone, recorded = both(model, optimizer, trial)
    assert np.abs(recorded / alone - 1).max() > 1e-5
    with pytest.raises(CannotRecord, match="a recorded candidate scores"):
        RecordedLookahead()(Scratch(model, optimizer), trial, EIGHT)


class Reader(ToyVAE):
    """Reads its sixteen channels one by one."""

    def __init__(self, cell):
        super().__init__()
        self.cell = cell(1, 16, batch_first=True)

    def terms(self, x, generator):
        return super().terms(self.cell(x.unsqueeze(2))[0][:, -1], generator)


def test_recurrent_networks():
    torch.manual_seed(0)
    model = Reader(nn.RNN)
    assert_equal(model, torch.optim.Adam(model.parameters(), lr=1e-3), make_trial(DATA, k=2), EIGHT[:3])
    model = Reader(nn.LSTM)
    with pytest.raises(CannotRecord, match="under autograd alone"):
        lookahead_recorded(Scratch(model, torch.optim.Adam(model.parameters())), make_trial(DATA), EIGHT)


def test_a_recording_that_does_not_run_is_refused_at_the_first_use(monkeypatch):
    monkeypatch.setattr("lightning_gvae.evolution.recording_book.NEEDS_AUTOGRAD", ())
    model = Reader(nn.LSTM)
    with pytest.raises(CannotRecord, match="a recording does not run: expected scalar type Byte"):
        RecordedLookahead()(Scratch(model, torch.optim.Adam(model.parameters())), make_trial(DATA), EIGHT)


def test_a_schedule_in_python_is_followed_from_generation_to_generation():
    model, optimizer = trained()
    model.share = 1.0

    def scheduled(module, batch, generator):
        _, d, r = objective(module, batch, generator)
        return d + module.share * module.beta.float() * r, d, r

    trial, evaluate = dataclasses.replace(make_trial(DATA), objective=scheduled), RecordedLookahead()
    for model.share in (1.0, 0.3):
        with preserved_rng(CPU):
            alone = lookahead(Scratch(model, optimizer), trial, EIGHT)
            np.testing.assert_array_equal(evaluate(Scratch(model, optimizer), trial, EIGHT), alone)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda model: model.encoder.insert(1, nn.Dropout(0.1)), "`encoder.1` drops units out at random"),
        (lambda model: model.decoder.compile(), "`decoder` is compiled"),
        (lambda model: model.encoder.to("meta"), "weights are on meta"),
        (lambda model: model.encoder.insert(1, nn.Dropout(0.1).eval()), None),
        (lambda model: model.encoder.append(nn.Conv1d(1, 1, 3)), None),
    ],
)
def test_what_cannot_be_recorded_is_named(change, reason):
    model = ToyVAE()
    change(model)
    found = why_not_recorded(model)
    assert found is None if reason is None else reason in found
