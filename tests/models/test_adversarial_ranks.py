"""Two and four real processes train GAN and VAE-GAN as one process does on the same global batches, and stay alike."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lightning_gvae.datamodules.digits import DigitsDataModule
from tests.models.adversaries import gan, quiet_trainer, vae_gan

STEPS, GLOBAL = 12, 32


def gentle(parameters):
    """Rounding grows with the steps' size; at 0.05 it comes to 1.5e-6 in twelve of them."""
    return torch.optim.SGD(parameters, lr=0.01)


# name -> model, its settings, strategy
CASES = {
    "sequential": (vae_gan, {}, "ddp_find_unused_parameters_true"),
    "simultaneous": (vae_gan, {"update_order": "larsen_simultaneous"}, "ddp"),
    "gated": (vae_gan, {"margin": 0.02}, "ddp_find_unused_parameters_true"),
    "gated_simultaneous": (vae_gan, {"margin": 0.02, "update_order": "larsen_simultaneous"}, "ddp"),
    "gan": (gan, {}, "ddp_find_unused_parameters_true"),
}

SCRIPT = """
import sys, warnings
import lightning as L
import torch
from tests.models.test_adversarial_ranks import CASES, GLOBAL, fit

warnings.simplefilter("ignore")
folder, name, world = sys.argv[1], sys.argv[2], int(sys.argv[3])
torch.set_num_threads(1)

class Dump(L.Callback):
    def on_train_end(self, trainer, pl_module):
        logged = {key: value.cpu() for key, value in trainer.callback_metrics.items()}
        torch.save([pl_module.state_dict(), logged], f"{folder}/{trainer.global_rank}.pt")

if __name__ == "__main__":
    fit(folder, name, Dump(), batch_size=GLOBAL // world, devices=world, strategy=CASES[name][2])
"""


def fit(folder, name, *callbacks, batch_size=GLOBAL, **settings):
    build, options, _ = CASES[name]
    model = build(optimizer=gentle, **options)
    trainer = quiet_trainer(folder, STEPS, *callbacks, log_every_n_steps=STEPS, **settings)
    trainer.fit(model, datamodule=DigitsDataModule(batch_size=batch_size))
    return model, trainer


def on_ranks(folder, text, *arguments, world):
    """State and logged values of every rank of a script."""
    script = folder / "script.py"
    script.write_text(text)
    root = str(Path(__file__).resolve().parents[2])
    environment = os.environ | {"PYTHONPATH": root, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), str(folder), *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=280, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(world)]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "world"), [*((name, 2) for name in CASES), ("gan", 4), ("sequential", 4)])
def test_several_ranks_equal_one_process_and_each_other(name, world, tmp_path):
    ranks = on_ranks(tmp_path, SCRIPT, name, str(world), world=world)
    first, logged = ranks[0]
    model, trainer = fit(tmp_path, name)
    for label, value in model.state_dict().items():
        assert all(torch.equal(first[label], state[label]) for state, _ in ranks), label
        assert (first[label] - value).abs().max() <= 1e-6, label
    torch.manual_seed(0)
    start = CASES[name][0](**CASES[name][1])
    moved = max(float((value - start.state_dict()[label]).abs().max()) for label, value in model.state_dict().items())
    assert moved > 1e-2, "nothing was learnt, so nothing was compared"
    for key, value in trainer.callback_metrics.items():
        if key.startswith("train/"):
            assert float(logged[key]) == pytest.approx(float(value), abs=1e-4), key
    if name.startswith("gated"):
        waited = float(logged["train/skip_discriminator"] + logged["train/skip_generator"])
        assert 0 < waited < 2, "the gates did nothing, so nothing was shown"
