"""Base of studies of one trained model: a folder for each model, with numbers, figures and a report."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_gvae.callbacks.latent_search.former import former_weights_digest
from lightning_gvae.errors import ConfigError
from lightning_gvae.interfaces import DataModule, Network
from lightning_gvae.io.content import weights_hash
from lightning_gvae.io.files import write_json
from lightning_gvae.loggers.figures import save_pictures
from lightning_gvae.plots.pictures import Picture
from lightning_gvae.report.page import Table, write_report

__all__ = ["CheckpointStudy", "StudyOutcome"]


@dataclass(frozen=True)
class StudyOutcome:
    """Outcome of a study of a model, ready to be written.

    Args:
        title: Of the report, without model and data.
        summary: In words.
        metrics: Numbers by name.
        pictures: Figures.
        tables: Tables of the report.
    """

    title: str
    summary: str
    metrics: Mapping[str, float]
    pictures: Sequence[Picture]
    tables: Sequence[Table] = ()


class CheckpointStudy(ABC):
    """Looks at a trained model and writes a report.

    Each model has a folder of its own, named after its weights; a study that was broken off goes on there, one of
    the last release too.

    Args:
        name: Name of the study.
        scale: ``name``, part of the study's folder.
    """

    def __init__(self, name: str, scale: Mapping[str, Any] | None = None) -> None:
        self.name, self.scale = name, dict(scale or {"name": "default"})

    @abstractmethod
    def look(self, model: Network, datamodule: DataModule | None, folder: Path) -> StudyOutcome:
        """Do the work, and keep in ``folder`` what more than the report should keep."""

    def run(
        self, folder: Path, workers: int = 1, model: Network | None = None, datamodule: DataModule | None = None
    ) -> Path:
        """Look at the model and write figures, numbers and the report.

        Args:
            folder: Where the studies' results lie.
            workers: Ignored: one process does it.
            model: The trained model.
            datamodule: Its data, set up.

        Returns:
            Path of the report.

        Raises:
            ConfigError: No model was given.
        """
        if model is None:
            raise ConfigError("this study searches in a trained model: give `ckpt_path=...`, a checkpoint of train.py")
        place = folder / weights_hash(model.state_dict())[:8]
        former = folder / former_weights_digest(model)[:8]
        if former.is_dir() and not place.exists():
            former.rename(place)
        found = self.look(model, datamodule, place)
        save_pictures(place, found.pictures, self.name)
        write_json(place / "metrics.json", dict(found.metrics))
        kind, data = type(model).__name__, "its data" if datamodule is None else datamodule.spec.name
        return write_report(
            place / "report.html",
            f"{found.title} {kind} on {data}",
            found.summary,
            found.metrics,
            [(item.title, item.caption, place / "figures" / item.file) for item in found.pictures],
            tables=found.tables,
        )
