"""Image files for tests."""

import io
from pathlib import Path

import numpy as np
from PIL import Image


def photo(number: int, height: int = 40, width: int = 30, channels: int = 3) -> np.ndarray:
    """A smooth picture, uint8 ``(H, W, C)`` or ``(H, W)``, another one for every number."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    waves = [np.sin(9 * x * (c + 1) + number) * np.cos(7 * y + c * number) for c in range(channels)]
    pixels = np.rint(127.5 * (np.stack(waves, axis=-1) + 1)).astype(np.uint8)
    return pixels if channels == 3 else pixels[..., 0]


def encoded(pixels: np.ndarray, kind: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def write(path: Path, number: int, kind: str = "PNG", **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(photo(number, **options), kind))
    return path
