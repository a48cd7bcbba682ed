"""All processes of a run write to one folder, or the run does not begin."""

from pathlib import Path

import lightning as L

from lightning_gvae.errors import ConfigError
from lightning_gvae.evolution.ranks import gather_over_ranks

__all__ = ["OneFolder"]


class OneFolder(L.Callback):
    """Compares the ranks' run folders.

    Processes that Lightning starts are told the folder. Those that torchrun or SLURM start each compose the
    configuration for themselves, and a folder named after the time is another one in each.

    Args:
        folder: Run folder of this process.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = str(folder)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Compare.

        Raises:
            ConfigError: On every rank, if they differ.
        """
        folders = gather_over_ranks(self.folder)
        if len(set(folders)) > 1:
            raise ConfigError(
                f"the processes of this run have folders of their own ({', '.join(sorted(set(folders))[:3])}); "
                "name one "
                "for all of them with hydra.run.dir=... (in a multirun hydra.sweep.dir=...)"
            )
