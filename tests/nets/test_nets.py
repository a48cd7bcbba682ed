"""Shapes, sizes and refusals of the networks."""

import itertools

import pytest
import torch

from lightning_gvae.errors import ConfigError
from lightning_gvae.nets.build import build_network, resolve_network
from lightning_gvae.nets.conv import ConvDecoder, ConvEncoder
from lightning_gvae.rng import torch_stream

CASES = [
    ("mlp", (1, 28, 28)),
    ("mlp", (3, 5, 7)),
    ("conv", (1, 28, 28)),
    ("conv", (3, 32, 32)),
    ("conv", (1, 64, 64)),
    ("conv", (3, 128, 128)),
    ("conv_norm", (1, 28, 28)),
    ("conv_norm", (3, 64, 64)),
    ("conv", (4, 8, 8)),
    ("conv", (3, 24, 40)),
    ("conv", (1, 9, 61)),
    ("conv_norm", (3, 13, 8)),
    ("resnet", (1, 8, 8)),
    ("resnet", (3, 24, 40)),
    ("resnet", (4, 37, 19)),
    ("resnet", (3, 64, 64)),
    ("burgess", (1, 64, 64)),
    ("control64", (1, 64, 64)),
    ("control64", (3, 64, 64)),
]


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_shapes_match_and_every_parameter_learns(name, shape):
    encoder, decoder = build_network(name, shape, latent_dim=6)
    images = torch.rand(2, *shape, generator=torch_stream(0, "x"))
    parameters = encoder(images)
    assert parameters.shape == (2, 12)
    output = decoder(parameters[:, :6])
    assert output.shape == images.shape
    output.square().sum().backward()
    for network in (encoder, decoder):
        for label, parameter in network.named_parameters():
            assert parameter.grad is not None, label
            assert parameter.grad.isfinite().all(), label
    # the log-variance half of the head has no gradient here: it did not enter the output
    assert sum(parameter.grad.abs().sum() for parameter in encoder.parameters()) > 0


def test_raw_outputs_can_be_negative():
    _, decoder = build_network("conv", (1, 28, 28), 6)
    assert decoder(torch.randn(64, 6, generator=torch_stream(0, "z"))).min() < 0


def test_sizes_are_those_of_the_papers():
    # Burgess: 4 convolutions, 2 linear layers of 256, head; counted by hand, 1 channel, Z = 10
    encoder, _ = build_network("burgess", (1, 64, 64), 10)
    convolutions = (1 * 16 * 32 + 32) + 3 * (32 * 16 * 32 + 32)
    linear = (512 * 256 + 256) + (256 * 256 + 256) + (256 * 20 + 20)
    assert sum(parameter.numel() for parameter in encoder.parameters()) == convolutions + linear
    # ControlVAE H: 32-32-64-64 k4s2, 256 k4, linear
    encoder, _ = build_network("control64", (1, 64, 64), 10)
    convolutions = sum(16 * a * b + b for a, b in ((1, 32), (32, 32), (32, 64), (64, 64), (64, 256)))
    assert sum(parameter.numel() for parameter in encoder.parameters()) == convolutions + 256 * 20 + 20


def test_burgess_starts_with_variance_two_over_fan_in_and_others_with_a_sixth_of_it():
    for name, factor in (("burgess", 2), ("conv", 1 / 3)):
        encoder, _ = build_network(name, (1, 64, 64), 10)
        second = encoder.convolutions[2].weight  # 16,384 values: 5 % is seven standard errors of the variance
        assert second.var().item() * 512 == pytest.approx(factor, rel=0.05)
        assert second.abs().max().item() <= (3 * factor / 512) ** 0.5


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((1, 28, 28), "conv"),
        ((3, 64, 64), "conv"),
        ((1, 8, 8), "mlp"),
        ((1, 28, 32), "mlp"),
        ((1, 50, 50), "mlp"),
        ((1, 32, 128), "mlp"),  # 64x64 pixels in another arrangement
        ((1, 64, 65), "conv"),
        ((3, 96, 96), "conv"),
        ((3, 100, 60), "conv"),
        ((3, 256, 256), "conv"),
        ((6, 28, 28), "mlp"),
    ],
)
def test_auto_chooses_by_shape(shape, expected):
    assert resolve_network("auto", shape) == expected
    assert resolve_network("auto_norm", shape) == expected.replace("conv", "conv_norm")


