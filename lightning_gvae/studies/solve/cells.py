"""One piece of the SOLVE study: points, search space, searches, for one problem and some seeds at once."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from shutil import rmtree
from typing import Any

import torch
from torch import Tensor

from lightning_gvae.errors import ConfigError, checked_count
from lightning_gvae.evolution.latent.search import GASettings, search
from lightning_gvae.io.content import text_hash
from lightning_gvae.io.files import write_json
from lightning_gvae.models.stacked_vae import FittedVAE, fit_stacked
from lightning_gvae.problems.criteria import Criterion, make_criterion
from lightning_gvae.problems.generate import PartFiles, generate
from lightning_gvae.problems.islands import islands_of
from lightning_gvae.problems.layered import CollapseError, LayeredSettings, layered
from lightning_gvae.problems.recipes import GENERATION, build_sources
from lightning_gvae.problems.scores import score_runs
from lightning_gvae.report.circumstances import circumstances
from lightning_gvae.rng import stream_key, torch_stream
from lightning_gvae.studies.solve.flow import FlowSettings, fit_flow

__all__ = ["Piece", "SolveSettings", "cell_file", "run_piece"]

VERSION = 2  # 2: all rules of fitness search without an elite
PUBLISHED = GASettings.paper()
PROBES = 4000  # latents drawn to describe a search space
Decode = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Piece:
    """A problem of the study.

    Args:
        problem: ``"c1"`` ... ``"c5"``.
        dims: Variables.
        order: C4: its criteria in order.
    """

    problem: str
    dims: int
    order: tuple[int, ...] | None = None

    @property
    def case(self) -> str:
        """Number of variables, or the order of the criteria."""
        return str(self.dims) if self.order is None else "".join(map(str, self.order))

    @property
    def name(self) -> str:
        """Problem and case."""
        return f"{self.problem}-{self.case}"

    def make(self) -> Criterion:
        """The problem itself."""
        return make_criterion(self.problem, self.dims, self.order)


@dataclass(frozen=True)
class SolveSettings:
    """Sizes of the study.

    Args:
        runs: Searches on every search space, at least 1.
        n: Training points (of each source).
        candidates: Networks trained on them, of which the best counts.
        epochs: Passes over the points.
        batch_size: Points a step.
        kl_scale: Weight of the KL beside the squared error; published: 1 / batch size.
        bound: Half width of the latent box; published: 2.
        layer_bound: The same for the layers of LayeredSOLVE, or ``"auto"``; with ``paper`` it is 2.
        layer_points: Points of every layer; None is ``n``.
        paper: As published, mistakes included: sources of C4, LayeredSOLVE, the flow's log determinant.
        check: Whether a collapsed layer ends LayeredSOLVE; the study notes it and goes on.
        flow_epochs: Passes over the points by the VAE with a flow as prior (C5).

    Raises:
        ConfigError: A value is out of range.
    """

    runs: int = 100
    n: int = 5000
    candidates: int = 10
    epochs: int = 200
    batch_size: int = 64
    kl_scale: float = 1 / 64
    bound: float = 2.0
    layer_bound: float | str = 3.0
    layer_points: int | None = None
    paper: bool = False
    check: bool = True
    flow_epochs: int = 100

    def __post_init__(self) -> None:
        for name in ("runs", "n", "candidates", "epochs", "batch_size", "flow_epochs"):
            checked_count(name, getattr(self, name))
        if not self.bound > 0:
            raise ConfigError(f"`bound` must be positive, got {self.bound}; published: 2")

    @property
    def digest(self) -> str:
        """Hash of everything that the numbers depend on."""
        facts = json.dumps([VERSION, GENERATION, asdict(self)], sort_keys=True)
        return text_hash(facts, 4)


def cell_file(folder: Path, piece: Piece, seed: int, settings: SolveSettings) -> Path:
    """File of the result of a piece and a seed; other settings make another file."""
    return folder / "cells" / f"{piece.name}-seed{seed}-{settings.digest}.json"


def run_piece(piece: Piece, seeds: Sequence[int], settings: SolveSettings, folder: Path) -> None:
    """Make the points of every seed, train all networks of all seeds as one stack, search, and write one file a seed.

    The result of a seed does not depend on which others are computed with it, but in rounding.

    Raises:
        InfeasibleError: No point was found for some criterion.
    """
    problem, started = piece.make(), time.process_time()
    data = [_points(problem, piece, seed, settings, folder) for seed in seeds]
    made = time.process_time()
    spaces = fit_stacked(
        data,
        seeds,
        candidates=settings.candidates,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        kl_scale=settings.kl_scale,
    )
    fitted = time.process_time()
    for seed, points, space in zip(seeds, data, spaces, strict=True):
        cell = _cell(problem, piece, seed, settings, points, space, folder)
        cell["seconds"] = {
            "points": (made - started) / len(seeds),
            "fit": (fitted - made) / len(seeds),
            **cell["seconds"],
        }
        write_json(cell_file(folder, piece, seed, settings), cell, indent=None)
        rmtree(_parts(folder, piece, seed, settings), ignore_errors=True)


def _cell(
    problem: Criterion, piece: Piece, seed: int, settings: SolveSettings, points: Tensor, space: FittedVAE, folder: Path
) -> dict[str, Any]:
    started = time.process_time()
    methods: dict[str, dict[str, list[float]]] = {}
    facts: dict[str, Any] = {
        "points": _describe_points(problem, points),
        "solve": _describe(problem, space.decode, space.latent_dim, settings.bound, seed),
        "errors": space.errors.tolist(),
    }
    edge = torch.full((space.latent_dim,), settings.bound)
    methods |= _search_both("solve", problem, space.decode, -edge, edge, seed, settings)
    genes, middle = torch.ones(problem.dims), 0.5 * (problem.low + problem.high)
    half = 0.5 * (problem.high - problem.low)
    methods |= _search_both("ga", problem, lambda gene: middle + half * gene, -genes, genes, seed, settings)
    if piece.problem == "c4":
        _layered(problem, seed, settings, methods, facts)
    if piece.problem == "c5":
        flow_settings = FlowSettings(epochs=settings.flow_epochs, repeat_log_det=settings.paper)
        decode = fit_flow(points, seed, flow_settings)
        facts["solvefm"] = _describe(problem, decode, 2, settings.bound, seed)
        methods |= _search_both("solvefm", problem, decode, -edge, edge, seed, settings)
    return {
        "piece": {"problem": piece.problem, "dims": piece.dims, "order": piece.order, "case": piece.case},
        "seed": seed,
        "settings": asdict(settings),
        "methods": methods,
        "facts": facts,
        "seconds": {"rest": time.process_time() - started},
        "circumstances": circumstances(),
    }


def _search_both(
    name: str, problem: Criterion, decode: Decode, low: Tensor, high: Tensor, seed: int, settings: SolveSettings
) -> dict[str, dict[str, list[float]]]:
    """Search a space with the published fitness and with Deb's rules, everything else equal: neither keeps an elite."""
    found = {}
    for suffix, rules in (("", PUBLISHED), ("_deb", replace(PUBLISHED, fitness="deb"))):
        key = stream_key(seed, f"study/{name}{suffix}") & (2**62 - 1)
        final = search(decode, problem, low, high, settings.runs, rules, key).final
        scores = score_runs(problem, final.objective, final.violations)
        found[name + suffix] = {label: values.tolist() for label, values in scores._asdict().items()}
    return found


