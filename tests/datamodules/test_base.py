import numpy as np
import pytest
import torch

from lightning_gvae.datamodules.base import DataSpec, ImageArrays, ImageDataModule
from lightning_gvae.errors import ConfigError, DataError


def arrays(count: int, start: int = 0) -> ImageArrays:
    numbers = np.arange(start, start + count)
    return ImageArrays(np.broadcast_to(numbers.astype(np.uint8).reshape(-1, 1, 1, 1), (count, 1, 2, 2)), numbers)


class Numbers(ImageDataModule):
    """60 images to divide, and, where ``test_size`` is None, 11 of their own to test on."""

    def __init__(self, val_size=12, test_size=None, **options):
        super().__init__(DataSpec("numbers", (1, 2, 2)), val_size, test_size, **options)
        self.loads = 0

    def load(self):
        self.loads += 1
        return arrays(60), arrays(11, start=100) if self.test_size is None else None


def parts(module: ImageDataModule) -> list[list[int]]:
    module.setup()
    sets = (module.train_set, module.val_set, module.test_set)
    return [part.batch(np.arange(len(part)))[1].tolist() for part in sets]


def test_parts_are_disjoint_and_cover_everything():
    train, val, test = parts(Numbers(test_size=7))
    assert (len(train), len(val), len(test)) == (41, 12, 7)
    assert sorted(train + val + test) == list(range(60))


def test_a_test_set_of_its_own_is_left_whole_and_in_order():
    train, val, test = parts(Numbers())
    assert sorted(train + val) == list(range(60)) and len(val) == 12
    assert test == list(range(100, 111))


def test_parts_are_a_function_of_the_seed():
    assert parts(Numbers(seed=1)) == parts(Numbers(seed=1))
    assert parts(Numbers(seed=1)) != parts(Numbers(seed=2))


def test_the_data_set_is_loaded_once():
    module = Numbers()
    for stage in ("fit", "validate", "test", None):
        module.setup(stage)
    assert module.loads == 1


def test_loaders_have_the_parts_and_sizes_asked_for():
    module = Numbers(batch_size=8, eval_batch_size=5)
    module.setup()
    images, targets = next(iter(module.train_dataloader()))
    assert (images.dtype, images.shape, targets.dtype, targets.shape) == (torch.uint8, (8, 1, 2, 2), torch.int64, (8,))
    assert torch.equal(images[:, 0, 0, 0].long(), targets)
    assert [len(targets) for _, targets in module.val_dataloader()] == [5, 5, 2]
    assert [len(targets) for _, targets in module.test_dataloader()] == [5, 5, 1]
    assert module.train_dataloader().dataset is module.train_set


def test_a_changed_batch_size_counts_for_the_next_loader():
    module = Numbers(batch_size=8)
    module.setup()
    module.batch_size = 16
    assert len(next(iter(module.train_dataloader()))[1]) == 16


@pytest.mark.parametrize("name", ["val_size", "test_size", "batch_size", "eval_batch_size"])
@pytest.mark.parametrize("value", [0, -3, 1.5, True, 1.0, 0.0, float("nan"), "many"])
def test_sizes_must_be_positive_integers_or_shares_of_a_part(name, value):
    or_share = ", or a share such as 0.1, below 1," if name in ("val_size", "test_size") else ","
    with pytest.raises(ConfigError, match=f"`{name}` must be an integer of at least 1{or_share} got {value!r}"):
        Numbers(**{name: value})


def test_parts_may_be_shares():
    assert Numbers(val_size=0.25, test_size=0.1).val_size == 0.25
    module = Numbers(val_size=0.25, test_size=0.1)
    module.setup()
    assert module.part_sizes == {"train": 39, "val": 15, "test": 6}
    with pytest.raises(ConfigError, match="`val_size` 0.5 and `test_size` 0.5 leave no share to train on; lower them"):
        Numbers(val_size=0.5, test_size=0.5)


def test_a_negative_seed_is_refused():
    with pytest.raises(ConfigError, match="`seed` must be an integer of at least 0, got -1"):
        Numbers(seed=-1)


def test_parts_held_out_must_leave_something_to_train_on():
    Numbers(val_size=59).setup()
    with pytest.raises(ConfigError, match="`val_size` 60 leave no training image of the 60 in numbers"):
        Numbers(val_size=60).setup()
    with pytest.raises(ConfigError, match="`val_size` 40 and `test_size` 20 leave no training image"):
        Numbers(val_size=40, test_size=20).setup()


def test_parts_do_not_exist_before_setup():
    with pytest.raises(ConfigError, match=r"`val_set` does not exist before `setup\(\)`"):
        Numbers().val_dataloader()


def test_arrays_must_be_byte_images_with_a_target_each():
    with pytest.raises(DataError, match="`images` must be uint8 of shape"):
        ImageArrays(np.zeros((3, 1, 2, 2)), np.zeros(3, int))
    with pytest.raises(DataError, match="`images` must be uint8 of shape"):
        ImageArrays(np.zeros((3, 2, 2), np.uint8), np.zeros(3, int))
    with pytest.raises(DataError, match="`targets` must be as many as the 3 images, got 4"):
        ImageArrays(np.zeros((3, 1, 2, 2), np.uint8), np.zeros(4, int))