# The last release knew these alone; channels as they were written down there.
@pytest.mark.parametrize(
    ("side", "channels"),
    [(28, (32, 64)), (32, (32, 64, 64)), (64, (32, 32, 64, 64)), (128, (32, 32, 64, 64, 128))],
)
def test_sizes_of_the_last_release_keep_their_layers_and_their_start(side, channels):
    torch.manual_seed(3)
    encoder, decoder = build_network("conv", (3, side, side), 5)
    torch.manual_seed(3)
    layers = [torch.nn.Conv2d(a, b, 4, 2, 1) for a, b in zip((3, *channels), channels, strict=False)]
    layers += [torch.nn.Linear(channels[-1] * (side >> len(channels)) ** 2, 256), torch.nn.Linear(256, 10)]
    back = [torch.nn.Linear(5, 256), torch.nn.Linear(256, channels[-1] * (side >> len(channels)) ** 2)]
    mirrored = (*channels[::-1], 3)
    back += [torch.nn.ConvTranspose2d(a, b, 4, 2, 1) for a, b in itertools.pairwise(mirrored)]
    for network, expected in ((encoder, layers), (decoder, back)):
        wanted = [parameter for layer in expected for parameter in layer.parameters()]
        for ours, theirs in zip(network.parameters(), wanted, strict=True):
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize("name", ["conv", "conv_norm", "resnet"])
def test_an_image_is_coded_by_itself(name):
    encoder, decoder = build_network(name, (3, 13, 20), 6)
    images = torch.rand(3, 3, 13, 20, generator=torch_stream(0, "x"))
    latents = encoder(images)[:, :6]
    alone = torch.cat([encoder(image[None])[:, :6] for image in images])
    torch.testing.assert_close(latents, alone, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        decoder(latents), torch.cat([decoder(each[None]) for each in latents]), rtol=1e-4, atol=1e-5
    )


def test_every_pixel_of_odd_sides_is_seen_and_made():
    encoder, decoder = build_network("conv", (1, 13, 9), 4)
    images = torch.rand(1, 1, 13, 9, generator=torch_stream(0, "x")).requires_grad_()
    encoder.convolutions(images).square().sum().backward()
    assert (images.grad != 0).all()
    outputs = [decoder(torch.randn(1, 4, generator=torch_stream(seed, "z"))) for seed in range(2)]
    assert (outputs[0] != outputs[1]).all()


@pytest.mark.parametrize(
    ("name", "shape", "latent_dim", "message"),
    [
        (
            "unet",
            (1, 28, 28),
            4,
            "one of auto, auto_norm, mlp, conv, conv_norm, resnet, burgess, control64, autoencoder_kl, got 'unet'",
        ),
        ("control64", (1, 32, 32), 4, "needs 64x64 images, got 32x32"),
        ("conv", (1, 7, 50), 4, "at least 8x8 pixels with 1 to 4 channels, got 7x50 with 1; take network=mlp"),
        ("resnet", (5, 64, 64), 4, "`network=resnet` is for images .* with 1 to 4 channels, got 64x64 with 5"),
        ("auto", (5, 128, 128), 4, "`network=conv` is for images .* with 1 to 4 channels, got 128x128 with 5"),
        ("burgess", (1, 28, 28), 4, "sides divisible by 16 for its 4 halving layers, got 28x28"),
        ("mlp", (28, 28), 4, "must be .channels, height, width., got"),
        ("mlp", (1, 28, 28), 0, "`latent_dim` must be at least 1, got 0"),
    ],
)
def test_misfits_are_refused(name, shape, latent_dim, message):
    with pytest.raises(ConfigError, match=message):
        build_network(name, shape, latent_dim)


def test_layers_of_own_numbers_fit_any_size():
    encoder, decoder = ConvEncoder((2, 11, 6), 3, (4, 5), ()), ConvDecoder((2, 11, 6), 3, (4, 5), ())
    images = torch.zeros(2, 2, 11, 6)
    assert encoder(images).shape == (2, 6) and decoder(torch.zeros(2, 3)).shape == images.shape
    with pytest.raises(ConfigError, match="`network.blocks` must be 1 to 3 for images of 11x6 pixels, got 4"):
        ConvEncoder((2, 11, 6), 3, (4, 5, 6, 7), ())
