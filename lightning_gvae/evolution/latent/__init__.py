"""Genetic search in the latent space of a decoder."""

from lightning_gvae.evolution.latent.settings import GASettings

__all__ = ["GASettings"]
