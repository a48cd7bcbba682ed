"""``study.py`` and ``gvae-study``: a protocol over many runs that ends in tables, figures and an answer."""

import inspect
from pathlib import Path

import hydra
from omegaconf import DictConfig

from lightning_gvae.cli.build import build, rename_roots, warn_without_effect
from lightning_gvae.cli.entry import CONF, run_entry
from lightning_gvae.cli.restore import restore_run
from lightning_gvae.errors import ConfigError

__all__ = ["main", "study"]


def study(cfg: DictConfig) -> Path:
    """Run what a study still lacks and write its report.

    Args:
        cfg: The composed ``study`` configuration.

    Returns:
        Path of the report.

    Raises:
        GvaeError: A setting is not as it should be, or a run failed.
    """
    from lightning_gvae.runtime import keep_freed_memory

    rename_roots(cfg)
    if cfg.keep_freed_memory:
        keep_freed_memory()
    warn_without_effect(cfg)
    protocol, executor, options = build(cfg.study), build(cfg.executor), {}
    takes = inspect.signature(protocol.run).parameters
    if "executor" in takes:
        options["executor"] = executor
    elif not str(cfg.executor._target_).endswith(".ProcessExecutor"):
        raise ConfigError(f"study={cfg.study.get('name')} is done by one process; leave `executor` out.")
    if cfg.get("ckpt_path") is not None:
        if "model" not in takes:
            raise ConfigError(f"study={cfg.study.get('name')} trains its own models; leave `ckpt_path` out.")
        from lightning_gvae.interfaces import LoadableData, require

        _, data, model = restore_run(cfg)
        who = f"study={cfg.study.get('name')}"
        datamodule = require(data, LoadableData, who, "Give a checkpoint with data of this package or like them")
        datamodule.prepare_data()
        datamodule.setup()
        options |= {"model": model, "datamodule": datamodule}
    report: Path = protocol.run(Path(cfg.paths.output_dir), cfg.workers, **options)
    print(f"\nreport: {report}")
    return report


@hydra.main(version_base="1.3", config_path=CONF, config_name="study")
def _composed(cfg: DictConfig) -> None:
    study(cfg)


def main() -> None:
    """Entry point of ``study.py`` and ``gvae-study``."""
    run_entry(_composed)
