"""Parts by the names: laws of the cut."""

import numpy as np
import pytest

from lightning_gvae.datamodules.parts import count_of, cut_by_hash, keyed, text_hashes
from lightning_gvae.errors import ConfigError, DataError


def names(count: int, start: int = 0) -> list[str]:
    return [f"folder/{number:05}.png" for number in range(start, start + count)]


def parts(items: list[str], val=0.1, test=0.1, seed: int = 0) -> dict[str, set[str]]:
    cut = cut_by_hash(keyed(text_hashes(items), seed), val, test, "some")
    found = {part: [items[index] for index in indices] for part, indices in cut.items()}
    together = [item for part in found.values() for item in part]
    assert sorted(together) == sorted(items)  # all of them, each once
    return {part: set(each) for part, each in found.items()}


@pytest.mark.parametrize("count", [3, 4, 5, 8, 10, 20, 40, 60, 220])
@pytest.mark.parametrize("shares", [(0.1, 0.1), (0.01, 0.01), (0.4, 0.5), (0.9, 0.05)])
def test_no_part_is_empty_however_small_the_set(count, shares):
    for seed in range(20):
        assert all(parts(names(count), *shares, seed=seed).values())


@pytest.mark.parametrize(("val", "test"), [(0.1, 0.1), (0.2, 0.05), (0.5, 0.3)])
def test_parts_have_about_their_share(val, test):
    for seed in range(5):
        found = parts(names(5000), val, test, seed)
        for part, share in (("val", val), ("test", test)):
            assert abs(len(found[part]) - 5000 * share) < 4 * np.sqrt(5000 * share * (1 - share))


def test_an_item_stays_in_its_part_whatever_is_added_or_taken_away():
    before = parts(names(300))
    for items in (names(500), names(300)[::-1], ["a.png", *names(300)], names(200, start=100), names(300)[::3]):
        after = parts(items)
        for part in before:
            assert before[part] & set(items) <= after[part]


def test_a_part_that_would_be_empty_borrows_the_nearest_item_until_it_has_its_own():
    ranked = np.sort(keyed(text_hashes(names(3)), 0))
    assert ranked[0] > 0.1 * 2**64  # none of the three is in the share of the test part
    found, order = parts(names(3)), np.argsort(keyed(text_hashes(names(3)), 0))
    assert found["test"] == {names(3)[order[0]]} and found["val"] == {names(3)[order[1]]}


@pytest.mark.parametrize(("val", "test"), [(10, 10), (1, 1), (20, 5)])
def test_counts_are_exact_and_move_no_more_items_than_are_added(val, test):
    before = parts(names(60), val, test)
    assert [len(before[part]) for part in ("train", "val", "test")] == [60 - val - test, val, test]
    for added in (1, 5):
        after = parts([*names(60), *(f"new{number}" for number in range(added))], val, test)
        assert sum(len(before[part] - after[part]) for part in before) <= 2 * added
        assert not before["train"] & after["test"]


def test_a_count_and_a_share_go_together_and_a_part_may_be_left_out():
    assert len(parts(names(100), 7, 0.2)["val"]) == 7
    assert len(parts(names(100), 0.2, 7)["test"]) == 7
    assert parts(names(100), None, 0.2)["val"] == set() and len(parts(names(100), 5, None)["train"]) == 95


def test_the_seed_and_nothing_else_makes_other_parts():
    assert parts(names(100)) == parts(names(100)) != parts(names(100), seed=1)
    assert len(np.unique(keyed(text_hashes(names(1000)), 7))) == 1000


def test_names_written_in_two_ways_are_one_name_and_all_others_are_not():
    assert text_hashes(["caf\u00e9"]) == text_hashes(["cafe\u0301"]) != text_hashes(["cafe"])
    assert text_hashes([]).shape == (0,) and text_hashes(["caf\udce9"]) != text_hashes(["caf\udce8"])


def test_items_of_equal_hash_are_never_parted():
    repeated = [f"line {number % 30}" for number in range(300)]
    for val, test in ((0.1, 0.1), (20, 25)):
        found = parts_of_repeated(repeated, val, test)
        assert not (found[0] & found[1] or found[0] & found[2] or found[1] & found[2])
    counted = cut_by_hash(text_hashes(repeated), 20, 25, "some")
    assert len(counted["test"]) == 30 and len(counted["val"]) == 20  # ten of a kind: a count is exceeded


def parts_of_repeated(items: list[str], val, test) -> list[set[str]]:
    cut = cut_by_hash(keyed(text_hashes(items), 0), val, test, "some")
    assert sorted(np.concatenate(list(cut.values()))) == list(range(len(items)))
    return [{items[index] for index in indices} for indices in cut.values()]


@pytest.mark.parametrize(
    ("count", "val", "test", "message"),
    [
        (
            220,
            10_000,
            10,
            "`val_size` 10000 and `test_size` 10 leave no training image of the 220 in some; hold out fewer",
        ),
        (
            220,
            100,
            100,
            "leave only 20 training images, fewer than they hold out, of the 220 in some; .* data.val_size=0.1",
        ),
        (220, 0.1, 220, "leave no training image of the 220 in some"),
        (50, 30, 20, "leave no training image of the 50 in some"),
    ],
)
def test_counts_that_would_eat_the_set_are_refused(count, val, test, message):
    with pytest.raises(ConfigError, match=message):
        parts(names(count), val, test)


@pytest.mark.parametrize("items", [[], ["a"], ["a", "b"], ["a"] * 9 + ["b"] * 9])
def test_too_few_different_items_are_refused(items):
    with pytest.raises(
        DataError, match=f"some has {len(set(items))} different image.s., too few for 3 parts, each of wh"
    ):
        cut_by_hash(text_hashes(items), 0.1, 0.1, "some")


def test_sizes_of_sets_of_fixed_content():
    assert count_of(0.1, 60) == 6 and count_of(0.001, 60) == 1 and count_of(7, 60) == 7
