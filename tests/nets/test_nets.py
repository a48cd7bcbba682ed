"""Shapes, sizes and refusals of the networks."""

import pytest
import torch

from lightning_gvae.errors import ConfigError
from lightning_gvae.nets.build import build_network, resolve_network
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
    [((1, 28, 28), "conv"), ((3, 64, 64), "conv"), ((1, 8, 8), "mlp"), ((1, 28, 32), "mlp"), ((1, 50, 50), "mlp")],
)
def test_auto_chooses_by_shape(shape, expected):
    assert resolve_network("auto", shape) == expected


@pytest.mark.parametrize(
    ("name", "shape", "latent_dim", "message"),
    [
        (
            "resnet",
            (1, 28, 28),
            4,
            "`network` must be one of auto, auto_norm, mlp, conv, conv_norm, burgess, control64, got 'resnet'",
        ),
        ("control64", (1, 32, 32), 4, "needs 64x64 images, got 32x32"),
        ("conv", (1, 50, 50), 4, "square images of side 28, 32, 64, 128, got 50x50"),
        ("burgess", (1, 28, 28), 4, "sides divisible by 16 for 4 halving layers, got 28x28"),
        ("mlp", (28, 28), 4, "must be .channels, height, width., got"),
        ("mlp", (1, 28, 28), 0, "`latent_dim` must be at least 1, got 0"),
    ],
)
def test_misfits_are_refused(name, shape, latent_dim, message):
    with pytest.raises(ConfigError, match=message):
        build_network(name, shape, latent_dim)
