"""Pictures made of images: grids, contact sheets, reconstructions, samples and latent traversals."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from lightning_gvae.errors import ConfigError
from lightning_gvae.plots.style import DPI, INK, MUTED, as_written, canvas, styled

__all__ = [
    "contact_sheet",
    "framed",
    "grid",
    "kl_order",
    "mosaic",
    "pixels",
    "prior_samples",
    "reconstructions",
    "traversals",
    "zoom",
]

TILE = 120  # wanted edge of one image in the picture, in dots
GAP = 2  # between the frames of two images, in dots
FRAME = 200  # grey of the one dot around every image: a white image must not melt into the page
PAIR_GAP = 14  # between two rows of pairs, in dots
MAX_COLUMNS = 10
NAN_COLOUR = (255, 0, 255)


def pixels(images: np.ndarray) -> np.ndarray:
    """Images ``(N, C, H, W)``, uint8 or float in [0, 1], as uint8 ``(N, H, W, 3)``; NaN becomes magenta.

    One channel is grey, three are colours. Of two or four the last one is opacity, over white.

    Raises:
        ConfigError: The shape is another one, or C is not 1 to 4.
    """
    images = np.asarray(images)
    if images.ndim != 4 or not 1 <= images.shape[1] <= 4 or not len(images):
        raise ConfigError(f"`images` must have shape (N, C, H, W) with N >= 1 and C = 1 to 4, got {images.shape}.")
    unknown = np.zeros(images.shape[:1] + images.shape[2:], bool)
    if images.dtype != np.uint8:
        unknown = np.isnan(images).any(axis=1)
        images = np.rint(np.clip(np.nan_to_num(images.astype(np.float64)), 0, 1) * 255).astype(np.uint8)
    if images.shape[1] in (2, 4):
        images, opacity = images[:, :-1].astype(np.float64), images[:, -1:] / 255
        images = np.rint(255 - (255 - images) * opacity).astype(np.uint8)
    colours = np.repeat(images, 3 // images.shape[1], axis=1).transpose(0, 2, 3, 1).copy()
    colours[unknown] = NAN_COLOUR
    return colours


def zoom(height: int, width: int, edge: int = TILE) -> int:
    """Whole number that brings the longer edge nearest to ``edge`` dots: no pixel is ever blurred.

    >>> zoom(28, 28), zoom(64, 64), zoom(128, 128), zoom(218, 178)
    (4, 2, 1, 1)
    """
    return max(1, round(edge / max(height, width)))


def framed(tiles: np.ndarray, factor: int) -> np.ndarray:
    """Tiles ``(N, H, W, 3)`` enlarged ``factor`` times, one grey dot around each."""
    large = tiles.repeat(factor, axis=1).repeat(factor, axis=2)
    return np.pad(large, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=FRAME)


def mosaic(tiles: np.ndarray, rows: int, columns: int, gap: int = GAP) -> np.ndarray:
    """Tiles ``(N, H, W, 3)`` in rows on white; missing ones stay white."""
    _, height, width, _ = tiles.shape
    board = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for index, tile in enumerate(tiles):
        top, left = (index // columns) * (height + gap), (index % columns) * (width + gap)
        board[top : top + height, left : left + width] = tile
    return board


@styled
def grid(images: np.ndarray, columns: int | None = None, title: str | None = None) -> Figure:
    """Images row by row, as nearly square as possible unless ``columns`` is given."""
    columns = columns or math.ceil(math.sqrt(len(images)))
    tiles = _tiles(images, columns)
    return _picture(mosaic(tiles, math.ceil(len(tiles) / columns), columns), title)


@styled
def contact_sheet(rows: Sequence[tuple[str, np.ndarray]], title: str | None = None) -> Figure:
    """Rows of images, each with a name or ``""``; a row may be shorter than the others, or empty.

    Args:
        rows: Name and images ``(N, C, H, W)`` of each row.
        title: Title of the picture.

    Raises:
        ConfigError: There is no image.
    """
    lengths = [len(images) for _, images in rows]
    if not any(lengths):
        raise ConfigError(f"`rows` must hold at least one image, got {len(rows)} rows without any.")
    columns = max(lengths)
    tiles = _tiles(np.concatenate([images for _, images in rows]), columns)
    _, height, width, _ = tiles.shape
    board = np.full((len(rows), columns, height, width, 3), 255, np.uint8)
    board[np.arange(columns) < np.array(lengths)[:, None]] = tiles
    names = [(row * (height + GAP) + height / 2, name) for row, (name, _) in enumerate(rows) if name]
    return _picture(mosaic(board.reshape(-1, height, width, 3), len(rows), columns), title, rows=names)


def prior_samples(images: np.ndarray) -> Figure:
    """Images decoded from the prior."""
    return grid(images, title="Samples from the prior")


@styled
def reconstructions(originals: np.ndarray, decoded: np.ndarray) -> Figure:
    """Originals above their reconstructions, ten pairs a row.

    Raises:
        ConfigError: The two arrays differ in shape.
    """
    if np.shape(originals) != np.shape(decoded):
        raise ConfigError(
            f"`decoded` must have the shape of `originals` {np.shape(originals)}, got {np.shape(decoded)}."
        )
    columns = min(len(originals), MAX_COLUMNS)
    above, below = _tiles(originals, columns), _tiles(decoded, columns)
    boards, labels, top = [], [], 0
    for start in range(0, len(above), columns):
        pair = [mosaic(tiles[start : start + columns], 1, columns) for tiles in (above, below)]
        height, width, _ = pair[0].shape
        labels += [(top + height / 2, "original"), (top + 1.5 * height + GAP, "reconstruction")]
        boards += [pair[0], _white(GAP, width), pair[1], _white(PAIR_GAP, width)]
        top += 2 * height + GAP + PAIR_GAP
    return _picture(np.concatenate(boards[:-1]), "Reconstructions", rows=labels)


def kl_order(kl: Sequence[float] | np.ndarray) -> np.ndarray:
    """Positions by descending KL; NaN goes last, ties keep their order.

    >>> kl_order([0.1, float("nan"), 2.0]).tolist()
    [2, 0, 1]
    """
    return np.argsort(-np.nan_to_num(np.asarray(kl, float), nan=-np.inf), kind="stable")


@styled
def traversals(
    frames: np.ndarray, dims: Sequence[int], kl: Sequence[float] | np.ndarray, values: Sequence[float] | np.ndarray
) -> Figure:
    """One row a latent dimension, by descending KL; one column a value of that latent.

    Args:
        frames: Decoded images ``(D, V, C, H, W)``.
        dims: Names of the D latents by number.
        kl: Their mean KL, nats, ``(D,)``.
        values: Values of the latent, ``(V,)``.

    Raises:
        ConfigError: The shapes do not belong together.
    """
    frames = np.asarray(frames)
    if frames.ndim != 5 or frames.shape[:2] != (len(dims), len(values)) or len(kl) != len(dims):
        raise ConfigError(
            f"`frames` must have shape (D, V, C, H, W) = ({len(dims)}, {len(values)}, C, H, W) with one `kl` each of "
            f"D, got {frames.shape} and {len(kl)}."
        )
    order = kl_order(kl)
    tiles = _tiles(frames[order].reshape(-1, *frames.shape[2:]), len(values))
    _, height, width, _ = tiles.shape
    board = mosaic(tiles, len(dims), len(values))
    rows = [
        (row * (height + GAP) + height / 2, f"z{dims[index]}, {kl[index]:.2f} nats") for row, index in enumerate(order)
    ]
    columns = [(column * (width + GAP) + width / 2, _signed(value)) for column, value in enumerate(values)]
    return _picture(board, "Latent traversals", rows=rows, columns=columns, below="Value of the latent")


def _tiles(images: np.ndarray, columns: int) -> np.ndarray:
    small = pixels(images)
    _, height, width, _ = small.shape
    return framed(small, zoom(height, width, TILE if columns <= 12 else 2 * TILE // 3))


def _white(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 255, np.uint8)


def _signed(value: float) -> str:
    return "0" if abs(value) < 1e-9 else f"{value:.3g}".replace("-", "\N{MINUS SIGN}")


def _picture(
    board: np.ndarray,
    title: str | None,
    rows: Sequence[tuple[float, str]] = (),
    columns: Sequence[tuple[float, str]] = (),
    below: str | None = None,
) -> Figure:
    """The board at one dot a pixel, with room for the labels around it."""
    height, width, _ = board.shape
    figure = canvas(1, 1, layout=None)
    measure = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    dots = DPI / 72
    ticks, title = [as_written(label) for _, label in rows], as_written(title or "")
    label_width = max((_text_width(figure, measure, label, 9) for label in ticks), default=0)
    title_width = _text_width(figure, measure, title, 11, "bold") if title else 0
    pad = round(8 * dots)
    left = pad + (math.ceil(label_width) + round(6 * dots) if ticks else 0)
    right = pad + max(0, math.ceil(title_width) - width)
    top = pad + (round(20 * dots) if title else 0)
    bottom = pad + (round(15 * dots) if columns else 0) + (round(15 * dots) if below else 0)
    total_width, total_height = left + width + right, top + height + bottom
    figure.set_size_inches(total_width / DPI, total_height / DPI)
    axes = figure.add_axes(
        (left / total_width, bottom / total_height, width / total_width, height / total_height), frameon=False
    )
    axes.imshow(board, interpolation="nearest", aspect="auto")
    axes.grid(False)
    axes.tick_params(length=0, pad=5, labelcolor=INK)
    axes.set_yticks([position - 0.5 for position, _ in rows], labels=ticks)
    axes.set_xticks([position - 0.5 for position, _ in columns], labels=[label for _, label in columns])
    if title:
        axes.set_title(title, pad=7)
    if below:
        axes.set_xlabel(below, color=MUTED, labelpad=3)
    return figure


def _text_width(figure: Figure, renderer: object, text: str, size: float, weight: str = "normal") -> float:
    artist = figure.text(0, 0, text, fontsize=size, fontweight=weight)
    width = artist.get_window_extent(renderer).width  # type: ignore[arg-type]
    artist.remove()
    return float(width)
