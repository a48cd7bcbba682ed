"""Pictures of a callback: into the run folder, its report and the loggers."""

from collections.abc import Sequence
from pathlib import Path

import lightning as L
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger

from lightning_gvae.errors import ConfigError
from lightning_gvae.io.files import write_json
from lightning_gvae.lightning_compat import logger_step
from lightning_gvae.plots.pictures import Picture
from lightning_gvae.plots.style import save

__all__ = ["save_pictures", "send_pictures"]


def save_pictures(folder: Path, pictures: Sequence[Picture], name: str) -> None:
    """Write figures to ``folder/figures`` and their titles and captions to ``figures/<name>.index.json``.

    The report of a run shows what is listed there.

    Raises:
        ConfigError: The folder cannot be written.
    """
    places = folder / "figures"
    listed = [{"title": item.title, "caption": item.caption, "file": item.file} for item in pictures]
    try:
        for picture in pictures:
            assert picture.figure is not None, picture.file
            save(picture.figure, places / picture.file)
        write_json(places / f"{name}.index.json", {"figures": listed})
    except OSError as error:
        raise ConfigError(f"`folder` must be a folder that can be written, {places}: {error}.") from error


def send_pictures(trainer: L.Trainer, folder: Path, pictures: Sequence[Picture]) -> None:
    """Hand pictures that lie in ``folder/figures`` to Weights & Biases and TensorBoard, if they log this run."""
    step = logger_step(trainer)
    for logger in trainer.loggers:
        for picture in pictures:
            if isinstance(logger, WandbLogger):
                path = str(folder / "figures" / picture.file)
                if picture.figure is None:
                    logger.log_video(picture.tag, [path], step, format=["gif"], caption=[picture.caption])
                else:
                    logger.log_image(picture.tag, [path], step, caption=[picture.caption])
            elif isinstance(logger, TensorBoardLogger) and picture.figure is not None:
                logger.experiment.add_figure(picture.tag, picture.figure, step, close=False)
