"""Fitness: numbers by hand, ranks, the limit of the weighted form, and what is not finite."""

import numpy as np
import pytest

from lightning_gvae.evolution.beta.fitness import target_first, weighted

NAN, INF = float("nan"), float("inf")


def test_weighted_by_hand():
    # N = 90 and 110 against N_0 = 100; R = 20 and 15 against C = 10
    scores = [[70.0, 20.0], [95.0, 15.0]]
    np.testing.assert_allclose(weighted(scores, 100.0, 10.0, 1.0, 1.0), [0.1 - 1.0, -0.1 - 0.5])
    np.testing.assert_allclose(weighted(scores, 100.0, 10.0, 2.0, 0.0), [0.2, -0.2])
    np.testing.assert_allclose(weighted(scores, 100.0, None, 1.0, 0.0), [0.1, -0.1])


def test_small_scales_are_kept_at_one():
    np.testing.assert_allclose(weighted([[0.1, 0.3]], 0.2, 0.5, 1.0, 1.0), [-(0.2 + 0.2)])


def test_the_sign_of_the_negative_elbo_does_not_matter():
    # Gaussian likelihoods have negative NE: lower is still better
    fitness = weighted([[-200.0, 10.0], [-220.0, 10.0]], -190.0, None, 1.0, 0.0)
    assert fitness[1] > fitness[0]


VARIANCES = np.array([9.0, 4.0, 2.0, 1.5, 1.2])


def frontier(beta):
    """D and R of a linear-Gaussian model with unit noise (reverse water-filling); dD/dR = -beta."""
    level = np.minimum(np.asarray(beta)[:, None], VARIANCES)
    return np.stack([0.5 * level.sum(1), 0.5 * np.log(VARIANCES / level).sum(1)], axis=1)


@pytest.mark.parametrize("weight", [0.05, 0.1, 0.2])
def test_the_reachable_beta_is_one_plus_k(weight):
    # the target R = 0.4 would need a beta of about 5.5 on this frontier
    betas = np.linspace(0.2, 8.0, 4001)
    reference = float(frontier(np.array([1.0])).sum())
    fitness = weighted(frontier(betas), reference, 0.4, 1.0, weight)
    k = weight * max(1.0, reference) / 1.0
    assert betas[fitness.argmax()] == pytest.approx(1 + k, rel=0.01)


def test_target_first_has_no_limit():
    betas = np.linspace(0.2, 8.0, 4001)
    reference = float(frontier(np.array([1.0])).sum())
    table = frontier(betas)
    chosen = table[target_first(table, reference, 0.4, 0.05).argmax()]
    # in the band, on the edge that the ELBO likes better
    assert chosen[1] == pytest.approx(0.42, abs=0.001)


def test_target_first_is_lexicographic():
    inside_bad, inside_good, near, far = [1e9, 10.4], [50.0, 9.6], [1.0, 10.6], [1.0, 30.0]
    fitness = target_first([inside_bad, inside_good, near, far], 60.0, 10.0, 0.05)
    assert fitness[1] > fitness[0] > fitness[2] > fitness[3]


@pytest.mark.parametrize("bad", [[NAN, 1.0], [1.0, NAN], [INF, 1.0], [-INF, 1.0], [-INF, INF], [1.0, INF]])
def test_what_is_not_finite_has_the_worst_fitness(bad):
    scores = [bad, [1e6, 1e6]]
    for fitness in (weighted(scores, 1.0, 5.0, 1.0, 1.0), target_first(scores, 1.0, 5.0, 0.1)):
        assert fitness[0] == -INF
        assert np.isfinite(fitness[1])


def test_a_reference_that_is_not_finite_makes_no_candidate_win():
    assert (weighted([[1.0, 1.0]], NAN, 1.0, 1.0, 1.0) == -INF).all()


def test_scores_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"`scores` must be \(P, 2\)"):
        weighted([1.0, 2.0], 1.0, 1.0, 1.0, 1.0)
