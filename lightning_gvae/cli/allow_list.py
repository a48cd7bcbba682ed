"""Packages of the user's own, whose classes a configuration may name besides those of this one.

Who may extend the list is the person at the keyboard: by the environment, or by the file ``local/default.yaml`` of one
of the configuration folders that the command reads. A checkpoint, an experiment or the command line cannot.
"""

import os
import sys
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lightning_gvae.errors import ConfigError

__all__ = ["EXTENSION", "HOW_TO_ALLOW", "allow_from_local_config", "allowed_prefixes", "is_allowed"]

EXTENSION = "GVAE_ALLOW_TARGETS"  # prefixes, separated by commas
SETTING = "allow_targets"
LOCAL = "default"  # the file that all commands read if there is one
HOW_TO_ALLOW = (
    f"Allow your own classes with {EXTENSION}=my_package in the environment, or with {SETTING}: [my_package] in "
    f"conf/local/{LOCAL}.yaml"
)


def allowed_prefixes() -> tuple[str, ...]:
    """Names of packages, modules or classes that the environment allows, without a point at the end.

    Raises:
        ConfigError: One is no name, or is of Python's own library.
    """
    return _checked(os.environ.get(EXTENSION, "").split(","), f"the environment variable {EXTENSION}")


def is_allowed(target: str, prefixes: Sequence[str]) -> bool:
    """Whether a full name is one of the prefixes or lies below one; names are compared part by part.

    >>> is_allowed("my_package.nets.Encoder", ["my_package"]), is_allowed("my_package_2.nets.Encoder", ["my_package"])
    (True, False)
    """
    return any(target == prefix or target.startswith(f"{prefix}.") for prefix in prefixes)


def allow_from_local_config(cfg: DictConfig) -> None:
    """Let this process and those that it starts allow what ``allow_targets`` in the local configuration lists.

    Args:
        cfg: Composed by Hydra, with its section ``hydra``.

    Raises:
        ConfigError: Something else than the local configuration sets ``allow_targets``, or an entry is no name of a
            package.
    """
    path = _local_config(cfg)
    given = None if path is None else OmegaConf.load(path).get(SETTING)
    listed = [given] if isinstance(given, str) else list(given or [])
    composed = cfg.get(SETTING)
    if composed is not None and ([composed] if isinstance(composed, str) else list(composed)) != listed:
        raise ConfigError(
            f"`{SETTING}` is taken from {path or f'conf/local/{LOCAL}.yaml'} alone, so that no other file and no "
            f"pasted command can allow anything; something else sets it to {composed}. Put it there, or set "
            f"{EXTENSION} in the environment."
        )
    if listed:
        own = _checked(listed, f"`{SETTING}` in {path}")
        # By way of the environment: jobs and ranks in other processes inherit it.
        os.environ[EXTENSION] = ",".join(dict.fromkeys([*allowed_prefixes(), *own]))


def _local_config(cfg: DictConfig) -> Path | None:
    """The local configuration that Hydra has composed from, if there is one."""
    runtime: Any = cfg.hydra.runtime
    choice = runtime.choices.get("local")
    if choice is None:
        return None
    for source in runtime.config_sources:
        if source.schema == "file":
            folder = Path(source.path)
        elif source.schema == "pkg" and source.path:
            folder = Path(str(resources.files(source.path)))
        else:
            continue
        path = folder / "local" / f"{choice}.yaml"
        if path.is_file():
            return path
    return None


def _checked(entries: Iterable[Any], where: str) -> tuple[str, ...]:
    prefixes = [str(entry).strip().removesuffix(".") for entry in entries if entry is None or str(entry).strip()]
    for prefix in prefixes:
        parts = prefix.split(".")
        if not all(part.isidentifier() for part in parts):
            raise ConfigError(f"{where} must list names such as my_package or my_package.nets, got {prefix!r:.100}.")
        if parts[0] in sys.stdlib_module_names:
            raise ConfigError(
                f"{where} lists {prefix!r:.100}, which is of Python's own library: with it a configuration could do "
                "anything. List packages of your own."
            )
    return tuple(prefixes)
