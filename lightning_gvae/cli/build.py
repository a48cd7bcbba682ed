"""Objects from configurations: a class named by ``_target_``, called with the settings beside it."""

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict

from lightning_gvae.errors import ConfigError, GvaeError
from lightning_gvae.loading.targets import check_targets
from lightning_gvae.renames import RENAMED, ROOT, renamed_keys, renamed_settings

if TYPE_CHECKING:  # it imports torch, for which a mistake in the configuration need not wait
    from lightning_gvae.interfaces import DescribedData, Model

__all__ = ["build", "build_all", "build_data", "build_data_and_model", "plain", "rename_roots", "warn_without_effect"]


def build(node: Any, **kwargs: Any) -> Any:
    """Instantiate a node; what its constructor has to say about the user's values is passed on as it is.

    Raises:
        ConfigError: The node names no class, lacks a value, names a class that may not be named, or the class refuses
            its settings.
    """
    for name in sorted(OmegaConf.missing_keys(node)) if OmegaConf.is_dict(node) else ():  # full names
        raise ConfigError(f"`{name}` must be given, on the command line as {name}=...")
    if not OmegaConf.is_dict(node) or "_target_" not in node:
        raise ConfigError(
            f"a setting that names a class by `_target_`, with its arguments, is needed; got {node!r:.100}."
        )
    # Resolved before it is checked: an interpolation may lead to a target anywhere in the configuration.
    node = renamed_settings(OmegaConf.to_container(node, resolve=True))
    check_targets(node)
    try:
        # Plain lists and dicts, so that checkpoints hold nothing but plain containers.
        return instantiate(node, _convert_="all", **kwargs)
    except HydraException as error:
        cause = error.__cause__
        if isinstance(cause, GvaeError):
            raise cause from None
        if cause is not None:  # whatever it is: with HYDRA_FULL_ERROR=1 its traceback is shown
            said = f"{type(cause).__name__}: {cause}" if str(cause) else type(cause).__name__
            said = str(cause) if isinstance(cause, ValueError | TypeError) and str(cause) else said
            raise ConfigError(f"{node.get('_target_')} refuses its settings: {said}") from cause
        raise


def build_all(nodes: Any) -> list[Any]:
    """Instantiate every entry of a group; entries set to null are left out."""
    if nodes is not None and not OmegaConf.is_dict(nodes):
        raise ConfigError(f"a group of settings by name is needed, got {nodes!r:.100}.")
    return [build(node) for node in (nodes or {}).values() if node is not None]


def build_data(node: Any) -> "DescribedData":
    """Data module of a configuration; one that is not of this package, or a data set, is adapted.

    Raises:
        ConfigError: The section names something else.
    """
    data = build(node)
    from lightning_gvae.datamodules.own import as_datamodule

    datamodule: DescribedData = as_datamodule(data)
    return datamodule


def build_data_and_model(
    cfg: DictConfig, checkpoint: Mapping[str, Any] | None = None, *, goes_on: bool = False
) -> "tuple[DescribedData, Model]":
    """Data module and model of a configuration; the model takes the shape of the data's images.

    Args:
        cfg: Configuration with the sections ``data`` and ``model``; ``model.image_shape`` is filled in where it is
            null.
        checkpoint: Content of a checkpoint whose data settings, such as a vocabulary, the data module takes over.
        goes_on: Whether the run of that checkpoint is gone on with: then data and model are those of ``cfg``, and only
            the parts are cut as they were.

    Raises:
        ConfigError: A section names something else than a data module or a model, or their image shapes differ.
    """
    from lightning_gvae.interfaces import Model, RestorableData, ResumableData, offers, require

    datamodule = build_data(cfg.data)
    if not OmegaConf.is_dict(cfg.model):
        raise ConfigError(f"`model` must name a class by `_target_`, with its arguments; got {cfg.model!r:.100}.")
    if checkpoint is not None and goes_on and offers(datamodule, ResumableData):
        datamodule.resume_from(checkpoint)
    if checkpoint is not None and not goes_on and offers(datamodule, RestorableData):
        datamodule.restore(checkpoint)  # sentences are read with the words that the model knows
    with open_dict(cfg):
        if cfg.model.get("image_shape") is None:
            cfg.model.image_shape = list(datamodule.spec.image_shape)
    model = require(build(cfg.model), Model, "`model`", "Name a model of this package or like them")
    if tuple(model.image_shape) != tuple(datamodule.spec.image_shape):
        raise ConfigError(
            f"`model.image_shape` is {tuple(model.image_shape)}, but the data set {datamodule.spec.name} has images of "
            f"shape {tuple(datamodule.spec.image_shape)}; leave model.image_shape out to take the data's."
        )
    return datamodule, model


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
