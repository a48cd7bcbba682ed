"""Diversity: the number of different things in a set of samples.

- :mod:`~lightning_gvae.metrics.diversity.effective`: effective numbers (Hill numbers) of a spectrum or of class shares
- :mod:`~lightning_gvae.metrics.diversity.vendi`: Vendi score of a kernel, of features, and of a Gaussian kernel
- :mod:`~lightning_gvae.metrics.diversity.pure`: pure diversity, and the minimum spanning tree
- :mod:`~lightning_gvae.metrics.diversity.memory`: duplicates, and samples that repeat training images
- :mod:`~lightning_gvae.metrics.diversity.classes`: coverage and entropy of classes
- :mod:`~lightning_gvae.metrics.diversity.weights`: sample weights under which a set is more diverse
- :mod:`~lightning_gvae.metrics.diversity.streaming`: the same as torchmetrics classes
- precision, recall, density and coverage are those of :mod:`lightning_gvae.metrics.fidelity`
"""
