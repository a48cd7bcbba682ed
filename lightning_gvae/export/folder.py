"""A trained model as a folder: weights, configuration, vocabulary and card."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from lightning_gvae.errors import ConfigError
from lightning_gvae.export.card import model_card
from lightning_gvae.export.training import copied_figures, training_facts
from lightning_gvae.io.files import write_json, write_tensors, write_text
from lightning_gvae.io.network_choice import as_trained, has_own_networks
from lightning_gvae.io.version import PACKAGE, package_version
from lightning_gvae.loading.folder import CARD, CONFIG, FORMAT, MISSING, VOCABULARY, WEIGHTS, as_checkpoint
from lightning_gvae.loading.origin import Origin
from lightning_gvae.loading.restore import argument_names, restore_model
from lightning_gvae.loading.targets import EXTENSION

__all__ = ["ExportableModel", "export_folder"]

OWN = "lightning_gvae."
PLACES = ("root", "path")  # settings of data modules that name a file or folder


class ExportableModel(Protocol):
    """Model that says what it was made of and where it comes from."""

    origin: Origin | None

    @property
    def hparams(self) -> Mapping[str, Any]:
        """Arguments that it was made with."""

    def state_dict(self) -> dict[str, Any]:
        """Weights and buffers by name."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what identifies the model."""


def export_folder(
    model: ExportableModel,
    folder: str | os.PathLike[str],
    *,
    network: Mapping[str, Any] | None = None,
    run: str | os.PathLike[str] | None = None,
    scores: str | os.PathLike[str] | None = None,
) -> Path:
    """Write a model so that :func:`lightning_gvae.load` reads it anywhere; it is read back before anything is written.

    Args:
        model: A model of this package, or of a subclass that can be imported.
        folder: Where to; files of an earlier export are replaced.
        network: Own networks by import path, as ``model.network`` has them in a configuration:
            ``{"encoder": {"_target_": "my_package.Encoder", "width": 64}, "decoder": {...}}``.
        run: Folder of the run, for the card; None is the one that the model was loaded from.
        scores: A ``scores.json``, for the card; None is that of the run.

    Returns:
        The folder.

    Raises:
        ConfigError: The model has parts that no file can hold; the message says what to do. Or the folder cannot be
            written.
        CheckpointError: It would not be read back.
    """
    place = Path(folder).expanduser()
    config = _described(model, network)
    content: dict[str, Any] = {}
    model.on_save_checkpoint(content)
    words = content.get("gvae_vocabulary")
    # What is written is what a reader will have, and nothing is written that it could not have.
    twin = restore_model(as_checkpoint(config, model.state_dict(), words), f"the export of {type(model).__name__}")
    run_folder = Path(run) if run is not None else (model.origin.run_folder if model.origin else None)
    config["training"] = training_facts(model.origin, run_folder, None if scores is None else Path(scores))
    try:
        config["training"]["figures"] = copied_figures(model.origin, run_folder, place)
        write_tensors(place / WEIGHTS, _unshared(twin.state_dict()), {"format": "pt"})
        if words is not None:
            write_json(place / VOCABULARY, words, indent=None, ensure_ascii=False)
        weights = sum(parameter.numel() for parameter in twin.parameters())  # type: ignore[attr-defined]
        write_text(place / CARD, model_card(config, weights, content["gvae_class"].rpartition(".")[2]))
        write_json(place / CONFIG, config, ensure_ascii=False)  # last: with it the folder counts as a model
    except OSError as error:
        raise ConfigError(f"the model cannot be written to {place}: {error}; name a folder that can be.") from error
    return place


def _described(model: ExportableModel, network: Mapping[str, Any] | None) -> dict[str, Any]:
    """Content of ``config.json`` without the training, through JSON as a reader will have it."""
    content: dict[str, Any] = {}
    model.on_save_checkpoint(content)
    target, origin = content["gvae_class"], model.origin.config if model.origin else {}
    if not target.startswith(OWN) and ("__main__" in target or "<locals>" in target):
        raise ConfigError(
            f"{type(model).__name__} is defined in a script or function, where no reader of the export finds it; move "
            f"it into a package of your own, and allow that with {EXTENSION}=<its name> where it is loaded."
        )
    settings = {name: value for name, value in model.hparams.items() if name in argument_names(type(model))}
    if "compile" in settings:
        settings["compile"] = False
    identity = content.get("gvae_model") or {}
    settings |= as_trained(settings, content)  # another release may choose other networks by `auto`
    given = network if network is not None else _section(origin, "model").get("network")
    if has_own_networks(given):
        settings["network"] = given
    elif "network" not in settings and identity.get("network") == "custom":
        raise ConfigError(
            f"this {type(model).__name__} has own networks, given as objects, which no file holds. Name them by "
            "import path with their arguments: network={'encoder': {'_target_': 'my_package.Encoder', ...}, 'decoder': "
            f"{{...}}}}; they are made where {EXTENSION}=my_package allows them."
        )
    likelihood = _section(origin, "model").get("likelihood")
    if isinstance(likelihood, Mapping):
        settings["likelihood"] = likelihood
    elif "likelihood" in argument_names(type(model)) - settings.keys() and "likelihood" in identity:
        raise ConfigError(
            f"this {type(model).__name__} has an own likelihood, given as an object, which no file holds. Train with "
            "the likelihood named in its configuration, "
            f"model.likelihood={{_target_:my_package.{identity['likelihood']}}}, and export that run."
        )
    described = {
        "library": PACKAGE,
        "version": package_version(),
        "format": FORMAT,
        "model": {"_target_": target, **settings},
        "identity": content.get("gvae_model"),
        "data": content.get("gvae_data"),
        "data_module": _portable(_section(origin, "data")) or None,
        "seed": origin.get("seed", 0),
    }
    for name, value in (*settings.items(), ("data", described["data"])):
        try:
            json.dumps(value)
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"the setting `{name}` of {type(model).__name__} is {value!r:.100}, which no file holds ({error}); "
                "give numbers, texts, lists and mappings of them."
            ) from error
    through: dict[str, Any] = json.loads(json.dumps(described))
    return through


def _section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = config.get(name)
    return found if isinstance(found, Mapping) else {}


def _portable(data: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a data module without what belongs to one machine: paths, caches, downloads."""
    found = {name: _without_paths(value) for name, value in data.items()}
    found |= {name: MISSING for name in PLACES if found.get(name) is not None}
    return found | {name: value for name, value in (("cache_dir", None), ("download", False)) if name in found}


def _without_paths(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_paths(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_paths(each) for each in value]
    return MISSING if isinstance(value, str) and (os.sep in value or "/" in value) else value


def _unshared(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of which no two share their memory, which the format refuses."""
    seen: set[int] = set()
    found = {}
    for name, value in weights.items():
        place = value.untyped_storage().data_ptr()
        found[name] = value.clone() if place in seen else value
        seen.add(place)
    return found
