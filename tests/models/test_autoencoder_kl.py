"""The VAE of a latent diffusion model: against diffusers itself, trained with a KL weight that moves, and back."""

import shutil
import sys

import lightning as L
import pytest
import torch

import lightning_gvae
from lightning_gvae import cli
from lightning_gvae.cli.export import export
from lightning_gvae.errors import ConfigError
from lightning_gvae.models import EVAE, VAE, ControlVAE
from lightning_gvae.models.gan import GAN
from lightning_gvae.models.vae_gan import VAEGAN
from lightning_gvae.rng import torch_stream
from tests.cli.test_train import config
from tests.models.test_image_sizes import train

diffusers = pytest.importorskip("diffusers", reason="needs the extra diffusers")

SHAPE, Z = (3, 16, 24), 2 * 8 * 12
SMALL = {"name": "autoencoder_kl", "width": 8, "blocks": 1, "layers_per_block": 1}


def build(kind=VAE, **settings):
    torch.manual_seed(0)
    defaults = {"network": SMALL, "likelihood": "learnt_sigma"}
    return kind(SHAPE, latent_dim=Z, **(defaults | settings))


def images(n=2):
    return torch.rand(n, *SHAPE, generator=torch_stream(0, "images"))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Trained for three steps, and its folder in diffusers' format."""
    model = build(ControlVAE, target_kl=5.0, beta_max=10.0)
    folder = tmp_path_factory.mktemp("kl")
    train(folder, model)
    model.save_pretrained(folder / "ours")
    assert export(config(folder, f"ckpt_path={folder}/ours", "to=diffusers", name="export")) == folder / "model"
    return model.eval(), folder / "model"


@torch.no_grad()
def test_diffusers_reads_what_is_exported_and_computes_the_same(exported):
    model, folder = exported
    theirs = diffusers.AutoencoderKL.from_pretrained(folder).eval()
    posterior = theirs.encode(2 * images() - 1).latent_dist
    mean, log_var = model.encode(images())
    torch.testing.assert_close(mean, posterior.mean.flatten(1))
    torch.testing.assert_close(log_var, posterior.logvar.flatten(1))
    decoded = theirs.decode(posterior.mean).sample
    torch.testing.assert_close(model.decode(mean), ((decoded + 1) / 2).clamp(0, 1))
    assert {path.name for path in folder.iterdir()} == {"config.json", "diffusion_pytorch_model.safetensors"}


def test_training_starts_from_a_pretrained_network_and_its_checkpoint_does_without(exported, tmp_path):
    model, folder = exported
    shutil.copytree(folder, tmp_path / "pretrained")
    network = {"name": "autoencoder_kl", "pretrained": str(tmp_path / "pretrained")}
    started = build(network=network)
    assert all(module.training for module in started.modules())
    for part in ("encoder", "decoder"):
        ours, theirs = (getattr(each, part).state_dict() for each in (started, model))
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    torch.testing.assert_close(started.reconstruct(images()), model.reconstruct(images()))  # rounding by alignment
    train(tmp_path, started).save_checkpoint(tmp_path / "run.ckpt")
    shutil.rmtree(tmp_path / "pretrained")
    for again in (
        VAE.load_from_checkpoint(tmp_path / "run.ckpt", weights_only=True),
        lightning_gvae.load(tmp_path / "run.ckpt"),
    ):
        torch.testing.assert_close(again.eval().reconstruct(images()), started.eval().reconstruct(images()))
    with pytest.raises(ConfigError, match="`network.pretrained` must be a folder in diffusers' format"):
        build(network=network)


def test_the_kl_weight_is_controlled_and_evolves(tmp_path, caplog):
    controlled = build(ControlVAE, target_kl=5.0, beta_max=10.0)
    train(tmp_path, controlled)
    assert controlled.beta != 0
    with caplog.at_level("INFO"):
        train(tmp_path, build(EVAE))
    assert "Network: autoencoder_kl, " in caplog.text
    assert "is a Conv2d, not a linear layer" in caplog.text


def test_pixels_beyond_the_range_keep_their_gradient():
    model = build()
    outputs = torch.full((1, *SHAPE), 1.5, requires_grad=True)
    model.likelihood(outputs, torch.zeros_like(outputs)).sum().backward()
    assert (outputs.grad > 0).all()
    assert model.likelihood.mean(outputs).max() == 1


def test_a_run_on_the_command_line(tmp_path):
    network = [f"model.network.{name}={value}" for name, value in SMALL.items()]
    chosen = ["data=digits", "trainer=cpu", "model.likelihood=gaussian", "latent_dim=16", "trainer.max_steps=2"]
    quick = ["callbacks=none", "test=false", "trainer.val_check_interval=2", "+trainer.limit_val_batches=0"]
    cli.train(config(tmp_path, *chosen, *network, *quick))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VAE(SHAPE, 10, SMALL, "gaussian"), "must be a multiple of 96, the code's 8x12 positions, .* got 10"),
        (lambda: VAE((3, 17, 24), 96, SMALL, "gaussian"), "needs sides divisible by 2, for its 1 halvings, got 17x24"),
        (lambda: build(likelihood="bernoulli"), "`likelihood` must be gaussian, learnt_sigma or optimal_sigma"),
        (lambda: GAN(SHAPE, Z, SMALL), "`network=autoencoder_kl` belongs to an encoder"),
        (lambda: VAEGAN(SHAPE, Z, SMALL), "`likelihood` must be gaussian"),
        (lambda: build(network={**SMALL, "hidden": [3]}), "`network.hidden` is none of `network.name=autoencoder_kl`"),
        (lambda: build(network={**SMALL, "width": None, "architecture": {"norm_num_groups": 7}}), "architecture` is"),
        (lambda: build(network={"name": "autoencoder_kl", "pretrained": 3}), "`network.pretrained` must be the path"),
    ],
)
def test_misfits_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_another_network_is_not_exported_and_the_extra_is_named(exported, tmp_path, monkeypatch):
    other = L.LightningModule()
    with pytest.raises(ConfigError, match="only a model with `network=autoencoder_kl` can be written"):
        lightning_gvae.export.latent_diffusion.export_diffusers(other, tmp_path)
    with pytest.raises(ConfigError, match="images of 3 channels, the data has 1"):
        VAE((1, 16, 24), Z, {"name": "autoencoder_kl", "pretrained": str(exported[1])}, "gaussian")
    with pytest.raises(ConfigError, match="`latent_dim` must be 192 for this network, 2 channels of 8x12, got 96"):
        VAE(SHAPE, 96, {"name": "autoencoder_kl", "pretrained": str(exported[1])}, "gaussian")
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(ConfigError, match="needs the extra diffusers: pip install 'lightning-gvae"):
        build()
