"""Quality-diversity search in the latent space of a decoder: many good and different solutions instead of one.

The space of what one wants to vary, the descriptors, is cut into cells, and every cell keeps the best latent found for
it. Every generation is one call of the decoder.
"""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from lightning_gvae.errors import CheckpointError, ConfigError, NonFiniteError, checked_count
from lightning_gvae.evolution.archive.history import ArchiveHistory, ArchiveJournal, Told
from lightning_gvae.evolution.archive.result import HISTORY, ArchiveResult, empty_counts
from lightning_gvae.evolution.archive.ribs_engine import RibsSearch, library_versions
from lightning_gvae.evolution.archive.settings import ArchiveProblem, ArchiveSettings, Judged, check_problem
from lightning_gvae.evolution.latent.scoring import Decode
from lightning_gvae.evolution.latent.settings import check_bounds

__all__ = ["ArchiveSearch", "search_archive"]

Array = np.ndarray[Any, Any]
CONSTANT = 1e-6  # of its range: a descriptor that varies less over the initial candidates is none


def search_archive(
    decode: Decode,
    problem: ArchiveProblem,
    low: Tensor,
    high: Tensor,
    settings: ArchiveSettings | None = None,
    seed: int = 0,
    constrained: bool = True,
    chunk_size: int | None = None,
    nan: Literal["error", "drop"] = "error",
    on_generation: Callable[["ArchiveSearch"], None] | None = None,
    stored: ArchiveJournal | None = None,
) -> ArchiveResult:
    """Fill an archive. No global generator is touched.

    Args:
        decode: From latents ``(N, L)`` to points ``(N, ...)``; no gradients are taken.
        problem: Objective (maximised), descriptors and realism of latents and decoded points.
        low: Lower bounds ``(L,)``; type and device of the latents.
        high: Upper bounds ``(L,)``.
        settings: Of the algorithm; default :class:`~lightning_gvae.evolution.archive.settings.ArchiveSettings`.
        seed: Of every draw.
        constrained: Whether realistic candidates alone lead the search; otherwise all do, and realism is only reported.
        chunk_size: Latents decoded at a time; None for all.
        nan: Whether a candidate whose objective or descriptors are NaN is an ``"error"``, or is counted and dropped.
        on_generation: Called after every generation with the search, which can write its log.
        stored: A log to go on from; the outcome is, bit for bit, that of an uninterrupted search.

    Returns:
        Elites, history and counts.

    Raises:
        ConfigError: pyribs is missing; bounds that enclose no box; a problem that does not fit the settings or gives
            other shapes than it should; a descriptor that is constant; not one candidate that a cell takes.
        NonFiniteError: The problem gives NaN and that is an error.
        CheckpointError: The log belongs to another search, or to other versions of the libraries.

    >>> class Disc:
    ...     names, ranges, floor = ("x", "y"), [(-1.0, 1.0), (-1.0, 1.0)], -8.0
    ...     def judge(self, z, x): return Judged(-x.square().sum(1), x[:, :2])
    >>> low = torch.full((2,), -2.0)
    >>> result = search_archive(lambda z: z, Disc(), low, -low, ArchiveSettings(shape=(4, 4), iterations=20), seed=1)
    >>> result.coverage(), result.outside > 0, bool((result.raw.objective > -1.2).all())
    (1.0, True, True)
    """
    search = ArchiveSearch(
        decode, problem, low, high, settings or ArchiveSettings(), seed, constrained, chunk_size, nan
    )
    return search.run(on_generation, stored)


