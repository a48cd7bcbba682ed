"""Fidelity: the distance of generated images from real ones, always in a named feature space.

- :mod:`~lightning_gvae.metrics.fidelity.features`: feature spaces, and the features of a set of images.
- :mod:`~lightning_gvae.metrics.fidelity.feature_spaces`: the spaces that can be had by name.
- :mod:`~lightning_gvae.metrics.fidelity.domain`: a space learnt from the data set itself.
- :mod:`~lightning_gvae.metrics.fidelity.statistics`: mean and covariance, streamed and cached.
- :mod:`~lightning_gvae.metrics.fidelity.fid`, ``kid``, ``inception_score``, ``precision_recall``, ``density_coverage``
and
  ``class_balance``: the scores, one a file.
- :mod:`~lightning_gvae.metrics.fidelity.score`: what a score says about itself, and the subsets it is averaged over.
"""
