"""An archive of threes of MNIST: filled, of threes, and smooth along both axes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module

from lightning_gvae import cli
from lightning_gvae.evolution.archive.result import ArchiveResult

SMALL = ["trainer.max_steps=600", "callbacks.latent_archive.settings.shape=[20,20]"]
SMALL += ["callbacks.latent_archive.settings.iterations=80", "callbacks.figures.n_samples=4", "test=false"]


@pytest.mark.slow
def test_the_archive_fills_with_threes_whose_neighbours_are_alike(tmp_path: Path, data_dir: Path) -> None:
    with initialize_config_module("lightning_gvae.conf", version_base="1.3"):
        paths = [f"paths.output_dir={tmp_path}", f"paths.data_dir={data_dir}"]
        cfg = compose("train", ["experiment=mnist_qd", "trainer=cpu", *paths, *SMALL])
    cli.train(cfg)
    with np.load(tmp_path / "latent_archive" / "archive.npz", allow_pickle=False) as stored:
        result = ArchiveResult.from_arrays(stored)
    assert result.coverage(realistic=True) > 0.5
    latents = torch.from_numpy(result.on_grid(result.realistic.latents)).float()

    def distance(first: torch.Tensor, second: torch.Tensor) -> float:
        apart = (first - second).square().sum(-1).sqrt()
        return float(apart[apart.isfinite()].mean())

    # Neighbours along either axis are nearer than cells five steps away, and these nearer than any two.
    for axis in (0, 1):
        near = distance(latents.narrow(axis, 0, 19), latents.narrow(axis, 1, 19))
        far = distance(latents.narrow(axis, 0, 15), latents.narrow(axis, 5, 15))
        flat = latents.flatten(0, 1)
        order = torch.from_numpy(np.random.Generator(np.random.Philox(key=0)).permutation(len(flat)))
        assert near < 0.95 * far
        assert near < 0.8 * distance(flat, flat[order])
