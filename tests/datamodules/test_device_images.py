import lightning as L
import numpy as np
import pytest
import torch

from lightning_gvae.datamodules.base import ImageArrays
from lightning_gvae.datamodules.device_images import DeviceImages
from lightning_gvae.datamodules.digits import DigitsDataModule
from lightning_gvae.datamodules.dsprites import RenderedSprites
from lightning_gvae.errors import DataError
from lightning_gvae.models import VAE
from tests.callbacks import quiet_trainer


def test_batches_are_those_of_the_source(monkeypatch):
    monkeypatch.setattr("lightning_gvae.datamodules.device_images.CHUNK", 7)
    source = ImageArrays(np.random.default_rng(0).integers(0, 256, (30, 3, 4, 5), dtype=np.uint8), np.arange(30))
    cached = DeviceImages(source, torch.device("cpu"), "some")
    chosen = np.array([29, 0, 7, 7])
    assert len(cached) == 30
    for here, there in zip(cached.batch(chosen), source.batch(chosen), strict=True):
        assert here.dtype == there.dtype and torch.equal(here, there)


def test_a_set_that_does_not_fit_is_refused_before_it_is_copied(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10**9, 10**9))
    with pytest.raises(DataError, match=r"needs 3\.0 GB for dsprites, but cuda:0 has 1\.0 GB free; set data.device_c"):
        DeviceImages(RenderedSprites(), torch.device("cuda:0"), "dsprites")


class Recorder(L.Callback):
    def __init__(self):
        self.batches = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.batches.append(batch)


def seen(tmp_path, **options):
    recorder = Recorder()
    trainer = quiet_trainer(tmp_path, recorder, max_steps=40, logger=False, enable_checkpointing=False)
    trainer.fit(VAE((1, 8, 8), latent_dim=2), datamodule=DigitsDataModule(batch_size=64, **options))
    return recorder.batches


def test_training_sees_the_same_batches_with_and_without_the_cache(tmp_path):
    with_cache, without = seen(tmp_path, device_cache=True), seen(tmp_path)
    assert len(with_cache) == 40
    for one, other in zip(with_cache, without, strict=True):
        assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])


def test_training_batches_are_augmented_reproducibly_and_others_are_not(tmp_path):
    augmented, again, plain = seen(tmp_path, hflip=True), seen(tmp_path, hflip=True), seen(tmp_path)
    for one, two, before in zip(augmented, again, plain, strict=True):
        assert len(one) == 2 and torch.equal(one[0], two[0]) and torch.equal(one[1], before[1])
        assert not torch.equal(one[0], before[0])
    module = DigitsDataModule(hflip=True)
    module.setup()
    assert all(len(batch) == 2 for loader in (module.val_dataloader(), module.test_dataloader()) for batch in loader)
