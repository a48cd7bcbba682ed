"""Trained models of what a checkpoint or an exported folder holds."""

import inspect
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lightning_gvae.errors import CheckpointError, ConfigError, DataError, GvaeError
from lightning_gvae.io.network_choice import as_trained
from lightning_gvae.loading.build import build, build_data_and_model
from lightning_gvae.loading.facts import TrainedData
from lightning_gvae.loading.folder import MISSING, read_saved
from lightning_gvae.loading.targets import check_targets, located, named_targets
from lightning_gvae.renames import moved_target, renamed_settings

if TYPE_CHECKING:
    from lightning_gvae.interfaces import CheckpointedModel, DescribedData, LoadableData

__all__ = [
    "MISFITS",
    "Restored",
    "argument_names",
    "not_known",
    "restore",
    "restore_data_and_model",
    "restore_model",
    "stored_config",
    "stored_target",
    "with_weights",
]

# What a file may be made of. The lab, which strangers may look at, takes no other names.
STORED_TARGETS = ("lightning_gvae.models.", "lightning_gvae.datamodules.", "lightning_gvae.schedules.")
NETWORKS = ("torch.nn.", "lightning_gvae.nets.")
PACKAGES = ("lightning_gvae.", "lightning.", "torch.", "torchmetrics.")
MODELS = "lightning_gvae.models."
TRAINING = ("optimizer", "lr_scheduler")  # settings that a trained model does without
MISFITS = (RuntimeError, LookupError, AttributeError, ImportError, TypeError, ValueError)


class Restored(NamedTuple):
    """Content of a checkpoint file, or of an exported folder.

    Attributes:
        config: The run's configuration, plain containers.
        model: With the trained weights.
        datamodule: Its data, not yet loaded.
        withheld: Why the data may not be read; None if they may.
    """

    config: dict[str, Any]
    model: "CheckpointedModel"
    datamodule: "LoadableData"
    withheld: str | None = None


class _NoData:
    """Stands for the data of an exported model, which says what they were and not where they lie."""

    def __init__(self, facts: TrainedData) -> None:
        self.spec = facts

    def prepare_data(self) -> None:
        self.setup()

    def setup(self, stage: str | None = None) -> None:
        raise DataError(f"the exported model does not say where {self.spec.name} lies; open the run's checkpoint")

    train_set = val_set = test_set = property(setup)


def restore(path: Path, data_roots: Sequence[str | Path] | None = None) -> Restored:
    """Content of a checkpoint of train.py: configuration, trained model, and data module, not loaded.

    It takes the word of the file for nothing but models and data of this package, downloads nothing and leaves all
    random generators as they are.

    Args:
        path: The file; or an exported folder, or a file in it.
        data_roots: Folders below which data may lie that the checkpoint names; None for any, by the caller's word.

    Raises:
        CheckpointError: The file cannot be opened, or is not of a model that this package knows.
    """
    from lightning_gvae.interfaces import LoadableData, require

    checkpoint = read_saved(path)
    name = path.name
    stored = stored_config(checkpoint, name, {"model", "data"})
    with _misfits(name):
        model, data = _for_looking(stored["model"]), _for_looking(stored["data"])
        if unknown := [each for each in named_targets([model, data]) if not str(each).startswith(STORED_TARGETS)]:
            raise CheckpointError(f"{name} names {unknown[0]}, which is no model and no data of this package.")
        if data is None or MISSING in data.values():
            found = restore_model(checkpoint, name)
            return Restored(stored, found, _NoData(found.data_facts), None)  # type: ignore[attr-defined]
        with _undisturbed():
            datamodule, found = restore_data_and_model(data, model, checkpoint)
        datamodule = require(datamodule, LoadableData, "the lab", "Name another checkpoint")
    return Restored(stored, found, datamodule, _withheld(stored["data"], name, data_roots))


def restore_data_and_model(
    data: Any, model: Any, checkpoint: Mapping[str, Any]
) -> "tuple[DescribedData, CheckpointedModel]":
    """Data module and trained model of two sections of a configuration and the content of a checkpoint."""
    datamodule, built = build_data_and_model(data, model, checkpoint)
    return datamodule, with_weights(built, checkpoint)


