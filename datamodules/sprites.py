"""The dSprites images as a closed function of their five factors: exact, in NumPy, without any file.

An image is a filled polygon, so a row of it is a set of spans and fits into one 64-bit word. Rendering is a table
look-up: the rows and edges a sprite crosses depend only on (polygon, posY), the snapped x coordinates only on
(polygon, posX). Both tables are built once per process, on first use.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from lightning_gvae.errors import ConfigError

__all__ = [
    "COUNT",
    "FACTOR_NAMES",
    "FACTOR_SIZES",
    "SIDE",
    "factor_values",
    "factors_of",
    "index_of",
    "pack",
    "polygon",
    "render",
    "render_packed",
    "unpack",
]

FACTOR_NAMES = ("shape", "scale", "orientation", "posX", "posY")
FACTOR_SIZES = (3, 6, 40, 32, 32)
COUNT = 737_280
SIDE = 64
SUBPIXELS = 256
WORD = np.dtype("<u8")  # bit c of word r is pixel (r, c), whatever the machine's byte order

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def factors_of(indices: npt.ArrayLike) -> Ints:
    """Factor classes ``(..., 5)`` of data set indices; posY varies fastest, shape slowest.

    >>> factors_of(245760).tolist()
    [1, 0, 0, 0, 0]
    """
    return np.stack(np.unravel_index(_checked(indices), FACTOR_SIZES), axis=-1).astype(np.int64)


def index_of(factors: npt.ArrayLike) -> Ints:
    """Data set indices of factor classes ``(..., 5)``; the inverse of :func:`factors_of`.

    >>> int(index_of([1, 0, 0, 0, 0]))
    245760
    """
    classes = _checked_factors(factors)
    return np.asarray(np.ravel_multi_index(tuple(np.moveaxis(classes, -1, 0)), FACTOR_SIZES), dtype=np.int64)


def factor_values(factors: npt.ArrayLike) -> Floats:
    """Values ``(..., 5)`` of factor classes: shape 1..3, scale 0.5..1, orientation 0..2 pi, positions 0..1.

    >>> factor_values([2, 5, 0, 31, 0]).tolist()
    [3.0, 1.0, 0.0, 1.0, 0.0]
    """
    classes = _checked_factors(factors)
    return np.stack([values[classes[..., f]] for f, values in enumerate(_grids())], axis=-1)


def render(indices: npt.ArrayLike) -> npt.NDArray[np.uint8]:
    r"""Images ``(B, 64, 64)`` uint8, 0 or 1, of data set indices in the official order.

    Vertex :math:`(u, v)` of a shape, in pixels at scale 1, is placed at

    .. math::
        X = s\,(u\cos t + v\sin t) + 16 + 32\,\mathrm{posX}, \qquad
        Y = s\,(v\cos t - u\sin t) + 16 + 32\,\mathrm{posY},

    both are rounded to 1/256 pixel, and a pixel is on when its centre :math:`(c + 1/2, r + 1/2)` is inside the
    polygon (even-odd rule). On exact ties a row owns :math:`y_{min} < y \le y_{max}` and a span
    :math:`x_{left} \le x < x_{right}`, as graphics hardware fills; y is turned over there.

    Args:
        indices: ``(B,)`` integers in 0..737279, repeats allowed.

    Raises:
        ConfigError: ``indices`` is not a vector of integers, or an index is out of range.

    References:
        Matthey, Higgins, Hassabis, Lerchner, dSprites: Disentanglement testing Sprites dataset, 2017. The geometry was
        fitted to published images; 401 of 401 come out identical. All images together have 128,328,864 pixels on,
        two more than the published mean of the official file implies.
    """
    return unpack(render_packed(indices))


def render_packed(indices: npt.ArrayLike) -> npt.NDArray[np.uint64]:
    """Images of :func:`render` as ``(B, 64)`` words, one a row; bit ``c`` is column ``c``."""
    index = _checked(indices)
    if index.ndim != 1:
        raise ConfigError(f"`indices` must be a vector, got shape {index.shape}; flatten it first")
    tables = _tables()
    head, position_y = np.divmod(index, 32)
    polygon_index, position_x = np.divmod(head, 32)
    words = np.zeros(len(index) * SIDE, dtype=WORD)
    outline = tables.outline[polygon_index * 32 + position_x]
    for spans in (tables.first, tables.second):
        _fill(words, spans, polygon_index * 32 + position_y, outline, tables.x)
    return words.reshape(-1, SIDE)


def pack(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """Words ``(B, 64)`` of 0/1 images ``(B, 64, 64)``; the inverse of :func:`unpack`."""
    return np.packbits(images, axis=-1, bitorder="little").view(WORD)[..., 0]


def unpack(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint8]:
    """Images ``(B, 64, 64)`` uint8, 0 or 1, of packed rows ``(B, 64)``."""
    rows = np.ascontiguousarray(words, dtype=WORD).view(np.uint8)
    return np.unpackbits(rows, bitorder="little").reshape(-1, SIDE, SIDE)


def polygon(shape: int) -> Floats:
    """Vertices ``(V, 2)`` of a shape (0 square, 1 ellipse, 2 heart), in pixels at scale 1, y down."""
    if shape == 0:
        return 9.6 * np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    t = 2 * np.pi * np.arange(100 if shape == 1 else 150) / (100 if shape == 1 else 150)
    if shape == 1:
        return np.stack([9.6 * 1.33 * np.cos(t), 9.6 / 1.33 * np.sin(t)], axis=1)
    height = (13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)) / 29
    return np.stack([9.6 * np.sin(t) ** 3, -19.2 * (height + 0.075)], axis=1)


@dataclass(frozen=True)
class _Spans:
    """Spans of every (polygon, posY): ``count`` of them from ``start`` on, each between two edges of the outline."""

    start: Ints
    count: Ints
    row: Ints
    edge: npt.NDArray[np.uint8]  # (S, 2) which edges bound the span
    along: Floats  # (S, 2) how far along the edge the row's centre lies, 0..1


@dataclass(frozen=True)
class _Tables:
    first: _Spans
    second: _Spans  # of rows that cross the heart's notch, and so have two spans
    outline: Ints  # (720 * 32,) where in ``x`` the outline of (polygon, posX) starts
    x: npt.NDArray[np.float32]  # snapped coordinates in pixels; multiples of 1/256 below 64, so exact


@cache
def _grids() -> tuple[Floats, ...]:
    position = np.linspace(0, 1, 32)
    return np.arange(1.0, 4.0), np.linspace(0.5, 1, 6), np.linspace(0, 2 * np.pi, 40), position, position


def _fill(words: npt.NDArray[np.uint64], spans: _Spans, rows_of: Ints, outline: Ints, x: npt.NDArray) -> None:
    """Toggle the pixels of each image's spans; within one call no two spans share a word."""
    count = spans.count[rows_of]
    image = np.repeat(np.arange(len(rows_of)), count)
    span = np.arange(len(image)) + np.repeat(spans.start[rows_of] - np.cumsum(count) + count, count)
    vertex = outline[image][:, None] + spans.edge[span]
    begin = x[vertex]
    crossing = begin + (x[vertex + 1] - begin) * spans.along[span]
    column = np.ceil(crossing - 0.5).astype(np.int64)
    masks = np.left_shift(np.uint64(2**64 - 1), column.astype(np.uint64))
    words[image * SIDE + spans.row[span]] ^= masks[:, 0] ^ masks[:, 1]


