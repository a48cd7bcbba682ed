"""Study of VAE, GAN and VAE-GAN with the same networks."""

from lightning_gvae.studies.vaegan.study import VaeganStudy

__all__ = ["VaeganStudy"]
