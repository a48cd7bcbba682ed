"""Evolves latent vectors of a trained decoder towards an objective when a fit ends."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_info

from lightning_gvae.callbacks.latent_search.after_fit import SearchAfterFit
from lightning_gvae.callbacks.latent_search.figures import lost_variety, search_metrics, search_pictures
from lightning_gvae.callbacks.latent_search.run import Found, SearchOptions, run_latent_search
from lightning_gvae.evolution.latent.search import Problem
from lightning_gvae.interfaces import DataModule, Network
from lightning_gvae.plots.pictures import Picture
from lightning_gvae.problems.images import ImageGoal

__all__ = ["LatentSearch"]


class LatentSearch(SearchAfterFit[Found]):
    """Searches the latent space after training, with the weights that the fit ended with.

    ``latent_search/result.pt`` and ``latent_search/history.csv`` in the run folder keep what was found. Runs are shared
    out over the ranks. See :func:`~lightning_gvae.callbacks.latent_search.run.run_latent_search`, which does the same
    for any trained model.

    Args:
        problem: What is searched: an :class:`~lightning_gvae.problems.images.ImageGoal`, or any object with
            ``objective`` and ``violations`` of decoded points.
        options: The rest of :class:`~lightning_gvae.callbacks.latent_search.run.SearchOptions`.

    Raises:
        ConfigError: An argument is out of range; when a fit starts: the model cannot decode, or there is no data module
            and one is needed.
    """

    name = "latent_search"
    options_type = SearchOptions

    def __init__(self, problem: Problem | ImageGoal, **options: Any) -> None:
        self.options = SearchOptions(problem, **options)
        super().__init__(self.options, isinstance(problem, ImageGoal))

    def search(
        self,
        model: Network,
        datamodule: DataModule | None,
        folder: Path,
        forward_context: Callable[[], AbstractContextManager[Any]],
        earlier: Path | None,
    ) -> Found:
        """Search, see :func:`~lightning_gvae.callbacks.latent_search.run.run_latent_search`."""
        options = self.options.shortened() if self.short else self.options
        found = run_latent_search(model, datamodule, options, folder, forward_context, earlier)
        if (sentence := lost_variety(found)) is not None:
            rank_zero_info(f"LatentSearch: {sentence}")
        return found

    def pictures(self, found: Found) -> list[Picture]:
        """Figures, see :func:`~lightning_gvae.callbacks.latent_search.figures.search_pictures`."""
        return search_pictures(found)

    def metrics(self, found: Found) -> dict[str, float]:
        """Final numbers, see :func:`~lightning_gvae.callbacks.latent_search.figures.search_metrics`."""
        return search_metrics(found)
