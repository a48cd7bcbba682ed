"""Files of an architecture search: the front as JSON and CSV, its weights, and pictures."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch

from lightning_gvae.callbacks.architecture_evolution.training import CandidateImages, read_candidate, weights_file
from lightning_gvae.errors import ConfigError, DataError
from lightning_gvae.evolution.architecture.genome import Genome
from lightning_gvae.evolution.architecture.objectives import OBJECTIVES
from lightning_gvae.evolution.architecture.search import ArchitectureSearch, Entry
from lightning_gvae.interfaces import Autoencoder, DescribedData, offers, require
from lightning_gvae.io.files import write_csv, write_json
from lightning_gvae.lightning_compat import datamodule_of, logger_step
from lightning_gvae.loggers.figures import send_pictures
from lightning_gvae.loggers.tables import send_summary, send_table
from lightning_gvae.plots.pareto import genealogy, hypervolumes, pareto_front
from lightning_gvae.plots.pictures import Picture
from lightning_gvae.plots.style import save
from lightning_gvae.report.page import FIGURES_INDEX

__all__ = ["Member", "SearchOutput", "newest_front", "read_front"]

FRONT = "front.json"


@dataclass(frozen=True)
class Member:
    """A member of a front.

    Args:
        genome: The genome.
        values: Numbers by name, those of fine-tuning and probes included.
        weights: File of its latest weights, relative to the folder of ``front.json``; None if there are none.
        number: Of its proposal.
        generation: In which it was found.
    """

    genome: Genome
    values: dict[str, float]
    weights: str | None
    number: int = 0
    generation: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain containers."""
        return {
            "number": self.number,
            "generation": self.generation,
            "key": self.genome.key,
            "genome": self.genome.to_dict(),
            "weights": self.weights,
            "values": self.values,
        }


