import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch.testing._internal.distributed.fake_pg import FakeStore

from lightning_gvae.datamodules.base import ImageArrays
from lightning_gvae.datamodules.batches import BatchLoader, Split
from lightning_gvae.errors import CheckpointError, ConfigError


def split(count: int, name: str = "numbers/train") -> Split:
    """Images whose only pixel and target are their number."""
    numbers = np.arange(count)
    return Split(name, ImageArrays(numbers.astype(np.uint8).reshape(-1, 1, 1, 1), numbers), numbers)


def numbers(loader: BatchLoader) -> list[list[int]]:
    return [batch[1].tolist() for batch in loader]


def flat(batches: list[list[int]]) -> list[int]:
    return [number for batch in batches for number in batch]


def test_a_split_fetches_images_and_targets_at_its_positions():
    part = Split("numbers/part", split(50).source, np.array([40, 7, 23]))
    images, targets = part.batch([2, 0, 0])
    assert len(part) == 3
    assert targets.tolist() == [23, 40, 40] and targets.dtype == torch.int64
    assert images.flatten().tolist() == [23, 40, 40] and images.dtype == torch.uint8


def test_an_epoch_is_a_permutation_without_its_incomplete_batch():
    loader = BatchLoader(split(23), 5, training=True)
    batches = numbers(loader)
    assert [len(batch) for batch in batches] == [5, 5, 5, 5] and len(loader) == 4
    assert len(set(flat(batches))) == 20
    assert flat(batches) != sorted(flat(batches))


