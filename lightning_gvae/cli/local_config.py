"""``allow_targets`` of the local configuration, which the user of a machine keeps in ``conf/local/default.yaml``."""

from importlib import resources
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lightning_gvae.errors import ConfigError
from lightning_gvae.loading.allow_list import EXTENSION, SETTING, allow, checked_prefixes

__all__ = ["allow_from_local_config"]


def allow_from_local_config(cfg: DictConfig) -> None:
    """Let this process and those that it starts allow what ``allow_targets`` in the local configuration lists.

    Args:
        cfg: Composed by Hydra, with its section ``hydra``.

    Raises:
        ConfigError: Something else than the local configuration sets ``allow_targets``, or an entry is no name of a
            package.
    """
    path = _local_config(cfg)
    content = None if path is None else OmegaConf.load(path)
    given = content.get(SETTING) if isinstance(content, DictConfig) else None
    listed = [given] if isinstance(given, str) else list(given or [])
    composed = cfg.get(SETTING)
    if composed is not None and ([composed] if isinstance(composed, str) else list(composed)) != listed:
        raise ConfigError(
            f"`{SETTING}` is taken from {path or 'conf/local/default.yaml'} alone, so that no other file and no "
            f"pasted command can allow anything; something else sets it to {composed}. Put it there, or set "
            f"{EXTENSION} in the environment."
        )
    if listed:
        allow(checked_prefixes(listed, f"`{SETTING}` in {path}"))


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
