"""Study of the remedies against a vanishing KL of text VAEs, and of their costs.

Every arm gets the same compute in optimiser steps, evolution's passes counted, the same data, network and seeds. Beside
the terms of the ELBO stand perplexity per word (``<eos>`` counted; bound and importance-weighted), what the latents
carry (active units, I(x; z)) and how varied the samples are.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lightning_gvae.io.files import write_text
from lightning_gvae.plots.comparison import end_points
from lightning_gvae.plots.style import save
from lightning_gvae.report.page import Table, format_number, write_report
from lightning_gvae.report.provenance import write_provenance
from lightning_gvae.studies.betas import BetasStudy, collect
from lightning_gvae.studies.cells import run_cells
from lightning_gvae.studies.executors import Executor
from lightning_gvae.studies.learning_curves import Arms, Drawn, curve_figures, latent_figures
from lightning_gvae.studies.tables import mean_text, write_results

__all__ = ["KLVanishingStudy"]

VANISHED = 1.0  # nats: below, the latents are taken for ignored
BAND = 0.1  # of the target, within which a KL counts as held
COLUMNS = {
    "steps": "optimiser steps",
    "extra": "extra compute (%)",
    "beta": "beta",
    "test/elbo": "ELBO (nats)",
    "test/recon": "D (nats)",
    "test/kl": "KL (nats)",
    "test/perplexity": "perplexity, bound",
    "score/perplexity_elbo": "perplexity, bound, scored sentences",
    "score/perplexity_iw": "perplexity, weighted, scored sentences",
    "test/active_units": "active units",
    "score/mutual_information": "I(x; z) (nats)",
}
OVER_TRAINING = (
    ("train/kl", "KL over training", "KL (nats)", False),
    ("train/elbo", "ELBO over training", "ELBO (nats)", False),
    ("train/beta", "KL weight over training", "beta", False),
)
SAMPLES = {
    "score/distinct_1": "distinct-1",
    "score/distinct_2": "distinct-2",
    "score/self_bleu_2": "self-BLEU-2",
    "score/self_bleu_3": "self-BLEU-3",
    "score/words": "words a sentence",
}


class KLVanishingStudy(BetasStudy):
    """Runs every arm with every seed and writes tables, figures and the answer; see the module.

    Arguments are those of :class:`~lightning_gvae.studies.betas.BetasStudy`. Arms in ``holding`` are asked whether
    their KL ends within 10 % of the target in every run, all others whether their KL has vanished (below 1 nat).
    """

    def run(self, folder: Path, workers: int = 1, executor: Executor | None = None) -> Path:
        """Run what is missing and write ``report.html``, ``results.csv``, ``tables.md`` and the figures to ``folder``.

        Returns:
            Path of the report.
        """
        return self.report(list(run_cells(self.cells(), folder / "cells", collect, workers, executor).values()), folder)

    def report(self, results: Sequence[dict[str, Any]], folder: Path) -> Path:
        """Write tables, figures and report of finished runs."""
        arms = self._measured(results)
        tables = [self._text_table("Results", COLUMNS, arms), self._text_table("Samples", SAMPLES, arms)]
        tables += [self._questions(arms)] if self.questions else []
        write_results(folder / "results.csv", results)
        write_text(folder / "tables.md", "\n".join(table.markdown() for table in tables))
        write_provenance(folder, self.name, self.scale, self.seeds, results)
        title, facts, commands = self._about(results)
        answers = "\n\n".join([*self.verdicts(arms), *self.answers(arms)])
        figures = self._text_figures(arms, folder / "figures")
        return write_report(folder / "report.html", title, answers, {}, figures, commands, facts, tables)

    def verdicts(self, arms: Arms) -> list[str]:
        """One sentence an arm: whether its KL has vanished or is held."""
        return [self._verdict(arm, [run["metrics"]["test/kl"] for run in runs]) for arm, runs in arms.items()]

    def _verdict(self, arm: str, kls: Sequence[float]) -> str:
        low, high = format_number(min(kls)), format_number(max(kls))
        span = f"{low} nats" if low == high else f"{low} to {high} nats"
        ends = f"the KL of {arm} ends at {span} on the test set"
        if arm not in self.holding:
            return f"{ends}: it has {'vanished' if max(kls) < VANISHED else 'not vanished'}."
        target = float(self.scale["target_kl"])
        held = sum(abs(kl - target) <= BAND * target for kl in kls)
        return f"{ends}: within 10 % of the target of {format_number(target)} nats in {held} of {len(kls)} runs."

    def _text_table(self, title: str, columns: dict[str, str], arms: Arms) -> Table:
        rows = []
        for arm, group in arms.items():
            values = [[result["metrics"].get(name, float("nan")) for result in group] for name in columns]
            rows.append([arm, *map(mean_text, values)])
        caption = (
            f"Mean over {len(self.seeds)} seeds and half the width of its 95 % interval, test set; perplexities "
            "per word, "
            "<eos> counted. Scored sentences (`evaluation.likelihood_images`) and those of I(x; z) "
            "(`evaluation.posteriors`) are the same ones of the test set in every run."
        )
        if columns is SAMPLES:
            caption = f"Sentences drawn word by word from the prior, <unk> left out; mean over {len(self.seeds)} seeds."
        return Table(title, caption, ["arm", *columns.values()], rows)

    def _text_figures(self, arms: Arms, folder: Path) -> list[tuple[str, str, Path]]:
        folder.mkdir(parents=True, exist_ok=True)
        target = float(self.scale["target_kl"])
        points = {
            arm: np.array([[run["metrics"]["test/kl"], run["metrics"]["test/recon"]] for run in runs])
            for arm, runs in arms.items()
        }
        drawn: list[Drawn] = [
            (
                "end_points",
                "Rate and distortion",
                "One point a run; dashed: the target.",
                end_points(points, target, {}),
            ),
            *latent_figures(arms),
            *curve_figures(arms, target, OVER_TRAINING),
        ]
        for name, *_, figure in drawn:
            save(figure, folder / f"{name}.png")
        return [(title, caption, folder / f"{name}.png") for name, title, caption, _ in drawn]
