"""Small runs of a population, and of single models, on digits."""

import csv

import lightning as L
import torch

from lightning_gvae.callbacks.checkpoints import LastCheckpoint
from lightning_gvae.callbacks.population_evolution import PopulationEvolution
from lightning_gvae.datamodules.digits import DigitsDataModule
from lightning_gvae.evolution.population import PopulationSearch
from lightning_gvae.models import VAE

SHAPE, Z = (1, 8, 8), 4
SEED = 3


def built(seed=SEED, **settings):
    """Model that train.py builds for a seed."""
    torch.manual_seed(seed)
    return VAE(SHAPE, Z, network="mlp", seed=seed, **settings)


def population(interval=10, warmup=10, training="one_by_one", front=None, **search):
    settings = {"members": 4, "genes": {"beta": {"low": 0.1, "high": 10.0}}, "seed": SEED} | search
    return PopulationEvolution(PopulationSearch(**settings), interval, warmup, 64, training, front)


def data():
    return DigitsDataModule(batch_size=32, seed=SEED)


def fit(folder, model, *callbacks, steps=25, ckpt_path=None, save=False, datamodule=None, **settings):
    """Fit on digits; the Trainer."""
    saved = [LastCheckpoint(str(folder / "checkpoints"), 1000)] if save else []
    defaults = {"log_every_n_steps": 5, "accelerator": "cpu", "devices": 1, "enable_checkpointing": save}
    trainer = L.Trainer(
        **(defaults | settings),
        callbacks=[*callbacks, *saved],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        max_steps=steps,
        max_epochs=-1,
        num_sanity_val_steps=0,
    )
    trainer.ckpt_path = ckpt_path
    trainer.fit(model, datamodule=datamodule or data(), weights_only=True)
    return trainer


class Keep(PopulationEvolution):
    """Keeps the members' last states."""

    def on_fit_end(self, trainer, pl_module):
        self.last = self.run.state_dict()
        super().on_fit_end(trainer, pl_module)


def journal(folder):
    with (folder / "population.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