def _layered(problem: Criterion, seed: int, settings: SolveSettings, methods: dict, facts: dict) -> None:
    def fit(points: Tensor, number: int) -> FittedVAE:
        key = stream_key(seed, "study/layer", number) & (2**62 - 1)
        return fit_stacked(
            [points],
            [key],
            candidates=settings.candidates,
            epochs=settings.epochs,
            batch_size=settings.batch_size,
            kl_scale=settings.kl_scale,
        )[0]

    bound = settings.bound if settings.paper else settings.layer_bound
    options = LayeredSettings(settings.layer_points or settings.n, bound, paper=settings.paper, check=settings.check)
    try:
        layers = layered(problem, fit, options, seed)
    except CollapseError as error:
        facts["layered"] = {"collapsed": str(error), "stds": error.stds.tolist(), "distinct": error.distinct}
        return
    last = layers[-1]
    latents = last.low + (last.high - last.low) * torch.rand(
        PROBES, len(last.low), generator=torch_stream(seed, "study/probes")
    )
    facts["layered"] = {
        "stds": last.space.decode(latents).std(0).tolist(),
        "layers": [_describe_points(problem, layer.points) for layer in layers],
    }
    methods |= _search_both("layered", problem, last.space.decode, last.low, last.high, seed, settings)


def _describe(problem: Criterion, decode: Decode, latent_dim: int, bound: float, seed: int) -> dict[str, Any]:
    """Statistics of what uniform latents of the box decode to."""
    latents = bound * (2 * torch.rand(PROBES, latent_dim, generator=torch_stream(seed, "study/probes")) - 1)
    decoded = decode(latents)
    facts: dict[str, Any] = {
        "valid": float((problem.violations(decoded) <= 0).all(1).double().mean()),
        "stds": decoded.std(0).tolist(),
    }
    if problem.name == "c2":
        facts["spacing"] = float(decoded.diff(dim=1).mean())
    if problem.name == "c5":
        facts["islands"] = islands_of(problem).shares(decoded).tolist()
    return facts


def _describe_points(problem: Criterion, points: Tensor) -> dict[str, Any]:
    return {
        "at_bounds": float(((points == problem.low) | (points == problem.high)).double().mean()),
        "stds": points.std(0).tolist(),
        "distinct": len(points.unique(dim=0)) / len(points),
    }


def _points(problem: Criterion, piece: Piece, seed: int, settings: SolveSettings, folder: Path) -> Tensor:
    made = []
    for number, source in enumerate(build_sources(problem, paper=settings.paper)):
        parts = PartFiles(_parts(folder, piece, seed, settings) / str(number))
        made.append(generate(source, settings.n, stream_key(seed, "points", number) & (2**62 - 1), parts=parts))
    return torch.cat(made)


def _parts(folder: Path, piece: Piece, seed: int, settings: SolveSettings) -> Path:
    return folder / "points" / f"{piece.name}-seed{seed}-{settings.digest}"
