"""Objects from Hydra's configurations; what is resolved is built by :mod:`lightning_gvae.loading.build`."""

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf, open_dict

from lightning_gvae.errors import ConfigError
from lightning_gvae.loading import build as loading
from lightning_gvae.renames import RENAMED, ROOT, renamed_keys

if TYPE_CHECKING:  # it imports torch, for which a mistake in the configuration need not wait
    from lightning_gvae.interfaces import DescribedData, Model

__all__ = ["build", "build_all", "build_data", "build_data_and_model", "plain", "rename_roots", "warn_without_effect"]


def build(node: Any, **given: Any) -> Any:
    """Make the object of a node, as :func:`lightning_gvae.loading.build.build` does.

    Raises:
        ConfigError: The node names no class, lacks a value, names a class that may not be named, or the class refuses
            its settings.
    """
    return loading.build(_resolved(node), **given)


def build_all(nodes: Any) -> list[Any]:
    """Make the objects of all entries of a group; entries set to null are left out."""
    if nodes is not None and not OmegaConf.is_dict(nodes):
        raise ConfigError(f"a group of settings by name is needed, got {nodes!r:.100}.")
    return [build(node) for node in (nodes or {}).values() if node is not None]


def build_data(node: Any) -> "DescribedData":
    """Data module of a configuration, as :func:`lightning_gvae.loading.build.build_data` makes it.

    Raises:
        ConfigError: The section names something else.
    """
    return loading.build_data(_resolved(node))


def build_data_and_model(
    cfg: DictConfig, checkpoint: Mapping[str, Any] | None = None, *, goes_on: bool = False
) -> "tuple[DescribedData, Model]":
    """Data module and model of a configuration; the model takes the shape of the data's images.

    Args:
        cfg: Configuration with the sections ``data`` and ``model``; ``model.image_shape`` is filled in where it is
            null.
        checkpoint: As for :func:`lightning_gvae.loading.build.build_data_and_model`.
        goes_on: Likewise.

    Raises:
        ConfigError: A section names something else than a data module or a model, or their image shapes differ.
    """

    def model_of(image_shape: tuple[int, ...]) -> Any:
        # Not resolved before: own networks may be told the shape by ${model.image_shape}.
        if OmegaConf.is_dict(cfg.model) and cfg.model.get("image_shape") is None:
            with open_dict(cfg):
                cfg.model.image_shape = list(image_shape)
        return _resolved(cfg.model)

    return loading.build_data_and_model(_resolved(cfg.data), model_of, checkpoint, goes_on=goes_on)


def _resolved(node: Any) -> Any:
    """A node as plain containers; an interpolation may lead to a target anywhere, so targets are checked afterwards."""
    if not OmegaConf.is_config(node):
        return node
    if OmegaConf.is_dict(node):
        for name in sorted(OmegaConf.missing_keys(node)):  # full names
            raise ConfigError(f"`{name}` must be given, on the command line as {name}=...")
    return OmegaConf.to_container(node, resolve=True)


def plain(cfg: DictConfig) -> dict[str, Any]:
    """A configuration as plain lists and dicts, interpolations resolved."""
    container = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def rename_roots(cfg: DictConfig) -> None:
    """Give settings that stand in no section and have a name of the last release their present names; in place."""
    old = OmegaConf.masked_copy(cfg, [name for name in RENAMED.get(ROOT, {}) if name in cfg])
    with open_dict(cfg):
        for name in old:
            del cfg[name]
        present = renamed_keys(dict(OmegaConf.to_container(old)), ROOT, quiet=False)  # type: ignore[arg-type]
        for name, value in present.items():
            OmegaConf.update(cfg, name, value)


def warn_without_effect(cfg: DictConfig) -> None:
    """Warn about settings of the last release that are still accepted and do nothing any more."""
    if cfg.get("onednn_linear") is not None:
        warnings.warn(
            "`onednn_linear` has no effect: linear layers are torch's own. Leave it out; the next release refuses it.",
            FutureWarning,
            stacklevel=2,
        )
