"""Models from Weights & Biases: artifacts that hold an exported folder or a checkpoint."""

import re
from pathlib import Path

from lightning_gvae.errors import CheckpointError

__all__ = ["fetch_artifact"]

NAME = re.compile(r"[^/:\s]+(/[^/:\s]+){2}(:[^/:\s]+)?")
LONGEST = 200


def fetch_artifact(name: str, root: Path | None = None) -> Path:
    """Folder of the files of an artifact, downloaded, or from W&B's cache.

    Args:
        name: ``<entity>/<project>/<name>:<version>``; the version is a number such as ``v3`` or an alias such as
            ``best``, and ``latest`` if it is left out.
        root: Folder to download to; None is W&B's own, ``artifacts/<name>:<version>``.

    Raises:
        CheckpointError: The name has another form, there is no such artifact, or it cannot be reached.
    """
    if not NAME.fullmatch(name):
        raise CheckpointError(f"an artifact is named wandb:entity/project/name:version, got 'wandb:{name:.200}'.")
    import wandb

    wanted = name if ":" in name else f"{name}:latest"
    try:
        found = wandb.Api().artifact(wanted)
        return Path(found.download(None if root is None else str(root)))
    except (wandb.Error, OSError, ValueError) as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise CheckpointError(
            f"the artifact {wanted} of Weights & Biases cannot be fetched ({said[:LONGEST]}); check its name and the "
            "connection, log in with `wandb login`, or give the path of a file or folder."
        ) from error
