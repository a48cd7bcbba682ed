"""The acceptance of the latent search: an image that a classifier it never saw calls what was wanted."""

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module
from torch import nn

from lightning_gvae import cli
from lightning_gvae.datamodules.mnist import MNISTDataModule
from lightning_gvae.evolution.latent.search import SearchResult
from lightning_gvae.problems.images import pixel_mass
from lightning_gvae.rng import numpy_stream, torch_stream

WANTED, MASS = 8, (0.08, 0.12)


def held_out_classifier(data: MNISTDataModule) -> nn.Module:
    """Another architecture (two dense layers), another seed."""
    seed = 1234
    net = nn.Sequential(
        nn.Flatten(), nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10)
    )
    stream = torch_stream(seed, "weights")
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5 if parameter.ndim > 1 else 0.0, generator=stream)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    images, labels = data.train_set.batch(np.arange(len(data.train_set)))
    for epoch in range(4):
        for rows in np.array_split(numpy_stream(seed, "order", epoch).permutation(len(images)), len(images) // 128):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(images[rows].float() / 255), labels[rows]).backward()
            optimizer.step()
    return net.eval()


@pytest.mark.slow
def test_a_held_out_classifier_agrees(tmp_path, data_dir):
    with initialize_config_module("lightning_gvae.conf", version_base="1.3"):
        cfg = compose(
            "train",
            ["experiment=mnist_search", f"paths.output_dir={tmp_path}", f"paths.data_dir={data_dir}", "test=false"],
        )
    cli.train(cfg)
    stored = torch.load(tmp_path / "latent_search" / "result.pt", weights_only=True)
    result = SearchResult.from_tensors(stored["result"])
    assert (result.generations <= 60).all()
    assert result.final.valid.all()
    mass = pixel_mass(result.final.decoded)
    assert (mass >= MASS[0]).all()
    assert (mass <= MASS[1]).all()

    data = MNISTDataModule(data_dir / "mnist")
    data.prepare_data()
    data.setup()
    net = held_out_classifier(data)
    with torch.no_grad():
        test_images, test_labels = data.test_set.batch(np.arange(10_000))
        accuracy = (net(test_images.float() / 255).argmax(1) == test_labels).double().mean().item()
        start = torch.stack([frame for number, frame in stored["frames"].items() if number == 0])
        chances = net(result.final.decoded).softmax(1)[:, WANTED]
        at_start = net(start).softmax(1)[0, WANTED].item()
    assert accuracy > 0.96
    best = int(result.final.objective.argmin())  # chosen by the search's own classifier
    assert chances[best].item() > 0.99, (chances, at_start)
    assert (chances > 0.99).double().mean().item() >= 0.5
    assert (tmp_path / "figures" / "latent_search_strip.png").is_file()
