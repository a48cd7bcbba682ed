"""Models from checkpoints: which file is meant, and the model and data that it was made of."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lightning_gvae.cli.build import build_data_and_model, plain
from lightning_gvae.cli.latest import latest_checkpoint
from lightning_gvae.errors import CheckpointError, GvaeError
from lightning_gvae.loading.targets import named_targets
from lightning_gvae.renames import renamed_settings

if TYPE_CHECKING:  # they import torch, for which a mistake in the configuration need not wait
    from lightning_gvae.app.service.library import Restored
    from lightning_gvae.interfaces import CheckpointedModel, DescribedData

__all__ = ["resolve_checkpoint", "restore", "restore_run"]

# What a checkpoint that a visitor of the web lab names may be made of.
STORED_TARGETS = ("lightning_gvae.models.", "lightning_gvae.datamodules.", "lightning_gvae.schedules.")
MISFITS = (RuntimeError, LookupError, AttributeError, TypeError, ValueError)


def resolve_checkpoint(cfg: DictConfig) -> str | None:
    """Path to resume from.

    ``last`` is the newest ``last.ckpt`` among the task's earlier runs of the same model and data; ``auto`` is the one
    in the run's own folder, if an interrupted run has left one there: the same command starts and goes on.

    Raises:
        CheckpointError: There is no such run.
    """
    if cfg.ckpt_path is None:
        return None
    path = Path(cfg.ckpt_path)
    if cfg.ckpt_path == "auto":
        path = Path(cfg.paths.output_dir) / "checkpoints" / "last.ckpt"
        if not path.is_file():
            return None
    return str(latest_checkpoint(cfg) if cfg.ckpt_path == "last" else path)


def restore(path: Path, data_roots: Sequence[str | Path] | None = None) -> "Restored":
    """Content of a checkpoint of train.py: configuration, trained model, and data module, not loaded.

    Unlike :func:`restore_run` it takes the word of the file for nothing but models and data of this package, downloads
    nothing and leaves all random generators as they are.

    Args:
        path: The file.
        data_roots: Folders below which data may lie that the checkpoint names; None for any, by the caller's word.

    Raises:
        CheckpointError: The file cannot be opened, or is not of a model that this package knows.
    """
    import torch

    from lightning_gvae.app.service.library import Restored
    from lightning_gvae.interfaces import LoadableData, require
    from lightning_gvae.report.run_record import read_checkpoint

    checkpoint = read_checkpoint(path)
    stored = _stored_config(checkpoint, path.name, {"model", "data"})
    try:
        run_cfg = OmegaConf.create({"model": stored["model"], "data": stored["data"]})
        run_cfg.model.update({name: None for name in ("optimizer", "lr_scheduler") if name in run_cfg.model})
        run_cfg.data.update({name: False for name in ("download",) if name in run_cfg.data})
        _without_cache(run_cfg, None)
        if unknown := [name for name in named_targets(plain(run_cfg)) if not str(name).startswith(STORED_TARGETS)]:
            raise CheckpointError(f"{path.name} names {unknown[0]}, which is no model and no data of this package.")
        with torch.random.fork_rng(devices=[]):
            data, model = _rebuilt(run_cfg, checkpoint)
        datamodule = require(data, LoadableData, "the lab", "Name another checkpoint")
    except CheckpointError:
        raise
    except (HydraException, OmegaConfBaseException, *MISFITS) as error:
        raise _not_known(path.name, error) from error
    return Restored(stored, model, datamodule, _withheld(stored["data"], path.name, data_roots))


def restore_run(cfg: DictConfig) -> "tuple[DictConfig, DescribedData, CheckpointedModel]":
    """The configuration that the checkpoint ``cfg.ckpt_path`` carries, and its data module and trained model.

    Args:
        cfg: Configuration of ``eval`` or ``study``; what its sections ``data`` and ``model`` set replaces the
            checkpoint's.

    Raises:
        CheckpointError: The file cannot be opened, carries no configuration, or is not of a model of this version.
        GvaeError: A changed setting is not as it should be.
    """
    import lightning as L

    from lightning_gvae.interfaces import ComparableData, offers
    from lightning_gvae.report.run_record import read_checkpoint

    checkpoint = read_checkpoint(cfg.ckpt_path)
    stored = _stored_config(checkpoint, cfg.ckpt_path, {"data", "model", "seed"})
    try:
        run_cfg = OmegaConf.create(dict(stored))
        _without_cache(run_cfg, cfg.paths.get("cache_dir"))
        for name in ("data", "model"):
            if given := {key: value for key, value in (cfg.get(name) or {}).items() if value is not None}:
                run_cfg[name] = OmegaConf.merge(run_cfg[name], given)
        if (cfg.get("data") or {}).get("if_changed") is None and "if_changed" in run_cfg.data:
            run_cfg.data.if_changed = "refuse"  # what the training accepted need not be accepted here
        L.seed_everything(int(run_cfg.seed), workers=True, verbose=False)
        datamodule, model = _rebuilt(run_cfg, checkpoint)
        if offers(datamodule, ComparableData):
            datamodule.compare_with(checkpoint)
    except MISFITS as error:
        if isinstance(error, GvaeError):
            raise
        raise _not_known(cfg.ckpt_path, error) from error
    return run_cfg, datamodule, model


def _stored_config(checkpoint: Mapping[str, Any], name: str, needed: set[str]) -> dict[str, Any]:
    stored = checkpoint.get("gvae_config")
    if stored is None:
        raise CheckpointError(f"{name} does not carry a configuration; only checkpoints of train.py can be opened.")
    if not isinstance(stored, dict) or not needed <= stored.keys():
        raise CheckpointError(f"{name} carries a configuration without {', '.join(sorted(needed))}; it is damaged.")
    _refuse_interpolations(stored, name)
    present: dict[str, Any] = renamed_settings(stored, quiet=True)
    return present


def _refuse_interpolations(node: Any, name: str, where: str = "") -> None:
    """Refuse what would be resolved on this machine, such as ``${oc.env:...}``: runs store resolved configurations."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            _refuse_interpolations(key, name, where)
            _refuse_interpolations(value, name, f"{where}.{key}".lstrip("."))
    elif isinstance(node, list | tuple):
        for value in node:
            _refuse_interpolations(value, name, where)
    elif isinstance(node, str) and "${" in node:
        raise CheckpointError(
            f"{name} carries the setting {where} = {node!r:.100}, an interpolation; runs store plain values, so it was "
            "changed by somebody. Nothing was resolved."
        )


