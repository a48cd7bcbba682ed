"""Checkpoints that a configuration names: which file is meant, and the model and data that it was made of."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from lightning_gvae.cli.build import build_data_and_model
from lightning_gvae.cli.latest import latest_checkpoint
from lightning_gvae.errors import CheckpointError, GvaeError
from lightning_gvae.loading.folder import MISSING, is_export, read_saved
from lightning_gvae.loading.restore import MISFITS, not_known, restore, stored_config, with_weights
from lightning_gvae.loading.sources import ARTIFACT, local_path

if TYPE_CHECKING:  # they import torch, for which a mistake in the configuration need not wait
    from lightning_gvae.interfaces import CheckpointedModel, DescribedData

__all__ = ["resolve_checkpoint", "restore", "restore_run"]


def resolve_checkpoint(cfg: DictConfig) -> str | None:
    """Path to resume from.

    ``last`` is the newest ``last.ckpt`` among the task's earlier runs of the same model and data; ``auto`` is the one
    in the run's own folder, if an interrupted run has left one there: the same command starts and goes on.

    Raises:
        CheckpointError: There is no such run, or an exported model is named, which has no state of a training.
    """
    if cfg.ckpt_path is None:
        return None
    if cfg.ckpt_path == "auto":
        path = Path(cfg.paths.output_dir) / "checkpoints" / "last.ckpt"
        return str(path) if path.is_file() else None
    if cfg.ckpt_path == "last":
        return str(latest_checkpoint(cfg))
    path = local_path(cfg.ckpt_path) if cfg.ckpt_path.startswith(ARTIFACT) else Path(cfg.ckpt_path)
    if is_export(path):
        raise CheckpointError(
            f"`ckpt_path` {cfg.ckpt_path} is an exported model, which has weights and no state of a training; go on "
            "from a checkpoint (.ckpt), or train it further in Python: lightning_gvae.load(...) and Trainer.fit."
        )
    return str(path)


def restore_run(cfg: DictConfig) -> "tuple[DictConfig, DescribedData, CheckpointedModel]":
    """The configuration that the checkpoint ``cfg.ckpt_path`` carries, and its data module and trained model.

    Args:
        cfg: Configuration of ``eval`` or ``study``; what its sections ``data`` and ``model`` set replaces the
            checkpoint's. ``ckpt_path`` is anything that :func:`lightning_gvae.load` takes.

    Raises:
        CheckpointError: The file cannot be opened, carries no configuration, or is not of a model of this version.
        GvaeError: A changed setting is not as it should be.
    """
    import lightning as L

    from lightning_gvae.interfaces import ComparableData, offers

    name = str(cfg.ckpt_path)
    checkpoint = read_saved(local_path(name))
    stored = stored_config(checkpoint, name, {"data", "model", "seed"})
    try:
        run_cfg = OmegaConf.create(dict(stored))
        _without_cache(run_cfg, cfg.paths.get("cache_dir"))
        for section in ("data", "model"):
            if given := {key: value for key, value in (cfg.get(section) or {}).items() if value is not None}:
                run_cfg[section] = OmegaConf.merge(run_cfg[section] or {}, given)
        _refuse_unnamed_data(run_cfg, name)
        if (cfg.get("data") or {}).get("if_changed") is None and "if_changed" in run_cfg.data:
            run_cfg.data.if_changed = "refuse"  # what the training accepted need not be accepted here
        L.seed_everything(int(run_cfg.seed), workers=True, verbose=False)
        datamodule, built = build_data_and_model(run_cfg, checkpoint)
        model = with_weights(built, checkpoint)
        if offers(datamodule, ComparableData):
            datamodule.compare_with(checkpoint)
    except MISFITS as error:
        if isinstance(error, GvaeError):
            raise
        raise not_known(name, error) from error
    return run_cfg, datamodule, model


def _refuse_unnamed_data(run_cfg: DictConfig, name: str) -> None:
    """Ask for what an exported model does not say of its data: paths belong to the machine that it was trained on."""
    if run_cfg.get("data") is None:
        raise CheckpointError(
            f"{name} does not name the class of its data; evaluate the checkpoint of its run, or give "
            "+data._target_=... with its settings."
        )
    if missing := sorted(OmegaConf.missing_keys(run_cfg.data)):
        raise CheckpointError(
            f"{name} was exported without the place of its data (its setting is {MISSING}); give data.{missing[0]}=..."
        )


def _without_cache(run_cfg: DictConfig, cache_dir: Any) -> None:
    """Let data be cached where this machine's user wants it, never where a checkpoint says."""
    for section in ("data", "evaluation"):
        if OmegaConf.is_dict(run_cfg.get(section)) and "cache_dir" in run_cfg[section]:
            run_cfg[section].cache_dir = cache_dir