def restore_model(checkpoint: Mapping[str, Any], name: str, **given: Any) -> "CheckpointedModel":
    """Trained model of the content of a checkpoint, in evaluation mode, with the facts of its data.

    Nothing but classes of this package, modules of torch and classes that the user has allowed is made, and all random
    generators stay as they are. What only training needs, optimisers and compilation, is left out.

    Args:
        checkpoint: Content of the file.
        name: Of the file, for messages.
        given: Arguments of the model that replace stored ones, such as own networks, ``network=(encoder, decoder)``.

    Raises:
        CheckpointError: It does not say which model it holds, names a class that may not be made, or does not fit.
    """
    with _misfits(name):
        settings = _for_looking(_model_settings(checkpoint, name, given))
        _refuse_foreign(settings, name)
        with _undisturbed():
            built = build({**settings, **as_trained(settings, checkpoint)}, **given)
            model = with_weights(built, checkpoint)
    facts: Any = model
    if getattr(facts, "data_facts", None) is None:
        facts.data_facts = _facts_of_config(checkpoint, name, model) or TrainedData("unknown", tuple(model.image_shape))
    return model.eval()


def stored_target(checkpoint: Mapping[str, Any]) -> str | None:
    """Full name of the class whose weights a checkpoint holds; None if it does not say."""
    config = checkpoint.get("gvae_config")
    section = config.get("model") if isinstance(config, Mapping) else None
    if isinstance(section, Mapping) and isinstance(section.get("_target_"), str):
        return moved_target(section["_target_"])
    if isinstance(checkpoint.get("gvae_class"), str):
        return moved_target(checkpoint["gvae_class"])
    identity = checkpoint.get("gvae_model")
    if isinstance(identity, Mapping) and "class" in identity:  # of a release that kept the bare name
        return f"{MODELS}{identity['class']}"
    return f"{MODELS}ConvAutoencoder" if "genome" in checkpoint.get("hyper_parameters", {}) else None


def stored_config(checkpoint: Mapping[str, Any], name: str, needed: set[str]) -> dict[str, Any]:
    """Configuration that a checkpoint carries, with the present names of its settings.

    Args:
        checkpoint: Content of the file.
        name: Of the file, for messages.
        needed: Sections that it must have.

    Raises:
        CheckpointError: It carries none, lacks a section, or somebody has put interpolations into it.
    """
    stored = checkpoint.get("gvae_config")
    if stored is None:
        raise CheckpointError(f"{name} does not carry a configuration; only checkpoints of train.py can be opened.")
    if not isinstance(stored, dict) or not needed <= stored.keys():
        raise CheckpointError(f"{name} carries a configuration without {', '.join(sorted(needed))}; it is damaged.")
    _refuse_interpolations(stored, name)
    present: dict[str, Any] = renamed_settings(stored, quiet=True)
    return present


