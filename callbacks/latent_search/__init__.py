"""Latent search: a callback that evolves latents of a trained decoder towards an objective."""

from lightning_gvae.callbacks.latent_search.callback import LatentSearch

__all__ = ["LatentSearch"]
