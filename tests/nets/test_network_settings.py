"""Sizes of networks by name: what they change, where they are refused, and what a checkpoint says of ``auto``."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lightning_gvae.cli.shorthands import named_sections
from lightning_gvae.errors import ConfigError
from lightning_gvae.io.network_choice import as_trained, plain_choice
from lightning_gvae.nets.build import choose_networks
from lightning_gvae.nets.halving import halvings
from lightning_gvae.nets.summary import network_note, weights_in

SHAPE = (3, 40, 24)
NONE = {"width": None, "blocks": None, "layers_per_block": None, "hidden": None, "encoder": None, "decoder": None}


@settings(max_examples=40, deadline=None)
@given(st.integers(8, 300), st.integers(8, 300))
def test_sides_are_halved_until_they_are_small_and_come_back(height, width):
    steps = halvings((1, height, width), None, "network", "conv")
    assert steps[0].before == (height, width)
    assert all(4 <= side <= 7 for side in steps[-1].after)
    for step, following in itertools.pairwise(steps):
        assert step.after == following.before
    for step in steps:
        there = torch.empty(1, 1, *step.before, device="meta")
        conv = nn.Conv2d(1, 1, step.kernel, step.stride, padding=1, device="meta")
        back = nn.ConvTranspose2d(
            1, 1, step.kernel, step.stride, padding=1, output_padding=step.output_padding, device="meta"
        )
        assert conv(there).shape[2:] == step.after
        assert back(conv(there)).shape == there.shape


@pytest.mark.parametrize(
    ("network", "label"),
    [
        ({"name": "conv", "width": 8, "blocks": 2, "hidden": [20, 10]}, "conv(width=8, blocks=2, hidden=[20, 10])"),
        ({"name": "conv_norm", "width": 6}, "conv_norm(width=6)"),
        ({"name": "resnet", "width": 8, "blocks": 4, "layers_per_block": 2}, None),
        ({"name": "resnet", "width": 4, "hidden": [9]}, "resnet(width=4, hidden=[9])"),
        ({"name": "mlp", "hidden": [30, 20]}, "mlp(hidden=[30, 20])"),
        ({"name": "mlp", "hidden": []}, "mlp(hidden=[])"),
        ({"width": 8}, "conv(width=8)"),  # auto would be mlp without it
        ({"name": "auto", "blocks": 1, **NONE} | {"blocks": 1}, "conv(blocks=1)"),
        (NONE | {"name": "mlp"}, "mlp"),
    ],
)
def test_networks_have_the_sizes_they_are_told(network, label):
    chosen, encoder, decoder = choose_networks(network, SHAPE, 5)
    assert chosen == label or label is None
    images = torch.rand(2, *SHAPE)
    parameters = encoder(images)
    assert parameters.shape == (2, 10)
    assert decoder(parameters[:, :5]).shape == images.shape
    wide = encoder.convolutions[0].out_channels if "conv" in chosen or "resnet" in chosen else None
    assert wide == network.get("width") or network.get("width") is None


def test_a_linear_autoencoder_and_blocks_have_the_weights_that_can_be_counted():
    _, encoder, decoder = choose_networks({"name": "mlp", "hidden": []}, SHAPE, 5)
    assert weights_in(encoder) == 2880 * 10 + 10 and weights_in(decoder) == 5 * 2880 + 2880
    _, _, decoder = choose_networks({"name": "mlp", "hidden": [30, 20]}, SHAPE, 5)
    assert [layer.in_features for layer in decoder.modules() if isinstance(layer, nn.Linear)] == [5, 20, 30]
    counts = [
        weights_in(choose_networks({"name": "resnet", "blocks": 1, "layers_per_block": n}, SHAPE, 5).encoder)
        for n in (1, 2)
    ]
    assert counts[1] - counts[0] == 2 * (9 * 32 * 32 + 32 + 2 * 32)  # two convolutions and two norms


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (
            {"name": "conv", "blocks": 6},
            "`network.blocks` must be 1 to 5 for images of 40x24 pixels, got 6: .* after 5 of them 1x1 are left",
        ),
        ({"name": "resnet", "blocks": 9}, "`network.blocks` must be 1 to 5"),
        ({"name": "conv", "blocks": 0}, "`network.blocks` must be an integer of at least 1, got 0"),
        ({"name": "conv", "width": 1.5}, "`network.width` must be an integer of at least 1, got 1.5"),
        ({"name": "conv", "depth": 3}, "`network.depth` does not exist; `network` has the settings name, width"),
        ({"name": "unet", "width": 8}, "`network.name` must be one of auto, auto_norm, mlp, conv"),
        ({"name": "unet"}, "`network` must be one of auto, auto_norm, mlp, conv"),
        ({"name": "mlp", "hidden": 400}, "`network.hidden` must be a list of widths, such as .400., got 400"),
        ({"name": "mlp", "hidden": [400, 0]}, "`network.hidden` must be an integer of at least 1, got 0"),
        ({"name": "mlp", "width": 64}, "`network.width` is none of `network.name=mlp`, which has the sizes hidden"),
        ({"name": "conv", "layers_per_block": 2}, "`network.layers_per_block` is none of `network.name=conv`"),
        ({"name": "control64", "width": 64}, "`network.name=control64`, which has no sizes to set"),
        ({"encoder": nn.Identity(), "decoder": None}, "both an encoder and a decoder"),
        ({"name": "conv", "width": 8, "encoder": nn.Identity(), "decoder": nn.Identity()}, "both an encoder"),
        (7, "`network` must be a name"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(network, message):
    with pytest.raises(ConfigError, match=message) as told:
        choose_networks(network, SHAPE, 5)
    assert "\n" not in str(told.value)


def test_own_networks_may_stand_in_a_section_with_the_name_of_the_default():
    own = {"encoder": nn.Identity(), "decoder": nn.Flatten()}
    chosen = choose_networks(NONE | {"name": "auto"} | own, SHAPE, 5)
    assert chosen.label == "custom" and chosen.decoder is own["decoder"]


def test_the_note_names_what_auto_chose_and_counts_every_weight():
    network = nn.ModuleDict({"encoder": nn.Linear(3, 4), "discriminator": nn.Linear(9, 1), "other": nn.Linear(9, 9)})
    assert network_note(network, "conv", NONE | {"name": "auto_norm"}) == (
        "conv (chosen by auto_norm), 26 weights: encoder 16, discriminator 10"
    )
    assert network_note(network, "conv", "conv") == "conv, 26 weights: encoder 16, discriminator 10"
    assert network_note(network, "custom") == "custom, 26 weights: encoder 16, discriminator 10"


def test_auto_of_a_checkpoint_is_what_it_was():
    stored = {"gvae_model": {"network": "mlp", "image_shape": [3, 128, 128]}}
    assert as_trained({"network": "auto"}, stored) == {"network": "mlp"}
    settled = as_trained({"network": {"name": "auto", "hidden": [9]}}, stored)
    assert settled == {"network": {"name": "mlp", "hidden": [9]}}
    assert as_trained({"network": "conv"}, stored) == as_trained({"latent_dim": 3}, stored) == {}
    assert as_trained({"network": "auto"}, None) == {}
    assert as_trained({"network": "auto"}, {"gvae_model": {"network": "custom"}}) == {}
    own = {"name": "auto", "encoder": {"_target_": "x"}, "decoder": {"_target_": "y"}}
    assert as_trained({"network": own}, stored) == {}


def test_auto_of_a_discriminator_is_what_it_was():
    stored = {"gvae_model": {"network": "mlp", "image_shape": [3, 128, 128], "discriminator": "auto/group/1"}}
    settled = {"adversary": {"norm": "group", "discriminator": "mlp"}}
    assert as_trained({"adversary": {"norm": "group"}}, stored) == settled
    assert as_trained({"adversary": None}, stored) == {"adversary": {"discriminator": "mlp"}}
    stored["gvae_model"] |= {"network": "conv(width=8)", "discriminator": "auto/group/2", "image_shape": [1, 28, 28]}
    settled = as_trained({"network": {"name": "auto", "width": 8}, "adversary": {"discriminator": "auto"}}, stored)
    assert settled == {"network": {"name": "conv", "width": 8}, "adversary": {"discriminator": "conv"}}
    stored["gvae_model"] |= {"discriminator": "resnet(width=8)/group/2"}
    assert as_trained({"adversary": {"discriminator": "resnet"}}, stored) == {}


def test_a_name_may_stand_beside_sizes_on_the_command_line():
    assert named_sections(["model.network.width=64", "model.network=conv,resnet"]) == [
        "model.network.width=64",
        "model.network.name=conv,resnet",
    ]
    assert named_sections(["++model.adversary.discriminator=mlp", "model.adversary.discriminator.hidden=[8]"]) == [
        "++model.adversary.discriminator.name=mlp",
        "model.adversary.discriminator.hidden=[8]",
    ]
    for alone in (
        ["model.network=conv"],
        ["model.network={name: conv}", "model.network.width=8"],
        ["model.networks=x"],
    ):
        assert named_sections(alone) == alone


def test_the_plain_choice_of_a_section_is_its_name():
    assert plain_choice(NONE | {"name": "auto"}) == plain_choice("auto") == "auto"
    assert plain_choice(NONE | {"name": "auto", "blocks": 2}) == {"name": "auto", "blocks": 2}
    assert plain_choice({}) == {} and plain_choice(None) is None
