"""``study.py`` and ``gvae-study``: a protocol over many runs that ends in tables, figures and an answer."""

import inspect
import sys
from collections.abc import Sequence
from importlib import resources
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


def list_studies() -> str:
    """A paragraph for each study: its name, what it asks and a command, from the first lines of its configuration."""
    paragraphs = []
    for path in sorted(resources.files("lightning_gvae.conf").joinpath("study").iterdir(), key=lambda path: path.name):
        if path.name.endswith(".yaml"):
            lines = path.read_text(encoding="utf-8").splitlines()
            comments = [line.removeprefix("# ") for line in lines if line.startswith("# ")]
            name = path.name.removesuffix(".yaml")
            paragraphs.append("\n".join(f"{text:18}{line}" for text, line in zip((name, ""), comments, strict=False)))
    return "\n\n".join(paragraphs)


def _names_none(arguments: Sequence[str]) -> bool:
    """Whether a command line leaves the choice of the study to the default, which would start dozens of runs."""
    asks = any(each.startswith("-") and each not in ("-m", "--multirun") for each in arguments)
    return not asks and not any(each.lstrip("+").startswith("study=") for each in arguments)


def main() -> None:
    """Entry point of ``study.py`` and ``gvae-study``; without the name of a study it lists them."""
    if _names_none(sys.argv[1:]):
        print(f"{list_studies()}\n\nChoose one: study=<name>")
        sys.exit("no study was named, so none was started" if sys.argv[1:] else 0)
    run_entry(_composed)
