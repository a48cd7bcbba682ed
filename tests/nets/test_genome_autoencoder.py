import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from lightning_gvae.errors import ConfigError
from lightning_gvae.evolution.architecture.genome import Block, Genome
from lightning_gvae.evolution.architecture.genome_space import GenomeSpace
from lightning_gvae.nets.genome_autoencoder import build_decoder, build_encoder
from lightning_gvae.nets.genome_plan import costs, level_of_compression, plan
from lightning_gvae.rng import numpy_stream

MASKS = list(itertools.product(itertools.product((0, 1), repeat=5), itertools.product((0, 1), repeat=6)))


def masked(active, pool, **genes) -> Genome:
    return Genome(tuple(Block(active=a, pool=p, **genes) for a, p in zip((1, *active), pool, strict=True)))


@pytest.mark.parametrize(("side", "codes"), [(28, {2, 4, 7, 14, 28}), (32, {2, 4, 8, 16, 32}), (24, None), (64, None)])
@pytest.mark.parametrize("upsampling", ["reference", "mirror"])
def test_every_pattern_of_blocks_and_pools_ends_at_the_side_of_the_image(side, codes, upsampling):
    assert len(MASKS) == 2048
    found = set()
    for active, pool in MASKS:
        layers = plan(masked(active, pool, filters=4), (1, side, side), upsampling)
        assert layers.decoder[-1].side_out == side
        for before, after in itertools.pairwise((*layers.encoder, *layers.decoder)):
            assert (before.side_out, before.channels_out) == (after.side, after.channels_in)
        found.add(layers.code_shape[1])
    assert codes is None or found == codes


def test_the_reference_shrinks_16_to_14_and_upsamples_early():
    layers = plan(masked((1, 1, 1, 1, 1), (1, 1, 1, 1, 0, 0), filters=8), (1, 28, 28)).decoder
    assert [layer.side for layer in layers] == [2, 2, 4, 8, 16, 14, 28, 28, 28]
    assert [layer.padded for layer in layers].count(False) == 1
    mirrored = plan(masked((1, 1, 1, 1, 1), (1, 1, 1, 1, 0, 0), filters=8), (1, 28, 28), "mirror").decoder
    assert [layer.side for layer in mirrored] == [2, 2, 2, 2, 4, 7, 14, 28]


@pytest.mark.parametrize("variational", [False, True])
@pytest.mark.parametrize("upsampling", ["reference", "mirror"])
def test_what_is_built_is_what_was_planned(upsampling, variational):
    """Shapes, parameters and MACs of built networks, the MACs counted by hooks."""
    space = GenomeSpace(choices={"filters": [4, 8, 16]})
    for number in range(40):
        genome, shape = space.sample(numpy_stream(3, "genome", number)), (number % 2 + 1, 28, 28)
        layers = plan(genome, shape, upsampling, variational)
        encoder, decoder = build_encoder(layers, genome.rules), build_decoder(layers, genome.rules)
        macs = []
        for module in (*encoder.modules(), *decoder.modules()):
            if isinstance(module, nn.Conv2d):
                module.register_forward_hook(
                    lambda conv, _, out: macs.append(out[0, 0].numel() * conv.weight.numel())  # noqa: B023
                )
        code = encoder(torch.rand(2, *shape))
        if variational:
            assert code.shape == (2, 2 * math.prod(layers.code_shape))
            code = code.chunk(2, 1)[0]
        else:
            assert code.shape == (2, *layers.code_shape)
        assert decoder(code).shape == (2, *shape)
        known = costs(genome, shape, upsampling, variational)
        parameters = sum(p.numel() for module in (encoder, decoder) for p in module.parameters())
        assert known["macs"] == sum(macs) and known["parameters"] == parameters
        assert known["loc"] == pytest.approx(min(5, math.log10(math.prod(layers.code_shape))))


def test_limits_of_the_level_of_compression():
    assert level_of_compression(GenomeSpace().smallest(), (1, 28, 28)) == pytest.approx(1.204, abs=1e-3)
    assert level_of_compression(masked((0,) * 5, (0,) * 6, filters=256), (1, 28, 28)) == 5.0


def test_random_genomes_compress_as_the_released_code_does():
    """Percentiles of 20,000 genomes of the released sampler at 28x28x1."""
    space = GenomeSpace()
    levels = [level_of_compression(space.sample(numpy_stream(0, "loc", n)), (1, 28, 28)) for n in range(4000)]
    assert np.percentile(levels, [5, 25, 50, 95]) == pytest.approx([2.11, 2.59, 3.20, 4.40], abs=0.06)
    assert np.mean(np.array(levels) < 2.5) == pytest.approx(0.19, abs=0.02)


def test_mistakes_are_named():
    genome = Genome((Block(),))
    with pytest.raises(ConfigError, match="`decoder` must be one of reference, mirror, got 'early'"):
        plan(genome, (1, 28, 28), "early")
    with pytest.raises(ConfigError, match="square images"):
        plan(genome, (1, 28, 30))