@cache
def _tables() -> _Tables:
    """Build both tables, 17 MiB."""
    first, second, outline, xs = [], [], [], []
    offset = 0
    for shape in range(3):
        x, y = _snapped(shape)
        for some in np.array_split(y, 16):  # all at once would take four times the memory of the tables
            pair = _row_spans(some)
            first.append(pair[0])
            second.append(pair[1])
        closed = np.concatenate([x, x[:, :1]], axis=1)
        outline.append(offset + np.arange(len(x)) * closed.shape[1])
        xs.append((closed.ravel() / SUBPIXELS).astype(np.float32))
        offset += closed.size
    return _Tables(_joined(first), _joined(second), np.concatenate(outline), np.concatenate(xs))


def _snapped(shape: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Coordinates in 1/256 pixel: x of (polygon, posX) and y of (polygon, posY), each ``(240 * 32, V)``."""
    u, v = polygon(shape).T
    _, scale, angle, position, _ = _grids()
    cos, sin = np.cos(angle)[None, :, None], np.sin(angle)[None, :, None]
    scale = scale[:, None, None]
    centre = (16 + 32 * position)[None, None, :, None]
    turned = (scale * (cos * u + sin * v), scale * (-sin * u + cos * v))
    snapped_x, snapped_y = (
        np.rint(SUBPIXELS * (axis[:, :, None] + centre)).astype(np.int32).reshape(-1, len(u)) for axis in turned
    )
    return snapped_x, snapped_y


def _row_spans(y: npt.NDArray[np.integer]) -> tuple[_Spans, _Spans]:
    """First and second span of every row that an outline ``y`` ``(Q, V)`` crosses."""
    y2 = np.roll(y, -1, axis=1)
    half = SUBPIXELS // 2
    low = (np.minimum(y, y2) - half) // SUBPIXELS + 1
    crossed = (np.maximum(y, y2) - half) // SUBPIXELS + 1 - low
    edge = np.repeat(np.arange(y.size), crossed.ravel())
    ends = np.cumsum(crossed)
    row = np.arange(len(edge)) + np.repeat(low.ravel() - ends + crossed.ravel(), crossed.ravel())
    begin = y.ravel()[edge]
    along = (row * SUBPIXELS + half - begin) / (y2.ravel()[edge] - begin)
    line = edge // y.shape[1] * SIDE + row
    order = np.argsort(line, kind="stable")
    line, along = line[order], along[order]
    vertex = (edge[order] % y.shape[1]).astype(np.uint8)
    # Crossings of a row come in twos; any pairing gives the same pixels, because spans are joined by exclusive or.
    nth = np.arange(len(line)) - np.searchsorted(line, line)
    first, second = (_spans(line[pick], vertex[pick], along[pick], len(y)) for pick in (nth < 2, nth >= 2))
    return first, second


def _spans(line: Ints, vertex: npt.NDArray[np.uint8], along: Floats, total: int) -> _Spans:
    rows = line[::2]
    count = np.bincount(rows // SIDE, minlength=total)
    return _Spans(np.cumsum(count) - count, count, rows % SIDE, vertex.reshape(-1, 2), along.reshape(-1, 2))


def _joined(parts: list[_Spans]) -> _Spans:
    offsets = np.cumsum([0] + [len(part.row) for part in parts])
    return _Spans(
        np.concatenate([part.start + offset for part, offset in zip(parts, offsets, strict=False)]),
        *(np.concatenate([getattr(part, name) for part in parts]) for name in ("count", "row", "edge", "along")),
    )


def _checked(indices: npt.ArrayLike) -> Ints:
    index = np.asarray(indices)
    if index.size and index.dtype.kind not in "iu":
        raise ConfigError(f"`indices` must be integers, got dtype {index.dtype}")
    if index.size and not 0 <= index.min() <= index.max() < COUNT:
        raise ConfigError(f"`indices` must lie in 0..{COUNT - 1}, got {index.min()}..{index.max()}")
    return index.astype(np.int64)


def _checked_factors(factors: npt.ArrayLike) -> Ints:
    classes = np.asarray(factors)
    if classes.ndim == 0 or classes.shape[-1] != len(FACTOR_SIZES) or classes.dtype.kind not in "iu":
        raise ConfigError(
            f"`factors` must be integers of shape (..., 5) in the order {', '.join(FACTOR_NAMES)},"
            f" got shape {classes.shape} and dtype {classes.dtype}"
        )
    if classes.size and not ((classes >= 0) & (classes < FACTOR_SIZES)).all():
        raise ConfigError(
            f"`factors` must be at least 0 and below {FACTOR_SIZES}, got {classes.min(0)}..{classes.max(0)}"
        )
    return classes.astype(np.int64)
