"""Plain models of a run whose one network knows every KL weight, as checkpoints."""

from collections.abc import Sequence
from pathlib import Path

import lightning as L
from lightning.pytorch.utilities import rank_zero_info

from lightning_gvae.errors import ConfigError
from lightning_gvae.interfaces import ConditionedModel, require
from lightning_gvae.io.checkpoint import read_checkpoint
from lightning_gvae.io.files import write_torch
from lightning_gvae.training.plain_checkpoint import plain_checkpoint

__all__ = ["RateExport"]

REMEDY = "Choose model=multi_rate_vae, or remove the callback (callbacks.rate_export=null)"


class RateExport(L.Callback):
    """Writes the network at chosen KL weights as checkpoints of plain VAEs when a fit ends.

    ``checkpoints/beta_0.5.ckpt`` and so on can be evaluated, opened in the web lab and loaded as any VAE; a run cannot
    go on from them, since a plain VAE has other parameters to optimise.

    Args:
        betas: KL weights, each within the model's range; ``None`` among them is the model's own at the end.
        dirpath: Folder of the checkpoints; ``checkpoints`` in the run folder if None.

    Raises:
        ConfigError: When a fit starts: the network is not conditioned, or a weight lies outside its range.
    """

    def __init__(self, betas: Sequence[float | None] = (None,), dirpath: str | Path | None = None) -> None:
        if not betas:
            raise ConfigError("`betas` must be at least one KL weight; null is the model's own, got none")
        self.betas, self.dirpath = list(betas), dirpath

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuse what could only fail after training."""
        if stage != "fit":
            return
        model = require(pl_module, ConditionedModel, "RateExport", REMEDY)
        for beta in self.betas:
            with model.using(beta):
                pass

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the checkpoints; every rank takes part."""
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        model = require(pl_module, ConditionedModel, "RateExport", REMEDY)
        folder = Path(trainer.default_root_dir) / "checkpoints" if self.dirpath is None else Path(self.dirpath)
        whole = folder / ".multi_rate.ckpt"
        trainer.save_checkpoint(whole, weights_only=False)
        if trainer.is_global_zero:
            checkpoint = read_checkpoint(whole)
            whole.unlink()
            for beta in self.betas:
                plain = model.at(beta)
                path = folder / f"beta_{float(plain.beta):g}.ckpt"
                write_torch(path, plain_checkpoint(checkpoint, plain, model.own_settings))
                rank_zero_info(f"the network at beta = {float(plain.beta):g} as a plain VAE: {path}")
        trainer.strategy.barrier()
