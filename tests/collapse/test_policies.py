"""What each generation is trained on: sizes, shares and which images they are."""

import numpy as np
import pytest

from lightning_gvae.collapse.policies import Policy, policies_of, real_images_needed, training_set
from lightning_gvae.errors import ConfigError

N, M = 30, 20


def marked(kind: int, numbers: range) -> np.ndarray:
    """Images that say what they are: kind 0 is real, g + 1 a sample of generation g; and their number."""
    return np.array([[[[kind, number]]] for number in numbers], dtype=np.uint8)


REAL = marked(0, range(100))


def drawn(generation: int) -> np.ndarray:
    return marked(generation + 1, range(M))


def chosen(name: str, generation: int, fresh: float | None = None, seed: int = 0):
    found = training_set(Policy(name, fresh), generation, REAL, N, M, drawn, seed)
    pairs = [tuple(image.ravel().tolist()) for image in found.images]
    assert found.real_share == pytest.approx(np.mean([kind == 0 for kind, _ in pairs]))
    return pairs


def first_real(count: int = N):
    return [(0, number) for number in range(count)]


def samples_of(generation: int, count: int = M):
    return [(generation + 1, number) for number in range(count)]


@pytest.mark.parametrize("name", ["replace", "accumulate", "accumulate_subsample", "augment", "fresh"])
def test_generation_0_is_trained_on_the_same_real_images_whatever_comes_after(name):
    assert chosen(name, 0, 0.25 if name == "fresh" else None) == first_real()


def test_later_generations_are_trained_on_what_the_policy_says():
    assert chosen("replace", 3) == samples_of(2)
    assert chosen("accumulate", 3) == first_real() + samples_of(0) + samples_of(1) + samples_of(2)
    assert chosen("augment", 3) == first_real() + samples_of(2)
    # A quarter of 20 are new and were never used before; the rest are the last model's.
    assert chosen("fresh", 1, 0.25) == [(0, n) for n in range(30, 35)] + samples_of(0, 15)
    assert chosen("fresh", 3, 0.25) == [(0, n) for n in range(40, 45)] + samples_of(2, 15)
    assert chosen("fresh", 2, 1.0) == [(0, n) for n in range(50, 70)]


def test_a_fixed_budget_is_a_new_draw_from_all_so_far_without_replacement():
    pool = set(first_real() + samples_of(0) + samples_of(1))
    draws = [chosen("accumulate_subsample", 2, seed=seed) for seed in range(200)]
    assert all(len(draw) == M == len(set(draw)) and set(draw) <= pool for draw in draws)
    assert draws[0] == chosen("accumulate_subsample", 2) and draws[0] != draws[1]
    # Hypergeometric: 20 of 70, 30 of which are real.
    shares = [np.mean([kind == 0 for kind, _ in draw]) for draw in draws]
    deviation = np.sqrt((3 / 7) * (4 / 7) / M * (70 - M) / 69)
    assert abs(np.mean(shares) - 3 / 7) < 4 * deviation / np.sqrt(len(draws))
    assert np.std(shares) == pytest.approx(deviation, rel=0.25)


def test_how_many_real_images_a_chain_needs():
    assert real_images_needed(Policy("accumulate"), N, M, 9) == N
    assert real_images_needed(Policy("fresh", 0.25), N, M, 9) == N + 8 * 5
    with pytest.raises(ConfigError, match="generation 15 under fresh-0.25 needs 105 real images, there are 100; lower"):
        chosen("fresh", 15, 0.25)


def test_shares_make_policies_of_their_own():
    found = policies_of(["replace", "fresh", "augment"], [0.1, 0.5])
    assert [policy.label for policy in found] == ["replace", "fresh-0.1", "fresh-0.5", "augment"]
    assert policies_of("accumulate", 0.3) == [Policy("accumulate")]


@pytest.mark.parametrize(
    ("names", "fresh", "message"),
    [
        ("mix", None, "`policy` must be one of replace, accumulate, accumulate_subsample, augment, fresh, got 'mix'"),
        ("fresh", -0.1, "`fresh` must be the share of new real images, above 0 and at most 1, got -0.1"),
        ("fresh", 1.5, "above 0 and at most 1, got 1.5"),
        ("fresh", 0, "got 0; without new ones the policy is replace"),
        ("fresh", float("nan"), "got nan"),
        ("fresh", None, "above 0 and at most 1, got None"),
        ([], None, "at least one policy, each once, got \\[\\]"),
        (["replace", "replace"], None, "each once"),
    ],
)
def test_bad_policies_are_refused(names, fresh, message):
    with pytest.raises(ConfigError, match=message):
        policies_of(names, fresh)


def test_a_share_belongs_to_fresh_alone():
    with pytest.raises(ConfigError, match="`fresh` belongs to policy='fresh', got fresh=0.5 with policy='replace'"):
        Policy("replace", 0.5)
