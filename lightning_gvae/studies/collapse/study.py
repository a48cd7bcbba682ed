"""Models that learn from their own output, generation after generation: what is lost, and what keeps it.

In one dimension everything is computed and compared with closed forms
(:mod:`~lightning_gvae.studies.collapse.gaussian`); image models are trained, sampled and scored, generation by
generation (:mod:`~lightning_gvae.studies.collapse.chain`).
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from lightning_gvae.collapse.gaussian import POLICIES
from lightning_gvae.collapse.policies import Policy, policies_of
from lightning_gvae.errors import ConfigError
from lightning_gvae.interfaces import LoadableData
from lightning_gvae.io.content import text_hash
from lightning_gvae.io.files import write_json
from lightning_gvae.report.provenance import write_provenance
from lightning_gvae.studies.cells import CellError
from lightning_gvae.studies.collapse.chain import ChainSettings, Factory, generation_circumstances, run_chain
from lightning_gvae.studies.collapse.classification import CrossClassifiers
from lightning_gvae.studies.collapse.gaussian import GaussianSettings, run_gaussian
from lightning_gvae.studies.collapse.report import write_collapse_report
from lightning_gvae.studies.executors import Executor, ProcessExecutor

__all__ = ["GAUSSIAN", "CollapseChain", "CollapseStudy"]

GAUSSIAN = "gaussian1d"
IMAGE_POLICIES = ("replace", "accumulate")


class CollapseChain(NamedTuple):
    """One cell of the study.

    Args:
        policy: What later generations are trained on.
        seed: Of the chain.
        place: Its folder.
    """

    policy: Policy
    seed: int
    place: Path


class CollapseStudy:
    """Runs chains of generations under several policies and writes tables, figures, an animation and the answer.

    Args:
        model: ``gaussian1d``, or the name of one of ``models``.
        scale: ``name``, ``about`` (a sentence for the report), ``gaussian`` (arguments of
            :class:`~lightning_gvae.studies.collapse.gaussian.GaussianSettings`), ``images`` (of
            :class:`~lightning_gvae.studies.collapse.chain.ChainSettings`, without the steps) and ``steps`` (optimiser
            steps of a fit, by model).
        models: Image models by name, each a class or a partial of one: ``(image_shape, seed) -> model``.
        data: Labelled images; needed by image models.
        policy: Names of policies; None is all five in one dimension, replace and accumulate for images.
        fresh: Share of new real data of the policy ``fresh``, or several shares.
        seeds: Seeds of the chains; one dimension takes the first.
        warm_start: Whether an image model starts from the weights of the one before it.
        sampling_bias: Factor on the latents' noise of image models.
        classification: Whether classifiers are trained on real and tested on generated images and the reverse, for
            every generation; also of chains that are finished.
        name: Name of the study.

    Raises:
        ConfigError: The model or a policy is unknown, there is no seed, or a setting is out of range.
    """

    def __init__(
        self,
        model: str,
        scale: Mapping[str, Any],
        models: Mapping[str, Factory],
        data: LoadableData | None = None,
        policy: str | Sequence[str] | None = None,
        fresh: float | Sequence[float] | None = 0.1,
        seeds: Sequence[int] = (0, 1, 2),
        warm_start: bool = False,
        sampling_bias: float = 1.0,
        classification: bool = False,
        name: str = "collapse",
    ) -> None:
        if model not in (GAUSSIAN, *models):
            raise ConfigError(f"`model` must be one of {', '.join((GAUSSIAN, *models))}, got {model!r}.")
        if not seeds or len(set(seeds)) != len(seeds):
            raise ConfigError(f"`seeds` must be at least one, all different, got {list(seeds)}.")
        names = policy if policy is not None else POLICIES if model == GAUSSIAN else IMAGE_POLICIES
        self.policies = policies_of(names, fresh)
        self.model, self.models, self.data, self.name = model, dict(models), data, name
        self.classification = classification
        self.seeds, self.scale_name, self.about = list(seeds), str(scale["name"]), str(scale["about"])
        if model == GAUSSIAN:
            self.gaussian = GaussianSettings(**scale["gaussian"])
            return
        if data is None:
            raise ConfigError(f"`data` must be labelled images for model={model}; choose study/data=mnist.")
        if model not in scale["steps"]:
            raise ConfigError(
                f"`scale.steps` must say how long {model} is trained, it knows {', '.join(scale['steps'])}."
            )
        self.settings = ChainSettings(
            **scale["images"], steps=scale["steps"][model], warm_start=warm_start, sampling_bias=sampling_bias
        )

    def chains(self, folder: Path) -> list[CollapseChain]:
        """All chains of an image model, seed by seed; other settings make other folders."""
        return self._chains(folder, _described(self.models[self.model]))

    def _chains(self, folder: Path, described: str) -> list[CollapseChain]:
        assert self.data is not None  # or there are no image models
        spec = self.data.spec
        facts = json.dumps([described, spec.name, *spec.image_shape, asdict(self.settings)])
        digest = text_hash(facts, 4)
        return [
            CollapseChain(policy, seed, folder / "cells" / f"{self.model}-{policy.label}-seed{seed}-{digest}")
            for seed in self.seeds
            for policy in self.policies
        ]

    def run(self, folder: Path, workers: int = 1, executor: Executor | None = None) -> Path:
        """Compute what is missing and write ``report.html``, ``results.csv``, ``tables.md`` and figures to ``folder``.

        A generation of an image model is kept as soon as it is finished; the same command goes on after a stop.

        Returns:
            Path of the report.

        Raises:
            ConfigError: ``workers`` is below 1, or a setting does not fit the data.
            CellError: A chain failed; the others are finished first.
        """
        executor = executor or ProcessExecutor(workers)
        folder = Path(folder)
        if self.model == GAUSSIAN:
            return run_gaussian(folder, self.policies, self.gaussian, self.seeds[0], self.scale_name)
        assert self.data is not None
        chains = self.chains(folder)
        # Folders of chains whose models were given in Python bear the other name of a partial.
        former = _described(self.models[self.model]).replace("_DeferredTarget(", "functools.partial(", 1)
        for chain, before in zip(chains, self._chains(folder, former), strict=True):
            if before.place.is_dir() and not chain.place.exists():
                before.place.rename(chain.place)
        rows = self._compute(chains, self.data, folder / "cache", executor)
        shown = {chain.policy.label: chain.place for chain in chains if chain.seed == self.seeds[0]}
        made = [facts for chain in chains for facts in generation_circumstances(chain.place)]
        return self.report(rows, folder, shown, made)

    def report(
        self,
        rows: Sequence[Mapping[str, Any]],
        folder: Path,
        shown: Mapping[str, Path] | None = None,
        made: Sequence[Mapping[str, Any]] = (),
    ) -> Path:
        """Write tables, figures and report of finished chains.

        Args:
            rows: Metrics of every generation.
            folder: Where to.
            shown: Policies by label, each with the folder of the chain whose samples are shown; None shows none.
            made: Circumstances of every generation.

        In one dimension nothing is stored: the chains are drawn again, and are the same ones.
        """
        if self.model == GAUSSIAN:
            return run_gaussian(folder, self.policies, self.gaussian, self.seeds[0], self.scale_name)
        assert self.data is not None
        spec = self.data.spec
        facts = {
            "scale": self.about,
            "data": spec.name,
            "policies": [policy.label for policy in self.policies],
            "seeds": self.seeds,
            **asdict(self.settings),
        }
        title = f"Model collapse: {self.model} on {spec.name} ({self.scale_name} scale)"
        policies = [policy.label for policy in self.policies]
        rows = [{"data": spec.name, **row} for row in rows]
        report = write_collapse_report(rows, policies, shown or {}, folder, title, facts)
        scale = {"name": self.scale_name, "about": self.about}
        write_provenance(folder, f"collapse of {self.model}", scale, self.seeds, made, rows)
        return report

    def _compute(
        self, chains: Sequence[CollapseChain], data: LoadableData, cache: Path, executor: Executor
    ) -> list[dict[str, Any]]:
        work = partial(
            _run, self.model, self.models[self.model], data, self.settings, cache, classification=self.classification
        )
        generations = self.settings.generations
        found: dict[CollapseChain, list[dict[str, Any]]] = {}
        failures: list[str] = []
        bar = tqdm(
            total=len(chains) * generations,
            desc="study",
            unit="generation",
            mininterval=0 if sys.stderr.isatty() else 10,
        )
        with bar:
            # In this very process the work itself says when a generation is done.
            here = isinstance(executor, ProcessExecutor) and 1 in (executor.workers, len(chains))
            if here:
                executor, work = ProcessExecutor(), partial(work, tick=bar.update)
            for outcome in executor.run(work, chains):
                chain = chains[outcome.number]
                if not here:
                    bar.update(generations)
                if outcome.problem:
                    failures.append(f"{chain.place.name}: {outcome.problem}")
                else:
                    found[chain] = outcome.value
        if failures:
            raise CellError(f"{len(failures)} of {len(chains)} chains failed; the first: {failures[0]}")
        return [row for chain in chains for row in found[chain]]


def _run(
    model: str,
    factory: Factory,
    data: LoadableData,
    settings: ChainSettings,
    cache: Path,
    chain: CollapseChain,
    tick: Callable[[], object] = lambda: None,
    classification: bool = False,
) -> list[dict[str, Any]]:
    """The metrics of a chain."""
    chain.place.mkdir(parents=True, exist_ok=True)
    about = {"model": model, "policy": chain.policy.label, "seed": chain.seed, **asdict(settings)}
    write_json(chain.place / "settings.json", about | {"made_by": _described(factory)}, indent=1)
    rows = run_chain(chain.place, model, factory, data, chain.policy, chain.seed, settings, cache, tick)
    if classification:
        classifiers = CrossClassifiers(data, settings.drawn, settings.score_images)
        scores = classifiers.of_chain(chain.place, settings.generations)
        rows = [row | more for row, more in zip(rows, scores, strict=True)]
    return rows


def _described(factory: Factory) -> str:
    """Description of what makes the models, as text that is the same in every process.

    Raises:
        ConfigError: It is a function without a name of its own, so that a stopped study would not be found again.
    """
    text = repr(factory)
    if " at 0x" in text:
        raise ConfigError(f"`models` must be classes, or functools.partial of classes with plain settings, got {text}.")
    return text.replace("functools.partial(", "_DeferredTarget(", 1)  # what Hydra, which built it, called it
