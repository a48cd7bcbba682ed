"""Trained models by one call, wherever they are and whatever trained them."""

import os
from collections.abc import Mapping
from typing import Any

from lightning_gvae.loading.folder import read_saved
from lightning_gvae.loading.origin import Origin
from lightning_gvae.loading.restore import restore_model
from lightning_gvae.loading.sources import local_path

__all__ = ["load"]


def load(
    source: str | os.PathLike[str],
    *,
    revision: str | None = None,
    hub: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Any:
    """A trained model, of its own class, in evaluation mode and on the CPU; nothing in the file is executed.

    ``model.data_facts`` says what it was trained on: name, shape, range, names of classes; text models have their
    ``vocabulary``.

    Args:
        source: A checkpoint (``.ckpt``), the folder of a run (its last checkpoint), an exported folder, the name of a
            model at the Hugging Face Hub (``user/name``, extra ``hub``), or ``wandb:entity/project/name:version``.
        revision: Branch, tag or commit at the Hub.
        hub: Further options of the Hub, such as ``token``; see :func:`~lightning_gvae.loading.hub.fetch_from_hub`.
        settings: Arguments of the model's class that replace stored ones; ``network=(encoder, decoder)`` for a model
            whose own networks were objects.

    Raises:
        CheckpointError: There is no such source, it is damaged, or it holds what this package does not know.

    >>> from lightning_gvae.errors import CheckpointError
    >>> try:
    ...     load("nowhere.ckpt")
    ... except CheckpointError as error:
    ...     print(str(error)[:41])
    there is no file or folder 'nowhere.ckpt'
    """
    path = local_path(source, revision, **(hub or {}))
    content = read_saved(path)
    model: Any = restore_model(content, path.name, **settings)
    model.origin = Origin.of(path, content)
    return model
