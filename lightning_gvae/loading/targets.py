"""Classes that a configuration may name in ``_target_``: it may come from a stranger's checkpoint."""

import importlib
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from lightning_gvae.errors import ConfigError
from lightning_gvae.loading.allow_list import EXTENSION, HOW_TO_ALLOW, allowed_prefixes, is_allowed

__all__ = ["EXTENSION", "check_plugins", "check_targets", "named_targets"]

OWN = "lightning_gvae."
FACTORIES = ("lightning_gvae.problems.criteria.make_criterion",)  # the only functions
# What starts and chooses the jobs of a multirun; a sweeper of Optuna has a sampler in it.
PLUGINS = ("hydra._internal.core_plugins.", "hydra_plugins.", "optuna.samplers.")
# Prefix -> classes whose subclasses may be named. `torch.` alone would not do: torch.os.system is below it, and so is
# torch.hub.load, which runs what it downloads.
BASES = {
    "torch.optim.": ("torch.optim.Optimizer", "torch.optim.lr_scheduler.LRScheduler"),
    "torch.nn.": ("torch.nn.Module",),
    "torchmetrics.": ("torchmetrics.Metric",),
    "lightning.": (
        "lightning.Trainer",
        "lightning.Callback",
        "lightning.LightningModule",
        "lightning.LightningDataModule",
        "lightning.pytorch.loggers.Logger",
        "lightning.pytorch.profilers.Profiler",
        "lightning.pytorch.strategies.Strategy",
        "lightning.pytorch.accelerators.Accelerator",
        "lightning.pytorch.plugins.CheckpointIO",
        "lightning.pytorch.plugins.Precision",
        "lightning.fabric.plugins.environments.ClusterEnvironment",
    ),
}


def check_targets(node: Any) -> None:
    """Refuse a configuration that names anything but a class this package works with; nothing is called.

    Allowed are classes of ``lightning_gvae``, optimisers, schedulers and modules of torch, metrics of torchmetrics, and
    what a Lightning Trainer is made of. Both the name and where the object really comes from count: a name that leads
    through an allowed package to another one is refused. The user's own packages can be allowed, see
    :mod:`~lightning_gvae.loading.allow_list`; there functions may be named too.

    Args:
        node: Resolved configuration, plain containers.

    Raises:
        ConfigError: A ``_target_`` is not allowed.
    """
    for target in named_targets(node):
        _check(target)


def check_plugins(node: Any) -> None:
    """Refuse a launcher or sweeper of Hydra that names anything but classes of Hydra's plugins.

    Hydra looks at the outermost name only, and makes whatever else is named in its settings.

    Args:
        node: Plain containers, not resolved.

    Raises:
        ConfigError: A ``_target_`` is no class of a plugin.
    """
    for target in named_targets(node):
        if _is_extension(target):
            continue
        module, _, name = target.rpartition(".")
        if not target.startswith(PLUGINS) or not all(part.isidentifier() for part in target.split(".")):
            raise ConfigError(
                f"a launcher or sweeper may name classes of Hydra's plugins ({', '.join(PLUGINS)}), got "
                f"{target!r:.100}; nothing was called."
            )
        try:
            found = getattr(importlib.import_module(module), name, None)
        except ImportError as error:
            raise ConfigError(f"`_target_` {target!r:.100} does not exist ({error}); nothing was called.") from error
        if not inspect.isclass(found) or not f"{found.__module__}.".startswith(PLUGINS):
            raise ConfigError(f"{target!r:.100} is no class of a launcher or sweeper; nothing was called.")


def _is_extension(target: Any) -> bool:
    if not isinstance(target, str):
        raise ConfigError(f"`_target_` must be the full name of a class, got {target!r:.100}.")
    return is_allowed(target, allowed_prefixes())


def _check_extension(target: str) -> None:
    """Check a name in an allowed package: a class or function that is of this package, not only reached through it."""
    found = located(target)
    if not inspect.isclass(found) and not inspect.isroutine(found):
        raise ConfigError(
            f"`_target_` must name a class or function, {target!r:.100} is a {type(found).__name__}; nothing was "
            "called."
        )
    package, origin = target.split(".")[0], str(getattr(found, "__module__", None))
    if origin.split(".")[0] != package:
        raise ConfigError(
            f"`_target_` {target!r:.100} leads out of the allowed package, to {origin}; nothing was called. Name it by "
            f"where it comes from, and allow that in {EXTENSION} if you trust it."
        )


def _check(target: Any) -> None:
    if _is_extension(target):
        _check_extension(target)
        return
    prefix = next((known for known in (OWN, *BASES) if target.startswith(known)), None)
    if prefix is None:
        raise _refusal(target, "it lies elsewhere")
    if target in FACTORIES:
        return
    found = located(target)
    if not inspect.isclass(found):
        raise _refusal(target, f"it is {'a module' if inspect.ismodule(found) else 'no class'}")
    origin = f"{found.__module__}."
    if not origin.startswith("lightning." if prefix == "lightning." else prefix.split(".")[0] + "."):
        raise _refusal(target, f"it comes from {found.__module__}")
    if prefix != OWN and not issubclass(found, tuple(located(base) for base in BASES[prefix])):
        raise _refusal(target, f"{found.__name__} is none of the classes that a run is made of")


def located(target: str) -> Any:
    """The object of that name. Only modules below an allowed prefix are imported."""
    names = target.split(".")
    if not all(name.isidentifier() for name in names):
        raise _refusal(target, "it is no name of a class")
    found = _imported(names[0], target)
    for depth, name in enumerate(names[1:], 2):
        if not hasattr(found, name) and hasattr(found, "__path__") and found.__name__ == ".".join(names[: depth - 1]):
            _imported(".".join(names[:depth]), target)
        try:
            found = getattr(found, name)
        except AttributeError:
            raise ConfigError(
                f"`_target_` {target!r} does not exist: no {name!r} in {'.'.join(names[: depth - 1])}; check its "
                "spelling."
            ) from None
    return found


def _imported(module: str, target: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        said = f"`_target_` {target!r:.100}"
        if not isinstance(error, ModuleNotFoundError) or error.name != module:
            raise ConfigError(f"{said} cannot be imported: {error}, in {module}.") from error
        if "." in module:
            raise ConfigError(f"{said} does not exist: {error}; check its spelling.") from error
        raise ConfigError(
            f"{said} cannot be imported: {error}; install that package, or say where it lies with PYTHONPATH=<folder "
            "that holds it>."
        ) from error


def _refusal(target: str, why: str) -> ConfigError:
    return ConfigError(
        f"`_target_` must be below {', '.join((OWN, *BASES))} and name a class that a run is made of, got "
        f"{target!r:.100} ({why}); nothing was called. {HOW_TO_ALLOW}."
    )


def named_targets(node: Any) -> Iterator[Any]:
    """Every ``_target_`` in plain containers."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield node["_target_"]
        for value in node.values():
            yield from named_targets(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from named_targets(value)
