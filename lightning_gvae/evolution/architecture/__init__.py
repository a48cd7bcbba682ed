"""Search over genomes of convolutional autoencoders."""

from lightning_gvae.evolution.architecture.genome_space import GenomeSpace

__all__ = ["GenomeSpace"]