def test_the_order_is_a_function_of_seed_and_epoch():
    def order(seed: int, epoch: int) -> list[list[int]]:
        loader = BatchLoader(split(40), 8, training=True, seed=seed)
        loader.set_epoch(epoch)
        return numbers(loader)

    assert order(0, 3) == order(0, 3)
    assert len({str(order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


def test_the_epoch_is_read_at_the_first_next():
    early, late = (BatchLoader(split(40), 8, training=True) for _ in range(2))
    iterator = iter(early)
    early.set_epoch(2)
    late.set_epoch(2)
    assert [targets.tolist() for _, targets in iterator] == numbers(late)


def test_lightning_finds_set_epoch_but_no_sampler_to_replace():
    from lightning.fabric.utilities.data import _set_sampler_epoch

    loader = BatchLoader(split(40), 8, training=True)
    _set_sampler_epoch(loader, 5)
    assert loader.state_dict()["epoch"] == 5
    assert not hasattr(loader, "sampler")


def test_without_reshuffling_every_epoch_is_the_first():
    loader = BatchLoader(split(40), 8, training=True, reshuffle=False)
    first = numbers(loader)
    loader.set_epoch(4)
    assert numbers(loader) == first
    assert first == numbers(BatchLoader(split(40), 8, training=True))


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_share_the_global_batches_of_a_single_process(world):
    ranks = [numbers(BatchLoader(split(40), 4, training=True, rank=r, world_size=world)) for r in range(world)]
    alone = numbers(BatchLoader(split(40), 4 * world, training=True))
    assert [flat(list(parts)) for parts in zip(*ranks, strict=True)] == alone


@pytest.mark.parametrize("images", range(8, 40))
@pytest.mark.parametrize("world", [1, 2, 3, 8])
def test_evaluation_sees_every_image_once_in_equally_many_batches(images, world):
    loaders = [BatchLoader(split(images), 3, training=False, rank=r, world_size=world) for r in range(world)]
    seen = [numbers(loader) for loader in loaders]
    assert sorted(number for batches in seen for number in flat(batches)) == list(range(images))
    for rank, (loader, batches) in enumerate(zip(loaders, seen, strict=True)):
        assert flat(batches) == list(range(rank, images, world))
        assert len(batches) == len(loader) == len(seen[0])
        assert all(1 <= len(batch) <= 3 for batch in batches)


def test_evaluation_on_one_process_cuts_full_batches():
    assert [len(batch) for batch in numbers(BatchLoader(split(10), 4, training=False))] == [4, 4, 2]


def test_rank_and_world_come_from_the_process_group_at_iteration():
    loader = BatchLoader(split(40), 4, training=True)
    explicit = BatchLoader(split(40), 4, training=True, rank=1, world_size=2)
    dist.init_process_group("fake", rank=1, world_size=2, store=FakeStore())
    try:
        assert len(loader) == 5
        assert numbers(loader) == numbers(explicit)
    finally:
        dist.destroy_process_group()
    assert len(loader) == 10


@pytest.mark.parametrize("stop", range(5))
def test_a_pass_goes_on_after_the_batch_where_it_was_stopped(stop):
    loader, uninterrupted = (BatchLoader(split(23), 4, training=True, seed=3) for _ in range(2))
    loader.set_epoch(2)
    uninterrupted.set_epoch(2)
    whole = numbers(uninterrupted)
    iterator = iter(loader)
    for _ in range(stop):
        next(iterator)
    state = loader.state_dict()

    resumed = BatchLoader(split(23), 4, training=True, seed=3)
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state
    iter(resumed)  # Lightning makes an iterator only to see that it can
    resumed.set_epoch(2)
    assert numbers(resumed) == whole[stop:]
    assert numbers(resumed) == whole


def test_after_the_last_batch_the_next_epoch_starts():
    loader = BatchLoader(split(23), 4, training=True)
    numbers(loader)
    resumed = BatchLoader(split(23), 4, training=True)
    resumed.load_state_dict(loader.state_dict())
    loader.set_epoch(1)
    assert numbers(resumed) == numbers(loader)


def test_another_epoch_than_the_state_s_starts_at_its_first_batch():
    loader = BatchLoader(split(23), 4, training=True)
    next(iter(loader))
    resumed = BatchLoader(split(23), 4, training=True)
    resumed.load_state_dict(loader.state_dict())
    resumed.set_epoch(1)
    assert len(numbers(resumed)) == 5


def test_a_state_saved_between_epochs_is_of_the_epoch_announced():
    loader = BatchLoader(split(23), 4, training=True)
    numbers(loader)
    loader.set_epoch(1)
    assert (loader.state_dict()["epoch"], loader.state_dict()["batches"]) == (1, 0)


def test_the_state_is_the_same_on_all_ranks_and_plain():
    states = []
    for rank in range(2):
        loader = BatchLoader(split(40), 4, training=True, rank=rank, world_size=2)
        next(iter(loader))
        states.append(loader.state_dict())
    assert states[0] == states[1]
    assert {type(value) for value in states[0].values()} <= {int, str, bool}


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("dataset", {"dataset": split(40, "letters/train")}),
        ("samples", {"dataset": split(41)}),
        ("batch_size", {"batch_size": 5}),
        ("seed", {"seed": 1}),
        ("world_size", {"world_size": 2}),
        ("training", {"training": False}),
        ("reshuffle", {"reshuffle": False}),
    ],
)
def test_a_state_of_another_loader_is_refused(name, change):
    given = {"dataset": split(40), "batch_size": 4, "training": True, "rank": 0, "world_size": 1}
    state = BatchLoader(**given).state_dict()
    with pytest.raises(CheckpointError, match=f"`{name}` of the checkpoint's data loader is"):
        BatchLoader(**{**given, **change}).load_state_dict(state)


def test_an_incomplete_state_is_refused():
    with pytest.raises(CheckpointError, match="lacks batch_size, batches"):
        BatchLoader(split(40), 4, training=True).load_state_dict({"epoch": 0, "dataset": "numbers/train"})


@pytest.mark.parametrize("value", [0, -1, 2.0, True, "8", None])
def test_a_batch_size_must_be_a_positive_integer(value):
    with pytest.raises(ConfigError, match="`batch_size` must be an integer of at least 1, got"):
        BatchLoader(split(8), value, training=True)


def test_a_split_smaller_than_one_global_batch_is_refused():
    BatchLoader(split(8), 4, training=True, rank=0, world_size=2).__iter__()
    loader = BatchLoader(split(7), 4, training=True, rank=0, world_size=2)
    for use in (len, iter):
        with pytest.raises(ConfigError, match="needs 8 images a step, but numbers/train has 7; lower `batch_size`"):
            use(loader)


@pytest.mark.parametrize(("images", "size"), [(3, 4), (9, 1)])
def test_evaluation_that_would_leave_a_rank_without_a_batch_is_refused(images, size):
    with pytest.raises(ConfigError, match="4 processes cannot evaluate"):
        len(BatchLoader(split(images), size, training=False, rank=0, world_size=4))


def test_keys_differ_between_batches_epochs_and_ranks_and_survive_a_resume():
    def keys(loader, epoch):
        loader.set_epoch(epoch)
        return [batch[2] for batch in loader]

    def made(**options):
        return BatchLoader(split(32), 4, training=True, seed=1, keyed=True, **options)

    first = keys(made(), 0)
    others = keys(made(), 1) + keys(made(rank=1, world_size=2), 0)
    assert len({*first, *others}) == len(first) + len(others) == 8 + 8 + 4
    cut, resumed = made(), made()
    cut.set_epoch(0)
    batches = iter(cut)
    for _ in range(3):
        next(batches)
    resumed.load_state_dict(cut.state_dict())
    resumed.set_epoch(0)
    assert [batch[2] for batch in resumed] == first[3:]
