"""Shapes, the chosen features, and the norms of the discriminators."""

import pytest
import torch

from lightning_gvae.errors import ConfigError
from lightning_gvae.nets.discriminator import NORMS, build_discriminator, discriminator_settings
from lightning_gvae.rng import torch_stream

# image shape -> shape of D_l by default
PRESETS = [
    ((1, 28, 28), (64, 7, 7)),
    ((3, 32, 32), (64, 8, 8)),
    ((3, 64, 64), (128, 8, 8)),
    ((1, 8, 8), (256,)),
    ((2, 1, 1), (256,)),
    ((3, 100, 60), (256, 6, 7)),
    ((1, 90, 50), (128, 11, 6)),
]


def images(shape, n=4):
    return torch.rand(n, *shape, generator=torch_stream(0, "images"))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("shape", "features"), PRESETS)
def test_features_and_logits(shape, features, norm):
    network = build_discriminator("auto", shape, norm)
    chosen, logits = network.features(images(shape))
    assert chosen.shape == (4, *features)
    assert logits.shape == (4,)
    torch.testing.assert_close(network.eval()(images(shape)), network.features(images(shape))[1])
    logits.sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("norm", NORMS)
def test_an_image_is_judged_by_itself(norm):
    network = build_discriminator("auto", (1, 28, 28), norm).eval()
    together = network(images((1, 28, 28)))
    alone = torch.cat([network(image[None]) for image in images((1, 28, 28))])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layer", [1, 2, 3])
def test_features_are_the_linear_output_of_the_chosen_layer(layer):
    network = build_discriminator("conv", (1, 28, 28), "none", layer)
    seen = []
    network.maps[layer - 1].register_forward_hook(lambda module, inputs, output: seen.append(output))
    chosen, _ = network.features(images((1, 28, 28)))
    assert torch.equal(chosen, seen[0])
    assert (chosen < 0).any(), "after the activation there would be few negative values"


def test_spectral_norm_bounds_every_map():
    network = build_discriminator("mlp", (1, 8, 8), "spectral")
    for _ in range(30):  # power iterations
        network(images((1, 8, 8)))
    for layer in (*network.maps, network.head):
        assert torch.linalg.matrix_norm(layer.weight, 2).item() == pytest.approx(1, abs=0.02)


def test_group_norm_leaves_the_first_layer_alone():
    network = build_discriminator("conv", (1, 28, 28), "group")
    normed = [isinstance(after[0], torch.nn.GroupNorm) for after in network.afters]
    assert normed == [False, True, True]
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())


@pytest.mark.parametrize("norm", NORMS)
def test_a_residual_discriminator_judges_an_image_by_itself_and_has_the_norm_it_is_told(norm):
    network = build_discriminator("resnet", (3, 19, 24), norm)
    chosen, logits = network.features(images((3, 19, 24)))
    assert chosen.shape == (4, 32, 9, 12) and logits.shape == (4,)
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    alone = torch.cat([network.eval()(image[None]) for image in images((3, 19, 24))])
    torch.testing.assert_close(network(images((3, 19, 24))), alone, rtol=1e-4, atol=1e-5)
    kinds = [type(module).__name__ for module in network.modules()]
    normed = [module for module in network.modules() if hasattr(module, "parametrizations")]
    assert len(normed) == (8 if norm == "spectral" else 0)  # two blocks of three convolutions, linear, head
    assert ("GroupNorm" in kinds) == (norm == "group") and "BatchNorm2d" not in kinds


def test_sizes_of_a_discriminator_can_be_set():
    settings = discriminator_settings({"name": "auto", "width": 8, "blocks": 2, "hidden": [16, 12]}, (1, 40, 24))
    assert settings.label() == "conv(width=8, blocks=2, hidden=[16, 12])"
    network = build_discriminator(settings, (1, 40, 24))
    assert [each.weight.shape[0] for each in network.maps] == [8, 16, 16, 12]
    assert network.features(images((1, 40, 24)))[0].shape == (4, 16, 10, 6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("unet", (1, 28, 28)), "`adversary.discriminator` must be one of auto, conv, resnet, mlp, got 'unet'"),
        (("conv", (1, 8, 7)), "`adversary.discriminator=conv` is for images of at least 8x8 pixels .* got 8x7 with 1"),
        (("auto", (1, 28, 28), "batch"), "`adversary.norm` must be one of spectral, group, none, got 'batch'"),
        (
            ("auto", (1, 28, 28), "none", 4),
            "`adversary.recon_layer` must be the number of one of the discriminator's 3 layers",
        ),
        (("auto", (1, 8, 8), "none", 0), "discriminator's 2 layers, counted from 1, got 0"),
    ],
)
def test_misfits_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        build_discriminator(*arguments)