@dataclass
class SearchOutput:
    """Writes the results of a search to a folder.

    Args:
        folder: The run folder.
        search: The search, finished.
        members: The front, by level of compression.
        chosen: Position of the member that training goes on with.
        pictures: Filled by :meth:`draw`.
    """

    folder: Path
    search: ArchitectureSearch
    members: Sequence[Member]
    chosen: int
    pictures: list[Picture] = field(default_factory=list)

    def write(self, settings: Mapping[str, Any]) -> None:
        """``front.json`` and ``front.csv``, each whole or not at all."""
        search = self.search
        content = {
            "objectives": [objective.name for objective in search.objectives],
            "reference": list(search.evolver.reference),
            "chosen": self.chosen + 1,
            "hypervolume": search.volumes,
            "trained_by_generation": _trained_by_generation(search.entries),
            "candidates": len(search.entries),
            "trained": len({e.proposal.genome.key for e in search.entries if e.result.status == "trained"}),
            "not_trained": _counts(search.entries),
            "search_seconds": round(sum(r.seconds for n, r in search.known.items() if n.startswith("search: ")), 3),
            "finetune_seconds": round(sum(r.seconds for n, r in search.known.items() if n.startswith("finetune")), 3),
            "settings": dict(settings),
            "members": [member.to_dict() for member in self.members],
        }
        write_json(self.folder / FRONT, content, indent=1)
        write_csv(self.folder / "front.csv", *self.table())

    def draw(self, make: Callable[..., L.LightningModule], image: CandidateImages, device: torch.device) -> None:
        """The front with every member's reconstruction of one image, hypervolume and genealogy."""
        if not self.members:
            return
        entries, objectives = self.search.entries, self.search.objectives
        shown = torch.from_numpy(image.images[:1])
        again, original = [], np.zeros(0)
        for member in self.members:
            module = make(genome=member.genome.to_dict(), seed=0)
            module.configure_model()
            if member.weights is not None:
                module.load_state_dict(read_candidate((self.folder / member.weights).parent, member.genome))
            autoencoder = require(module.eval(), Autoencoder, "the picture of a front", "Choose another model")
            with torch.no_grad():
                pixels = autoencoder.prepare(shown)
                again.append(autoencoder.reconstruct(pixels)[0].numpy())
                original = pixels[0].numpy()
        keys = {member.genome.key for member in self.members}
        trained = [e for e in entries if e.result.status == "trained" and e.proposal.genome.key not in keys]
        others = np.array([_plane(e.result.values) for e in trained]).reshape(-1, 2)
        front = np.array([_plane(member.values) for member in self.members])
        labels = ("Cross-entropy in the search (nats per pixel)", "Level of compression (log10 of the code's size)")
        names = [o.name for o in objectives]
        figure = pareto_front(
            front, np.stack(again), original, others, labels, self.chosen, set(names) == {"loss", "loc"}
        )
        volume = hypervolumes(self.search.volumes, self.search.evolver.reference)
        losses = [e.result.values.get("loss", objectives[0].cap) for e in entries]
        tree = genealogy(
            [e.generation for e in entries],
            losses,
            [e.proposal.parents for e in entries],
            [e.number for e in entries if e.number in {m.number for m in self.members}],
        )
        self.pictures = [
            Picture(
                "Front of the architecture search",
                "Every candidate by loss and level of compression. Beside each member of the front, numbered from the "
                "strongest compression on, what its decoder makes of the image in the corner after the last training. "
                "The ring marks the member that training went on with."
                + ("" if set(names) == {"loss", "loc"} else f" The front is that of {', '.join(names)}."),
                "pareto_front.png",
                figure,
            ),
            Picture(
                "Hypervolume of the search",
                "Of everything found up to a generation; it cannot fall.",
                "search_hypervolume.png",
                volume,
            ),
            Picture(
                "Genealogy",
                "Candidates and their parents; the lines of descent that led to the front are coloured.",
                "genealogy.png",
                tree,
            ),
        ]
        for picture in self.pictures:
            assert picture.figure is not None
            save(picture.figure, self.folder / "figures" / picture.file)

    def publish(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put the pictures into the report's index and send them, and the front as a table, to the loggers."""
        index = self.folder / FIGURES_INDEX
        content = json.loads(index.read_text(encoding="utf-8")) if index.is_file() else {}
        data = datamodule_of(trainer)
        name = data.spec.name if offers(data, DescribedData) else ""
        content.setdefault("run", {"model": type(pl_module).__name__, "data": name, "steps": trainer.global_step})
        own = [{"title": p.title, "caption": p.caption, "file": p.file} for p in self.pictures]
        files = {item["file"] for item in own}
        content["figures"] = own + [item for item in content.get("figures", []) if item["file"] not in files]
        write_json(index, content)
        send_pictures(trainer, self.folder, self.pictures)
        step, (columns, rows) = logger_step(trainer), self.table()
        send_table(trainer, "architecture/front", columns, rows, step)
        volumes = list(enumerate(self.search.volumes))
        send_table(trainer, "architecture/hypervolume", ["generation", "hypervolume"], volumes, step)
        send_summary(trainer, {f"architecture/{name}": value for name, value in self.summary().items()})

    def summary(self) -> dict[str, Any]:
        """The search in a few numbers and a word."""
        chosen = self.members[self.chosen]
        return {
            "algorithm": self.search.evolver.name,
            "final_hypervolume": self.search.volumes[-1],
            "proposed": len(self.search.entries),
            "trained": len({e.proposal.genome.key for e in self.search.entries if e.result.status == "trained"}),
            "members": len(self.members),
            "chosen": chosen.genome.key,
            **{f"chosen_{name}": value for name, value in chosen.values.items()},
        }

    def table(self) -> tuple[list[str], list[list[Any]]]:
        """Columns and rows of the front."""
        names = sorted({name for member in self.members for name in member.values})
        rows = [
            [
                place,
                int(place == self.chosen + 1),
                m.genome.key,
                m.number,
                m.generation,
                *(m.values.get(n, "") for n in names),
            ]
            for place, m in enumerate(self.members, 1)
        ]
        return ["member", "chosen", "genome", "number", "generation", *names], rows


def read_front(path: Path) -> list[tuple[Genome, Path | None]]:
    """Genomes of a saved front and the files of their weights, in order.

    Raises:
        DataError: The file cannot be read.
    """
    try:
        members = json.loads(path.read_text(encoding="utf-8"))["members"]
        found = [(Genome.from_dict(m["genome"]), path.parent / m["weights"] if m["weights"] else None) for m in members]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} cannot be read as a front that a search has written ({error})") from error
    return found


def newest_front(folder: Path) -> Path:
    """The newest ``front.json`` in the run folders below ``folder``.

    Raises:
        ConfigError: There is none.
    """
    found = list(folder.glob(f"**/{FRONT}"))
    if not found:
        raise ConfigError(
            f"`front.pick` finds no {FRONT} below {folder}; search first, or give the path as `files.front`"
        )
    return max(found, key=lambda path: path.stat().st_mtime)


def member(folder: Path, entry: Entry, values: Mapping[str, float], weights: Path) -> Member:
    """Member of a front whose weights lie in ``weights``."""
    file = weights_file(weights, entry.proposal.genome)
    relative = file.relative_to(folder) if file.is_file() and file.is_relative_to(folder) else None
    stored = str(relative) if relative else (str(file.resolve()) if file.is_file() else None)
    return Member(entry.proposal.genome, {**entry.result.values, **values}, stored, entry.number, entry.generation)


def _plane(values: Mapping[str, float]) -> list[float]:
    """Place in the picture of the front, whatever the objectives are."""
    return [min(values["loss"], OBJECTIVES["loss"].cap), values["loc"]]


def _trained_by_generation(entries: Sequence[Entry]) -> list[int]:
    """Different phenotypes trained up to the end of each generation."""
    seen: set[str] = set()
    counts: dict[int, int] = {}
    for entry in entries:
        if entry.result.status == "trained":
            seen.add(entry.proposal.genome.key)
        counts[entry.generation] = len(seen)
    return list(counts.values())


def _counts(entries: Sequence[Entry]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for entry in entries:
        if entry.result.status != "trained":
            counts[entry.result.status] = counts.get(entry.result.status, 0) + 1
    return counts
