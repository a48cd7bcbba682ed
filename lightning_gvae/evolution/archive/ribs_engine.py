"""pyribs as engine of a quality-diversity search: archives, and the emitters that make candidates.

Candidates follow from the seed and from what was told, bit for bit: a search is continued by telling it again what it
was told before, without decoding anything, whatever pyribs keeps inside.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lightning_gvae.errors import ConfigError
from lightning_gvae.evolution.archive.result import Elites
from lightning_gvae.evolution.archive.settings import ArchiveSettings
from lightning_gvae.rng import numpy_stream, stream_key

__all__ = ["RibsSearch", "library_versions"]

Array = np.ndarray[Any, Any]
SAMPLES = 50  # points a cell from which a tessellation is computed


class RibsSearch:
    """Makes candidates and keeps the elites.

    Three archives: the one that leads the search, that of all candidates, and that of the realistic ones; the first is
    one of the other two unless its thresholds rise slowly.

    Args:
        settings: Numbers of the algorithm.
        low: Lower bounds ``(L,)``.
        high: Upper bounds ``(L,)``.
        ranges: Lowest and highest value of each descriptor.
        floor: What the objective never falls below.
        constrained: Whether the realistic candidates lead the search, or all.
        seed: Of every draw.
        centroids: Of a tessellation; None computes them.

    Raises:
        ConfigError: pyribs is missing.
    """

    def __init__(
        self,
        settings: ArchiveSettings,
        low: Array,
        high: Array,
        ranges: Sequence[tuple[float, float]],
        floor: float,
        constrained: bool,
        seed: int,
        centroids: Array | None = None,
    ) -> None:
        _require_ribs()
        self.settings, self.low, self.high = settings, low, high
        self.floor, self.constrained, self.seed = floor, constrained, seed
        # pyribs sees descriptors in units of their ranges: one in large numbers would otherwise decide alone which
        # centroid is nearest.
        self._from, self._width = np.array(ranges).T[0], np.array(ranges).T[1] - np.array(ranges).T[0]
        self._centroids = np.empty((0, len(ranges)))
        if not settings.is_grid:
            self._centroids = self._tessellation() if centroids is None else self._units(centroids)
        self.raw, self.realistic = self._archive("raw"), self._archive("realistic")
        self.leading = self.realistic if constrained else self.raw
        if settings.algorithm == "cma_mae":
            self.leading = self._archive("leading", learning_rate=settings.learning_rate, threshold_min=floor)
        self.emitters: list[Any] = []
        self._asked: list[Array] = []

    @property
    def centroids(self) -> Array:
        """Centroids of a tessellation, ``(cells, K)``; none of a grid."""
        placed: Array = self._from + self._width * self._centroids
        return placed

    def ask(self) -> Array:
        """Candidates inside the box, ``(N, L)``: the initial ones first, then a generation."""
        if self.leading.empty:
            noise = numpy_stream(self.seed, "qd/start").standard_normal((self.settings.initial, len(self.low)))
            self._asked = [noise]
        else:
            self.emitters = self.emitters or self._make_emitters()
            self._asked = [np.asarray(emitter.ask(), dtype=np.float64) for emitter in self.emitters]
        asked: Array = np.clip(np.concatenate(self._asked), self.low, self.high)
        return asked

    def tell(self, latents: Array, objective: Array, descriptors: Array, kept: Array, realistic: Array) -> None:
        """Put candidates into the archives and let the emitters learn from what came of them.

        Args:
            latents: What :meth:`ask` gave.
            objective: ``(N,)``, finite where kept.
            descriptors: ``(N, K)``, inside the ranges where kept.
            kept: ``(N,)`` bool: a cell may take it.
            realistic: ``(N,)`` bool: so may one of the realistic archive.
        """
        leads = kept & realistic if self.constrained else kept
        status, value = np.zeros(len(latents), np.int32), np.zeros(len(latents))
        for archive, mask in self._entering(kept, realistic, leads):
            if not mask.any():
                continue
            given = descriptors[mask]
            fields = {"realistic": realistic[mask], "descriptors": given}
            info = archive.add(latents[mask], objective[mask], self._units(given), **fields)
            if archive is self.leading:
                status[mask], value[mask] = info["status"], info["value"]
        if not self.settings.evolves_strategies or not self.emitters:
            return
        # What was turned away ranks behind everything else, and never counts as a parent.
        value[~leads] = min(value[leads].min(initial=0.0), 0.0) - 1.0
        safe = np.where(leads, objective, self.floor)
        places = np.where(leads[:, None], self._units(descriptors), 0.5)
        start = 0
        for emitter, asked in zip(self.emitters, self._asked, strict=True):
            part = slice(start, start + len(asked))
            emitter.tell(asked, safe[part], places[part], {"status": status[part], "value": value[part]})
            start += len(asked)

    def elites(self, realistic: bool) -> Elites:
        """Elites in the order of the cells."""
        data = (self.realistic if realistic else self.raw).data()
        order = np.argsort(data["index"], kind="stable")
        fields = ("index", "solution", "objective", "descriptors", "realistic")
        return Elites(*(np.asarray(data[name])[order] for name in fields))

    def _entering(self, kept: Array, realistic: Array, leads: Array) -> list[tuple[Any, Array]]:
        masks = [(self.raw, kept), (self.realistic, kept & realistic)]
        return masks if any(self.leading is archive for archive, _ in masks) else [*masks, (self.leading, leads)]

    def _archive(self, name: str, **settings: Any) -> Any:
        from ribs.archives import CVTArchive, GridArchive

        common = {
            "solution_dim": len(self.low),
            "ranges": [(0.0, 1.0)] * len(self._width),
            "extra_fields": {"realistic": ((), np.bool_), "descriptors": ((len(self._width),), np.float64)},
            "seed": stream_key(self.seed, f"qd/archive/{name}"),
            **settings,
        }
        if self.settings.is_grid:
            return GridArchive(dims=list(self.settings.shape), **common)
        return CVTArchive(centroids=self._centroids, **common)

    def _tessellation(self) -> Array:
        from sklearn.cluster import k_means

        stream, cells = numpy_stream(self.seed, "qd/tessellation"), self.settings.cells
        points = stream.random((SAMPLES * cells, len(self._width)))
        start = int(stream.integers(2**31))
        found = k_means(points, cells, n_init=1, init="random", algorithm="lloyd", random_state=start)[0]
        return np.asarray(found)

    def _units(self, descriptors: Array) -> Array:
        units: Array = (descriptors - self._from) / self._width
        return units

    def _make_emitters(self) -> list[Any]:
        from ribs.emitters import EvolutionStrategyEmitter, IsoLineEmitter

        settings = self.settings
        if not settings.evolves_strategies:
            return [
                IsoLineEmitter(
                    self.leading,
                    iso_sigma=settings.iso_sigma,
                    line_sigma=settings.line_sigma,
                    x0=np.zeros(len(self.low)),  # not used, the archive is not empty
                    batch_size=settings.batch_size,
                    seed=stream_key(self.seed, "qd/emitter", 0),
                )
            ]
        annealing = settings.algorithm == "cma_mae"
        rules: dict[str, Any] = (
            {"ranker": "imp", "selection_rule": "mu", "restart_rule": "basic"} if annealing else {"ranker": "2imp"}
        )
        elites = self.leading.sample_elites(settings.emitters)["solution"]
        # No bounds for the strategy: it would draw again until all lies in the box, for ever near a corner. What it
        # draws is clipped before it is judged.
        return [
            EvolutionStrategyEmitter(
                self.leading,
                x0=start,
                sigma0=settings.sigma,
                batch_size=settings.batch_size // settings.emitters,
                seed=stream_key(self.seed, "qd/emitter", number),
                **rules,
            )
            for number, start in enumerate(elites)
        ]


def library_versions() -> str:
    """Versions on which the bits of a search depend.

    Raises:
        ConfigError: pyribs is missing.
    """
    ribs = _require_ribs()
    return f"ribs {ribs.__version__}, numpy {np.__version__}"


def _require_ribs() -> Any:
    try:
        import ribs
    except ImportError as error:
        raise ConfigError(
            "quality-diversity search needs pyribs; install the extra: pip install 'lightning-gvae[qd]'"
        ) from error
    return ribs
