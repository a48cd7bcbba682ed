"""Batches on their way to an accelerator, and data sets that stay there."""

import numpy as np
import pytest
import torch

from lightning_gvae.datamodules import device_images
from lightning_gvae.datamodules.base import ImageArrays
from lightning_gvae.datamodules.batches import BatchLoader, Split
from lightning_gvae.datamodules.device_images import DeviceCache, DeviceImages
from lightning_gvae.datamodules.staging import made_ahead, pack
from lightning_gvae.errors import DataError

CPU = torch.device("cpu")


def test_packed_tensors_come_out_as_they_went_in():
    tensors = [
        torch.arange(7, dtype=torch.uint8),
        torch.randn(3, 5),
        torch.randint(2**40, (2, 3)),
        torch.zeros(0, 4, dtype=torch.int64),
        torch.tensor([True, False, True]),
        torch.tensor(1.5, dtype=torch.float64),
    ]
    packed = pack(tensors, CPU)
    for found, given in zip(packed.on(CPU), tensors, strict=True):
        assert (found.dtype, found.shape) == (given.dtype, given.shape) and torch.equal(found, given)
        assert found.data_ptr() % 16 == 0 or not found.numel()
        assert found.untyped_storage().data_ptr() == packed.memory.untyped_storage().data_ptr()


def test_items_are_made_one_ahead_and_errors_come_in_their_place():
    made = []

    def items():
        for number in range(4):
            made.append(number)
            if number == 2:
                raise DataError("cannot be read")
            yield number

    ahead = made_ahead(items())
    assert made == []
    assert next(ahead) == 0 and max(made) <= 1
    assert next(ahead) == 1 and max(made) <= 2
    with pytest.raises(DataError, match="cannot be read"):
        next(ahead)
    unfinished = made_ahead(iter(range(100)))
    assert [next(unfinished), next(unfinished)] == [0, 1]
    unfinished.close()
    assert list(made_ahead(iter([]))) == []


def loader(device, **options):
    images = np.random.default_rng(0).integers(0, 256, (23, 1, 2, 3), dtype=np.uint8)
    split = Split("some/train", ImageArrays(images, np.arange(23)), np.arange(23))
    return BatchLoader(split, 5, seed=1, device=device, **options)


@pytest.mark.parametrize("options", [{"training": True}, {"training": True, "keyed": True}, {"training": False}])
def test_batches_made_ahead_are_the_same_and_are_counted_when_they_are_handed_out(options):
    plain, ahead = loader(None, **options), loader(CPU, **options)
    seen = []
    for one, other in zip(plain, ahead, strict=True):
        assert len(one) == len(other) and one[2:] == other[2:]
        assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])
        assert plain.state_dict() == ahead.state_dict()
        seen.append(other[1])
        if len(seen) == 2:
            state = ahead.state_dict()
    resumed = loader(CPU, **options)
    resumed.load_state_dict(state)
    for expected, batch in zip(seen[2:], resumed, strict=True):
        assert torch.equal(batch[1], expected)


def test_a_set_lies_on_the_device_where_it_takes_a_quarter_of_the_memory_at_most(monkeypatch, capsys):
    part = loader(None, training=True).dataset
    needed = 23 * (6 + 8)
    for free, resides in ((None, False), (4 * needed - 1, False), (4 * needed, True)):
        monkeypatch.setattr(device_images, "free_memory", lambda device, free=free: free)
        cache = DeviceCache(None, "some")
        placed = cache.placed(part, CPU)
        assert isinstance(placed.source, DeviceImages) == resides
        assert ("all 23 items lie on cpu" in capsys.readouterr().err) == resides
        # What is free then decides nothing any more.
        monkeypatch.setattr(device_images, "free_memory", lambda device, resides=resides: 0 if resides else 10**9)
        assert isinstance(cache.placed(part, CPU).source, DeviceImages) == resides
        if resides:
            assert cache.placed(part, CPU).source is placed.source
    monkeypatch.setattr(device_images, "free_memory", lambda device: None)
    assert DeviceCache(False, "some").placed(part, CPU) is part
    assert isinstance(DeviceCache(True, "some").placed(part, CPU).source, DeviceImages)


def test_points_keep_their_type_on_the_device():
    class Points:
        def __len__(self):
            return 3

        def batch(self, indices):
            return torch.full((len(indices), 2), -0.25), torch.zeros(len(indices), dtype=torch.int64)

    points, _ = DeviceImages(Points(), CPU, "points").batch(np.array([2, 0]))
    assert points.dtype == torch.float32 and (points == -0.25).all()
