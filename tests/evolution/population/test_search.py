"""Survivors, exchange and store of a population: laws, and a second implementation."""

import math

import numpy as np
import pytest
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

from lightning_gvae.errors import CheckpointError, ConfigError, NonFiniteError
from lightning_gvae.evolution.pareto import hypervolume
from lightning_gvae.evolution.population import PopulationSearch
from lightning_gvae.evolution.population.store import MemberStore, StoredMember
from lightning_gvae.evolution.population.survivors import auto_reference, fronts, survivors

BETA = {"beta": {"low": 0.1, "high": 10.0}}


def stored(member, values, generation=0):
    return StoredMember(member, generation, 0, {"beta": 1.0}, {}, tuple(map(float, values)), {"w": member})


@pytest.mark.parametrize("objectives", [2, 3])
def test_fronts_are_those_of_pymoo(objectives):
    values = np.random.default_rng(objectives).random((40, objectives))
    expected = [sorted(front.tolist()) for front in NonDominatedSorting().do(values)]
    assert [sorted(front) for front in fronts(values)] == expected


@pytest.mark.parametrize("seed", range(5))
def test_survivors_keep_the_extremes_and_lose_the_least_volume_one_at_a_time(seed):
    x = np.sort(np.random.default_rng(seed).random(12))
    values, reference = np.stack([x, 1 - x], 1), (1.1, 1.1)  # all non-dominated
    best = list(range(12))
    for count in range(12, 2, -1):
        assert sorted(survivors(values, count, reference)) == sorted(best)
        # the second implementation: the inner point whose loss costs least
        inner = [index for index in best if index not in (0, 11)]
        best.remove(max(inner, key=lambda i: hypervolume(values[[j for j in best if j != i]], reference)))
    assert set(survivors(values, 2, reference)) == {0, 11}


def test_survivors_take_whole_fronts_first_and_the_least_values_of_one_objective():
    values = np.array([[1.0, 4.0], [5.0, 5.0], [4.0, 1.0], [2.0, 5.0], [2.0, 2.0]])
    assert sorted(survivors(values, 3, (9, 9))) == [0, 2, 4]
    assert sorted(survivors(values, 4, (9, 9))) == [0, 2, 3, 4]
    assert survivors(np.array([[3.0], [1.0], [2.0]]), 2, (9,)) == [1, 2]
    assert auto_reference(np.array([[0.0, 2.0], [1.0, 2.0]])) == pytest.approx([1.1, 2.2])


def test_one_gene_starts_on_a_grid_several_in_slices_and_one_member_with_what_it_has():
    grid = PopulationSearch(5, BETA).first_genes([1.0])[:, 0]
    assert grid[[0, -1]] == pytest.approx([0.1, 10.0])
    assert np.diff(np.log(grid)) == pytest.approx(math.log(100) / 4)
    both = PopulationSearch(5, BETA | {"optimizer.lr": {"low": 1e-4, "high": 1e-2}}).first_genes([1.0, 1e-3])
    for column, low, high in zip(both.T, (0.1, 1e-4), (10.0, 1e-2), strict=True):
        places = np.log(column / low) / math.log(high / low)
        assert sorted((places * 5).astype(int)) == list(range(5))
    assert PopulationSearch(1, BETA).first_genes([0.7]).tolist() == [[0.7]]


def test_tell_is_a_pure_function_and_children_take_the_weights_of_the_nearer_parent():
    values = np.array([[1.0, 8.0], [2.0, 4.0], [3.0, 5.0], [4.0, 2.0], [8.0, 1.0], [math.nan, 1.0]])
    genes = np.geomspace(0.1, 10, 6)[:, None]

    def told():
        return PopulationSearch(6, BETA, replaced=2, seed=7).tell(values, genes)

    first = told()
    assert first == told()
    assert {each.member: each.reason for each in first} == {2: "selected", 5: "not finite"}
    for each in first:
        assert each.parent in (0, 1, 3, 4)
        assert 0.1 <= each.genes[0] <= 10.0
    # without variation a child has the genes of the parent whose weights it takes
    plain = PopulationSearch(6, BETA, replaced=2, variation={"crossover": 0.0, "mutation": 0.0})
    for each in plain.tell(values, genes):
        assert each.genes[0] == pytest.approx(genes[each.parent, 0])


