"""Shapes2D: smooth closed curves of 16 parameters, drawn as black and white images.

Eight control points, each with a distance from the centre and an angle, are joined by a closed Catmull-Rom spline; the
inside of the curve by the even-odd rule is the shape. Good is what half a turn does not change.

Differences from the publication: the published fitness compares opposite points of the boundary, here the shape is
compared as a whole with itself turned (one number for shapes with holes or in parts too, where the published one is
undefined); shapes in several parts are therefore kept. Base shapes are scaled from 0.4, not 0.1, to fit the box of the
genes, and pictures are 32 x 32 by default, not 64 x 64.

References:
    Hagg, Berns, Asteroth, Colton and Bäck, Expressivity of parameterized and data-driven representations in quality
    diversity search, 2021.
"""

import math

import torch
from torch import Tensor

from lightning_gvae.errors import ConfigError, checked_count
from lightning_gvae.rng import stream_key

__all__ = ["FAMILIES", "GENES", "bounds", "draw", "family", "outlines", "point_symmetry", "sobol_genomes", "split"]

GENES = 16
POINTS = GENES // 2
BASE = 0.5  # radius of the largest circle
HALF = 0.5  # half width of the picture; what a spline throws beyond it is cut off
STEPS = 8  # straight pieces from one control point to the next
CHUNK = 128  # shapes drawn at once

# Factors of the radii of the base shapes; no two are turned or scaled versions of one another.
FAMILIES = {
    "ellipse": (1.0, 0.75, 0.5, 0.75, 1.0, 0.75, 0.5, 0.75),
    "cross": (1.0, 0.4, 0.7, 0.4, 1.0, 0.4, 0.7, 0.4),
    "drop": (1.0, 0.6, 0.5, 0.4, 0.4, 0.4, 0.5, 0.6),
    "fin": (1.0, 0.95, 0.45, 0.4, 0.5, 0.4, 0.45, 0.6),
    "bow": (1.0, 0.85, 0.4, 0.85, 1.0, 0.85, 0.4, 0.85),
}
SCALES = (0.4, 1.0)
TURNS = (-math.pi / 4, math.pi / 4)


def bounds() -> tuple[Tensor, Tensor]:
    """Lower and upper bounds of the genes ``(16,)``: eight factors of the radius, eight angles in radians."""
    low = torch.tensor([0.1] * POINTS + [-math.pi / 4] * POINTS)
    high = torch.tensor([1.0] * POINTS + [math.pi / 4] * POINTS)
    return low, high


def sobol_genomes(count: int, seed: int) -> Tensor:
    """Genomes ``(count, 16)`` that fill the box evenly: a scrambled Sobol sequence."""
    checked_count("count", count)
    low, high = bounds()
    # A key of its own for the scrambling: the global generator is not touched.
    engine = torch.quasirandom.SobolEngine(GENES, scramble=True, seed=stream_key(seed, "shapes2d/sobol") % 2**62)
    return low + (high - low) * engine.draw(count)


def family(name: str, steps: int = 16) -> Tensor:
    """All scales and turns of a base shape as genomes ``(steps, steps, 16)``: scale from 0.4 to 1, turn from -45 to 45
    degrees.

    Args:
        name: Of :data:`FAMILIES`.
        steps: Scales, and turns.

    Raises:
        ConfigError: There is no such base shape.
    """
    if name not in FAMILIES:
        raise ConfigError(f"`name` must be one of {', '.join(FAMILIES)}, got {name!r}")
    scales, turns = torch.linspace(*SCALES, steps), torch.linspace(*TURNS, steps)
    radii = scales[:, None, None] * torch.tensor(FAMILIES[name])
    return torch.cat([radii.expand(steps, steps, POINTS), turns[None, :, None].expand(steps, steps, POINTS)], 2)


def outlines(genomes: Tensor) -> Tensor:
    """Corners of the curves ``(N, 64, 2)``: x to the right, y downwards, the picture is [-0.5, 0.5] both ways.

    Raises:
        ConfigError: Not ``(N, 16)``.
    """
    if genomes.ndim != 2 or genomes.shape[1] != GENES:
        raise ConfigError(f"`genomes` must be (N, {GENES}): eight radii and eight angles, got {tuple(genomes.shape)}")
    radii, offsets = genomes.split(POINTS, dim=1)
    angles = offsets + 2 * math.pi / POINTS * torch.arange(POINTS, dtype=genomes.dtype)
    control = BASE * radii[..., None] * torch.stack([angles.cos(), angles.sin()], 2)
    before, after, beyond = (control.roll(shift, 1) for shift in (1, -1, -2))
    t = (torch.arange(STEPS, dtype=genomes.dtype) / STEPS)[:, None]
    # Catmull-Rom: through the control points, the tangent is half the step from one neighbour to the other.
    weights = (-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, -(t**2) + t**3)
    points = zip(weights, (before, control, after, beyond), strict=True)
    return 0.5 * sum(w * p[:, :, None] for w, p in points).flatten(1, 2)


