"""The runs of a search of hyper-parameters, best first."""

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from lightning_gvae.io.files import write_csv

__all__ = ["rank"]


def rank() -> None:
    """In a multirun: write the runs so far, best metric first, to ``ranking.csv`` above the run folders."""
    from lightning_gvae.evaluation.optimized_metric import ranking

    if HydraConfig.get().mode != RunMode.MULTIRUN:
        return
    folder = Path(HydraConfig.get().sweep.dir)
    write_csv(folder / "ranking.csv", ["optimized_metric", "run", "overrides"], ranking(folder))
    print(f"ranking:    {folder / 'ranking.csv'}")
