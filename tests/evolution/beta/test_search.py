"""The search: candidates, exits, sleep, state, and where it ends on a frontier in closed form."""

import json
import math

import numpy as np
import pytest
import torch

from lightning_gvae.errors import CheckpointError, ConfigError
from lightning_gvae.evolution.beta.genes import Gene
from lightning_gvae.evolution.beta.search import BetaSearch
from lightning_gvae.evolution.beta.settings import ConvergenceSettings, VariationSettings
from lightning_gvae.evolution.beta.target_kl import Auto, Ramp
from tests.evolution.architecture.frontier import evolve, frontier

HERE = tuple(frontier(1.0)[0])
METHODS = pytest.mark.parametrize("method", ["ga", "random"])
GENES = (Gene("beta", 0.01, 100.0), Gene("width", 0.0, 1.0, scale="linear"))


def logs(betas):
    return np.log(np.asarray(betas))


@METHODS
def test_candidates_are_distinct_near_and_the_incumbent_comes_first(method):
    search, beta = BetaSearch(target=4.0, method=method, variation={"delta": 0.3}, seed=3), 1.7
    for generation in range(30):
        candidates = search.ask(generation, [beta], tuple(frontier(beta)[0]))
        if not len(candidates):
            continue
        assert candidates.shape == (8, 1)
        assert candidates[0, 0] == beta  # the very value, not its round trip through the logarithm
        assert len(np.unique(candidates)) == 8
        assert np.abs(logs(candidates) - math.log(beta)).max() <= 0.3 + 1e-12
        (beta,) = search.tell(frontier(candidates)).genome


@pytest.mark.parametrize("mirrored", [False, True])
def test_few_candidates_stand_on_both_sides_if_asked(mirrored):
    variation = VariationSettings(survivors=2, children=2, mirror_candidates=mirrored)
    search, beta, lone = BetaSearch(target=0.05, variation=variation, seed=3), 0.02, 0
    for generation in range(40):  # the target asks for a beta that rises to the end
        candidates = search.ask(generation, [beta], tuple(frontier(beta)[0]))[:, 0]
        lone += bool((candidates[1:] < beta).all() or (candidates[1:] > beta).all())
        assert len(np.unique(candidates)) == 4
        assert np.abs(logs(candidates) - math.log(beta)).max() <= 0.5 + 1e-12
        # Each look-ahead moves by what the trust region allows, no further.
        (beta,) = search.tell(frontier(candidates)).genome
        if beta > 50:
            break
    assert generation > 10
    assert lone == 0 if mirrored else lone > 0


def test_survivors_are_the_best_distinct_candidates_and_are_asked_again():
    search = BetaSearch(target=4.0, variation={"survivors": 3, "children": 5})
    candidates = search.ask(0, [1.0], HERE)
    rates = np.linspace(1.0, 8.0, 8)
    outcome = search.tell(np.stack([np.full(8, 10.0), rates], axis=1))
    order = np.argsort(np.abs(rates - 4.0) * 10 / 4 + rates / 100)
    assert outcome.best == order[0]
    again = search.ask(1, outcome.genome, HERE)
    near = np.abs(logs(candidates[order[:3], 0]) - math.log(outcome.genome[0])) <= 0.5
    for value in candidates[order[:3], 0][near]:
        assert np.isclose(again[:3], value, rtol=1e-9).any()


def test_a_draw_between_equals_goes_to_the_first():
    search = BetaSearch(target=4.0)
    search.ask(0, [1.0], HERE)
    outcome = search.tell(np.full((8, 2), 4.0))
    assert (outcome.exit, outcome.genome, outcome.best) == ("give_up", (1.0,), 0)


def test_retrain_needs_more_than_the_margin():
    for least, expected in ((0.09, "retrain"), (0.11, "give_up")):
        search = BetaSearch(fitness={"elbo_weight": 1.0, "target_weight": 0.0, "min_improvement": least})
        search.ask(0, [1.0], (90.0, 10.0))
        scores = np.full((8, 2), 50.0)
        scores[5] = 45.0  # N falls from 100 to 90: fitness 0.1
        assert search.tell(scores).exit == expected


