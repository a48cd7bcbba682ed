"""Figures of an archive: a heat map, a mosaic of its elites, how it filled; and its final numbers."""

from typing import Any

import numpy as np
import torch

from lightning_gvae.callbacks.latent_archive.run import Archived
from lightning_gvae.evolution.archive.result import ArchiveResult, Elites
from lightning_gvae.plots.archive import archive_history, elite_mosaic, heat_maps
from lightning_gvae.plots.pictures import Picture

__all__ = ["archive_metrics", "archive_pictures", "heat_board", "mosaic_choice"]

Array = np.ndarray[Any, Any]
RASTER = 120  # dots along an axis in which a tessellation is drawn
TILES = 20  # elites along an axis of the mosaic, at most


def archive_pictures(found: Archived, tiles: int = TILES) -> list[Picture]:
    """Heat map, mosaic (of images), history."""
    result = found.result
    names = [name.replace("_", " ") for name in result.names]
    panels = {"All candidates": heat_board(result, realistic=False)}
    if result.judges_realism:
        panels["Realistic candidates"] = heat_board(result, realistic=True)
    more = "" if len(names) <= 2 else f" The best over {', '.join(names[2:])} is shown."
    pictures = [
        Picture(
            "Archive",
            f"Objective ({found.objective}) of the elite of every cell; empty cells are white.{more} {summary(result)}",
            "archive_heat_map.png",
            heat_maps(panels, names, result.ranges.tolist(), found.objective),
        )
    ]
    elites = result.elites()
    board = mosaic_choice(result, tiles)
    chosen = board[board >= 0]
    if len(chosen):
        images = found.decode(torch.from_numpy(elites.latents[chosen]))
        if images.ndim == 4 and images.shape[1] in (1, 3):
            full = np.full((*board.shape, *images.shape[1:]), np.nan, dtype=np.float32)
            full[board >= 0] = images.float().clamp(0, 1).numpy()
            realism = " realistic" if result.judges_realism else ""
            pictures.append(
                Picture(
                    "Elites of the archive",
                    f"In each of {board.shape[1]} x {board.shape[0]} blocks of cells the{realism} elite that "
                    "lies nearest to "
                    "the middle, decoded; white where there is none.",
                    "archive_mosaic.png",
                    elite_mosaic(full, names, result.ranges.tolist()),
                )
            )
    pictures.append(
        Picture(
            "How the archive filled",
            "Coverage, QD score (the sum of the elites' objectives above the floor) and the best objective by "
            "candidates "
            "judged.",
            "archive_history.png",
            archive_history(result.history, result.capacity, result.judges_realism),
        )
    )
    return pictures


def archive_metrics(result: ArchiveResult) -> dict[str, float]:
    """Final numbers by name; coverage and QD score of all candidates and of the realistic ones."""
    metrics = {
        "latent_archive/coverage": result.coverage(),
        "latent_archive/qd_score": result.qd_score(),
        "latent_archive/evaluations": float(result.counts["evaluations"]),
        "latent_archive/outside": float(result.outside),
        "latent_archive/nan": float(result.counts["nan"]),
    }
    if len(result.raw):
        metrics["latent_archive/best"] = float(result.raw.objective.max())
    if result.judges_realism:
        metrics["latent_archive/coverage_realistic"] = result.coverage(realistic=True)
        metrics["latent_archive/qd_score_realistic"] = result.qd_score(realistic=True)
        metrics["latent_archive/unrealistic"] = float(result.counts["unrealistic"])
    return metrics


def summary(result: ArchiveResult) -> str:
    """Coverage and what was turned away, in words."""
    counts, total = result.counts, result.counts["evaluations"]
    words = f"{len(result.raw):,} of {result.capacity:,} cells have one ({100 * result.coverage():.1f} %)"
    if result.judges_realism:
        words += f", {len(result.realistic):,} a realistic one ({100 * result.coverage(realistic=True):.1f} %)"
    sides = [
        f"{counts[f'{side}/{name}']:,} {side} the range of {name.replace('_', ' ')}"
        for name in result.names
        for side in ("below", "above")
        if counts[f"{side}/{name}"]
    ]
    if counts["unrealistic"]:
        sides.append(f"{counts['unrealistic']:,} not realistic")
    if counts["nan"]:
        sides.append(f"{counts['nan']:,} without a value")
    return f"{words}. Of {total:,} candidates {', '.join(sides)}." if sides else f"{words}; {total:,} candidates."


def heat_board(result: ArchiveResult, realistic: bool) -> Array:
    """Objective by the first two descriptors, ``(rows, columns)``, rows from low to high; NaN where there is no elite.

    Further descriptors are reduced to the best; a single descriptor makes one row; a tessellation is drawn in dots,
    each of which belongs to the nearest centroid (in units of the ranges).
    """
    elites = result.elites(realistic)
    if result.shape:
        grid = result.on_grid(elites.objective, realistic)
        if grid.ndim == 1:
            return grid[None]
        flat = np.where(np.isnan(grid), -np.inf, grid).reshape(*grid.shape[:2], -1).max(-1)
        return np.where(np.isinf(flat), np.nan, flat).T
    axes = min(2, len(result.names))
    low, high = result.ranges[:axes].T
    line = (np.arange(RASTER) + 0.5) / RASTER
    dots = np.stack([part.ravel() for part in np.meshgrid(*[line] * axes)], 1)
    centroids = (result.centroids[:, :axes] - low) / (high - low)
    objective = np.full(len(centroids), np.nan)
    objective[elites.cell] = elites.objective
    nearest = np.concatenate(
        [np.square(part[:, None] - centroids).sum(-1).argmin(1) for part in np.array_split(dots, 16)]
    )
    return objective[nearest].reshape((RASTER, RASTER) if axes == 2 else (1, RASTER))


def mosaic_choice(result: ArchiveResult, tiles: int = TILES) -> Array:
    """Elite to show in each block of the first two descriptors, ``(rows, columns)`` from low to high; -1 for none.

    The elite whose descriptors lie nearest to the middle of the block.
    """
    elites: Elites = result.elites()
    axes = min(2, len(result.names))
    sides = [min(tiles, cells) for cells in result.shape[:axes]] or [tiles] * axes
    low, high = result.ranges[:axes].T
    places = (elites.descriptors[:, :axes] - low) / (high - low) * sides
    blocks = np.minimum(places.astype(int), np.array(sides) - 1)
    off = np.square(places - blocks - 0.5).sum(1)
    board = np.full(sides, -1)
    for index in np.argsort(-off, kind="stable"):  # the nearest is written last
        board[tuple(blocks[index])] = index
    return board[None] if axes == 1 else board.T
