"""Scores of how well single latents stand for single factors of variation.

From codes ``(N, L)`` of images, posterior means as a rule, and their factor classes ``(N, F)``:

- :mod:`~lightning_gvae.metrics.disentanglement.mig`: mutual information gap, plug-in estimate on histograms.
- :mod:`~lightning_gvae.metrics.disentanglement.sap`: gap between the accuracies of one-latent classifiers.
- :mod:`~lightning_gvae.metrics.disentanglement.dci`: disentanglement, completeness and informativeness; minutes.
- :mod:`~lightning_gvae.metrics.disentanglement.modularity`: modularity of latents, explicitness of factors.

From the posteriors of a whole set:

- :mod:`~lightning_gvae.metrics.disentanglement.mig_chen`: mutual information gap of the aggregate posterior.

From an encoder and a data set that holds every combination of its factors once:

- :mod:`~lightning_gvae.metrics.disentanglement.beta_vae_score`: which factor do pairs of images share?
- :mod:`~lightning_gvae.metrics.disentanglement.factor_vae_score`: which latent varies least while a factor is fixed?

Their parts: :mod:`~lightning_gvae.metrics.disentanglement.mutual_information` (bins, entropies),
:mod:`~lightning_gvae.metrics.disentanglement.factor_grid` (draws of factors, each image encoded once) and
:mod:`~lightning_gvae.metrics.disentanglement.checks`.
"""
