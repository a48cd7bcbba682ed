"""Several genes: values in buffers and optimisers, look-ahead with a learning rate, measures, fitness and CMA-ES."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from lightning_gvae.errors import ConfigError
from lightning_gvae.evolution.beta.fitness import measured
from lightning_gvae.evolution.beta.genes import Gene
from lightning_gvae.evolution.beta.genome_values import LEARNING_RATE, assign, gene_values, set_learning_rate
from lightning_gvae.evolution.beta.lookahead import lookahead, score
from lightning_gvae.evolution.beta.lookahead_batched import lookahead_batched
from lightning_gvae.evolution.beta.measures import Measures, Observation
from lightning_gvae.evolution.beta.search import BetaSearch
from lightning_gvae.evolution.beta.settings import FitnessSettings
from lightning_gvae.evolution.model_copy import ModelCopy, preserved_rng
from tests.evolution.beta.test_lookahead import DATA, trained
from tests.evolution.beta.toy import CPU, fingerprint, make_trial

PAIRS = np.array([[1.0, 1e-3], [1.0, 1e-2], [4.0, 1e-3], [0.3, 3e-4]])  # beta, learning rate
OPTIMIZERS = ["adam", "adamw", "sgd", "sgd-momentum"]


def rated(**changes):
    return dataclasses.replace(make_trial(DATA), genes=["beta", LEARNING_RATE], **changes)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_learning_rate_is_looked_ahead_with_as_an_optimiser_that_has_it(name):
    model, optimizer = trained(name, 60)
    before = fingerprint(model, optimizer)
    with preserved_rng(CPU):
        alone = lookahead(ModelCopy(model, optimizer), rated(), PAIRS)
    assert fingerprint(model, optimizer) == before
    for genome, row in zip(PAIRS, alone, strict=True):
        rate = optimizer.param_groups[0]["lr"]
        optimizer.param_groups[0]["lr"] = genome[1]
        with preserved_rng(CPU):
            expected = lookahead(ModelCopy(model, optimizer), make_trial(DATA), genome[None, :1])
        optimizer.param_groups[0]["lr"] = rate
        np.testing.assert_array_equal(row, expected[0])


@pytest.mark.parametrize("name", [*OPTIMIZERS, "adam-fused", "adamw-fused"])
def test_learning_rates_together_are_those_one_after_the_other(name):
    model, optimizer = trained(name, 60)
    with preserved_rng(CPU):
        alone, together = (f(ModelCopy(model, optimizer), rated(), PAIRS) for f in (lookahead, lookahead_batched))
        only_rates = dataclasses.replace(make_trial(DATA), genes=[LEARNING_RATE])
        of_rates = [f(ModelCopy(model, optimizer), only_rates, PAIRS[:, 1:]) for f in (lookahead, lookahead_batched)]
    np.testing.assert_allclose(together, alone, rtol=2e-5)
    np.testing.assert_allclose(of_rates[1], of_rates[0], rtol=2e-5)
    assert np.ptp(of_rates[0][:, 0]) > 1e-3 * of_rates[0][0, 0]


def test_a_copy_takes_back_the_learning_rate():
    model, optimizer = trained()
    model_copy = ModelCopy(model, optimizer)
    set_learning_rate(model_copy.optimizers, 0.5)
    model_copy.restore()
    assert model_copy.optimizer.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]


def test_genes_are_read_as_they_were_written_and_groups_keep_their_ratio():
    module = torch.nn.Linear(2, 2)
    module.register_buffer("beta", torch.tensor(1.0, dtype=torch.float64))
    groups = [{"params": [module.weight], "lr": 1e-3}, {"params": [module.bias], "lr": 5e-4}]
    optimizers = [torch.optim.SGD(groups), torch.optim.Adam([torch.zeros(1)], lr=torch.tensor(1e-3))]
    assign(module, optimizers, ["beta", LEARNING_RATE], [0.3, 7e-3])
    assert gene_values(module, optimizers[0], ["beta", LEARNING_RATE]) == [0.3, 7e-3]
    assert optimizers[0].param_groups[1]["lr"] == pytest.approx(3.5e-3)
    assert float(optimizers[1].param_groups[0]["lr"]) == pytest.approx(7e-3)


def measures():
    """Mean square of the codes, by both ways: as a term of the batch, and of all codes at the end."""

    def observe(module, batch, generator):
        mean, log_var = module.encoder(batch).chunk(2, dim=1)
        return Observation(mean.square().mean()[None], mean, log_var)

    def summarise(terms, mean, log_var):
        return np.array([float(terms[0]), float(mean.square().mean())])

    return Measures(("term", "code"), observe, summarise)


def test_measures_are_further_columns_the_same_together_and_alone():
    model, optimizer = trained()
    trial = rated(measures=measures())
    with preserved_rng(CPU):
        alone, together = (f(ModelCopy(model, optimizer), trial, PAIRS) for f in (lookahead, lookahead_batched))
        plain = lookahead(ModelCopy(model, optimizer), rated(), PAIRS)
        here = score(ModelCopy(model, optimizer), trial)
    assert alone.shape == together.shape == (4, 4)
    np.testing.assert_array_equal(alone[:, :2], plain)
    np.testing.assert_allclose(together, alone, rtol=2e-5)
    np.testing.assert_allclose(alone[:, 2], alone[:, 3], rtol=1e-6)
    with torch.no_grad():
        expected = np.mean([float(model.encoder(x).chunk(2, dim=1)[0].square().mean()) for x, _ in trial.probe])
    np.testing.assert_allclose(here[2:], [expected, expected], rtol=1e-6)


def test_fitness_of_measures_by_hand():
    scores, reference = [[1.0, 10.0], [3.0, 12.0], [np.nan, 1.0]], [2.0, 11.0]
    found = measured(scores, reference, {0: 2.0}, 5.0, {1: -0.5})
    assert found.tolist() == [-5 * 0.5 + 0.5, -5 * 0.5 - 0.5, -np.inf]
    # distances from small set-points are relative to a tenth
    assert measured([[0.03]], [0.0], {0: 0.01}, 1.0, {}).tolist() == pytest.approx([-0.2])


GENES = tuple(Gene(name, 0.01, 100.0) for name in ("alpha", "beta", "gamma", "delta"))
POINTS = {"first": 3.0, "second": 0.5}


def world(genomes):
    """D, R and two measures that answer to the genes, each to more than one."""
    a, b, c, _ = np.log(np.asarray(genomes)).T
    first, second = 3.0 + a - 0.5 * b, 1.0 + 0.3 * b - 0.4 * c
    rate = 10 - a - b - c
    return np.stack([90 + (a**2 + b**2 + c**2) - rate, rate, first, second], axis=1)


def steered(method, generations=60, seed=0, **settings):
    search = BetaSearch(genes=GENES, method=method, seed=seed, fitness={"targets": POINTS}, **settings)
    genome = np.array([2.0, 0.5, 0.5, 1.0])
    for step in range(generations):
        candidates = search.ask(step, genome, world([genome])[0])
        if len(candidates):
            search.tell(world(candidates))
        genome = np.array(search.genome)
    return search, world([genome])[0]


@pytest.mark.parametrize("method", ["ga", "cma", "random"])
def test_set_points_of_several_measures_are_reached_and_the_search_sleeps(method):
    search, here = steered(method)
    assert here[2] == pytest.approx(3.0, rel=0.05)
    assert here[3] == pytest.approx(0.5, rel=0.05)
    assert search.asleep


@pytest.mark.parametrize("method", ["ga", "cma", "random"])
def test_a_score_grows_for_ever_and_the_search_does_not_sleep(method):
    search = BetaSearch(genes=GENES, method=method, fitness={"scores": {"first": 10.0}, "elbo_weight": 0.0})
    genome, seen = np.ones(4), []
    for step in range(20):
        candidates = search.ask(step, genome, world([genome])[0][:3])
        seen.append(len(candidates))
        search.tell(world(candidates)[:, :3])
        genome = np.array(search.genome)
    assert set(seen) == {8}
    assert world([genome])[0][2] > 5


def test_cma_goes_on_from_its_state_and_begins_anew_when_genes_are_set_from_outside():
    whole, _ = steered("cma", 3)
    rest = BetaSearch(genes=GENES, method="cma", fitness={"targets": POINTS})
    rest.load_state_dict(json.loads(json.dumps(whole.state_dict())))
    pairs = [search.ask(3, search.genome, world([search.genome])[0]) for search in (whole, rest)]
    np.testing.assert_array_equal(*pairs)
    whole.tell(world(pairs[0]))
    before = whole.proposals.state_dict()
    whole.ask(4, [1.0, 1.0, 1.0, 2.0], world([np.ones(4)])[0])
    assert before["generation"] > whole.proposals.state_dict()["generation"] == 0


def test_stored_searches_without_measures_are_those_of_before():
    search = BetaSearch(target=5.0)
    state = search.state_dict()
    for name in ("targets", "scores"):
        state["settings"]["fitness"].pop(name)
    del state["cma"]
    assert BetaSearch(target=5.0).load_state_dict(state) is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "target_first", "targets": POINTS}, "`fitness.targets` needs `fitness.kind` 'weighted'"),
        ({"targets": {"first": "much"}}, "`fitness.targets.first` must be a finite number, got 'much'"),
        ({"scores": {"first": float("nan")}}, "`fitness.scores.first` must be a finite number, got nan"),
    ],
)
def test_bad_measures_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        FitnessSettings(**settings)


def test_a_table_with_other_columns_is_refused():
    search = BetaSearch(genes=GENES, fitness={"targets": POINTS})
    search.ask(0, np.ones(4), world([np.ones(4)])[0])
    with pytest.raises(ValueError, match=r"must have the columns D, R, first, second, got shape \(8, 2\)"):
        search.tell(np.zeros((8, 2)))
    with pytest.raises(ConfigError, match="`method` 'cma' needs three candidates or more"):
        BetaSearch(target=5.0, method="cma", variation={"survivors": 1, "children": 1})
