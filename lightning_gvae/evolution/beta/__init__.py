"""Evolution of the KL weight, without a trainer: search, fitness, look-ahead."""

from lightning_gvae.evolution.beta.search import BetaSearch

__all__ = ["BetaSearch"]
