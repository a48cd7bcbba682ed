"""Shapes against areas in closed form, another rasteriser and hand-made symmetries."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_gvae.errors import ConfigError
from lightning_gvae.problems.shapes2d import (
    FAMILIES,
    bounds,
    draw,
    family,
    outlines,
    point_symmetry,
    sobol_genomes,
    split,
)


def genome(radii: float | tuple[float, ...], turn: float = 0.0) -> Tensor:
    factors = (radii,) * 8 if isinstance(radii, float) else radii
    return torch.tensor([[*factors, *(turn,) * 8]])


def by_hand(corners: np.ndarray, size: int) -> np.ndarray:
    """Even-odd rule, pixel by pixel and edge by edge."""
    image = np.zeros((size, size))
    for row in range(size):
        for column in range(size):
            x, y = ((place + 0.5) / size - 0.5 for place in (column, row))
            for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, 0), strict=True):
                if (y0 <= y) != (y1 <= y) and x0 + (y - y0) / (y1 - y0) * (x1 - x0) <= x:
                    image[row, column] = 1 - image[row, column]
    return image


def test_the_drawing_is_that_of_the_even_odd_rule() -> None:
    genomes = sobol_genomes(6, 3)
    images, corners = draw(genomes.double(), 16), outlines(genomes.double())
    for image, polygon in zip(images[:, 0].numpy(), corners.numpy(), strict=True):
        assert np.array_equal(image, by_hand(polygon, 16))


def test_the_curve_goes_through_the_control_points_smoothly() -> None:
    corners = outlines(genome((1.0, 0.4, 0.7, 0.5, 0.9, 0.3, 0.6, 0.8)).double())[0].view(8, 8, 2)
    angles = 2 * math.pi / 8 * torch.arange(8)
    control = torch.stack([angles.cos(), angles.sin()], 1) * 0.5
    torch.testing.assert_close(
        corners[:, 0].norm(dim=1), 0.5 * torch.tensor([1.0, 0.4, 0.7, 0.5, 0.9, 0.3, 0.6, 0.8]).double()
    )
    assert torch.nn.functional.cosine_similarity(corners[:, 0], control.double(), dim=1).min() > 1 - 1e-6
    steps = corners.view(64, 2).roll(-1, 0) - corners.view(64, 2)
    turns = torch.nn.functional.cosine_similarity(steps, steps.roll(-1, 0), dim=1)
    assert turns[[7, 15, 23]].min() > 0.5  # no corner where two pieces meet


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.0])
def test_equal_radii_make_a_circle(factor: float) -> None:
    area = float(draw(genome(factor), 256).mean())  # the picture is of area 1
    assert area == pytest.approx(math.pi * (0.5 * factor) ** 2, rel=0.02)


@pytest.mark.parametrize("name", FAMILIES)
def test_scaling_scales_the_area_and_turning_does_not_change_it(name: str) -> None:
    genomes = family(name, 7)
    low, high = bounds()
    assert ((genomes >= low - 1e-6) & (genomes <= high + 1e-6)).all()
    areas = draw(genomes.flatten(0, 1), 128).mean((1, 2, 3)).view(7, 7)
    scales = torch.linspace(0.4, 1.0, 7)
    inner = areas[:4]  # none of these reaches the edge of the picture
    torch.testing.assert_close(
        inner / inner[3:4], (scales[:4] / scales[3]).square()[:, None].expand(4, 7), rtol=0.08, atol=0
    )
    assert (inner.std(1) / inner.mean(1)).max() < 0.05


def test_base_shapes_differ() -> None:
    images = draw(torch.stack([family(name, 5)[2, 2] for name in FAMILIES]), 32).flatten(1)
    both = images @ images.T
    overlap = both / (images.sum(1)[:, None] + images.sum(1) - both)
    assert overlap.fill_diagonal_(0).max() < 0.9


def test_symmetry_of_shapes_made_by_hand() -> None:
    images = torch.zeros(5, 1, 12, 12)
    images[0, 0, 2:6, 3:9] = 1  # a rectangle off the middle
    images[1, 0, 2, 2] = images[1, 0, 9, 8] = 1  # two points
    images[2, 0, 5:8, 5] = images[2, 0, 7, 6:9] = 1  # an L
    images[3, 0, 5, 2:5] = images[3, 0, 6, 4:7] = 1  # an S
    found = point_symmetry(images)
    assert found[:2].tolist() == [1, 1]
    assert found[2] < 0.8
    assert found[3] == 1
    assert found[4].isnan()


def test_symmetry_does_not_depend_on_the_place_and_knows_the_turned_shape() -> None:
    images = draw(sobol_genomes(20, 0), 32)
    room = torch.nn.functional.pad(images, (6, 6, 6, 6))
    torch.testing.assert_close(point_symmetry(room), point_symmetry(room.roll((3, -4), (2, 3))))
    torch.testing.assert_close(point_symmetry(room.flip(2, 3)), point_symmetry(room))
    both = (room + room.flip(2, 3)).clamp(max=1)
    assert point_symmetry(both).min() == 1
    assert point_symmetry(images).max() < 1


def test_sobol_genomes_fill_the_box_and_leave_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    genomes, low, high = sobol_genomes(512, 1), *bounds()
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(genomes, sobol_genomes(512, 1))
    assert not torch.equal(genomes, sobol_genomes(512, 2))
    unit = (genomes - low) / (high - low)
    counts = torch.stack([torch.histc(column, 8, 0, 1) for column in unit.T])
    assert (counts - 64).abs().max() <= 1  # one dimension of a Sobol sequence is a net


def test_splits_are_the_published_ones() -> None:
    sizes = {
        name: [len(part) for part in split("drop", name)]
        for name in ("recombination", "interpolation", "extrapolation")
    }
    assert sizes == {"recombination": [207, 49], "interpolation": [208, 48], "extrapolation": [208, 48]}
    learnt, held = split("drop", "extrapolation")
    assert held[:, 0].min() > learnt[:, 0].max()
    learnt, held = split("drop", "recombination")
    for column in (0, 8):  # each scale and each turn is seen
        assert set(held[:, column].tolist()) <= set(learnt[:, column].tolist())
    learnt, held = split("drop", "interpolation")
    assert learnt[:, 0].min() < held[:, 0].min() <= held[:, 0].max() < learnt[:, 0].max()


def test_bad_input_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"`genomes` must be \(N, 16\)"):
        draw(torch.zeros(3, 8))
    with pytest.raises(ConfigError, match="`name` must be one of"):
        family("square")
    with pytest.raises(ConfigError, match="`setting` must be"):
        split("drop", "expansion")
