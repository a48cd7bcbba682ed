"""Pictures of a callback: into the run folder, its report and the loggers."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger

from lightning_gvae.errors import ConfigError
from lightning_gvae.io.files import write_json
from lightning_gvae.lightning_compat import logger_step
from lightning_gvae.loggers.guarded import attempt
from lightning_gvae.plots.images import pixels
from lightning_gvae.plots.pictures import Picture, Views
from lightning_gvae.plots.style import save

__all__ = ["save_pictures", "send_images", "send_pictures"]


def save_pictures(
    folder: Path, pictures: Sequence[Picture], name: str, tables: Sequence[Mapping[str, Any]] = ()
) -> None:
    """Write figures to ``folder/figures`` and their titles and captions to ``figures/<name>.index.json``.

    The report of a run shows what is listed there, with tables, the fields of a report's ``Table`` each.

    Raises:
        ConfigError: The folder cannot be written.
    """
    places = folder / "figures"
    listed = [{"title": item.title, "caption": item.caption, "file": item.file} for item in pictures]
    try:
        for picture in pictures:
            assert picture.figure is not None, picture.file
            save(picture.figure, places / picture.file)
        write_json(places / f"{name}.index.json", {"figures": listed} | ({"tables": list(tables)} if tables else {}))
    except OSError as error:
        raise ConfigError(f"`folder` must be a folder that can be written, {places}: {error}.") from error


def send_pictures(trainer: L.Trainer, folder: Path, pictures: Sequence[Picture]) -> None:
    """Hand pictures that lie in ``folder/figures`` to Weights & Biases and TensorBoard, if they log this run."""
    step = logger_step(trainer)
    for logger in trainer.loggers:
        for picture in pictures:
            if isinstance(logger, WandbLogger):
                attempt(
                    logger, "log_image", partial(_to_wandb, logger, folder / "figures" / picture.file, picture, step)
                )
            elif isinstance(logger, TensorBoardLogger) and picture.figure is not None:
                attempt(logger, "add_figure", partial(_to_tensorboard, logger, picture, step))


def send_images(trainer: L.Trainer, views: Views) -> None:
    """Hand single images as a table to Weights & Biases if it logs this run; of a GAN there are samples alone."""
    kinds = {"original": views.originals, "reconstruction": views.reconstructions, "sample": views.samples}
    kinds = {name: images for name, images in kinds.items() if len(images)}
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger) and kinds:
            attempt(logger, "log_table", partial(_images_to_wandb, logger, kinds, logger_step(trainer)))


def _to_wandb(logger: WandbLogger, path: Path, picture: Picture, step: int) -> None:
    if picture.figure is None:
        logger.log_video(picture.tag, [str(path)], step, format=["gif"], caption=[picture.caption])
    else:
        logger.log_image(picture.tag, [str(path)], step, caption=[picture.caption])


def _to_tensorboard(logger: TensorBoardLogger, picture: Picture, step: int) -> None:
    logger.experiment.add_figure(picture.tag, picture.figure, step, close=False)


def _images_to_wandb(logger: WandbLogger, kinds: Mapping[str, np.ndarray], step: int) -> None:
    import wandb

    rows = enumerate(zip(*map(pixels, kinds.values()), strict=False))
    data = [[index, *map(wandb.Image, images)] for index, images in rows]
    logger.log_table("images", ["index", *kinds], data, step=step)
