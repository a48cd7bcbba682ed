"""CMA-ES against pycma, on functions with known minima, and its state."""

import json

import cma
import numpy as np
import pytest

from lightning_gvae.evolution.beta.cma_es import CMAES

SCALES = np.array([1.0, 10.0, 100.0, 1000.0])


def ellipsoid(x):
    return float((SCALES[: len(x)] * np.asarray(x) ** 2).sum())


def minimised(function, start, sigma, evaluations, count=8, seed=0):
    search, rng = CMAES(np.array(start), sigma), np.random.default_rng(seed)
    for _ in range(evaluations // count):
        candidates = search.ask(rng, count)
        search.tell(candidates, -np.array([function(x) for x in candidates]))
    return search


def test_it_finds_the_minimum_of_an_ellipsoid_and_learns_its_shape():
    search = minimised(ellipsoid, [1.0, -2.0, 0.5, 1.5], 0.5, 1200)
    assert ellipsoid(search.mean) < 1e-3
    values = np.linalg.eigvalsh(search.covariance)
    assert values.max() / values.min() > 100  # of the 1000 that there are


def test_one_generation_is_that_of_pycma():
    settings = {"popsize": 8, "seed": 3, "verbose": -9, "CMA_active": False}
    theirs = cma.CMAEvolutionStrategy([0.3, -0.4, 0.8], 0.4, settings)
    ours = CMAES(np.array([0.3, -0.4, 0.8]), 0.4)
    candidates = theirs.ask()
    costs = [ellipsoid(x) for x in candidates]
    theirs.tell(candidates, costs)
    ours.tell(np.array(candidates), -np.array(costs))
    np.testing.assert_allclose(ours.mean, theirs.mean, rtol=1e-6)
    # its constants of the step size differ in their third digit
    assert ours.sigma == pytest.approx(theirs.sigma, rel=0.2)


def test_it_needs_no_more_evaluations_than_pycma_by_half():
    settings = {"popsize": 8, "seed": 3, "verbose": -9, "CMA_active": False, "ftarget": 1e-2}
    theirs = cma.CMAEvolutionStrategy([1.0, -2.0, 0.5, 1.5], 0.5, settings).optimize(ellipsoid)
    counts = [
        next(
            n
            for n in range(40, 4000, 40)
            if ellipsoid(minimised(ellipsoid, [1, -2, 0.5, 1.5], 0.5, n, seed=s).mean) < 1e-2
        )
        for s in range(3)
    ]
    assert np.median(counts) <= 1.5 * theirs.result.evaluations


def test_the_order_of_the_fitness_is_all_that_counts():
    first, second = (
        minimised(function, [1.0, -2.0], 0.5, 160) for function in (ellipsoid, lambda x: np.log(ellipsoid(x)) - 7)
    )
    np.testing.assert_array_equal(first.mean, second.mean)
    np.testing.assert_array_equal(first.covariance, second.covariance)


def test_a_search_goes_on_from_its_state_to_the_last_bit():
    whole = minimised(ellipsoid, [1.0, -2.0, 0.5], 0.5, 80)
    rest = CMAES(np.zeros(3), 1.0)
    rest.load_state_dict(json.loads(json.dumps(whole.state_dict())))
    for search in (whole, rest):
        rng = np.random.default_rng(5)
        candidates = search.ask(rng, 8)
        search.tell(candidates, -np.array([ellipsoid(x) for x in candidates]))
    assert whole.state_dict() == rest.state_dict()


def test_failed_candidates_are_no_guide_and_the_step_size_stays_in_its_bounds():
    search = CMAES(np.zeros(2), 0.5, most=0.6)
    before = search.state_dict()
    search.tell(np.ones((4, 2)), np.full(4, -np.inf))
    assert search.state_dict() == before
    rng = np.random.default_rng(0)
    for _ in range(30):  # downhill without end
        candidates = search.ask(rng, 8)
        search.tell(candidates, candidates.sum(1))
        assert 1e-3 <= search.sigma <= 0.6
    assert search.mean.sum() > 1
