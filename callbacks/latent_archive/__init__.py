"""Latent archive: a callback that fills an archive of good and different latents after a fit."""

from lightning_gvae.callbacks.latent_archive.callback import LatentArchive

__all__ = ["LatentArchive"]
