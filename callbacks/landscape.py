"""Landscape of a search space of points, and the search's way in it."""

from pathlib import Path

import lightning as L
import numpy as np

from lightning_gvae.callbacks.history import History
from lightning_gvae.callbacks.latent_search.callback import LatentSearch
from lightning_gvae.errors import ConfigError
from lightning_gvae.evolution.latent.search import SearchResult
from lightning_gvae.interfaces import CriterionData, DecodesLatents, require
from lightning_gvae.io.files import write_json
from lightning_gvae.lightning_compat import datamodule_of
from lightning_gvae.loggers.figures import save_pictures, send_pictures
from lightning_gvae.loggers.scalars import send_scalars
from lightning_gvae.plots.landscape import folded_landscape
from lightning_gvae.plots.pictures import Picture, curve_pictures
from lightning_gvae.problems.folded import fold
from lightning_gvae.problems.scores import score_runs
from lightning_gvae.report.page import FIGURES_INDEX
from lightning_gvae.training.modes import eval_mode

__all__ = ["Landscape"]

SHOWN = 2000  # training points in the picture


class Landscape(L.Callback):
    """Draws the folded landscape of a model of points when a fit ends, the learning curves, and writes the errors.

    The data module must have a constrained ``problem``, as ``CriterionDataModule`` has. If a ``LatentSearch`` stands
    before this callback, what it found is drawn too, and the means over its runs become the metrics ``solve/f``,
    ``solve/violation`` (per variable), ``solve/valid`` (share), ``solve/paper_error_pct`` and ``solve/true_gap_pct``.

    Args:
        bound: The grid of latents goes from ``-bound`` to ``bound``.
        resolution: Grid points along an axis.

    Raises:
        ConfigError: An argument is out of range; or, when a fit starts, there is no data module with a problem.
    """

    def __init__(self, bound: float = 2.0, resolution: int = 161) -> None:
        if not 0 < bound < float("inf"):
            raise ConfigError(f"`bound` must be a positive number, got {bound}.")
        self.bound, self.resolution = bound, resolution

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuse what could only fail at the end."""
        if stage == "fit":
            _data(trainer)
            _model(pl_module)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw, write and score; rank 0 only."""
        result = _found(trainer)
        if result is not None:
            scores = score_runs(_data(trainer).problem, result.final.objective, result.final.violations)
            means = {f"solve/{name}": values.double().mean() for name, values in scores._asdict().items()}
            trainer.callback_metrics.update(means)
            if trainer.is_global_zero:
                send_scalars(trainer, {name: float(value) for name, value in means.items()}, trainer.global_step)
        if not trainer.is_global_zero:
            return
        folder = Path(trainer.default_root_dir)
        history = next((item for item in trainer.callbacks if isinstance(item, History)), None)  # type: ignore[attr-defined]
        curves = [] if history is None else curve_pictures(history.series, history.names)
        pictures = [self._picture(trainer, _data(trainer), _model(pl_module), result), *curves]
        save_pictures(folder, pictures, "landscape")
        send_pictures(trainer, folder, pictures)
        _describe_run(trainer, pl_module, folder)

    def _picture(
        self, trainer: L.Trainer, data: CriterionData, model: DecodesLatents, result: SearchResult | None
    ) -> Picture:
        with eval_mode(model):
            grid = fold(model.decode, data.problem, model.latent_dim, self.bound, self.resolution)
        low, high = data.data_range
        scaled = data.train_set.batch(np.arange(min(SHOWN, len(data.train_set))))[0]
        points = low + (scaled + 1) / 2 * (high - low)
        in_latents = result is not None and _space(trainer) == "latent"
        figure = folded_landscape(
            grid.axes,
            grid.values,
            grid.decoded,
            grid.objective,
            grid.violation,
            data=points.numpy(),
            found=None if result is None else result.final.decoded.numpy(),
            found_latents=result.final.latents.numpy() if in_latents and result is not None else None,
            box=(data.problem.low, data.problem.high),
            title=data.spec.name,
        )
        names = " and ".join(f"z{axis}" for axis in grid.axes)
        caption = (
            f"Left: the box of the latents {names}, the others at 0, coloured by the objective of what they decode to; "
            "grey where a criterion is violated. Right: the lines of that box where they decode to, in the plane "
            "of the "
            "first two variables."
        )
        return Picture("Folded landscape", caption, "landscape.png", figure)


def _data(trainer: L.Trainer) -> CriterionData:
    return require(
        datamodule_of(trainer),
        CriterionData,
        "Landscape",
        "Take data=criterion, or remove the callback (callbacks.landscape=null)",
    )


def _model(pl_module: L.LightningModule) -> DecodesLatents:
    return require(
        pl_module,
        DecodesLatents,
        "Landscape",
        "Choose model=solve_vae, or remove the callback (callbacks.landscape=null)",
    )


def _search(trainer: L.Trainer) -> LatentSearch | None:
    return next((item for item in trainer.callbacks if isinstance(item, LatentSearch)), None)  # type: ignore[attr-defined]


def _found(trainer: L.Trainer) -> SearchResult | None:
    search = _search(trainer)
    return None if search is None or search.found is None else search.found.result


def _space(trainer: L.Trainer) -> str | None:
    search = _search(trainer)
    return None if search is None else search.options.space


def _describe_run(trainer: L.Trainer, model: L.LightningModule, folder: Path) -> None:
    """The head of the report, which Figures writes for models of images."""
    path = folder / FIGURES_INDEX
    if path.is_file():
        return
    index = {
        "run": {"model": type(model).__name__, "data": _data(trainer).spec.name, "steps": trainer.global_step},
        "figures": [],
    }
    write_json(path, index)