@pytest.mark.parametrize("fitness", ["weighted", "target_first"])
@METHODS
def test_candidates_that_are_not_finite_never_win_or_survive(method, fitness):
    search, beta = BetaSearch(target=4.0, method=method, fitness={"kind": fitness}, seed=1), 1.0
    for generation in range(25):
        candidates = search.ask(generation, [beta], tuple(frontier(beta)[0]))
        if not len(candidates):
            break
        scores = frontier(candidates)
        diverged = candidates[:, 0] > 1.8
        scores[diverged] = [[math.nan, math.inf][generation % 2], 4.0]
        outcome = search.tell(scores)
        assert (outcome.fitness[diverged] == -math.inf).all()
        (beta,) = outcome.genome
        assert beta <= 1.8
        assert np.isfinite(search.population_fitness[: len(search.population) // 2]).all()


def test_if_all_candidates_diverge_the_incumbent_stays_and_the_search_goes_on():
    search = BetaSearch(target=4.0, patience=1)
    for generation in range(3):
        candidates = search.ask(generation, [1.0], HERE)
        outcome = search.tell(np.full((len(candidates), 2), math.nan))
        assert (outcome.exit, outcome.genome) == ("give_up", (1.0,))
    assert len(search.ask(3, [1.0], HERE)) == 8


def test_a_diverging_incumbent_is_replaced():
    search = BetaSearch(target=4.0)
    search.ask(0, [1.0], HERE)
    scores = np.full((8, 2), math.nan)
    scores[3] = [10.0, 9.0]
    assert search.tell(scores).best == 3


@METHODS
@pytest.mark.parametrize("target", [2.0, 8.0])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_with_a_target_alone_the_rate_is_held(method, target, seed):
    search = BetaSearch(target=target, method=method, fitness={"elbo_weight": 0.0}, seed=seed)
    betas, _ = evolve(search, 40)
    rates = frontier(betas)[:, 1]
    assert np.abs(rates[20:] - target).max() < 0.05 * target


@METHODS
@pytest.mark.parametrize("start", [0.3, 4.0])
def test_with_the_elbo_alone_beta_goes_to_one(method, start):
    betas, _ = evolve(BetaSearch(fitness={"elbo_weight": 1.0, "target_weight": 0.0}, method=method), 40, beta=start)
    assert np.abs(betas[20:] - 1.0).max() < 0.15


@METHODS
@pytest.mark.parametrize("weight", [0.02, 0.05])
def test_mixed_weights_stop_beta_at_one_plus_k(method, weight):
    # C = 2 needs a beta of 12; k = w NE / C, with NE that of the weights as they are
    search = BetaSearch(target=2.0, fitness={"target_weight": weight}, method=method, convergence={"window": 50})
    betas, _ = evolve(search, 60)
    k = weight * frontier(betas[-1:]).sum() / 2.0
    assert k < 5
    np.testing.assert_allclose(betas[40:], 1 + k, rtol=0.1)


def test_target_first_reaches_what_equal_weights_would_not():
    betas, _ = evolve(BetaSearch(target=2.0, fitness={"kind": "target_first"}), 40)
    assert np.abs(frontier(betas[20:])[:, 1] - 2.0).max() <= 0.1 + 1e-9


@pytest.mark.parametrize("target", [2.0, 8.0])
def test_a_look_ahead_that_sees_a_third_of_the_response_does_not_swing_for_ever(target):
    search = BetaSearch(target=target, fitness={"elbo_weight": 0.0}, convergence={"window": 100})
    betas, _ = evolve(search, 80, response=0.33)
    assert np.abs(frontier(betas[50:])[:, 1] - target).max() < 0.1 * target


def test_converge_sleeps_until_the_rate_drifts():
    search = BetaSearch(target=4.0)
    betas, exits = evolve(search, 40)
    assert exits[-1] == "asleep"
    fell = exits.index("converge")
    assert set(exits[:fell]) <= {"retrain", "give_up"}
    assert set(exits[fell + 1 :]) == {"asleep"}
    assert (betas[fell:] == betas[fell]).all()
    assert search.generation == 40  # counted on in sleep
    beta = betas[-1]
    assert len(search.ask(40, [beta], (20.0, 4.0 * 1.049))) == 0
    assert len(search.ask(41, [beta], (20.0, 4.0 * 1.051))) == 8
    assert not search.asleep


def test_a_rate_that_is_not_a_number_wakes():
    search = BetaSearch(target=4.0)
    betas, _ = evolve(search, 40)
    assert len(search.ask(40, [betas[-1]], (math.nan, math.nan))) == 8


def test_it_does_not_sleep_while_off_target_or_moving():
    # a response of zero leaves the rate where it is: never within tolerance
    _, exits = evolve(BetaSearch(target=4.0), 30, response=0.0)
    assert "converge" not in exits
    search, beta = BetaSearch(target=4.0, convergence=ConvergenceSettings(std=1e-6)), 1.0
    for generation in range(10):
        candidates = search.ask(generation, [beta], (20.0, 4.0))  # on target
        scores = np.full((8, 2), 10.0)
        scores[1 + generation % 7, 1] = 4.0
        (beta,) = search.tell(scores).genome
        assert len(candidates) == 8


def test_without_a_target_it_never_sleeps():
    _, exits = evolve(BetaSearch(fitness={"target_weight": 0.0}), 40)
    assert not {"converge", "asleep"} & set(exits)


def test_a_new_stair_of_the_ramp_wakes():
    search, beta = BetaSearch(target=Ramp(4.0, 0.1, 100, 4.2)), 1.0
    asleep = []
    for generation in range(140):
        here = frontier(beta)[0]
        candidates = search.ask(2 * generation, [beta], tuple(here))
        asleep.append(search.asleep)
        if len(candidates):
            (beta,) = search.tell(frontier(candidates)).genome
    assert asleep[49]
    assert not asleep[50]  # step 100: the first stair, within tolerance all the same
    assert asleep[99]
    assert not asleep[100]
    assert asleep[139]
    assert search.target_kl == 4.2


def test_a_beta_set_from_outside_is_adopted_and_wakes():
    search = BetaSearch(target=4.0)
    evolve(search, 40)
    assert search.asleep
    candidates = search.ask(40, [7.0], (20.0, 4.0))
    assert candidates[0, 0] == 7.0
    assert len(candidates) == 8
    assert np.abs(logs(candidates) - math.log(7.0)).max() <= 0.5 + 1e-12


def test_a_beta_out_of_bounds_is_refused():
    with pytest.raises(ConfigError, match=r"`beta` must lie in the bounds of its gene, \[0.01, 100.0\], got 0.0"):
        BetaSearch(target=4.0).ask(0, [0.0], HERE)


def test_stagnation_redraws_the_worse_half():
    search = BetaSearch(target=4.0, patience=2, convergence={"window": 50})
    beta = float(np.exp(np.interp(-4.0, -frontier(np.exp(np.linspace(0, 2, 2001)))[:, 1], np.linspace(0, 2, 2001))))
    populations = []
    for generation in range(4):
        candidates = search.ask(generation, [beta], (20.0, 4.0))
        assert search.tell(frontier(candidates)).exit == "give_up"  # nothing is nearer than on target
        populations.append(search.population.copy())
    # after the second generation in a row without a success, half is new: not among what was scored
    assert np.isin(populations[1], search.population).sum() < 4
    assert search.stagnation == 0
    best = populations[1][:2]
    assert search.population.shape == (4, 1)
    assert np.abs(best - search._position).min() == 0


def test_stagnation_counts_and_resets():
    search = BetaSearch(target=4.0, patience=3)
    counts = []
    for generation in range(4):
        search.ask(generation, [1.0], (20.0, 9.0))
        search.tell(np.full((8, 2), 9.0))
        counts.append(search.stagnation)
    assert counts == [1, 2, 0, 1]


def test_auto_target_is_a_factor_of_the_first_rate():
    search = BetaSearch(target=Auto(0.5))
    search.ask(500, [1.0], (60.0, 20.0))
    assert search.target_kl == 10.0
    search.tell(np.full((8, 2), 9.0))
    search.ask(1000, search.genome, (60.0, 18.0))
    assert search.target_kl == 10.0


def test_several_genes_move_together_within_their_reach():
    search = BetaSearch(target=4.0, genes=GENES, fitness={"target_weight": 1.0}, convergence={"window": 99}, seed=5)
    genome = (1.0, 0.2)
    for generation in range(60):
        here = frontier(genome[0])[0] + [30 * (genome[1] - 0.7) ** 2, 0.0]
        candidates = search.ask(generation, genome, tuple(here))
        if len(candidates):
            assert candidates.shape == (8, 2)
            assert np.abs(candidates[:, 1] - genome[1]).max() <= 0.05 + 1e-12
            scores = frontier(candidates[:, 0])
            scores[:, 0] += 30 * (candidates[:, 1] - 0.7) ** 2
            genome = search.tell(scores).genome
    assert frontier(genome[0])[0, 1] == pytest.approx(4.0, rel=0.05)
    assert genome[1] == pytest.approx(0.7, abs=0.1)


def run_on(search, beta, first, count):
    path = []
    for generation in range(first, first + count):
        here = frontier(beta)[0]
        candidates = search.ask(10 * generation, [beta], tuple(here))
        if len(candidates):
            (beta,) = search.tell(frontier(candidates) + 0.02 * math.sin(generation)).genome
        path.append((beta, search.exit))
    return path


@pytest.mark.parametrize("target", [4.0, 7.0])
@pytest.mark.parametrize("cut", [0, 1, 4, 30])
def test_an_interrupted_search_equals_the_straight_one(target, cut):
    def make():
        return BetaSearch(target=Ramp(target, 0.5, 200, target + 1), seed=9)

    straight, first, second = make(), make(), make()
    whole = run_on(straight, 1.0, 0, 60)
    before = run_on(first, 1.0, 0, cut)
    state = json.loads(json.dumps(first.state_dict()))  # plain numbers, strings and lists
    assert second.load_state_dict(state) is None
    assert before + run_on(second, before[-1][0] if before else 1.0, cut, 60 - cut) == whole
    assert second.state_dict() == straight.state_dict()
    assert any(name == "asleep" for _, name in whole)


def test_nothing_of_the_state_is_forgotten():
    search, fresh = BetaSearch(target=Auto(0.9)), BetaSearch(target=Auto(0.9))
    for generation, rate in enumerate([9.0, 1.0, 9.0, 1.0, None]):
        candidates = search.ask(generation, search.genome or [1.0], HERE)
        rates = np.full(8, 5.0) if rate is None else np.abs(np.log(candidates[:, 0]) - rate)  # up, down, up, down, stay
        search.tell(np.stack([np.full(8, 50.0), rates], axis=1))
    state, blank = search.state_dict(), fresh.state_dict()
    kept = {"version", "settings", "target", "cma"}  # the last of the method `cma` alone
    assert {key for key in state if state[key] == blank[key]} == kept | {"asleep"}
    fresh.load_state_dict(state | {"asleep": True})
    assert fresh.state_dict() == state | {"asleep": True}


def test_the_state_survives_a_weights_only_checkpoint(tmp_path):
    search = BetaSearch(target=4.0)
    search.ask(0, [1.0], HERE)
    search.tell(np.full((8, 2), math.nan))
    torch.save(search.state_dict(), tmp_path / "state.pt")
    assert torch.load(tmp_path / "state.pt", weights_only=True) == search.state_dict()


def test_seeds_differ_and_are_repeatable():
    paths = [evolve(BetaSearch(target=4.0, seed=seed), 10)[0].tolist() for seed in (1, 1, 2)]
    assert paths[0] == paths[1] != paths[2]


def test_no_global_generator_is_touched():
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    evolve(BetaSearch(target=4.0), 5)
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002


def test_other_settings_are_refused_one_by_one():
    state = BetaSearch(target=4.0, variation={"survivors": 3}, seed=1).state_dict()
    with pytest.raises(CheckpointError) as caught:
        BetaSearch(target=4.0, variation={"survivors": 5, "eta": 3.0}, seed=2).load_state_dict(state)
    for difference in (
        "variation.survivors: stored 3, now 5",
        "seed: stored 1, now 2",
        "variation.eta: stored 2.0, now 3.0",
    ):
        assert difference in str(caught.value)
    assert "children" not in str(caught.value)


FORMER = {
    "mirror_candidates": "two_sided",
    "window": "memory",
    "std": "settled",
    "kind": "fitness",
    "min_improvement": "margin",
}


def test_a_state_of_the_last_release_is_taken():
    """It has no groups, and other names."""
    search = BetaSearch(target=4.0, variation={"survivors": 3, "mirror_candidates": True}, fitness={"kind": "weighted"})
    evolve(search, 5)
    state = search.state_dict()
    flat = state["settings"]
    flat |= flat.pop("variation") | flat.pop("convergence") | flat.pop("fitness")
    for now, former in FORMER.items():
        flat[former] = flat.pop(now)
    state["current_target"] = state.pop("target_kl")
    again = BetaSearch(target=4.0, variation=search.variation)
    assert again.load_state_dict(json.loads(json.dumps(state))) is None
    assert again.state_dict() == search.state_dict()
    flat["two_sided"] = False
    with pytest.raises(CheckpointError, match="settings: variation.mirror_candidates: stored False, now True"):
        again.load_state_dict(state)


def test_another_target_is_allowed_told_and_wakes():
    search, again = BetaSearch(target=4.0), BetaSearch(target=7.0)
    betas, _ = evolve(search, 40)
    assert search.asleep
    message = again.load_state_dict(search.state_dict())
    assert message is not None
    assert "4.0" in message
    assert "7.0" in message
    assert not again.asleep
    assert len(again.ask(40, [betas[-1]], tuple(frontier(betas[-1])[0]))) == 8
    assert again.generation == 40


def test_another_version_is_refused():
    state = BetaSearch(target=4.0).state_dict() | {"version": 99}
    with pytest.raises(CheckpointError, match="has version 99, expected 1"):
        BetaSearch(target=4.0).load_state_dict(state)


def test_tell_needs_ask_and_as_many_scores():
    search = BetaSearch(target=4.0)
    with pytest.raises(RuntimeError, match=r"tell\(\) was called before ask\(\)"):
        search.tell(np.zeros((8, 2)))
    search.ask(0, [1.0], HERE)
    with pytest.raises(ValueError, match=r"one row per candidate \(8\), got 7"):
        search.tell(np.zeros((7, 2)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": None}, "`target` is missing"),
        ({"target": None, "fitness": {"kind": "target_first", "target_weight": 0.0}}, "`target` is missing"),
        ({"target": -3.0}, "`target` must be a positive number, got -3.0"),
        ({"method": "nelder_mead"}, "`method` must be one of ga, cma, random, got 'nelder_mead'"),
        ({"fitness": {"kind": "elbo"}}, "`fitness.kind` must be one of weighted, target_first, got 'elbo'"),
        ({"variation": {"survivors": 0}}, "`variation.survivors` must be an integer of at least 1, got 0"),
        ({"variation": {"children": 0}}, "`variation.children` must be an integer of at least 1, got 0"),
        ({"variation": {"delta": 0.0}}, "`variation.delta` must be positive or null, got 0.0"),
        ({"variation": {"eta": -1.0}}, "`variation.eta` must be positive, got -1.0"),
        ({"variation": {"eta": "wide"}}, "`variation.eta` must be positive, got 'wide'"),
        ({"variation": {"crossover": 2.0}}, r"`variation.crossover` must lie in \[0, 1\], got 2.0"),
        ({"variation": {"mutation": -0.1}}, "`variation.mutation` must lie in"),
        ({"variation": {"cauchy": -0.1}}, "`variation.cauchy` must not be negative"),
        (
            {"variation": {"gauss": 1.0}},
            "`variation.gauss` does not exist; `variation` has the settings survivors, child",
        ),
        ({"variation": 4}, "`variation` is a group of settings"),
        ({"fitness": {"elbo_weight": -1.0}}, "`fitness.elbo_weight` must not be negative"),
        ({"fitness": {"target_weight": -1.0}}, "`fitness.target_weight` must not be negative"),
        ({"fitness": {"elbo_weight": 0.0, "target_weight": 0.0}}, "must not both be 0"),
        ({"fitness": {"min_improvement": -1.0}}, "`fitness.min_improvement` must not be negative"),
        ({"tolerance": 0.0}, "`tolerance` must lie between 0 and 1"),
        ({"patience": 0}, "`patience` must be an integer of at least 1"),
        ({"convergence": {"window": 1}}, "`convergence.window` must be an integer of at least 2"),
        ({"convergence": {"std": 0.0}}, "`convergence.std` must be positive"),
        ({"genes": []}, "`genes` must be one or more, with distinct names"),
        ({"genes": [GENES[0], GENES[0]]}, "`genes` must be one or more, with distinct names"),
    ],
)
def test_bad_settings_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        BetaSearch(**({"target": 4.0} | arguments))
