"""Base of all models: knows the data it was trained on, comes from checkpoints, and leaves as a folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Self

import lightning as L
import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from lightning_gvae.errors import CheckpointError
from lightning_gvae.export.folder import export_folder
from lightning_gvae.export.hub import push_to_hub
from lightning_gvae.io.network_choice import as_trained
from lightning_gvae.lightning_compat import datamodule_of
from lightning_gvae.loading.facts import TrainedData
from lightning_gvae.loading.load import load
from lightning_gvae.loading.origin import Origin
from lightning_gvae.loading.restore import stored_target
from lightning_gvae.loading.targets import check_targets, located
from lightning_gvae.models.precision import ChecksPrecision
from lightning_gvae.renames import RENAMED, renamed_keys

__all__ = ["BaseModel"]


class BaseModel(ChecksPrecision):
    """A module whose checkpoints say of which class they are and which data it was trained on.

    Attributes:
        data_facts: What its data module stated when the fit started; None before, or if it states nothing.
        origin: Where :func:`lightning_gvae.load` has found it; None if it was made anew.
    """

    image_shape: tuple[int, ...]
    has_posterior: bool
    data_facts: TrainedData | None = None
    origin: Origin | None = None

    def setup(self, stage: str) -> None:
        """Note the facts of the data that it is about to be trained on, and the networks that ``auto`` chose.

        So a checkpoint holds their names, a run that goes on is given them, and both end with equal settings.

        Raises:
            ConfigError: The precision is refused.
        """
        super().setup(stage)
        self.hparams.update(as_trained(self.hparams, {"gvae_model": self._identity()}))
        if stage == "fit":
            self.data_facts = TrainedData.of(datamodule_of(self.trainer)) or self.data_facts

    def _identity(self) -> dict[str, Any]:
        """Facts that tell whether a checkpoint is one of this very model; none for models that say nothing of it."""
        return {}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the class and the facts of the data."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["gvae_class"] = full_name(type(self))
        if self.data_facts is not None:
            checkpoint["gvae_data"] = self.data_facts.as_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the facts of the data over.

        Raises:
            CheckpointError: They are damaged.
        """
        super().on_load_checkpoint(checkpoint)
        facts = checkpoint.get("gvae_data")
        if facts is not None:
            self.data_facts = TrainedData.parse(facts)

    @classmethod
    def load_from_checkpoint(
        cls,
        checkpoint_path: str | Path | IO[bytes],
        map_location: Any = None,
        hparams_file: str | Path | None = None,
        strict: bool | None = None,
        weights_only: bool | None = None,
        **kwargs: Any,
    ) -> Self:
        """As Lightning's; the checkpoint of a subclass becomes an object of that subclass.

        Settings that are called otherwise since the last release get their present names, and a network that ``auto``
        chose is the one that it was when the checkpoint was written.

        Args:
            checkpoint_path: The file.
            map_location: As for Lightning's.
            hparams_file: As for Lightning's.
            strict: As for Lightning's.
            weights_only: As for Lightning's; hyper-parameters are read as tensors and plain containers whatever it is.
            kwargs: As for Lightning's; arguments of the class are among them and replace stored ones.

        Raises:
            CheckpointError: The checkpoint is of a class that is not of this kind; the message says which.
        """
        content = _content(checkpoint_path)
        kind = cls._kind_of(content)
        if kind is not cls:
            return kind.load_from_checkpoint(
                checkpoint_path, map_location, hparams_file, strict, weights_only, **kwargs
            )
        stored = dict(content.get(L.LightningModule.CHECKPOINT_HYPER_PARAMS_KEY, {}))
        for base in cls.__mro__:
            owner = full_name(base)
            if owner in RENAMED:
                present = renamed_keys(stored, owner)
                kwargs = {name: value for name, value in present.items() if name not in stored} | kwargs
        kwargs |= as_trained(stored | kwargs, content)
        found: Self = super().load_from_checkpoint(
            checkpoint_path, map_location, hparams_file, strict, weights_only, **kwargs
        )
        return found

    @classmethod
    def _kind_of(cls, content: Mapping[str, Any]) -> type[Self]:
        """Class of a checkpoint's model, if it is this one or a subclass."""
        target = stored_target(content)
        if target is None or target.rpartition(".")[2] == cls.__name__:
            return cls
        check_targets({"_target_": target})
        kind = located(target)
        if issubclass(kind, cls):
            return kind
        raise cls._other(kind, "the checkpoint", "load_from_checkpoint")

    @classmethod
    def _other(cls, kind: type, what: str, method: str) -> CheckpointError:
        name = kind.__name__
        return CheckpointError(
            f"{what} holds a model of the class {name}, which is no {cls.__name__}; call {name}.{method}(...), or "
            "lightning_gvae.load(...), which finds the class by itself."
        )

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        **settings: Any,
    ) -> Self:
        """A trained model of this class or a subclass, from all that :func:`lightning_gvae.load` opens.

        Args:
            source: As for :func:`lightning_gvae.load`.
            revision: Branch, tag or commit at the Hugging Face Hub.
            token: Of the Hub; None is that of ``hf auth login``.
            cache_dir: Where downloads are kept; None is the Hub's own folder.
            force_download: Download what is in the cache, too.
            local_files_only: Download nothing.
            settings: Arguments of the class that replace stored ones.

        Raises:
            CheckpointError: There is no such model, it is damaged, or it is of another class; the message says which.
        """
        hub = {"token": token, "cache_dir": cache_dir, "force_download": force_download}
        found = load(source, revision=revision, hub=hub | {"local_files_only": local_files_only}, **settings)
        if not isinstance(found, cls):
            raise cls._other(type(found), str(source), "from_pretrained")
        return found

    def save_pretrained(
        self,
        folder: str | Path,
        *,
        network: Mapping[str, Any] | None = None,
        run: str | Path | None = None,
        scores: str | Path | None = None,
    ) -> Path:
        """Write weights, configuration and card into a folder, which :func:`lightning_gvae.load` reads anywhere.

        Arguments and errors are those of :func:`~lightning_gvae.export.folder.export_folder`.
        """
        return export_folder(self, folder, network=network, run=run, scores=scores)

    def push_to_hub(
        self, name: str, *, network: Mapping[str, Any] | None = None, run: str | Path | None = None, **options: Any
    ) -> str:
        """Export the model to the Hugging Face Hub; see :func:`~lightning_gvae.export.hub.push_to_hub`."""
        return push_to_hub(self, name, network=network, run=run, **options)


def full_name(kind: type) -> str:
    """Name of a class with its module."""
    return f"{kind.__module__}.{kind.__qualname__}"


def _content(path: str | Path | IO[bytes]) -> dict[str, Any]:
    if isinstance(path, str | Path):
        return dict(TorchCheckpointIO().load_checkpoint(path, weights_only=True))
    content = torch.load(path, map_location="cpu", weights_only=True)
    path.seek(0)
    return dict(content)
