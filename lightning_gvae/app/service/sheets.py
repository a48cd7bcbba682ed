"""Sheets of images as plain pixels: no plot, no waiting for another visitor's plot."""

import functools
import math
from collections.abc import Collection
from pathlib import Path

import matplotlib
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from lightning_gvae.errors import ConfigError
from lightning_gvae.plots.images import framed, mosaic, pixels, zoom

__all__ = ["cell_at", "picking_sheet", "sheet"]

Picture = npt.NDArray[np.uint8]

WIDEST = 1600  # wanted width of a sheet at most, dots
EDGE, LARGE_EDGE = 120, 240  # wanted edge of an image, dots, in sheets of many and of few columns
BORDER = 6  # around an image that can be picked, dots
CAPTION = 24  # height of the number above it, dots
PICKED, NOT_PICKED = (213, 94, 0), (225, 225, 225)


def sheet(images: npt.NDArray[np.uint8], columns: int | None = None) -> Picture:
    """Images uint8 ``(N, C, H, W)`` row by row, each enlarged by a whole number, as pixels ``(rows, columns, 3)``."""
    columns = columns or math.ceil(math.sqrt(len(images)))
    small = pixels(images)
    _, height, width, _ = small.shape
    edge = min(LARGE_EDGE if columns < 5 else EDGE, WIDEST // columns)
    return mosaic(framed(small, zoom(height, width, edge)), math.ceil(len(images) / columns), columns)


def picking_sheet(images: npt.NDArray[np.uint8], picked: Collection[int], columns: int) -> Picture:
    """Numbered images, 1 and up, with a broad orange border around those picked (positions from 0)."""
    small = pixels(images)
    factor = zoom(small.shape[1], small.shape[2], EDGE)
    tiles = []
    for position, tile in enumerate(small.repeat(factor, axis=1).repeat(factor, axis=2)):
        colour = PICKED if position in picked else NOT_PICKED
        board = Image.new("RGB", (tile.shape[1] + 2 * BORDER, tile.shape[0] + 2 * BORDER + CAPTION), colour)
        board.paste(Image.fromarray(tile), (BORDER, BORDER + CAPTION))
        words = f"{position + 1} picked" if position in picked else str(position + 1)
        ink = "white" if position in picked else "black"
        ImageDraw.Draw(board).text((BORDER + 2, BORDER - 2), words, fill=ink, font=_font(20))
        tiles.append(np.asarray(board))
    return mosaic(np.stack(tiles), math.ceil(len(tiles) / columns), columns)


def cell_at(x: float, y: float, shape: tuple[int, int], count: int, columns: int) -> int:
    """Position of the image at dot ``(x, y)`` of a sheet of ``shape`` (height, width).

    Raises:
        ConfigError: There is none.
    """
    height, width = shape
    rows, position = math.ceil(count / columns), -1
    if 0 <= x < width and 0 <= y < height:
        position = int(y * rows // height) * columns + int(x * columns // width)
    if not 0 <= position < count:
        raise ConfigError("there is no image where you clicked; click on one of the images.")
    return position


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)
