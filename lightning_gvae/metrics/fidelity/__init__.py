"""How close generated images are to real ones, always in a named feature space.

- :mod:`~lightning_gvae.metrics.fidelity.features`: feature spaces, and the features of a set of images.
- :mod:`~lightning_gvae.metrics.fidelity.feature_spaces`: the spaces that can be had by name.
- :mod:`~lightning_gvae.metrics.fidelity.domain`: a space learnt from the data set itself.
- :mod:`~lightning_gvae.metrics.fidelity.statistics`: mean and covariance, streamed and cached.
- :mod:`~lightning_gvae.metrics.fidelity.scores`: FID, KID, IS, precision, recall, density, coverage.
"""
