"""A search after a fit looks at the images that were trained on, and says if it has lost its variety."""

from types import SimpleNamespace
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, SubsetRandomSampler, TensorDataset

from lightning_gvae.callbacks.latent_search.callback import LatentSearch
from lightning_gvae.callbacks.latent_search.figures import lost_variety, search_metrics, search_pictures
from lightning_gvae.callbacks.latent_search.image_tools import ModelTools
from lightning_gvae.callbacks.latent_search.trained_part import TrainedPart, trained_on
from lightning_gvae.datamodules.batches import BatchLoader, SampleWeights
from lightning_gvae.evolution.latent.search import GASettings
from tests.callbacks import FakeVAE, quiet_trainer
from tests.callbacks.latent_search.test_callback import SMALL, Bright, Data


class Loads(Data):
    """The toy data with another training loader."""

    def __init__(self, make: Any) -> None:
        super().__init__()
        self.make = make

    def train_dataloader(self) -> Any:
        return self.make(self.train_set)


def own(part: Any, **kwargs: Any) -> BatchLoader:
    return BatchLoader(part, 8, training=True, **kwargs)


def weighted(part: Any) -> BatchLoader:
    values = np.zeros(60)
    values[5:25] = 0.05
    return own(part, weights=SampleWeights(values, "some"))


def subset(part: Any) -> DataLoader[Any]:
    images, targets = part.batch(np.arange(60))
    return DataLoader(TensorDataset(images, targets), 8, sampler=SubsetRandomSampler(range(5, 25)))


@pytest.mark.parametrize(
    ("make", "limits", "count"),
    [
        (own, {}, 60),
        (weighted, {}, 20),
        (subset, {}, 20),
        (own, {"overfit_batches": 2}, 16),
        (own, {"limit_train_batches": 2}, 16),
        (lambda part: own(part, reshuffle=False), {"limit_train_batches": 2}, 16),
        (lambda part: own(part, reshuffle=False), {"limit_train_batches": 2, "max_epochs": 3}, 16),
    ],
)
def test_the_training_part_is_what_was_trained_on(tmp_path, make, limits, count):
    read: set[int] = set()

    class Reads(L.Callback):
        def on_train_batch_end(
            self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, *_: Any
        ) -> None:
            read.update(position_of(image) for image in batch[0])

    data = Loads(make)
    whole = data.train_set.batch(np.arange(60))[0]

    def position_of(image: Tensor) -> int:
        return int((whole == image.to(whole)).flatten(1).all(1).nonzero()[0])

    callback = LatentSearch(Bright(), bounds=(-2.0, 2.0), runs=2, settings=SMALL)
    plain = {"max_epochs": 1, "logger": False, "enable_checkpointing": False}
    trainer = quiet_trainer(tmp_path, Reads(), callback, **plain | limits)
    trainer.fit(FakeVAE(), datamodule=data)
    found = trained_on(trainer, data, 0)
    assert len(found.train_set) == count
    if count == 60:
        assert found is data
        return
    positions = {position_of(image) for image in found.train_set.batch(np.arange(count))[0]}
    assert read <= positions
    assert len(positions) == count
    if limits:
        assert read == positions
    assert found.spec is data.spec
    assert found.test_set is data.test_set
    # classifier, references, box and typical set are made of these alone
    tools = ModelTools(trainer.lightning_module, found)
    assert len(tools.posteriors().means) == len(tools.aggregate_posterior()) == len(tools.training_images()) == count
    assert found.train_set.indices.tolist() == sorted(positions)


def test_a_part_of_a_part_hands_out_its_own_items() -> None:
    part = TrainedPart(Data().train_set, np.array([4, 7, 9]))
    assert len(part) == 3
    assert torch.equal(part.batch(np.array([2, 0]))[0], Data().train_set.batch(np.array([9, 4]))[0])


def test_a_loader_that_cannot_be_told_is_said_and_all_images_are_taken(caplog) -> None:
    class Own:
        dataset = Data().train_set

        def __len__(self) -> int:
            return 3

    data = Data()
    trainer: Any = SimpleNamespace(train_dataloader=Own(), num_training_batches=3, current_epoch=1, world_size=1)
    with caplog.at_level("INFO"):
        assert trained_on(trainer, data, 0) is data
    assert "looks at all training images: what `train_dataloaders` yields cannot be told of a Own" in caplog.text
    trainer.train_dataloader = None
    assert trained_on(trainer, data, 0) is data


@pytest.mark.parametrize(("mutation", "alike"), [(0.0, True), (1.0, False)])
def test_a_search_without_variety_says_so_with_the_number(tmp_path, caplog, mutation, alike):
    settings = GASettings(population=4, generations=40, crossover=0.0, mutation=mutation, gene_mutation=1.0)
    callback = LatentSearch(Bright(), bounds=(-2.0, 2.0), runs=3, settings=settings)
    trainer = quiet_trainer(tmp_path, callback, max_epochs=1, logger=False, enable_checkpointing=False)
    with caplog.at_level("INFO"):
        trainer.fit(FakeVAE(), datamodule=Data())
    found = callback.found
    assert found is not None
    sentence = lost_variety(found)
    assert (sentence is not None) == alike
    assert (
        "3 of 3 runs lost all variety: the individuals of the last population lie within 0 %" in caplog.text
    ) == alike
    assert ("lost all variety" in search_pictures(found)[0].caption) == alike
    assert (search_metrics(found)["latent_search/diversity_mean"] == 0) == alike
