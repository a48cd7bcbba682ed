"""Exported models as artifacts of Weights & Biases."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning_gvae.errors import ConfigError, GvaeError

__all__ = ["log_artifact"]

TYPE = "model"


def log_artifact(
    folder: Path, name: str, *, aliases: Sequence[str] = (), registry: str | None = None, **metadata: Any
) -> str:
    """Log a folder as an artifact of the type ``model``, in a W&B run of its own.

    With ``WANDB_MODE=offline`` it is kept on this machine until ``wandb sync``; links to a registry need a connection.

    Args:
        folder: The exported model.
        name: ``<entity>/<project>/<name>``, or ``<project>/<name>`` of the default entity.
        aliases: Further names of the version, beside ``latest``.
        registry: Collection of a registry to link the version to, such as ``wandb-registry-model/digits``.
        metadata: Shown beside the artifact.

    Returns:
        The name as ``ckpt_path`` takes it.

    Raises:
        ConfigError: The name has another form, or W&B refuses.
    """
    parts = name.removeprefix("wandb:").split("/")
    if len(parts) not in (2, 3) or not all(parts) or ":" in parts[-1]:
        raise ConfigError(f"`wandb` must be entity/project/name or project/name, without a version, got {name!r:.100}.")
    import wandb

    *entity, project, title = parts
    try:
        owner = entity[0] if entity else None
        with wandb.init(entity=owner, project=project, job_type="export", dir=str(folder.parent)) as run:
            if registry is not None and run.offline:
                raise ConfigError(
                    f"`registry={registry}` needs a connection: W&B links nothing offline. Leave it out, and link the "
                    "artifact when it has been sent."
                )
            artifact = wandb.Artifact(title, TYPE, metadata=metadata)
            artifact.add_dir(str(folder))
            logged = run.log_artifact(artifact, aliases=["latest", *aliases])
            if registry is not None:
                run.link_artifact(logged, registry)
            owner = run.entity or owner
    except GvaeError:
        raise
    except (wandb.Error, OSError, ValueError, TypeError) as error:
        said = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"the model cannot be logged as the artifact {name} of Weights & Biases ({said}); log in with `wandb "
            "login`, or set WANDB_MODE=offline and send it later."
        ) from error
    return f"wandb:{owner or '<entity>'}/{project}/{title}:latest"
