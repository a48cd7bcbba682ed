"""Front of a population at the end of a run: members as checkpoints, tables and figures."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np

from lightning_gvae.callbacks.population_evolution.probe import Probe
from lightning_gvae.evolution.population.objectives import OBJECTIVES
from lightning_gvae.evolution.population.search import PopulationSearch
from lightning_gvae.evolution.population.store import StoredMember, asdict_but_weights
from lightning_gvae.interfaces import Autoencoder, DataPart, Model, offers, require
from lightning_gvae.io.files import write_csv, write_json
from lightning_gvae.lightning_compat import logger_step
from lightning_gvae.loggers.figures import save_pictures, send_pictures
from lightning_gvae.loggers.tables import send_table
from lightning_gvae.plots.pareto import pareto_front
from lightning_gvae.plots.pictures import Picture
from lightning_gvae.plots.population import population_history
from lightning_gvae.training.modes import inference_mode

__all__ = ["FRONT", "KIND", "FrontOutput", "member_file"]

FRONT, KIND, MEMBERS = "front.json", "population", "members"


def member_file(number: int) -> str:
    """Checkpoint of a member of the front, counted from 1, relative to the run folder."""
    return f"{MEMBERS}/member-{number}.ckpt"


@dataclass
class FrontOutput:
    """Writes a front to a run folder.

    Args:
        folder: The run folder.
        search: The search.
        front: Stored members in order.
        chosen: Position of the member that the run ends with.
        volumes: Hypervolume of the stored members, one a generation.
        tests: Scores on the test part, one mapping a member; filled by :meth:`save_members`.
    """

    folder: Path
    search: PopulationSearch
    front: Sequence[StoredMember]
    chosen: int
    volumes: Sequence[float]
    tests: list[dict[str, float]] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    _history: list[dict[str, Any]] = field(default_factory=list)

    def save_members(self, trainer: L.Trainer, pl_module: L.LightningModule, probe: Probe) -> None:
        """Score each member on the test part and write its checkpoint; every rank must call it."""
        for number, member in enumerate(self.front, 1):
            pl_module.load_state_dict(member.weights)
            self.tests.append(
                {f"test_{name}": value for name, value in probe.score(pl_module).items()} if probe.size else {}
            )
            trainer.save_checkpoint(self.folder / member_file(number), weights_only=False)

    def write(self, columns: Sequence[str], rows: Sequence[Sequence[Any]], extra_compute: float) -> None:
        """``front.json``, ``front.csv`` and the whole journal, each whole or not at all."""
        members = [
            {**asdict_but_weights(member), "test": test, "checkpoint": member_file(number)}
            for number, (member, test) in enumerate(zip(self.front, self.tests, strict=True), 1)
        ]
        content = {
            "kind": KIND,
            "objectives": [objective.name for objective in self.search.objectives],
            "reference": self.search.reference,
            "chosen": self.chosen + 1,
            "hypervolume": list(self.volumes),
            "extra_compute": extra_compute,
            "settings": self.search.settings(),
            "members": members,
        }
        write_json(self.folder / FRONT, content, indent=1)
        write_csv(self.folder / "front.csv", *self.table())
        write_csv(self.folder / "population.csv", columns, rows)
        self._history = [dict(zip(columns, row, strict=True)) for row in rows]

    def table(self) -> tuple[list[str], list[list[Any]]]:
        """Columns and rows of the front."""
        first = self.front[0]
        scores, tests = list(first.scores), list(self.tests[0])
        rows = [
            [
                *(number, int(number == self.chosen + 1), member.member, member.generation, member.step),
                *(member.genes[name] for name in self.search.names),
                *(member.scores[name] for name in scores),
                *(test[name] for name in tests),
            ]
            for number, (member, test) in enumerate(zip(self.front, self.tests, strict=True), 1)
        ]
        return ["number", "chosen", "member", "generation", "step", *self.search.names, *scores, *tests], rows

    def draw(self, pl_module: L.LightningModule, part: DataPart) -> None:
        """Genes and hypervolume over the generations; for images also the front with what each member makes of one."""
        history = population_history(self._history, self.search.names, self.volumes)
        self.pictures = [
            Picture(
                "Population over the generations",
                "Genes of all members (a line ends where a member takes over from another), and the hypervolume of the "
                "stored members, which cannot fall.",
                "population_history.png",
                history,
            )
        ]
        model = require(pl_module, Model, "the picture of a front", "Choose another model")
        if len(model.image_shape) == 3 and offers(autoencoder := model, Autoencoder):
            self.pictures.insert(0, self._front_picture(pl_module, autoencoder, part))
        save_pictures(self.folder, self.pictures, "population")

    def _front_picture(self, pl_module: L.LightningModule, model: Autoencoder, part: DataPart) -> Picture:
        images, _ = part.batch(np.arange(1))
        made = []
        with inference_mode(model):
            original = model.prepare(images.to(model.device))
            for member in self.front:
                pl_module.load_state_dict(member.weights)
                made.append(model.reconstruct(original)[0].float().cpu().numpy())
        objectives = self.search.objectives
        names = [objective.name for objective in objectives]
        plane = names[:2] if len(names) > 1 else ["distortion", "rate"]
        points = np.array([[member.scores[name] for name in plane] for member in self.front])
        others = np.array([[float(row[name]) for name in plane] for row in self._history]).reshape(-1, 2)
        # Early generations lie far from the front, which should fill the picture.
        others = others[np.isfinite(others).all(1) & (others <= points.max(0) + 0.2 * np.ptp(points, 0)).all(1)]
        figure = pareto_front(
            points,
            np.stack(made),
            original[0].float().cpu().numpy(),
            others,
            (OBJECTIVES[plane[0]].label, OBJECTIVES[plane[1]].label),
            self.chosen,
            len(objectives) == 2,
            "Front of the population",
        )
        return Picture(
            "Front of the population",
            "The stored members by their scores on the probe, numbered as in front.json, with what each makes of the "
            "image in the corner; small dots: members at all generations, as far as they lie near. The ring marks the "
            "member that the run ends with.",
            "population_front.png",
            figure,
        )

    def publish(self, trainer: L.Trainer) -> None:
        """Send the pictures, and the front as a table, to the loggers."""
        send_pictures(trainer, self.folder, self.pictures)
        columns, rows = self.table()
        send_table(trainer, "population/front", columns, rows, logger_step(trainer))
