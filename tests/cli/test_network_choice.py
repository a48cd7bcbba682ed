"""Networks chosen on the command line: by name, by sizes, by both, and from a checkpoint."""

import pytest

from lightning_gvae.cli.build import build
from lightning_gvae.cli.hydra_guard import guard_hydra
from lightning_gvae.errors import ConfigError
from lightning_gvae.loading.restore import restore
from tests.cli.test_train import config, run_train

QUICK = ("trainer.max_steps=2", "test=false", "callbacks.figures=null", "latent_dim=3")
MLP = "{_target_: lightning_gvae.nets.mlp.%s, image_shape: [1, 12, 20], latent_dim: 3, hidden: [6]}"


@pytest.fixture(autouse=True)
def guarded():
    guard_hydra()


def built(tmp_path, *overrides):
    cfg = config(tmp_path, "latent_dim=3", "model.image_shape=[1,12,20]", *overrides)
    return build(cfg.model)


@pytest.mark.parametrize(
    ("overrides", "network"),
    [
        ((), "mlp"),
        (("model.network=resnet",), "resnet"),
        (("model.network.width=4",), "conv(width=4)"),
        (("model.network.width=4", "model.network=conv", "model.network.blocks=1"), "conv(width=4, blocks=1)"),
        (("model.network={name: mlp, hidden: [5]}",), "mlp(hidden=[5])"),
    ],
)
def test_a_network_is_chosen_by_name_and_sizes(overrides, network, tmp_path):
    assert built(tmp_path, "model=vae", *overrides).network == network


@pytest.mark.parametrize("model", ["gan", "vae_gan", "vae_gan_paper"])
def test_a_discriminator_is_chosen_by_name_and_sizes(model, tmp_path):
    choice = ["model.adversary.discriminator=resnet", "model.adversary.discriminator.width=4", "model.network.width=4"]
    found = built(tmp_path, f"model={model}", *choice)
    assert found.discriminator_name.startswith("resnet(width=4)/") and found.network == "conv_norm(width=4)"


def test_own_networks_are_given_by_their_classes(tmp_path):
    own = [
        f"model.network.{part}={MLP % kind}" for part, kind in (("encoder", "MLPEncoder"), ("decoder", "MLPDecoder"))
    ]
    found = built(tmp_path, "model=vae", *own)
    assert found.network == "custom" and found.encoder.head.in_features == 6
    assert built(tmp_path, "model=gan", own[1]).network == "custom"
    with pytest.raises(ConfigError, match="both an encoder and a decoder"):
        built(tmp_path, "model=vae", *own, "model.network.width=3")


def test_a_run_with_sizes_of_its_own_is_restored(tmp_path):
    run_train(tmp_path, *QUICK, "model=vae", "model.network=conv", "model.network.width=4", "model.network.hidden=[]")
    restored = restore(tmp_path / "checkpoints/last.ckpt")
    assert restored.model.network == "conv(width=4, hidden=[])"
