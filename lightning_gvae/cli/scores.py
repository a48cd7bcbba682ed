"""Scores that the setting ``metrics`` names, for ``train`` and ``evaluate``."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from lightning_gvae.cli.build import build, plain

if TYPE_CHECKING:  # they import torch, for which a mistake in the configuration need not wait
    import lightning as L

    from lightning_gvae.evaluation.results import ScoreSheet
    from lightning_gvae.evaluation.suite import Suite
    from lightning_gvae.interfaces import DescribedData, Model

__all__ = ["Wanted", "scalars", "score", "show_left_out", "wanted_scores"]


class Wanted(NamedTuple):
    """Scores that a run is asked for.

    Args:
        names: As ``metrics`` gives them; empty if there are none.
        suite: The :class:`~lightning_gvae.evaluation.suite.Suite` that computes them.
    """

    names: str | list[str]
    suite: "Suite | None"


def wanted_scores(cfg: DictConfig) -> Wanted:
    """Scores that the setting ``metrics`` names, checked before any work.

    Raises:
        ConfigError: There is no score of a name, or a setting of the evaluation is out of range.
    """
    if not cfg.metrics:
        return Wanted([], None)
    from lightning_gvae.evaluation.suite import check_names

    names = cfg.metrics if isinstance(cfg.metrics, str) else list(cfg.metrics)
    own = cfg.evaluation.get("own") if OmegaConf.is_dict(cfg.evaluation) else None
    check_names(names, list(own or ()))
    return Wanted(names, build(cfg.evaluation))


def score(
    cfg: DictConfig, wanted: Wanted, trainer: "L.Trainer", model: "Model", datamodule: "DescribedData"
) -> "ScoreSheet":
    """The scores, computed by rank 0; each is in ``scores.json`` and with the loggers as soon as it is done."""
    from lightning_gvae.evaluation.results import ScoreSheet
    from lightning_gvae.evaluation.score_file import write_scores
    from lightning_gvae.interfaces import DataModule, require
    from lightning_gvae.loggers.scalars import send_scalars
    from lightning_gvae.plots.images import grid
    from lightning_gvae.plots.style import save

    if wanted.suite is None or not trainer.is_global_zero:
        return ScoreSheet()
    data = require(datamodule, DataModule, "`metrics`", "Leave them out, or give the data module these parts")
    folder = Path(cfg.paths.output_dir)
    settings = {name: value for name, value in plain(cfg.evaluation).items() if name not in ("_target_", "cache_dir")}
    logged: set[str] = set()

    def keep(sheet: ScoreSheet) -> None:
        write_scores(folder / "scores.json", sheet, settings)
        new = {name: value for name, value in sheet.items() if name not in logged}
        logged.update(new)
        if new:
            send_scalars(trainer, new, trainer.global_step)

    def draw(sampler: str, images: Any) -> None:
        save(grid(images, title=f"Sampler: {sampler}"), folder / "figures" / f"samples_{sampler}.png")

    return wanted.suite.measure(wanted.names, model, data, show=draw, on_change=keep)


def show_left_out(sheet: "ScoreSheet") -> None:
    """Print which scores could not be computed, and why."""
    for reason, names in sheet.reasons().items():
        print(f"left out:   {', '.join(names)}: {reason}")


def scalars(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Tensors of one number as floats."""
    return {name: float(value) for name, value in metrics.items()}
