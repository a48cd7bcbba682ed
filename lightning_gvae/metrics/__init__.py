"""Scores of trained models.

- :mod:`~lightning_gvae.metrics.active_units`: how many latent dimensions carry information.
"""
