"""Populations of models that are trained side by side, without a trainer: members, survivors, exchange."""

from lightning_gvae.evolution.population.search import PopulationSearch

__all__ = ["PopulationSearch"]
