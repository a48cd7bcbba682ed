"""Downloads: a sheet as PNG, the exact arrays as NPZ."""

import io
import json
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from lightning_gvae.app.service.sheets import sheet
from lightning_gvae.errors import ConfigError
from lightning_gvae.io.files import write_bytes

__all__ = ["file_name", "npz_bytes", "png_bytes", "write_downloads"]

LONGEST = 80


def file_name(*parts: object, suffix: str) -> str:
    """A file name of letters, digits, ``-`` and ``_`` alone, never hidden, never a path, at most 80 characters.

    >>> file_name("train/runs/../x", "seed", 3, suffix=".png")
    'train-runs-x-seed-3.png'
    """
    stem = re.sub(r"[^A-Za-z0-9_]+", "-", "-".join(map(str, parts))).strip("-_")
    return (stem[-LONGEST:].strip("-_") or "images") + suffix


def png_bytes(images: npt.NDArray[np.uint8]) -> bytes:
    """All images on one sheet; images uint8 ``(N, C, H, W)``."""
    buffer = io.BytesIO()
    Image.fromarray(sheet(images)).save(buffer, format="PNG")
    return buffer.getvalue()


def npz_bytes(
    images: npt.NDArray[np.uint8], latents: npt.NDArray[np.floating], facts: Mapping[str, str | int | float]
) -> bytes:
    """``images`` uint8 ``(N, C, H, W)``, ``latents`` ``(N, Z)``, and ``facts`` as JSON text; opened without pickles."""
    buffer = io.BytesIO()
    np.savez(buffer, images=images, latents=latents, facts=np.array(json.dumps(dict(facts))))
    return buffer.getvalue()


def write_downloads(
    folder: Path,
    name: str,
    images: npt.NDArray[np.uint8],
    latents: npt.NDArray[np.floating],
    facts: Mapping[str, str | int | float],
) -> tuple[Path, Path]:
    """Write the PNG and the NPZ into a folder of one visitor's own; the last ones of the same name are replaced.

    Raises:
        ConfigError: There is no image.
    """
    if not len(images):
        raise ConfigError("there is nothing to download yet; make or pick some images first.")
    paths = folder / file_name(name, suffix=".png"), folder / file_name(name, suffix=".npz")
    write_bytes(paths[0], png_bytes(images))
    write_bytes(paths[1], npz_bytes(images, latents, facts))
    return paths
