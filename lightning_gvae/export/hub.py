"""Models at the Hugging Face Hub, by the mixin of ``huggingface_hub`` for models."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_gvae.export.folder import ExportableModel, export_folder
from lightning_gvae.io.version import PACKAGE
from lightning_gvae.loading.hub import hub_errors

__all__ = ["push_to_hub"]


def push_to_hub(
    model: ExportableModel,
    name: str,
    *,
    network: Mapping[str, Any] | None = None,
    run: str | Path | None = None,
    **options: Any,
) -> str:
    """Export a model and upload the folder, in one commit; the repository is made if there is none.

    Args:
        model: As for :func:`~lightning_gvae.export.folder.export_folder`.
        name: ``<user>/<name>``.
        network: As for :func:`~lightning_gvae.export.folder.export_folder`.
        run: Likewise.
        options: Of ``huggingface_hub.ModelHubMixin.push_to_hub``: ``commit_message``, ``private``, ``token``,
            ``branch``, ``create_pr`` and so on.

    Returns:
        Address of the commit.

    Raises:
        ConfigError: The model cannot be exported, or the extra ``hub`` is not installed.
        CheckpointError: The Hub cannot be reached, or refuses.
    """
    advice = "check the name, log in with `hf auth login`, or export to a folder (save_pretrained) and upload it later"
    with hub_errors(f"the model cannot be uploaded to {name!r} at the Hugging Face Hub", advice):
        from huggingface_hub import ModelHubMixin

        class Exported(ModelHubMixin, library_name=PACKAGE):
            """The model as the mixin wants it: something that writes itself into a folder."""

            def _save_pretrained(self, save_directory: Path) -> None:
                export_folder(model, save_directory, network=network, run=run)

        return str(Exported().push_to_hub(name, **options))
