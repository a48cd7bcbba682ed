"""Correlation of fidelity and diversity scores over all runs that were saved.

Spearman's rank correlation within each corpus (the runs of one study on one data set, whose scores compare), with a
95 % interval from resampling whole runs or chains: the generations of a chain are not independent of each other.
"""

import csv
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr

from lightning_gvae.errors import ConfigError, DataError
from lightning_gvae.io.files import write_csv, write_text
from lightning_gvae.report.circumstances import circumstances
from lightning_gvae.report.page import Table, write_report
from lightning_gvae.report.provenance import write_provenance
from lightning_gvae.rng import numpy_stream

__all__ = ["Correlation", "CorrelationsStudy", "correlations", "read_corpora"]

RESAMPLES = 2000
LEAST = 5  # runs of a corpus, of which a correlation says something
Rows = list[dict[str, Any]]


class Correlation(NamedTuple):
    """Correlation of two scores.

    Attributes:
        corpus: Folder and data set.
        fidelity: Name of the one.
        diversity: Name of the other.
        rows: Samples of models that have both.
        clusters: Runs or chains that they are from.
        rho: Spearman's.
        low: Lower end of the 95 % interval.
        high: Upper end.
    """

    corpus: str
    fidelity: str
    diversity: str
    rows: int
    clusters: int
    rho: float
    low: float
    high: float


class CorrelationsStudy:
    """Reads the tables of finished studies and correlates their scores.

    Args:
        folders: Folders with a ``results.csv``.
        fidelity: Names of scores of fidelity.
        diversity: Names of scores of diversity.
        left_out: Arms that are no trained models.
        name: Name of the study.
        scale: ``name``, part of the study's folder.

    Raises:
        ConfigError: There is no folder or no score.
    """

    def __init__(
        self,
        folders: Sequence[str],
        fidelity: Sequence[str],
        diversity: Sequence[str],
        left_out: Sequence[str] = (),
        name: str = "correlations",
        scale: Mapping[str, Any] | None = None,
    ) -> None:
        if not folders or not fidelity or not diversity:
            raise ConfigError("`folders`, `fidelity` and `diversity` must each name at least one")
        self.folders, self.fidelity, self.diversity = list(folders), list(fidelity), list(diversity)
        self.left_out, self.name, self.scale = list(left_out), name, dict(scale or {"name": "stored"})

    def run(self, folder: Path, workers: int = 1) -> Path:
        """Read, correlate and write ``report.html``, ``results.csv`` and ``tables.md`` to ``folder``.

        Returns:
            Path of the report.

        Raises:
            DataError: A folder has no ``results.csv``, or no corpus has enough runs.
        """
        corpora = [corpus for path in self.folders for corpus in read_corpora(Path(path), self.left_out).items()]
        return self.report([list(corpus) for corpus in corpora], folder)

    def report(self, corpora: Sequence[Sequence[Any]], folder: Path) -> Path:
        """Write tables and report; ``corpora``: pairs of a name and its rows."""
        folder.mkdir(parents=True, exist_ok=True)
        found = [
            correlation
            for name, rows in corpora
            for correlation in correlations(name, rows, self.fidelity, self.diversity)
        ]
        if not found:
            raise DataError(f"no corpus in {', '.join(self.folders)} has {LEAST} runs with a pair of the scores")
        table = _table(found)
        write_csv(folder / "results.csv", Correlation._fields, found)
        write_text(folder / "tables.md", table.markdown())
        write_provenance(folder, self.name, self.scale, [], [circumstances()], [list(corpus) for corpus in corpora])
        title = "Fidelity and diversity over all saved runs"
        return write_report(folder / "report.html", title, _words(found), {}, [], tables=[table])


def read_corpora(folder: Path, left_out: Sequence[str] = ()) -> dict[str, Rows]:
    """Rows of ``results.csv`` by data set; names of scores lose their feature space and sampler.

    Each row has ``cluster``, its run or chain, and its scores.

    Raises:
        DataError: The file cannot be read.
    """
    try:
        with (folder / "results.csv").open(newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
    except OSError as error:
        raise DataError(f"{folder} holds no results.csv that can be read ({error}); run its study") from error
    corpora: dict[str, Rows] = {}
    for line in lines:
        arm = line.get("arm") or f"{line['data']}-{line['model']}-{line['policy']}"
        if any(arm.endswith(name) for name in left_out):
            continue
        data = arm.split("-")[0] if "-" in arm else ""
        scores = {_plain(name): float(text) for name, text in line.items() if _is_number(text)}
        row = {"cluster": f"{arm} {line['seed']}", **scores}
        corpora.setdefault(f"{folder.name}, {data}" if data else folder.name, []).append(row)
    return corpora


def correlations(corpus: str, rows: Rows, fidelity: Sequence[str], diversity: Sequence[str]) -> list[Correlation]:
    """Correlation of every pair of scores that differ and that at least five clusters of a corpus have."""
    found = []
    for one, other in product(fidelity, diversity):
        chosen = [row for row in rows if np.isfinite([row.get(one, np.nan), row.get(other, np.nan)]).all()]
        names = sorted({row["cluster"] for row in chosen})
        if len(names) < LEAST:
            continue
        groups = [np.array([(row[one], row[other]) for row in chosen if row["cluster"] == name]) for name in names]
        rho = _rho(np.concatenate(groups))
        if np.isnan(rho):
            continue
        stream = numpy_stream(0, f"correlations/{corpus}/{one}/{other}")
        drawn = [
            _rho(np.concatenate([groups[index] for index in stream.integers(0, len(groups), len(groups))]))
            for _ in range(RESAMPLES)
        ]
        low, high = np.nanquantile(drawn, [0.025, 0.975])
        found.append(Correlation(corpus, one, other, len(chosen), len(names), rho, float(low), float(high)))
    return found


def _rho(pairs: npt.NDArray[np.float64]) -> float:
    """Spearman's correlation; NaN if one of the two never changes."""
    if (np.ptp(pairs, axis=0) == 0).any():
        return float("nan")
    return float(spearmanr(pairs[:, 0], pairs[:, 1]).statistic)


def _plain(name: str) -> str:
    """``score/fid/domain/prior`` as ``fid``; scores of baselines and spreads keep their names."""
    parts = name.split("/")
    return parts[1] if parts[0] == "score" and parts[-1] == "prior" else name


def _is_number(text: str | None) -> bool:
    try:
        return text is not None and np.isfinite(float(text))
    except ValueError:
        return False


def _table(found: Sequence[Correlation]) -> Table:
    rows = [
        [
            f"{c.corpus}: {c.fidelity}",
            c.diversity,
            str(c.rows),
            str(c.clusters),
            f"{c.rho:.2f}",
            f"{c.low:.2f} to {c.high:.2f}",
        ]
        for c in found
    ]
    caption = (
        "Spearman's rank correlation over the samples of all models of a corpus; 95 % intervals by resampling runs or "
        "chains. FID and KID are better low: a negative correlation with a diversity score means that both improve "
        "together."
    )
    header = ["fidelity", "diversity", "samples", "runs or chains", "correlation", "95 % interval"]
    return Table("Fidelity and diversity", caption, header, rows)


def _words(found: Sequence[Correlation]) -> str:
    told = [c for c in found if c.low > 0 or c.high < 0]
    return (
        f"{len(told)} of {len(found)} pairs of a fidelity and a diversity score are correlated with an interval that "
        "excludes zero. Which way depends on the corpus: models that are trained better gain both, a choice within one "
        "model trades one for the other."
    )
