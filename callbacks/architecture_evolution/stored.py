"""Settings that the results of candidates depend on, as journals and caches of results hold them."""

import json
import uuid
from pathlib import Path, PurePath
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_info

from lightning_gvae.callbacks.architecture_evolution.data import data_settings
from lightning_gvae.callbacks.architecture_evolution.plan import SearchPlan
from lightning_gvae.callbacks.architecture_evolution.settings import CandidateTrainingSettings
from lightning_gvae.callbacks.architecture_evolution.training import CandidateData
from lightning_gvae.evolution.architecture.result_cache import ResultCache
from lightning_gvae.interfaces import GenomeModel
from lightning_gvae.io.fingerprint import Unidentifiable, fingerprint

__all__ = ["result_cache", "search_settings"]

# Of the settings of a search those that the result of one candidate depends on.
SHARED = ("epochs", "patience", "batch_size", "threads", "score_split", "seed", "model", "data", "feature_space")


def search_settings(
    plan: SearchPlan,
    training: CandidateTrainingSettings,
    trainer: L.Trainer,
    module: GenomeModel,
    data: CandidateData,
    measured: dict[str, Any],
) -> dict[str, Any]:
    """Settings that the results of a search depend on, as plain containers; not its length, nor who trains.

    The names are those of the first journals, so that these can be gone on with.

    Args:
        plan: Of the search.
        training: Of its candidates.
        trainer: Of the run.
        module: Model whose genome is searched for.
        data: Data of the candidates.
        measured: What the numbers of the candidates depend on besides.
    """
    model = {name: value for name, value in module.hparams.items() if name not in ("genome", "seed")}
    names = ("epochs", "patience", "batch_size", "threads", "score_split")
    settings = {
        **plan.settings(),
        **{name: getattr(training, name) for name in names},
        "model": {"class": type(module).__name__, **model},
        "data": data_settings(trainer, data),
        **measured,
    }
    found: dict[str, Any] = json.loads(json.dumps(settings, default=_plain))
    return found


def result_cache(folder: Path, plan: SearchPlan, settings: dict[str, Any], device: torch.device) -> ResultCache:
    """Cache of results, shared by all searches whose candidates are trained alike, whatever they propose.

    Args:
        folder: Where all shared results are kept.
        plan: Of the search.
        settings: As :func:`search_settings` gives them.
        device: Where candidates are trained.
    """
    shared = {name: settings[name] for name in SHARED if name in settings}
    shared |= {"measured": sorted(plan.measured - {"loss"}), "device": device.type}
    cache = ResultCache(folder, shared)
    data = {name: value for name, value in shared["data"].items() if name not in ("content", "split_seed")}
    earlier = ResultCache(folder, shared | {"data": data})
    if earlier.folder.is_dir() and not cache.folder.is_dir():
        rank_zero_info(
            f"{earlier.folder} was written by an earlier version, which did not record which images its candidates "
            "were trained on; they are trained anew."
        )
    return cache


def _plain(value: Any) -> str:
    """A setting that JSON cannot express, as text: its own where that says all, else a fingerprint."""
    if isinstance(value, PurePath | torch.dtype | torch.device):
        return str(value)
    try:
        return f"{type(value).__qualname__} {fingerprint(value, 'model')}"
    except Unidentifiable as reason:
        rank_zero_info(f"The architecture search cannot be gone on with after a stop: {reason}.")
        return f"unidentifiable:{uuid.uuid4().hex}"
