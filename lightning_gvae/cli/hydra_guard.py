"""Hydra's private parts: checks of its own section before it acts on it, and jobs of a multirun as runs of their own.

The only module that touches private names of Hydra. Hydra makes its callbacks, launchers and logging itself, before a
package has a say, and has no public way to see the composed configuration first.
"""

import functools
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from lightning_gvae.cli.local_config import allow_from_local_config
from lightning_gvae.cli.logging_check import check_logging
from lightning_gvae.cli.shorthands import named_sections
from lightning_gvae.errors import ConfigError, StoppedError
from lightning_gvae.loading.targets import check_plugins, check_targets
from lightning_gvae.renames import renamed_overrides
from lightning_gvae.stopping import Stop

__all__ = ["as_a_run_of_its_own", "guard_hydra", "last_job_if_stopped"]


def guard_hydra() -> None:
    """Check the section ``hydra`` of every composed configuration, and name settings that do not compose.

    Settings that the command line calls as in the last release get their present names before Hydra sees them.
    """
    load = ConfigLoaderImpl.load_configuration
    if hasattr(load, "__wrapped__"):
        return

    @functools.wraps(load)
    def checked(
        loader: ConfigLoaderImpl, config_name: str | None, overrides: list[str], *args: Any, **kwargs: Any
    ) -> DictConfig:
        try:
            cfg = load(loader, config_name, named_sections(renamed_overrides(overrides)), *args, **kwargs)
        except (ValueError, TypeError, AttributeError, AssertionError, LookupError) as error:
            # Hydra takes for granted that the choices of a group are names, and stumbles over numbers.
            given = " ".join(each for each in overrides if not each.startswith("hydra.mode="))
            reason = f"{error}" or type(error).__name__
            raise ConfigError(
                f"The settings `{given}` do not compose ({reason}); choices such as `model=vae` must be names."
            ) from error
        own: Any = cfg.get("hydra") or {}
        if own:
            allow_from_local_config(cfg)
        if own.get("callbacks"):
            check_targets(OmegaConf.to_container(own["callbacks"], resolve=True))
        for name in ("launcher", "sweeper"):
            if own.get(name):
                check_plugins(OmegaConf.to_container(own[name], resolve=False))
        for name in ("job_logging", "hydra_logging"):
            if own.get(name):
                check_logging(OmegaConf.to_container(own[name], resolve=False))
        return cfg

    ConfigLoaderImpl.load_configuration = checked  # type: ignore[method-assign,assignment]


@contextmanager
def last_job_if_stopped(say: Callable[[int, Path], None]) -> Iterator[None]:
    """Lets no further job of a multirun start after one that was told to stop, where they follow each other here.

    Hydra keeps an error of a job, starts the next one, and reports it as an error of the program in the end.

    Args:
        say: Tells a person that the multirun ends, given the job's number and the multirun's folder.
    """
    try:
        yield
    except StoppedError as error:
        own: Any = HydraConfig.get()
        if not own.launcher._target_.endswith(".BasicLauncher"):  # a process of its own, which nothing follows
            raise
        if own.mode == RunMode.MULTIRUN and os.environ.get("LOCAL_RANK", "0") == "0":
            say(own.job.num, Path(own.sweep.dir).resolve())
        stop = Stop(error.name)
        stop.told = True
        raise stop from error


@contextmanager
def as_a_run_of_its_own() -> Iterator[None]:
    """In a multirun, let the processes that Lightning starts be of the job under way, and write to its folder.

    Lightning starts them with this process's command line, which in a multirun is that of all jobs, and with the folder
    of a single run: each of them would do a multirun of its own. Jobs of other launchers than Hydra's own are processes
    with command lines of their own; there SLURM starts all processes.
    """
    from hydra._internal.utils import get_args_parser

    own: Any = HydraConfig.get()
    if own.mode != RunMode.MULTIRUN or not own.launcher._target_.endswith(".BasicLauncher"):
        yield
        return
    given = get_args_parser().parse_args(sys.argv[1:])
    flags = {"--config-path": given.config_path, "--config-name": given.config_name, "--config-dir": given.config_dir}
    job = [part for flag, value in flags.items() if value is not None for part in (flag, value)]
    of_all = ("hydra.mode=", "hydra.run.", "hydra.sweep", "hydra/sweeper", "hydra.launcher", "hydra/launcher")
    given_here: Any = OmegaConf.to_container(own.overrides, resolve=False)  # as typed, interpolations and all
    job += given_here["task"]
    job += [text for text in given_here["hydra"] if not text.lstrip("+~").startswith(of_all)]
    arguments, run_dir = sys.argv, own.run.dir
    try:
        sys.argv = [arguments[0], *job, "hydra.mode=RUN"]
        with read_write(own), open_dict(own):
            own.run.dir = own.runtime.output_dir
        yield
    finally:
        sys.argv = arguments
        with read_write(own), open_dict(own):
            own.run.dir = run_dir