def _model_settings(checkpoint: Mapping[str, Any], name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Class and arguments: of the configuration if there is one, else the hyper-parameters that Lightning kept."""
    if "gvae_config" in checkpoint:
        section = stored_config(checkpoint, name, {"model"})["model"]
        if isinstance(section, Mapping):
            return {"image_shape": (checkpoint.get("gvae_model") or {}).get("image_shape"), **_without_nothing(section)}
    target = stored_target(checkpoint)
    if target is None:
        raise CheckpointError(
            f"{name} does not say which model it holds; call load_from_checkpoint of the class that it was trained as."
        )
    stored = checkpoint.get("hyper_parameters", {})
    identity = checkpoint.get("gvae_model") or {}
    settings = {"_target_": target, **stored}
    _refuse_foreign(settings, name)
    taken = argument_names(located(target))
    lacking = taken - {*stored, *given}
    if identity.get("network") == "custom" and "network" in lacking:
        raise CheckpointError(
            f"{name} has networks of its own, given as objects, which no checkpoint holds; hand them over: "
            f"lightning_gvae.load({name!r}, network=(encoder, decoder))."
        )
    if "likelihood" in identity and "likelihood" in lacking:
        raise CheckpointError(
            f"{name} has a likelihood of its own, {identity['likelihood']}, given as an object, which no checkpoint "
            f"holds; hand it over: lightning_gvae.load({name!r}, likelihood={identity['likelihood']}(...))."
        )
    return {"_target_": target} | {key: value for key, value in stored.items() if key in taken}


def _without_nothing(section: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in section.items() if key != "image_shape" or value is not None}


def argument_names(kind: type) -> set[str]:
    """Names of the arguments of a class, also of those that it passes on to its bases."""
    found: set[str] = set()
    for base in kind.__mro__:
        if "__init__" not in vars(base):
            continue
        parameters = inspect.signature(base.__init__).parameters.values()  # type: ignore[misc]
        found |= {each.name for each in parameters if each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)}
        if not any(each.kind is each.VAR_KEYWORD for each in parameters):
            break
    return found - {"self"}


def _for_looking(section: Any) -> Any:
    """A section without what only training needs, and that downloads and caches nothing."""
    if not isinstance(section, Mapping):
        return section
    found = {name: value for name, value in section.items() if name not in TRAINING}
    found |= {name: False for name in ("download", "compile") if name in found}
    return found | {name: None for name in ("cache_dir",) if name in found}


def _refuse_foreign(settings: Mapping[str, Any], name: str) -> None:
    """Refuse to make what is no part of a model, though a configuration of a run may name it; nothing is called."""
    for target in named_targets(settings):
        known = str(target).startswith(PACKAGES)
        if known and not str(target).startswith((*STORED_TARGETS, *NETWORKS)):
            raise CheckpointError(
                f"{name} names {target!r:.100}, which is neither a model nor a network of this package; nothing was "
                "called. Take another file, or ask where this one comes from."
            )
    try:
        check_targets(settings)
    except ConfigError as error:
        raise CheckpointError(f"{name} cannot be opened: {error}") from error


def with_weights(built: object, checkpoint: Mapping[str, Any]) -> "CheckpointedModel":
    """A new model with the weights, and whatever else its class keeps, of a checkpoint."""
    from lightning_gvae.interfaces import CheckpointedModel, require

    model = require(built, CheckpointedModel, "`model` of a checkpoint", "Name a model of this package or like them")
    model.on_load_checkpoint(checkpoint)
    own = model.state_dict().keys()
    # The state of a schedule that was handed over as an object is of use to its training alone.
    weights = {
        name: value
        for name, value in checkpoint["state_dict"].items()
        if name in own or not name.startswith("schedule.")
    }
    model.load_state_dict(weights)
    return model


def _facts_of_config(checkpoint: Mapping[str, Any], name: str, model: object) -> TrainedData | None:
    """Facts of the data that a checkpoint of an earlier release names; None where they cannot be asked any more."""
    from lightning_gvae.interfaces import RestorableData, offers

    section = _for_looking((checkpoint.get("gvae_config") or {}).get("data"))
    if not isinstance(section, Mapping):
        return None
    try:
        data = renamed_settings(section, quiet=True)
        _refuse_foreign(data, name)
        with _undisturbed():
            datamodule = build(data)
            if offers(datamodule, RestorableData):
                datamodule.restore(checkpoint)
            return TrainedData.of(datamodule, model)
    except (GvaeError, OSError):  # the images may have moved since; the model does without them
        return None


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Keeps the global generators as they are: a new network draws weights before it is given its own."""
    import torch

    with torch.random.fork_rng(devices=[]):
        yield


@contextmanager
def _misfits(name: str) -> Iterator[None]:
    """Says which file it was that does not fit."""
    try:
        yield
    except CheckpointError:
        raise
    except MISFITS as error:
        raise not_known(name, error) from error


def not_known(name: str, error: Exception) -> CheckpointError:
    """The error that a file is not of a known model, with the reason of another one."""
    said = " ".join(str(error).split())[:300]
    return CheckpointError(
        f"{name} is not of a model that this version knows, or damaged ({type(error).__name__}: {said})."
    )


def _refuse_interpolations(node: Any, name: str, where: str = "") -> None:
    """Refuse what would be resolved on this machine, such as ``${oc.env:...}``: runs store resolved configurations."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            _refuse_interpolations(key, name, where)
            _refuse_interpolations(value, name, f"{where}.{key}".lstrip("."))
    elif isinstance(node, list | tuple):
        for value in node:
            _refuse_interpolations(value, name, where)
    elif isinstance(node, str) and "${" in node:
        raise CheckpointError(
            f"{name} carries the setting {where} = {node!r:.100}, an interpolation; runs store plain values, so it was "
            "changed by somebody. Nothing was resolved."
        )


def _withheld(data: Mapping[str, Any], name: str, roots: Sequence[str | Path] | None) -> str | None:
    """Why the data that a checkpoint names may not be read; None if they may."""
    if roots is None:
        return None
    allowed = [Path(root).expanduser().resolve() for root in roots]
    for key, value in data.items():
        if not isinstance(value, str) or key == "_target_" or not (os.sep in value or Path(value).exists()):
            continue
        place = Path(value).expanduser().resolve()
        if not any(place.is_relative_to(root) for root in allowed):
            return (
                f"{name} names data at {place}, outside the folders that this lab reads; whoever runs it can "
                f"allow them with app.data_roots=[{place}]"
            )
    return None