def _without_cache(run_cfg: DictConfig, cache_dir: Any) -> None:
    """Let data be cached where this machine's user wants it, never where a checkpoint says."""
    for section in ("data", "evaluation"):
        if OmegaConf.is_dict(run_cfg.get(section)) and "cache_dir" in run_cfg[section]:
            run_cfg[section].cache_dir = cache_dir


def _withheld(data: Mapping[str, Any], name: str, roots: Sequence[str | Path] | None) -> str | None:
    """Why the data that a checkpoint names may not be read; None if they may."""
    if roots is None:
        return None
    allowed = [Path(root).expanduser().resolve() for root in roots]
    for key, value in data.items():
        if not isinstance(value, str) or key == "_target_" or not (os.sep in value or Path(value).exists()):
            continue
        place = Path(value).expanduser().resolve()
        if not any(place.is_relative_to(root) for root in allowed):
            return (
                f"{name} names data at {place}, outside the folders that this lab reads; whoever runs it can "
                "allow them "
                f"with app.data_roots=[{place}]"
            )
    return None


def _rebuilt(run_cfg: DictConfig, checkpoint: Mapping[str, Any]) -> "tuple[DescribedData, CheckpointedModel]":
    from lightning_gvae.interfaces import CheckpointedModel, require

    datamodule, built = build_data_and_model(run_cfg, checkpoint)
    model = require(built, CheckpointedModel, "`model` of a checkpoint", "Name a model of this package or like them")
    model.on_load_checkpoint(checkpoint)
    model.load_state_dict(checkpoint["state_dict"])
    return datamodule, model


def _not_known(name: str, error: Exception) -> CheckpointError:
    said = " ".join(str(error).split())[:300]
    return CheckpointError(
        f"{name} is not of a model that this version knows, or damaged ({type(error).__name__}: {said})."
    )
