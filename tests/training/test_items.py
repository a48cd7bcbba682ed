"""Items that training reads: counts of what a loader yields, by the public rules of every sampler."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from lightning_gvae.datamodules.base import ImageArrays
from lightning_gvae.datamodules.batches import BatchLoader, SampleWeights, Split
from lightning_gvae.datamodules.text.batches import BucketLoader
from lightning_gvae.errors import ConfigError
from lightning_gvae.rng import numpy_stream
from lightning_gvae.training.items import Items, TrainedItems, batch_size_of

SIZE, BATCH = 40, 4
DATA = TensorDataset(torch.arange(SIZE)[:, None].float())


def running(loader, limit=None, epoch=0, world=1):
    """What TrainedItems asks of a Trainer."""
    try:
        batches = len(loader)
    except TypeError:
        batches = float("inf")
    return SimpleNamespace(
        train_dataloader=loader,
        num_training_batches=batches if limit is None else min(limit, batches),
        current_epoch=epoch,
        world_size=world,
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
    )


def items(loader, seed=0, **kwargs):
    return TrainedItems(seed, "test").now(running(loader, **kwargs))


class Reversed(Sampler):
    """A fixed order of the even items."""

    def __iter__(self):
        return iter(range(SIZE - 2, -1, -2))

    def __len__(self):
        return SIZE // 2


class Private(Sampler):
    """A random order of the first ten items, drawn from a generator of its own."""

    def __init__(self):
        self.stream = np.random.default_rng(3)

    def __iter__(self):
        return iter(self.stream.permutation(10).tolist())

    def __len__(self):
        return 10


class Doubled(SubsetRandomSampler):
    """Shows the first of its items three times."""

    def __iter__(self):
        return iter([*super().__iter__(), self.indices[0], self.indices[0]])

    def __len__(self):
        return len(self.indices) + 2


class Pairs(Sampler):
    """A batch sampler: batches of two neighbours among items 10 to 19."""

    batch_size: int | None = 2

    def __iter__(self):
        return iter([[first, first + 1] for first in range(10, 20, 2)])

    def __len__(self):
        return 5


def load(**kwargs):
    return DataLoader(DATA, **({} if "batch_sampler" in kwargs else {"batch_size": BATCH}), **kwargs)


ALL = list(range(SIZE))
CASES = {
    "in order": (lambda: load(), {}, ALL),
    "in order, limited": (lambda: load(), {"limit": 3}, ALL[:12]),
    "last batch dropped": (lambda: DataLoader(DATA, 16, drop_last=True), {}, ALL[:32]),
    "shuffled": (lambda: load(shuffle=True), {}, ALL),
    "shuffled, limited": (lambda: load(shuffle=True), {"limit": 3}, ALL),
    "subset": (lambda: load(sampler=SubsetRandomSampler([3, 5, 8, 30])), {}, [3, 5, 8, 30]),
    "subset, limited": (lambda: load(sampler=SubsetRandomSampler([3, 5, 8, 30, 31])), {"limit": 1}, [3, 5, 8, 30, 31]),
    "weights, each once": (
        lambda: load(sampler=WeightedRandomSampler([0.0] * 38 + [1.0, 3.0], 2, replacement=False)), {}, [38, 39],
    ),
    "own, fixed": (lambda: load(sampler=Reversed()), {}, ALL[::2]),
    "own, fixed, limited": (lambda: load(sampler=Reversed()), {"limit": 2}, ALL[-16::2]),
    "own, random": (lambda: load(sampler=Private()), {}, ALL[:10]),
    "own, random, limited": (lambda: load(sampler=Private()), {"limit": 1}, ALL[:10]),
    "batch sampler": (lambda: load(batch_sampler=Pairs()), {}, ALL[10:20]),
    "batch sampler, limited": (lambda: load(batch_sampler=Pairs()), {"limit": 2}, ALL[10:14]),
    "torch's batch sampler": (
        lambda: load(batch_sampler=BatchSampler(SubsetRandomSampler([1, 2, 9]), 2, drop_last=False)), {}, [1, 2, 9],
    ),
    "group": (lambda: load(sampler=DistributedSampler(DATA, 2, 1, shuffle=True)), {"world": 2}, ALL),
    "group in order, limited": (
        lambda: load(sampler=DistributedSampler(DATA, 2, 1, shuffle=False)), {"world": 2, "limit": 2}, ALL[:16],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_items_are_those_that_the_loader_yields(name):
    make, how, expected = CASES[name]
    loader = make()
    found = items(loader, **how)
    assert found.positions.tolist() == expected
    assert found.positions.dtype == np.int64
    assert found.weights is None
    # and nothing else comes out of the loader itself
    limit = how.get("limit", 10**9)
    seen = {int(row) for number, (batch,) in enumerate(loader) if number < limit for row in batch[:, 0]}
    assert seen <= set(expected)


@pytest.mark.parametrize("name", CASES)
def test_neither_the_loader_nor_a_global_generator_moves(name):
    def state(loader):
        torch.manual_seed(7)
        if looked := loader is not None:
            items(loader, **CASES[name][1])
        return looked, torch.rand(2).tolist(), np.random.rand()  # noqa: NPY002

    np.random.seed(4)  # noqa: NPY002
    plain = state(None)
    np.random.seed(4)  # noqa: NPY002
    watched, untouched = CASES[name][0](), CASES[name][0]()
    assert state(watched)[1:] == plain[1:]
    orders = []
    for loader in (watched, untouched):
        torch.manual_seed(9)
        orders.append([batch[:, 0].tolist() for (batch,) in loader])
    assert orders[0] == orders[1]


def test_weights_are_those_of_the_sampler():
    weights = np.arange(SIZE, dtype=float)
    found = items(load(sampler=WeightedRandomSampler(weights.tolist(), SIZE)))
    assert found.positions.tolist() == ALL[1:]
    assert found.weights == pytest.approx(weights[1:] / weights.sum())


def test_what_a_sampler_yields_thrice_weighs_thrice():
    found = items(load(sampler=Doubled([7, 8, 9])))
    assert found.positions.tolist() == [7, 8, 9]
    assert found.weights.tolist() == [0.6, 0.2, 0.2]


def test_a_random_sampler_with_a_generator_keeps_it():
    generator = torch.Generator().manual_seed(5)
    loader = load(sampler=Doubled([1, 2, 3], generator=generator))
    before = generator.get_state()
    items(loader)
    assert torch.equal(generator.get_state(), before)


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("limit", [1, 2])
@pytest.mark.parametrize("epoch", [0, 2])
def test_a_limited_group_has_read_what_its_ranks_read_in_the_epochs_so_far(world, limit, epoch):
    read = set()
    for rank in range(world):
        sampler = DistributedSampler(DATA, world, rank, seed=3)
        loader = load(sampler=sampler)
        for each in range(epoch + 1):
            sampler.set_epoch(each)
            batches = [batch for (batch,) in loader][:limit]
            read |= {int(row) for batch in batches for row in batch[:, 0]}
        found = items(loader, world=world, limit=limit, epoch=epoch)
    assert set(found.positions.tolist()) == read


def split(size=SIZE):
    images = np.arange(size, dtype=np.uint8).reshape(-1, 1, 1, 1)
    return Split("test/train", ImageArrays(images, np.zeros(size, np.int64)), np.arange(size))


@pytest.mark.parametrize("reshuffle", [True, False])
@pytest.mark.parametrize("limit", [None, 1, 3])
@pytest.mark.parametrize("world", [1, 2])
def test_loaders_of_this_package_count_what_their_ranks_read(reshuffle, limit, world):
    def loader(rank):
        return BatchLoader(split(), BATCH + 3, training=True, seed=5, reshuffle=reshuffle, rank=rank, world_size=world)

    counts = np.zeros(SIZE)
    for rank in range(world):
        for epoch in range(3):
            each = loader(rank)
            each.set_epoch(epoch)
            for number, (images, _) in enumerate(each):
                if limit is None or number < limit:
                    np.add.at(counts, images.reshape(-1).numpy(), 1)
    mine = loader(0)
    found = items(mine, limit=limit, epoch=2, world=world)
    if (limit is None or limit >= len(mine)) and reshuffle:
        assert found.weights is None
        assert found.positions.tolist() == ALL
    else:
        assert found.positions.tolist() == np.flatnonzero(counts).tolist()
        weights = np.ones(len(found.positions)) if found.weights is None else found.weights
        assert weights / weights.sum() == pytest.approx(counts[counts > 0] / counts.sum())
    assert mine.state_dict()["batches"] == 0


def test_weights_of_a_loader_of_this_package_are_those_of_the_data():
    values = numpy_stream(0, "test").random(SIZE)
    values[:30] = 0
    loader = BatchLoader(
        split(), BATCH, training=True, weights=SampleWeights(values / values.sum(), "w"), rank=0, world_size=1
    )
    found = items(loader)
    assert found.positions.tolist() == ALL[30:]
    assert found.weights == pytest.approx(values[30:] / values.sum())
    limited = items(loader, limit=1)
    first = next(iter(loader))[0].reshape(-1).tolist()
    assert limited.positions.tolist() == sorted(set(first))


def test_sentences_in_buckets_are_counted_too():
    class Text:
        lengths = np.arange(SIZE)
        name = "text"

        def __len__(self):
            return SIZE

        def batch(self, positions):
            return torch.as_tensor(positions), torch.as_tensor(positions)

    loader = BucketLoader(Text(), BATCH, training=True, pool=2, rank=0, world_size=1)
    assert items(loader).positions.tolist() == ALL
    read = {int(row) for number, (rows, _) in enumerate(loader) if number < 2 for row in rows}
    assert items(loader, limit=2).positions.tolist() == sorted(read)


def test_items_go_on_growing_from_epoch_to_epoch_and_a_resumed_run_finds_the_same():
    loader = BatchLoader(split(), BATCH, training=True, rank=0, world_size=1)
    straight = TrainedItems(0, "test")
    sizes = []
    for epoch in range(4):
        run = running(loader, limit=2, epoch=epoch)
        found = straight.now(run)
        sizes.append(len(found.positions))
        again = TrainedItems(0, "test").now(run)
        assert found.positions.tolist() == again.positions.tolist()
    assert sizes[0] == 8 < sizes[3]


@pytest.mark.parametrize("count", [1, 3, 10])
def test_draws_without_weights_are_distinct_and_at_most_all(count):
    found = Items(np.array([2, 4, 6]))
    drawn = found.draw(count, numpy_stream(0, "draw"))
    assert len(drawn) == len(set(drawn)) == min(count, 3)
    assert set(drawn) <= {2, 4, 6}
    assert drawn.tolist() == found.draw(count, numpy_stream(0, "draw")).tolist()


def test_draws_with_weights_come_as_often_as_they_weigh():
    found = Items.counted([0, 1, 3])
    drawn = found.draw(4000, numpy_stream(0, "draw"))
    assert np.bincount(drawn, minlength=3) / 4000 == pytest.approx([0, 0.25, 0.75], abs=0.03)


class Endless(Sampler):
    def __iter__(self):
        while True:
            yield 1


class Locked(Sampler):
    def __init__(self):
        self.source = (number for number in range(4))

    def __iter__(self):
        return self.source

    def __len__(self):
        return 4


class Strange(Sampler):
    def __init__(self, *values):
        self.values = values

    def __iter__(self):
        return iter(self.values)

    def __len__(self):
        return len(self.values)


class Unsized(Pairs):
    batch_size = None


class OwnLoader:
    dataset, batch_size = DATA, BATCH

    def __len__(self):
        return 10


@pytest.mark.parametrize(
    ("loader", "message"),
    [
        (lambda: load(sampler=Endless()), "has not ended after 100 times the 40 items.*`trainer.limit_train_batches`"),
        (lambda: load(sampler=Locked()), "its sampler Locked cannot be copied .*use a torch SubsetRandomSampler"),
        (lambda: load(sampler=Strange("a")), r"must yield positions 0\.\.39 of the data set, Strange yields 'a'"),
        (lambda: load(sampler=Strange(1, 40)), "Strange yields 40"),
        (lambda: load(sampler=Strange()), "Strange yields nothing"),
        (lambda: load(batch_sampler=Unsized()), "does not say how large its batches are; give it .*`batch_size`"),
        (OwnLoader, r"cannot be told of a OwnLoader.*`read_counts\(epoch, batches\)`"),
        (lambda: DataLoader(DATA, batch_size=None), "no `batch_size`; use a DataLoader with a batch size"),
    ],
    ids=["endless", "locked", "names", "beyond", "empty", "batches", "loader", "whole batches"],
)
def test_a_loader_whose_items_cannot_be_told_is_refused(loader, message):
    with pytest.raises(ConfigError, match=message):
        items(loader())


def test_an_endless_sampler_is_read_as_far_as_the_limit():
    assert items(load(sampler=Endless()), limit=2).positions.tolist() == [1]


def test_a_loader_of_ones_own_may_say_what_it_reads():
    loader = OwnLoader()
    loader.read_counts = lambda epoch, batches: np.arange(SIZE) % 2
    loader.reshuffle = False
    assert items(loader).positions.tolist() == ALL[1::2]


@pytest.mark.parametrize(
    ("loader", "size"),
    [(load(), 4), (load(batch_sampler=Pairs()), 2), (OwnLoader(), 4)],
    ids=["torch", "batches", "own"],
)
def test_the_size_of_a_batch_is_found_where_it_is_said(loader, size):
    assert batch_size_of(loader) == size


def test_known_samplers_are_known_by_how_they_iterate():
    assert items(load(sampler=RandomSampler(DATA, num_samples=5))).positions.tolist() == ALL
    assert items(load(sampler=SequentialSampler(DATA))).positions.tolist() == ALL
