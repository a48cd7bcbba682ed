"""Active divergence: leaving the training distribution on purpose, around trained models.

- :mod:`~lightning_gvae.divergence.latents`: truncation and amplification of the prior, directions, analogies, paths
- :mod:`~lightning_gvae.divergence.blending`: networks between two checkpoints
- :mod:`~lightning_gvae.divergence.chaining`: what comes out goes in again
- :mod:`~lightning_gvae.divergence.fine_tuning`: further training away from the data, by an objective

References:
    Broad, Berns, Colton, Grierson, Active divergence with generative deep learning: a survey and taxonomy, 2021.
"""
