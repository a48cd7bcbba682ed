"""Scores of trained models.

- :mod:`~lightning_gvae.metrics.active_units`: how many latent dimensions carry information
- :mod:`~lightning_gvae.metrics.likelihood`: importance-sampled likelihood, bits per dimension
- :mod:`~lightning_gvae.metrics.aggregate_posterior`: mutual information, total correlation and dimension-wise KL
- :mod:`~lightning_gvae.metrics.rate_distortion`: curves of rate and distortion
- :mod:`~lightning_gvae.metrics.disentanglement`: does a single latent stand for a single factor?
- :mod:`~lightning_gvae.metrics.fidelity`: distances between sets of images in named feature spaces
- :mod:`~lightning_gvae.metrics.diversity`: how many different things there are in a set of samples
"""
