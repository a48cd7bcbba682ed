"""Scores that the setting ``metrics`` names, for ``train`` and ``evaluate``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from lightning_gvae.cli.build import build, plain

__all__ = ["scalars", "score", "show"]


def score(cfg: DictConfig, trainer: Any, model: Any, datamodule: Any) -> dict[str, float]:
    """The scores that ``metrics`` names, computed by rank 0 and given to the loggers."""
    if not cfg.metrics or not trainer.is_global_zero:
        return {}
    from lightning_gvae.io.files import write_json
    from lightning_gvae.loggers.scalars import send_scalars
    from lightning_gvae.plots.images import grid
    from lightning_gvae.plots.style import save

    folder = Path(cfg.paths.output_dir)
    suite = build(cfg.evaluation)
    names = cfg.metrics if isinstance(cfg.metrics, str) else list(cfg.metrics)

    def draw(sampler: str, images: Any) -> None:
        save(grid(images, title=f"Sampler: {sampler}"), folder / "figures" / f"samples_{sampler}.png")

    scores: dict[str, float] = suite.run(names, model, datamodule, show=draw)
    # A score without its number of images and its seed says nothing.
    settings = {name: value for name, value in plain(cfg.evaluation).items() if name not in ("_target_", "cache_dir")}
    write_json(folder / "scores.json", {"scores": scores, "settings": settings})
    send_scalars(trainer, scores, trainer.global_step)
    return scores


def show(metrics: Mapping[str, float]) -> None:
    """Print metrics as a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table("metric", "value")
    for name, value in sorted(metrics.items()):
        table.add_row(name, f"{value:.6g}")
    Console().print(table)


def scalars(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Tensors of one number as floats."""
    return {name: float(value) for name, value in metrics.items()}
