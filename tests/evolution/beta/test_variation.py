"""Children, fresh draws and the trust region."""

import math

import numpy as np
import pytest

from lightning_gvae.errors import ConfigError
from lightning_gvae.evolution.beta.genes import Gene
from lightning_gvae.evolution.beta.settings import VariationSettings
from lightning_gvae.evolution.beta.trust_region import TrustRegion
from lightning_gvae.evolution.beta.variation import offspring, on_both_sides, spread, without_repeats
from lightning_gvae.rng import numpy_stream

BETA = Gene("beta", 0.01, 100.0)
WIDTH = Gene("width", 0.0, 1.0, scale="linear")
ZERO, ONE = np.zeros(1), np.ones(1)


def drawn(parents, count, genes, rates, rng):
    """Children at rates in the order of the settings: eta, crossover, mutation, cauchy."""
    names = ("eta", "crossover", "mutation", "cauchy")
    return offspring(parents, count, genes, VariationSettings(**dict(zip(names, rates, strict=True))), rng)


def test_children_are_inside_and_as_many_as_wanted():
    parents = np.array([[0.0], [1.0], [0.02]])
    for count in (1, 2, 5):
        children = drawn(parents, count, [BETA], (0.1, 1.0, 1.0, 5.0), numpy_stream(0, "v", count))
        assert children.shape == (count, 1)
        assert ((children >= 0) & (children <= 1)).all()


def test_without_crossover_and_mutation_children_are_copies_of_different_parents():
    parents = np.array([[0.1], [0.2], [0.7]])
    children = drawn(parents, 200, [BETA], (2.0, 0.0, 0.0, 0.25), numpy_stream(0, "v"))
    assert set(children[:, 0].tolist()) == {0.1, 0.2, 0.7}
    assert (children[::2] != children[1::2]).all()


def test_crossover_alone_keeps_the_mean_of_the_pair():
    parents = np.array([[0.45], [0.55]])
    children = drawn(parents, 200, [BETA], (15.0, 1.0, 0.0, 0.25), numpy_stream(1, "v"))
    np.testing.assert_allclose(children[::2] + children[1::2], 1.0, atol=1e-12)
    # a single gene is always crossed: no pair is a pair of copies
    assert not np.isin(children, parents).any()


def test_several_genes_are_crossed_half_of_the_time():
    parents = np.array([[0.45, 0.45], [0.55, 0.55]])
    children = drawn(parents, 4000, [BETA, WIDTH], (15.0, 1.0, 0.0, 0.25), numpy_stream(2, "v"))
    crossed = ~np.isin(children[::2], parents)
    np.testing.assert_allclose(crossed.mean(0), 0.5, atol=0.04)


def test_mutation_jumps_have_the_scale_in_natural_units():
    parents = np.array([[0.5, 0.5], [0.5, 0.5]])
    children = drawn(parents, 20_000, [BETA, WIDTH], (2.0, 0.0, 1.0, 0.25), numpy_stream(3, "v"))
    jumps = np.median(np.abs(children - 0.5), axis=0)
    np.testing.assert_allclose(jumps, [0.25 / math.log(1e4), 0.025], rtol=0.05)


def test_mutation_probability():
    parents = np.array([[0.5], [0.5]])
    children = drawn(parents, 20_000, [BETA], (2.0, 0.0, 0.3, 0.25), numpy_stream(4, "v"))
    assert (children != 0.5).mean() == pytest.approx(0.3, abs=0.02)


def test_one_parent_has_only_mutants():
    children = drawn(np.array([[0.3]]), 3, [BETA], (2.0, 0.9, 0.0, 0.25), numpy_stream(5, "v"))
    assert (children == 0.3).all()


def test_spread_puts_one_draw_into_every_slice():
    low, high = np.array([0.2, 0.0]), np.array([0.6, 1.0])
    draws = spread(numpy_stream(6, "v"), low, high, 8)
    slices = np.floor((draws - low) / (high - low) * 8).astype(int)
    assert sorted(slices[:, 0]) == sorted(slices[:, 1]) == list(range(8))
    assert slices[:, 0].tolist() != slices[:, 1].tolist()
    assert spread(numpy_stream(6, "v"), low, high, 0).shape == (0, 2)