def draw(genomes: Tensor, size: int = 32) -> Tensor:
    """Shapes as images ``(N, 1, size, size)`` of 0 and 1: 1 where the middle of a pixel lies inside.

    Raises:
        ConfigError: Not ``(N, 16)``, or no pixel.
    """
    checked_count("size", size, unit="pixels")
    middle = ((torch.arange(size, dtype=genomes.dtype) + 0.5) / size * 2 - 1) * HALF
    return torch.cat([_fill(outlines(part), middle) for part in genomes.split(CHUNK)]).unsqueeze(1)


def _fill(corners: Tensor, middle: Tensor) -> Tensor:
    (x, y), (x_next, y_next) = corners.unbind(2), corners.roll(-1, 1).unbind(2)
    rows = middle[None, :, None]
    crosses = (y[:, None] <= rows) != (y_next[:, None] <= rows)  # (N, rows, pieces)
    along = (rows - y[:, None]) / torch.where(crosses, (y_next - y)[:, None], 1.0)
    where = torch.where(crosses, x[:, None] + along * (x_next - x)[:, None], math.inf)
    # A crossing turns inside to outside, and back, for every pixel to its right.
    first = torch.searchsorted(middle, where, right=True)
    crossings = torch.zeros(*where.shape[:2], len(middle) + 1).scatter_add_(2, first, crosses.float())
    return crossings.cumsum(2)[..., :-1] % 2


def point_symmetry(images: Tensor) -> Tensor:
    """Overlap of shapes ``(N, 1, H, W)`` with themselves after half a turn about their centre of mass: ``(N,)``.

    The area of both over the area of either, in [0, 1]; NaN without a shape. The turned shape lies on whole pixels.
    """
    shapes = images[:, 0] > 0.5
    count, height, width = shapes.shape
    mass = shapes.double()
    area = mass.flatten(1).sum(1)
    turned = shapes
    for axis, length in ((1, height), (2, width)):
        across = mass.sum(3 - axis) @ torch.arange(length, dtype=mass.dtype)
        twice = torch.nan_to_num(2 * across / area).round().long()
        source = twice[:, None] - torch.arange(length)
        inside = (source >= 0) & (source < length)
        shape = [count, 1, 1]
        shape[axis] = length
        index = source.clamp(0, length - 1).view(shape).expand(count, height, width)
        turned = turned.gather(axis, index) & inside.view(shape)
    both, either = ((shapes & turned).flatten(1).sum(1), (shapes | turned).flatten(1).sum(1))
    return torch.where(area > 0, both / either, torch.nan)


def split(name: str, setting: str, steps: int = 16) -> tuple[Tensor, Tensor]:
    """Genomes of a family to learn from, and those held out, ``(N, 16)`` each.

    Args:
        name: Of :data:`FAMILIES`.
        setting: ``"recombination"``: the middle block of scales and turns is held out (7 x 7 of 16 x 16), so that each
            scale and each turn is seen, but not together; ``"interpolation"``: the middle scales (3 of 16);
            ``"extrapolation"``: the largest scales (3 of 16).
        steps: Scales, and turns, at least 4.

    Raises:
        ConfigError: There is no such setting or base shape, or too few steps.
    """
    checked_count("steps", steps, 4)
    held = torch.zeros(steps, steps, dtype=torch.bool)
    band, block = max(1, round(3 * steps / 16)), max(1, round(7 * steps / 16))
    if setting == "recombination":
        start = (steps - block) // 2
        held[start : start + block, start : start + block] = True
    elif setting == "interpolation":
        start = (steps - band) // 2
        held[start : start + band] = True
    elif setting == "extrapolation":
        held[steps - band :] = True
    else:
        raise ConfigError(f"`setting` must be recombination, interpolation or extrapolation, got {setting!r}")
    genomes = family(name, steps)
    return genomes[~held], genomes[held]