def test_methods_none_and_random():
    values = np.arange(8.0)[:, None] * [1.0, -1.0]
    genes = np.full((8, 1), 0.1)
    assert PopulationSearch(8, BETA, method="none").tell(values, genes) == []
    assert PopulationSearch(1, BETA).tell(values[:1], genes[:1]) == []
    search = PopulationSearch(8, BETA, method="random", replaced=6)
    drawn = np.log([each.genes[0] for _ in range(60) for each in search.tell(values, genes)])
    assert drawn.mean() == pytest.approx(0.0, abs=0.25)  # uniform in log beta on [-2.3, 2.3]
    assert drawn.std() == pytest.approx(math.log(100) / math.sqrt(12), rel=0.1)


def test_all_members_lost_is_an_error_and_a_search_finds_the_best_rate():
    with pytest.raises(NonFiniteError, match="no member"):
        PopulationSearch(2, BETA).tell(np.full((2, 2), math.nan), np.ones((2, 1)))
    # one objective with its best at beta = 2: the members gather there
    search = PopulationSearch(8, BETA, objectives=("nelbo",), seed=1)
    genes = search.first_genes([1.0])
    for _ in range(25):
        for each in search.tell(np.log(genes / 2) ** 2, genes):
            genes[each.member] = each.genes
    assert np.median(genes) == pytest.approx(2.0, rel=0.1)


def test_state_goes_on_and_other_settings_are_refused():
    values, genes = np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0], [3.0, 3.0]]), np.ones((4, 1))
    first, second = PopulationSearch(4, BETA), PopulationSearch(4, BETA)
    first.tell(values, genes)
    second.load_state_dict(first.state_dict())
    assert first.tell(values, genes) == second.tell(values, genes)
    with pytest.raises(CheckpointError, match=r"members: stored 4, now 3"):
        PopulationSearch(3, BETA).load_state_dict(first.state_dict())


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"members": 0}, "`members`"),
        ({"genes": {}}, "`genes`"),
        ({"genes": {"beta": {"low": 1}}}, "genes.beta"),
        ({"objectives": ["loss"]}, "`objectives`"),
        ({"objectives": []}, "`objectives`"),
        ({"reference": [1.0]}, "`reference`"),
        ({"method": "best"}, "`method`"),
        ({"replaced": 8}, "`replaced`"),
        ({"variation": {"delta": 1}}, "variation.delta"),
    ],
)
def test_settings_that_cannot_be(settings, text):
    with pytest.raises(ConfigError, match=text):
        PopulationSearch(**({"members": 8, "genes": BETA} | settings))


@pytest.mark.parametrize("objectives", [1, 2, 3])
def test_hypervolume_of_the_store_never_falls_also_as_its_reference_moves(objectives):
    rng = np.random.default_rng(objectives)
    store, search, last = MemberStore(5), PopulationSearch(8, BETA, ("distortion", "rate", "mig")[:objectives]), 0.0
    for generation in range(30):
        values = rng.gamma(2.0, size=(8, objectives)) * (1 + 0.2 * generation)
        search.note_reference(values)
        for member, row in enumerate(values):
            store.add(stored(member, row, generation), search.reference)
        volume = store.volume(search.reference)
        assert volume >= last
        last = volume
    assert 1 <= len(store.members) <= (8 if objectives == 1 else 5)
    again = MemberStore(5)
    again.load_state_dict(store.state_dict())
    assert again.members == store.members


def test_store_of_one_objective_has_the_best_state_of_each_place():
    store = MemberStore(3)
    for member, value in ((0, 3.0), (1, 2.0), (0, 1.0), (1, 4.0)):
        store.add(stored(member, [value]), [9.0])
    assert [(each.member, each.values) for each in store.sorted()] == [(0, (1.0,)), (1, (2.0,))]
