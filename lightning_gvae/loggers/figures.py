"""Pictures of a callback: into the run folder, its report and the loggers."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L

from lightning_gvae.errors import ConfigError
from lightning_gvae.io.files import write_json
from lightning_gvae.lightning_compat import logger_step
from lightning_gvae.loggers.guarded import attempt
from lightning_gvae.loggers.sinks import sink_of
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
    """Hand pictures that lie in ``folder/figures`` to the loggers that take any."""
    step = logger_step(trainer)
    for logger in trainer.loggers:
        sink = sink_of(logger)
        for picture in pictures:
            attempt(logger, "figures", partial(sink.picture, picture, folder / "figures" / picture.file, step))


def send_images(trainer: L.Trainer, views: Views) -> None:
    """Hand single images to the loggers that take any, W&B as a table; of a GAN there are samples alone."""
    kinds = {"original": views.originals, "reconstruction": views.reconstructions, "sample": views.samples}
    kinds = {name: images for name, images in kinds.items() if len(images)}
    for logger in trainer.loggers:
        if kinds:
            attempt(logger, "images", partial(sink_of(logger).images, kinds, logger_step(trainer)))
