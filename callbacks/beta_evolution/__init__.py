"""KL weight evolution: a callback that evolves the KL weight of a model while it trains."""

from lightning_gvae.callbacks.beta_evolution.callback import BetaEvolution

__all__ = ["BetaEvolution"]