class ArchiveSearch:
    """A search that can be looked at between two generations; arguments as for :func:`search_archive`.

    Args:
        about: What else the outcome depends on, for example a digest of the decoder's weights: a log of another one is
            refused.
    """

    def __init__(
        self,
        decode: Decode,
        problem: ArchiveProblem,
        low: Tensor,
        high: Tensor,
        settings: ArchiveSettings,
        seed: int = 0,
        constrained: bool = True,
        chunk_size: int | None = None,
        nan: Literal["error", "drop"] = "error",
        about: str = "",
    ) -> None:
        check_bounds(low, high)
        check_problem(problem, settings)
        if chunk_size is not None:
            checked_count("chunk_size", chunk_size, unit="latents")
        if nan not in ("error", "drop"):
            raise ConfigError(f"`nan` must be error or drop, got {nan!r}")
        self.decode, self.problem, self.settings, self.seed = decode, problem, settings, seed
        self.constrained, self.chunk_size, self.nan, self.about = constrained, chunk_size, nan, about
        self.low, self.high = low, high
        self.decodes = 0
        self.counts = empty_counts(problem.names)
        self._history: list[list[float]] = []
        self._evaluations = 0
        self.history = ArchiveHistory(self._facts())

    @property
    def generation(self) -> int:
        """Number of the last generation that was judged; 0 is the initial candidates."""
        return len(self.history.told) - 1

    def run(
        self, on_generation: Callable[["ArchiveSearch"], None] | None = None, stored: ArchiveJournal | None = None
    ) -> ArchiveResult:
        """Run to the end, from the start or from where a log ends."""
        if stored is not None:
            stored.check(self._facts())
        centroids = None if stored is None else stored.centroids
        low, high = (bound.detach().cpu().double().numpy() for bound in (self.low, self.high))
        ranges = [(float(least), float(most)) for least, most in self.problem.ranges]
        self._engine = RibsSearch(
            self.settings, low, high, ranges, float(self.problem.floor), self.constrained, self.seed, centroids
        )
        self.history.centroids = None if self.settings.is_grid else self._engine.centroids
        for told in [] if stored is None else stored.told:
            self._enter(self._engine.ask(), told)
        if stored is not None:
            self.history.judges_realism = stored.judges_realism
        if stored is not None and self.history.digest != stored.digest:
            raise CheckpointError(
                f"{stored.path} cannot be continued here: the candidates that it was told about do not come out "
                "again, bit "
                "for bit (another processor?). Delete it to start anew"
            )
        while self.generation < self.settings.iterations:
            latents = self._engine.ask()
            self._enter(latents, self._judge(latents))
            if on_generation is not None:
                on_generation(self)
        return self.result()

    def result(self) -> ArchiveResult:
        """Result so far."""
        return ArchiveResult(
            tuple(self.problem.names),
            np.array(self.problem.ranges, dtype=np.float64),
            tuple(self.settings.shape) if self.settings.is_grid else (),
            self._engine.centroids,
            float(self.problem.floor),
            self._engine.elites(realistic=False),
            self._engine.elites(realistic=True),
            self.history.judges_realism,
            {name: np.array(column) for name, column in zip(HISTORY, zip(*self._history, strict=True), strict=True)},
            dict(self.counts),
        )

    @torch.no_grad()
    def _judge(self, latents: Array) -> Told:
        """Decode and judge candidates: one call of the decoder, or one a chunk."""
        given = torch.from_numpy(latents).to(self.low)
        parts = [self._judge_part(part) for part in given.split(self.chunk_size or len(given))]
        objective, descriptors, realistic = (np.concatenate(column) for column in zip(*parts, strict=True))
        return objective, descriptors, realistic

    def _judge_part(self, latents: Tensor) -> Told:
        count, wanted = len(latents), len(self.problem.names)
        try:
            decoded = self.decode(latents)
        except torch.OutOfMemoryError as error:
            raise ConfigError(f"decoding {count} latents at once needs too much memory; lower `chunk_size`") from error
        self.decodes += 1
        if not isinstance(decoded, Tensor) or decoded.ndim < 1 or len(decoded) != count:
            raise ConfigError(f"`decode` must give one row a latent, {count} here, got {_shape(decoded)}")
        judged = Judged(*self.problem.judge(latents, decoded))
        shapes = {"objective": (count,), "descriptors": (count, wanted), "realistic": (count,)}
        for name, shape in shapes.items():
            values = getattr(judged, name)
            if name == "realistic" and values is None:
                continue
            if not isinstance(values, Tensor) or values.shape != shape:
                raise ConfigError(f"`{name}` of the problem must be of shape {shape}, got {_shape(values)}")
        self.history.judges_realism = judged.realistic is not None
        realistic = torch.ones(count, dtype=torch.bool) if judged.realistic is None else judged.realistic
        return (
            judged.objective.detach().cpu().double().numpy(),
            judged.descriptors.detach().cpu().double().numpy(),
            realistic.detach().bool().cpu().numpy(),
        )

    def _enter(self, latents: Array, told: Told) -> None:
        """Count, check and keep a generation."""
        objective, descriptors, realistic = told
        number = self.generation + 1
        finite = np.isfinite(objective) & np.isfinite(descriptors).all(1)
        if self.nan == "error" and not finite.all():
            raise NonFiniteError(
                f"objective or descriptors of {(~finite).sum()} of {len(finite)} candidates of generation "
                f"{number} are NaN "
                "or infinite; correct the problem, narrow the bounds, or drop such candidates with nan='drop'"
            )
        if (lowest := objective[finite].min(initial=np.inf)) < self.problem.floor:
            raise ConfigError(
                f"`floor` must be what the objective never falls below; it is {self.problem.floor:g}, and an "
                "objective of "
                f"{lowest:g} came up"
            )
        inside = finite.copy()
        for column, (name, (low, high)) in enumerate(zip(self.problem.names, self.problem.ranges, strict=True)):
            below, above = finite & (descriptors[:, column] < low), finite & (descriptors[:, column] > high)
            self.counts[f"below/{name}"] += int(below.sum())
            self.counts[f"above/{name}"] += int(above.sum())
            inside &= ~(below | above)
            if number == 0:
                self._refuse_constant(name, descriptors[finite, column], high - low)
        self.counts["evaluations"] += len(latents)
        self.counts["nan"] += int((~finite).sum())
        self.counts["unrealistic"] += int((finite & ~realistic).sum())
        if number == 0 and not (inside & (realistic | (not self.constrained))).any():
            raise ConfigError(
                f"the archive takes none of the {len(latents)} initial candidates: {self._turned_away()}. Widen "
                "the ranges "
                "of the descriptors or the criterion of realism"
            )
        self._engine.tell(latents, objective, descriptors, inside, realistic)
        self.history.add(latents, told)
        self._note()

    def _note(self) -> None:
        row: list[float] = [self.counts["evaluations"]]
        for archive in (self._engine.raw, self._engine.realistic):
            values = archive.data("objective")
            score = float((values - self.problem.floor).sum())
            best = [float(values.max(initial=-np.inf))] if archive is self._engine.raw else []
            row += [len(values), score, *best]
        self._history.append(row)

    def _refuse_constant(self, name: str, values: Array, width: float) -> None:
        if len(values) > 1 and np.ptp(values) <= CONSTANT * width:
            raise ConfigError(
                f"descriptor {name} is constant: all {len(values)} initial candidates have {values[0]:g}. It "
                "tells nothing "
                "apart; take another descriptor, or a decoder whose outputs differ in it"
            )

    def _turned_away(self) -> str:
        found = [
            f"{count} {name.replace('/', ' the range of ')}"
            for name, count in self.counts.items()
            if count and name != "evaluations"
        ]
        return ", ".join(found)

    def _facts(self) -> dict[str, Any]:
        return {
            "settings": asdict(self.settings),
            "seed": self.seed,
            "constrained": self.constrained,
            "nan": self.nan,
            "low": self.low.tolist(),
            "high": self.high.tolist(),
            "names": list(self.problem.names),
            "ranges": [[float(low), float(high)] for low, high in self.problem.ranges],
            "floor": float(self.problem.floor),
            "about": self.about,
            "libraries": library_versions(),
        }


def _shape(value: object) -> str:
    return f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
