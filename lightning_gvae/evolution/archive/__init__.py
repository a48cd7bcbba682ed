"""Quality-diversity search in the latent space of a decoder."""

from lightning_gvae.evolution.archive.settings import ArchiveSettings

__all__ = ["ArchiveSettings"]
