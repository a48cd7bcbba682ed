"""Rate-distortion curve of a run whose one network knows every KL weight."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import lightning as L
import numpy as np
from torch import Tensor

from lightning_gvae.errors import checked_count
from lightning_gvae.evaluation.rate_curve import RatePoint, log_spaced, rate_curve
from lightning_gvae.interfaces import ConditionedModel, require
from lightning_gvae.io.files import write_csv
from lightning_gvae.lightning_compat import logger_step
from lightning_gvae.loggers.figures import save_pictures, send_pictures
from lightning_gvae.loggers.tables import send_table
from lightning_gvae.plots.pictures import Picture
from lightning_gvae.plots.rate_curve import rate_curves
from lightning_gvae.report.page import Table, format_number
from lightning_gvae.rng import numpy_stream
from lightning_gvae.training.batches import fetch, loader_size, validation_loader
from lightning_gvae.training.items import batch_size_of

__all__ = ["RateCurve"]

FILE = "rate_curve"
COLUMNS = ["beta", "kl", "recon", "nelbo", "loss"]
REMEDY = "Choose model=multi_rate_vae, or remove the callback (callbacks.rate_curve=null)"


class RateCurve(L.Callback):
    """Measures D and R of a conditioned network over its range of KL weights when a fit ends.

    ``rate_curve.csv`` in the run folder has a row a weight: ``beta``, ``kl`` (R), ``recon`` (D), ``nelbo`` (D + R) and
    ``loss`` (D + beta R), nats, means over validation images with the same noise at every weight. Figure and table go
    to the report and to the loggers. The point that ``model.beta`` stands for is ringed. Only rank 0 measures.

    Args:
        points: Number of KL weights at equal ratios over the range, at least 2; or the weights themselves.
        n_images: Validation images, chosen by ``seed``; all if None or if there are fewer.
        seed: Seed of the choice and of the noise.

    Raises:
        ConfigError: An argument is out of range; or, when a fit starts, the network is not conditioned.
    """

    def __init__(self, points: int | Sequence[float] = 13, n_images: int | None = 1000, seed: int = 0) -> None:
        self.points = (
            checked_count("points", points, least=2, unit="KL weights") if isinstance(points, int) else list(points)
        )
        if n_images is not None:
            checked_count("n_images", n_images, unit="images")
        self.n_images, self.seed = n_images, seed

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuse what could only fail after training."""
        if stage == "fit":
            self._betas(_model(pl_module))

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Measure, write and draw."""
        if not trainer.is_global_zero or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        model, folder = _model(pl_module), Path(trainer.default_root_dir)
        # The weight in use may be one a group of latents, which has no place between single weights.
        own = [float(model.rates()[0])] if len(model.rates()) == 1 else []
        betas = self._betas(model)
        with trainer.precision_plugin.forward_context():
            found = rate_curve(model, self._batches(trainer, model), [*betas, *own], self.seed)
        curve, used = found[: len(betas)], found[len(betas) :]
        rows = [[*_row(point)] for point in curve]
        write_csv(folder / "rate_curve.csv", COLUMNS, rows)
        pictures = [_picture(curve, used[0] if used else None)]
        save_pictures(folder, pictures, FILE, [_table(curve, used)._asdict()])
        send_pictures(trainer, folder, pictures)
        send_table(trainer, "rate_curve", COLUMNS, rows, logger_step(trainer))

    def _betas(self, model: ConditionedModel) -> list[float]:
        if isinstance(self.points, int):
            return log_spaced(*model.beta_range, self.points)
        for beta in self.points:
            with model.using(beta):  # refuses what the network does not know
                pass
        return [float(beta) for beta in self.points]

    def _batches(self, trainer: L.Trainer, model: ConditionedModel) -> Iterator[Tensor]:
        loader = validation_loader(trainer)
        order = numpy_stream(self.seed, "rate-curve/images").permutation(loader_size(loader))[: self.n_images]
        step = batch_size_of(loader)
        for start in range(0, len(order), step):
            batch = trainer.precision_plugin.convert_input(fetch(loader, np.sort(order[start : start + step])))
            yield model.prepare(trainer.strategy.batch_to_device(batch, model.device, dataloader_idx=0))


def _model(pl_module: L.LightningModule) -> ConditionedModel:
    return require(pl_module, ConditionedModel, "RateCurve", REMEDY)


def _row(point: RatePoint) -> tuple[float, ...]:
    return point.beta, point.rate, point.distortion, point.negative_elbo, point.loss


def _picture(curve: list[RatePoint], used: RatePoint | None) -> Picture:
    name, betas = "one network", [point.beta for point in curve]
    points = np.array([[[point.rate, point.distortion] for point in curve]])
    ring = None if used is None else (used.rate, used.distortion)
    figure = rate_curves({name: points}, {name: betas}, "One network at every KL weight", ring)
    caption = (
        "Validation images; beside the points the KL weight that the network was used at. "
        + ("" if used is None else f"Ringed: the model's own, beta = {format_number(used.beta)}.")
    ).strip()
    return Picture("Rate-distortion curve of the network", caption, f"{FILE}.png", figure)


def _table(curve: list[RatePoint], used: list[RatePoint]) -> Table:
    header = ["KL weight", "KL (nats)", "D (nats)", "negative ELBO (nats)", "D + beta KL (nats)"]
    rows = [[format_number(value) for value in _row(point)] for point in sorted([*curve, *used])]
    caption = "The network at each KL weight, validation images; the full digits are in rate_curve.csv."
    return Table("Rate and distortion by KL weight", caption, header, rows)
