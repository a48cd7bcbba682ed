"""Objects from plain configurations: a class named by ``_target_``, called with the settings beside it."""

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lightning_gvae.errors import ConfigError, GvaeError
from lightning_gvae.io.network_choice import as_trained
from lightning_gvae.loading.targets import check_targets, located
from lightning_gvae.renames import renamed_settings

if TYPE_CHECKING:  # it imports torch, for which a mistake in the configuration need not wait
    from lightning_gvae.interfaces import DescribedData, Model

__all__ = ["build", "build_data", "build_data_and_model"]

TARGET, PARTIAL, ARGUMENTS, RECURSIVE = "_target_", "_partial_", "_args_", "_recursive_"
RESERVED = (TARGET, PARTIAL, ARGUMENTS, RECURSIVE, "_convert_")  # the last one: containers are plain anyway


class _DeferredTarget(functools.partial[Any]):
    """A class bound to settings. It is called as Hydra calls its own: stored studies are found by how it is written."""


def build(node: Any, **given: Any) -> Any:
    """Make the object that a configuration describes, and those within it first; as Hydra's ``instantiate`` does.

    What a constructor has to say about the user's values is passed on as it is.

    Args:
        node: Plain containers, resolved. ``_target_`` is the full name of a class, the other entries its arguments;
            with ``_partial_: true`` the class is not called, but bound to them. ``_args_`` are arguments without a
            name, and ``_recursive_: false`` leaves what is described within to the class.
        given: Further arguments, which replace those of the configuration.

    Raises:
        ConfigError: The node names no class, one that may not be named, or the class refuses its settings.
    """
    if not isinstance(node, Mapping) or TARGET not in node:
        raise ConfigError(
            f"a setting that names a class by `_target_`, with its arguments, is needed; got {node!r:.100}."
        )
    present = renamed_settings(node)
    check_targets(present)
    return _called(present, given)


def _made(node: Any) -> Any:
    if isinstance(node, list | tuple):
        return [_made(value) for value in node]
    if not isinstance(node, Mapping):
        return node
    return _called(node, {}) if TARGET in node else {key: _made(value) for key, value in node.items()}


def _called(node: Mapping[str, Any], given: Mapping[str, Any]) -> Any:
    make = _made if node.get(RECURSIVE, True) else _as_it_is
    settings = {name: make(value) for name, value in node.items() if name not in RESERVED and name not in given}
    arguments = make(node.get(ARGUMENTS) or [])
    target = located(node[TARGET])
    try:
        if node.get(PARTIAL):
            return _DeferredTarget(target, *arguments, **settings, **given)
        return target(*arguments, **settings, **given)
    except GvaeError:
        raise
    except Exception as error:  # whatever it is: with HYDRA_FULL_ERROR=1 its traceback is shown
        said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        said = str(error) if isinstance(error, ValueError | TypeError) and str(error) else said
        raise ConfigError(f"{node[TARGET]} refuses its settings: {said}") from error


def _as_it_is(value: Any) -> Any:
    return value


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
    data: Any, model: Any, checkpoint: Mapping[str, Any] | None = None, *, goes_on: bool = False
) -> "tuple[DescribedData, Model]":
    """Data module and model of two sections of a configuration; the model takes the shape of the data's images.

    Args:
        data: Section ``data``, plain containers.
        model: Section ``model``; ``image_shape`` may be missing or None. Or a function that makes it of the shape
            of the data's images.
        checkpoint: Content of a checkpoint whose data settings, such as a vocabulary, the data module takes over.
        goes_on: Whether the run of that checkpoint is gone on with: then data and model are those of the configuration,
            and only the parts are cut as they were.

    Raises:
        ConfigError: A section names something else than a data module or a model, or their image shapes differ.
    """
    from lightning_gvae.interfaces import Model, RestorableData, ResumableData, offers, require

    datamodule = build_data(data)
    if callable(model):
        model = model(tuple(datamodule.spec.image_shape))
    if not isinstance(model, Mapping):
        raise ConfigError(f"`model` must name a class by `_target_`, with its arguments; got {model!r:.100}.")
    if checkpoint is not None and goes_on and offers(datamodule, ResumableData):
        datamodule.resume_from(checkpoint)
    if checkpoint is not None and not goes_on and offers(datamodule, RestorableData):
        datamodule.restore(checkpoint)  # sentences are read with the words that the model knows
    given = model.get("image_shape")
    shape = list(datamodule.spec.image_shape) if given is None else given
    settings = {**model, **as_trained(model, checkpoint), "image_shape": shape}
    built = require(build(settings), Model, "`model`", "Name a model of this package or like them")
    if tuple(built.image_shape) != tuple(datamodule.spec.image_shape):
        raise ConfigError(
            f"`model.image_shape` is {tuple(built.image_shape)}, but the data set {datamodule.spec.name} has images of "
            f"shape {tuple(datamodule.spec.image_shape)}; leave model.image_shape out to take the data's."
        )
    return datamodule, built
