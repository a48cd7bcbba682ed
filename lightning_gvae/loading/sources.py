"""Places of trained models: a path, or a name at the Hugging Face Hub or at Weights & Biases."""

import os
import re
from pathlib import Path
from typing import Any

from lightning_gvae.errors import CheckpointError
from lightning_gvae.loading.folder import is_export

__all__ = ["ARTIFACT", "checkpoint_in", "is_hub_id", "local_path"]

ARTIFACT = "wandb:"
PREFERRED = ("last.ckpt", "best.ckpt")  # of the several checkpoints of a run folder
SHIPPED, REPOSITORY = "pretrained", Path(__file__).resolve().parents[2]
SHOWN = 5


def local_path(source: str | os.PathLike[str], revision: str | None = None, **options: Any) -> Path:
    """File or exported folder that a source means, downloaded if it is elsewhere.

    Args:
        source: A checkpoint, a run folder, an exported folder, ``<user>/<name>`` of the Hugging Face Hub, or
            ``wandb:<entity>/<project>/<name>:<version>``. What lies on this machine goes first. A path that begins with
            ``pretrained/`` is looked for in the repository too.
        revision: Branch, tag or commit at the Hub.
        options: For the Hub, see :func:`~lightning_gvae.loading.hub.fetch_from_hub`.

    Raises:
        CheckpointError: There is no such thing, or it cannot be fetched.
    """
    text = os.fspath(source)
    if text.startswith(ARTIFACT):
        from lightning_gvae.loading.artifact import fetch_artifact

        return checkpoint_in(fetch_artifact(text.removeprefix(ARTIFACT)))
    path = Path(text).expanduser()
    if not path.exists() and path.parts[:1] == (SHIPPED,):
        beside = REPOSITORY / path
        path = beside if beside.exists() else path
    if path.is_dir():
        return checkpoint_in(path)
    if path.exists():
        return path
    if isinstance(source, str) and is_hub_id(text):
        from lightning_gvae.loading.hub import fetch_from_hub

        return fetch_from_hub(text, revision, **options)
    raise CheckpointError(
        f"there is no file or folder {text!r:.300}; give a checkpoint (.ckpt), the folder of a run, an exported "
        "folder, the name of a model at the Hugging Face Hub (user/name), or wandb:entity/project/name:version."
    )


def checkpoint_in(folder: Path) -> Path:
    """The exported model that a folder is, or the checkpoint that a run folder stands for: ``last``, else ``best``.

    Raises:
        CheckpointError: There is none in it, or there are several and none is called so.
    """
    if is_export(folder):
        return folder
    places = (folder / "checkpoints", folder)
    for place in places:
        for name in PREFERRED:
            if (place / name).is_file():
                return place / name
    found = [path for place in places for path in sorted(place.glob("*.ckpt"))]
    if len(found) == 1:
        return found[0]
    if found:
        raise CheckpointError(f"{folder} holds several checkpoints; name one of them: {_listed(found)}.")
    if below := sorted(folder.glob(f"**/checkpoints/{PREFERRED[0]}"))[: SHOWN + 1]:
        raise CheckpointError(
            f"{folder} is the folder of several runs; name one: {_listed([p.parents[1] for p in below])}."
        )
    raise CheckpointError(
        f"{folder} is neither an exported model (config.json) nor the folder of a run (checkpoints/*.ckpt); name one."
    )


def is_hub_id(text: str) -> bool:
    """Whether a text has the form of a name at the Hugging Face Hub.

    >>> is_hub_id("user/evae-dsprites"), is_hub_id("logs/train/runs/today"), is_hub_id("runs/last.ckpt")
    (True, False, False)
    """
    return bool(re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", text, re.ASCII)) and not text.endswith((".ckpt", ".safetensors"))


def _listed(paths: list[Path]) -> str:
    more = ", ..." if len(paths) > SHOWN else ""
    return ", ".join(str(path) for path in paths[:SHOWN]) + more
