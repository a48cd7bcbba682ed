"""Figures of a latent search with their captions, and its final numbers."""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from lightning_gvae.callbacks.latent_search.run import Found
from lightning_gvae.evolution.latent.constraint_handling import deb
from lightning_gvae.evolution.latent.search import HISTORY
from lightning_gvae.interfaces import offers
from lightning_gvae.plots.pictures import Picture
from lightning_gvae.plots.search import captioned, search_history
from lightning_gvae.report.page import format_number

__all__ = ["lost_variety", "search_metrics", "search_pictures"]


class HasLabel(Protocol):
    """Problem that says how its objective is written."""

    def label(self, objective: float, /) -> str:
        """Words for a value of the objective."""


MOST_SHOWN = 64  # runs on the sheet
ALIKE = 1e-3  # spread of a population, relative to the width of the box, below which its members are alike


def search_pictures(found: Found) -> list[Picture]:
    """The course of the search; for images also the best of run 0 over the generations and the best of every run."""
    history = {name: found.result.history[name].numpy() for name in HISTORY}
    runs, alike = len(found.result.runs), lost_variety(found)
    pictures = [
        Picture(
            "Latent search",
            f"{runs} runs over the generations: median, and the band from the tenth to the ninetieth percentile. "
            f"{_outcome(found)}{'' if alike is None else ' ' + alike}",
            "latent_search_history.png",
            search_history(history),
        )
    ]
    if found.result.final.decoded.ndim != 4 or found.result.final.decoded.shape[1] not in (1, 3):
        return pictures
    label = _label(found)
    if found.frames:
        numbers = sorted(found.frames)
        captions = [f"{number}\n{label(found.frame_values[number])}" for number in numbers]
        strip = captioned(
            _array(torch.stack([found.frames[number] for number in numbers])),
            captions,
            "The best of run 0, by generation",
            len(numbers),
        )
        pictures.append(
            Picture(
                "Latent search, generation by generation",
                "The best individual of run 0; below it the generation and the objective.",
                "latent_search_strip.png",
                strip,
            )
        )
    final = found.result.final
    order = deb(final.objective[None], final.violations[None])[0].argsort(descending=True, stable=True)[:MOST_SHOWN]
    sheet = captioned(
        _array(final.decoded[order]),
        [label(value) for value in final.objective[order].tolist()],
        "The best of each run",
        8,
        (~final.valid[order]).tolist(),
    )
    pictures.append(
        Picture(
            "Latent search, what the runs found",
            "The best of each run's final population, best first; below it the objective, orange where a "
            "criterion is not met.",
            "latent_search_best.png",
            sheet,
        )
    )
    return pictures


def search_metrics(found: Found) -> dict[str, float]:
    """Final numbers of the best of the runs' final populations, by name."""
    final = found.result.final
    metrics = {
        "latent_search/objective_mean": float(final.objective.double().mean()),
        "latent_search/violation_mean": float(final.violations.double().sum(1).mean()),
        "latent_search/valid": float(final.valid.double().mean()),
        "latent_search/decodes": float(found.result.decodes),
        "latent_search/diversity_mean": float(found.result.final_diversity.double().mean()),
    }
    if final.valid.any():
        metrics["latent_search/objective_best_valid"] = float(final.objective[final.valid].min())
    return metrics


def lost_variety(found: Found) -> str | None:
    """Sentence about runs whose last population has no variety left; None if there are none."""
    spread = found.result.final_diversity
    alike = spread < ALIKE
    if not alike.any():
        return None
    return (
        f"{int(alike.sum())} of {len(spread)} runs lost all variety: the individuals of the last population lie within "
        f"{100 * float(spread[alike].max()):.2g} % of the width of the box; raise "
        "`callbacks.latent_search.settings.sigma` or `mutation`, or lower `tournament`."
    )


def _outcome(found: Found) -> str:
    final = found.result.final
    sentence = f"{int(final.valid.sum())} of {len(final.valid)} runs ended with a valid individual"
    if not final.valid.any():
        return sentence + "."
    values = final.objective[final.valid]
    return f"{sentence}; the objective of the best is {format_number(float(values.min()))}."


def _label(found: Found) -> Callable[[float], str]:
    return found.problem.label if offers(found.problem, HasLabel) else format_number


def _array(images: Tensor) -> np.ndarray:
    return images.float().clamp(0, 1).cpu().numpy()
