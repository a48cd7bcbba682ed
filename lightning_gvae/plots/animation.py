"""Latent traversals, and the generations of a chain of models, as animations."""

import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lightning_gvae.errors import ConfigError
from lightning_gvae.io.files import replace_file
from lightning_gvae.plots.images import framed, mosaic, pixels, zoom
from lightning_gvae.plots.style import INK

__all__ = ["generations_gif", "there_and_back", "traversal_gif"]

EDGE = 128  # wanted edge of one image, in dots
PAD = 12
CAPTION = 22
FONT_SIZE = 14
MAX_COLUMNS = 5


def there_and_back(count: int) -> list[int]:
    """Order of the frames of a seamless loop.

    >>> there_and_back(4)
    [0, 1, 2, 3, 2, 1]
    """
    return [*range(count), *range(count - 2, 0, -1)]


def traversal_gif(
    path: Path | str, frames: np.ndarray, labels: Sequence[str] | None = None, milliseconds: int = 80
) -> None:
    """Write a GIF in which all latent dimensions move at once, to the end of their range and back, for ever.

    Args:
        path: Where to write; replaced whole or not at all.
        frames: Decoded images ``(D, V, C, H, W)``, V values for each of D dimensions, in the order to show.
        labels: D captions, for example ``"z3"``.
        milliseconds: Duration of one frame; GIF counts in tens.

    Raises:
        ConfigError: ``frames`` has another shape, or there is not one label a dimension.
    """
    frames = np.asarray(frames)
    if frames.ndim != 5 or not all(frames.shape):
        raise ConfigError(f"`frames` must have shape (D, V, C, H, W), none of them 0, got {frames.shape}.")
    count, values = frames.shape[:2]
    if labels is not None and len(labels) != count:
        raise ConfigError(f"`labels` must name each of the {count} dimensions, got {len(labels)}.")
    boards = [_board(pixels(frames[:, value]), labels) for value in range(values)]
    images = _in_one_palette(boards)
    first, *others = [images[index] for index in there_and_back(values)]
    replace_file(
        Path(path),
        lambda beside: first.save(
            beside, format="GIF", save_all=True, append_images=others, duration=milliseconds, loop=0, optimize=False
        ),
    )


def generations_gif(path: Path | str, frames: np.ndarray, captions: Sequence[str], milliseconds: int = 900) -> None:
    """Write a GIF of the images of one generation after the other; the last one stays three times as long.

    Args:
        path: Where to write; replaced whole or not at all.
        frames: Images ``(G, N, C, H, W)``, N of each of G generations.
        captions: G captions.
        milliseconds: Duration of one frame; GIF counts in tens.

    Raises:
        ConfigError: ``frames`` has another shape, or there is not one caption a generation.
    """
    frames = np.asarray(frames)
    if frames.ndim != 5 or not all(frames.shape):
        raise ConfigError(f"`frames` must have shape (G, N, C, H, W), none of them 0, got {frames.shape}.")
    if len(captions) != len(frames):
        raise ConfigError(f"`captions` must name each of the {len(frames)} generations, got {len(captions)}.")
    boards = [_captioned(images, caption) for images, caption in zip(frames, captions, strict=True)]
    first, *others = _in_one_palette(boards)
    durations = [milliseconds] * (len(boards) - 1) + [3 * milliseconds]
    replace_file(
        Path(path),
        lambda beside: first.save(
            beside, format="GIF", save_all=True, append_images=others, duration=durations, loop=0, optimize=False
        ),
    )


def _captioned(images: np.ndarray, caption: str) -> np.ndarray:
    tiles = framed(pixels(images), zoom(images.shape[2], images.shape[3], EDGE // 2))
    columns = math.ceil(math.sqrt(len(tiles)))
    board = mosaic(tiles, math.ceil(len(tiles) / columns), columns)
    board = np.pad(board, ((PAD + CAPTION, PAD), (PAD, PAD), (0, 0)), constant_values=255)
    image = Image.fromarray(board)
    font = ImageFont.truetype(_font_file(), FONT_SIZE)
    ImageDraw.Draw(image).text((PAD, PAD), caption, fill=INK, font=font)
    return np.asarray(image)


def _board(images: np.ndarray, labels: Sequence[str] | None) -> np.ndarray:
    tiles = framed(images, zoom(images.shape[1], images.shape[2], EDGE))
    caption = CAPTION if labels else 0
    tiles = np.pad(tiles, ((0, 0), (caption, 0), (0, 0), (0, 0)), constant_values=255)
    count, height, width, _ = tiles.shape
    columns = min(count, MAX_COLUMNS)
    board = mosaic(tiles, math.ceil(count / columns), columns, gap=PAD)
    board = np.pad(board, ((PAD, PAD), (PAD, PAD), (0, 0)), constant_values=255)
    if not labels:
        return board
    image = Image.fromarray(board)
    draw, font = ImageDraw.Draw(image), ImageFont.truetype(_font_file(), FONT_SIZE)
    for index, label in enumerate(labels):
        corner = PAD + (index % columns) * (width + PAD), PAD + (index // columns) * (height + PAD)
        draw.text(corner, label, fill=INK, font=font)
    return np.asarray(image)


def _in_one_palette(boards: Sequence[np.ndarray]) -> list[Image.Image]:
    if all((board == board[..., :1]).all() for board in boards):
        return [Image.fromarray(board[..., 0]) for board in boards]
    # One palette for all frames: with one each, colours that do not change would flicker. Black and white are kept.
    colours = Image.fromarray(np.concatenate(boards)).quantize(254, method=Image.Quantize.MEDIANCUT).getpalette()
    palette = Image.new("P", (1, 1))
    palette.putpalette([*(colours or [])[: 254 * 3], 255, 255, 255, 0, 0, 0])
    return [Image.fromarray(board).quantize(palette=palette, dither=Image.Dither.NONE) for board in boards]


def _font_file() -> str:
    return str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf")