def test_repeats_are_redrawn_or_dropped():
    known, more = np.array([[0.5]]), np.array([[0.5], [0.505], [0.6], [0.6]])
    np.testing.assert_array_equal(without_repeats(known, more, ZERO, ONE, None), [[0.5], [0.6]])
    redrawn = without_repeats(known, more, ZERO, ONE, numpy_stream(7, "v"))
    assert len(redrawn) == 5
    gaps = np.abs(redrawn - redrawn.T)[np.triu_indices(5, 1)]
    assert gaps.min() > 0.01


def test_genomes_differ_if_one_gene_differs():
    rows = without_repeats(np.array([[0.5, 0.5]]), np.array([[0.5, 0.9]]), np.zeros(2), np.ones(2), None)
    assert len(rows) == 2


def test_a_box_without_room_drops_repeats_instead_of_looping():
    point = np.array([0.5])
    assert len(without_repeats(point[None], point[None], point, point, numpy_stream(8, "v"))) == 1


def test_the_box_reaches_delta_to_both_sides_within_the_bounds():
    trust = TrustRegion([BETA, WIDTH], 0.3)
    low, high = trust.box(np.array([0.5, 0.99]))
    np.testing.assert_allclose(BETA.from_unit([low[0], high[0]]), [math.exp(-0.3), math.exp(0.3)])
    np.testing.assert_allclose([low[1], high[1]], [0.96, 1.0])


def test_no_delta_means_the_whole_range():
    low, high = TrustRegion([BETA], None).box(np.array([0.5]))
    assert (low, high) == (0.0, 1.0)


def test_the_reach_halves_on_a_turn_and_doubles_going_straight():
    trust = TrustRegion([BETA], 0.4)
    widths = []
    for move in (0.1, -0.1, 0.1, 0.0, -0.1, -0.1, -0.1, -0.1):
        trust.moved(np.array([move]))
        widths.append(float(trust.width[0]))
    assert widths == [1.0, 0.5, 0.25, 0.25, 0.125, 0.25, 0.5, 1.0]
    low, high = trust.box(np.array([0.5]))
    np.testing.assert_allclose(high - low, 2 * 0.4 * BETA.step)


def test_the_reach_stays_between_a_tenth_and_all_of_delta():
    trust = TrustRegion([BETA], 0.4)
    for turn in range(20):
        trust.moved(np.array([(-1.0) ** turn]))
    assert float(trust.width[0]) == 0.1
    for _ in range(20):
        trust.moved(np.array([1.0]))
    assert float(trust.width[0]) == 1.0


def test_genes_have_reaches_of_their_own_and_a_state():
    trust, copy = TrustRegion([BETA, WIDTH], 0.4), TrustRegion([BETA, WIDTH], 0.4)
    trust.moved(np.array([0.1, 0.1]))
    trust.moved(np.array([0.1, -0.1]))
    copy.load_state_dict(trust.state_dict())
    for region in (trust, copy):
        region.moved(np.array([-0.1, 0.1]))
        assert region.width.tolist() == [0.5, 0.25]


@pytest.mark.parametrize("delta", [0.0, -0.3, math.nan])
def test_a_delta_that_is_not_positive_is_refused(delta):
    with pytest.raises(ConfigError, match="`delta` must be positive or null, got"):
        TrustRegion([BETA], delta)


def test_the_last_candidate_is_mirrored_in_genes_without_one_beyond_the_first():
    rows = np.array([[0.5, 0.5], [0.4, 0.6], [0.2, 0.3]])
    np.testing.assert_allclose(on_both_sides(rows, np.zeros(2), np.ones(2)), [[0.5, 0.5], [0.4, 0.6], [0.8, 0.3]])
    np.testing.assert_allclose(on_both_sides(rows, np.zeros(2), np.full(2, 0.7))[-1], [0.7, 0.3])


def test_at_a_corner_of_the_box_nothing_is_mirrored():
    rows = np.array([[0.0], [0.1], [0.3]])
    np.testing.assert_array_equal(on_both_sides(rows, ZERO, ONE), rows)
