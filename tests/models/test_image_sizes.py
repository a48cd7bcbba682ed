"""Images of any size train: every family of networks, VAE, eVAE and VAE-GAN, and checkpoints of the last release."""

import itertools
import re
from typing import Any

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import lightning_gvae
from lightning_gvae.callbacks.beta_evolution.callback import BetaEvolution
from lightning_gvae.evolution.beta.search import BetaSearch
from lightning_gvae.models import EVAE, VAE
from lightning_gvae.models.gan import GAN
from lightning_gvae.models.vae_gan import VAEGAN
from lightning_gvae.rng import torch_stream

SIZES = ((8, 8), (24, 40), (96, 96), (100, 60), (128, 128), (256, 256))
CHANNELS = (1, 3, 4)
FAMILIES = ("auto", "conv", "resnet")
MODELS = ("vae", "evae", "vae_gan")
# Each size, number of channels, family and model is in one of them at least; the rest is slow.
QUICK = [
    ("vae", (8, 8), 1, "conv"),
    ("vae", (24, 40), 4, "resnet"),
    ("vae", (100, 60), 3, "auto"),
    ("vae", (256, 256), 1, "auto"),
    ("evae", (24, 40), 3, "conv"),
    ("evae", (8, 8), 4, "resnet"),
    ("vae_gan", (8, 8), 3, "auto"),
    ("vae_gan", (96, 96), 1, "resnet"),
    ("vae_gan", (128, 128), 4, "conv"),
]
CELLS = [
    pytest.param(*cell, id="-".join(map(str, cell)), marks=() if cell in QUICK else pytest.mark.slow)
    for cell in itertools.product(MODELS, SIZES, CHANNELS, FAMILIES)
]


def build(model: str, shape: tuple[int, int, int], network: Any) -> L.LightningModule:
    torch.manual_seed(0)
    if model == "vae_gan":
        return VAEGAN(shape, 6, network=network, adversary={"discriminator": network})
    return {"vae": VAE, "evae": EVAE}[model](shape, 6, network=network)


def train(folder, model: VAE | GAN, steps: int = 3) -> L.Trainer:
    evolves = isinstance(model, EVAE)
    search = BetaEvolution(BetaSearch(target=3.0), interval=2, warmup=1, lookahead_steps=1, probe_size=2)
    trainer = L.Trainer(
        accelerator="cpu",
        max_steps=steps,
        max_epochs=-1,
        callbacks=[search] if evolves else [],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        limit_val_batches=0,
        num_sanity_val_steps=0,
    )
    images = torch.rand(2 * steps, *model.image_shape, generator=torch_stream(0, "images"))
    loader = DataLoader(TensorDataset(images), batch_size=2)
    trainer.fit(model, loader, loader)
    return trainer


@pytest.mark.parametrize(("model", "size", "channels", "family"), CELLS)
def test_images_of_any_size_train(model, size, channels, family, tmp_path, caplog):
    made = build(model, (channels, *size), family)
    before = {name: weights.clone() for name, weights in made.named_parameters()}
    with caplog.at_level("INFO"):
        trainer = train(tmp_path, made)
    assert trainer.global_step == 3
    for name, weights in made.named_parameters():
        assert weights.isfinite().all(), name
        assert not torch.equal(weights, before[name]), name
    sample = made.sample(2, torch_stream(0, "s"))
    assert sample.shape == (2, channels, *size) and sample.isfinite().all()
    assert made.reconstruct(sample).shape == sample.shape
    counted = sum(weights.numel() for weights in made.parameters())
    assert f"Network: {made.network}" in caplog.text and f" {counted:,} weights: encoder " in caplog.text
    assert ("(chosen by auto)" in caplog.text) == (family == "auto")
    if size[0] * size[1] > 64 * 64:
        dense = [
            layer.in_features * layer.out_features for layer in made.modules() if isinstance(layer, torch.nn.Linear)
        ]
        assert max(dense) < 3_000_000 and counted < 20_000_000
    if model == "evae":
        said = re.search(r"candidates are trained one after the other: (.*)", caplog.text)
        assert (said is None) == (made.network == "mlp")
        assert said is None or said[1].endswith("is a Conv2d, not a linear layer")


def test_a_network_of_own_sizes_comes_back_from_its_checkpoint(tmp_path):
    network = {"name": "resnet", "width": 4, "blocks": 2, "layers_per_block": 2, "encoder": None, "decoder": None}
    for kind in (VAE, GAN, VAEGAN):
        settings = {} if kind is VAE else {"adversary": {"discriminator": {"name": "conv", "width": 4, "hidden": [8]}}}
        made = kind((3, 20, 12), 5, network=network, **settings)
        assert made.network == "resnet(width=4, blocks=2, layers_per_block=2)"
        train(tmp_path, made).save_checkpoint(tmp_path / "made.ckpt")
        again = kind.load_from_checkpoint(tmp_path / "made.ckpt", weights_only=True)
        latents = torch.randn(2, 5, generator=torch_stream(0, "z"))
        assert torch.equal(again.decode(latents), made.decode(latents))
        made.save_pretrained(tmp_path / kind.__name__)
        exported = lightning_gvae.load(tmp_path / kind.__name__)
        assert torch.equal(exported.decode(latents), made.decode(latents))
        assert again.hparams["network"] == {"name": "resnet", "width": 4, "blocks": 2, "layers_per_block": 2}


def test_what_auto_stood_for_in_the_last_release_is_loaded(tmp_path):
    # 80x60 was fully connected, and so was every discriminator but for squares of 28, 32 and 64.
    old = VAEGAN((1, 80, 60), 3, network={"name": "mlp", "hidden": [400]}, adversary={"discriminator": "mlp"})
    trainer = train(tmp_path, old)
    trainer.save_checkpoint(tmp_path / "old.ckpt")
    content = torch.load(tmp_path / "old.ckpt", weights_only=True)
    content["hyper_parameters"]["network"] = "auto"
    content["hyper_parameters"]["adversary"]["discriminator"] = "auto"
    content["gvae_model"] |= {"network": "mlp", "discriminator": "auto/spectral/1"}
    torch.save(content, tmp_path / "old.ckpt")
    assert VAEGAN((1, 80, 60), 3, network="auto").network == "conv"
    loaded = VAEGAN.load_from_checkpoint(tmp_path / "old.ckpt", weights_only=True)
    assert (loaded.network, loaded.discriminator_name) == ("mlp", "mlp/spectral/1")
    assert torch.equal(loaded.encoder.head.weight, old.encoder.head.weight)
    assert lightning_gvae.load(tmp_path / "old.ckpt").discriminator_name == "mlp/spectral/1"
