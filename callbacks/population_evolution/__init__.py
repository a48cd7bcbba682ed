"""Population evolution: a callback that trains several members of a model in one run."""

from lightning_gvae.callbacks.population_evolution.callback import PopulationEvolution

__all__ = ["PopulationEvolution"]
