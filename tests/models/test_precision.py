"""Gradients can be clipped in mixed precision, for which Lightning allows no fused optimiser."""

import functools

import lightning as L
import pytest
import torch

from lightning_gvae.datamodules.digits import DigitsDataModule
from lightning_gvae.errors import ConfigError
from lightning_gvae.models import VAE, BetaVAE

SHAPE = (1, 8, 8)
FUSED = functools.partial(torch.optim.AdamW, lr=1e-2, fused=True)


def fit(model, tmp_path, **options):
    trainer = L.Trainer(
        max_steps=3,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        limit_val_batches=0,
        **options,
    )
    trainer.fit(model, datamodule=DigitsDataModule())
    return trainer


@pytest.mark.parametrize("kind", [VAE, BetaVAE])
@pytest.mark.parametrize("optimizer", [None, FUSED, functools.partial(torch.optim.SGD, lr=1e-3)])
def test_gradients_are_clipped_in_mixed_precision(kind, optimizer, tmp_path):
    trainer = fit(
        kind(SHAPE, latent_dim=2, optimizer=optimizer), tmp_path, precision="bf16-mixed", gradient_clip_val=0.5
    )
    assert trainer.global_step == 3
    assert not any(group.get("fused") for group in trainer.optimizers[0].param_groups)


@pytest.mark.parametrize("options", [{"precision": "bf16-mixed"}, {"gradient_clip_val": 0.5}])
def test_elsewhere_the_optimiser_stays_fused(options, tmp_path):
    trainer = fit(VAE(SHAPE, latent_dim=2), tmp_path, **options)
    assert all(group["fused"] for group in trainer.optimizers[0].param_groups)


def test_a_factory_that_insists_is_told(tmp_path):
    model = VAE(SHAPE, latent_dim=2, optimizer=lambda group: torch.optim.Adam(group, fused=True))
    with pytest.raises(ConfigError, match="gradient_clip_val` cannot clip .* bf16-mixed .* fused=False"):
        fit(model, tmp_path, precision="bf16-mixed", gradient_clip_val=0.5)
