"""Services of the web lab: plain functions of a trained model, numbers and seeds, without a web framework.

- :mod:`~lightning_gvae.app.service.library`: finding checkpoints and opening each once.
- :mod:`~lightning_gvae.app.service.opened`: a model with what was computed from its data.
- :mod:`~lightning_gvae.app.service.sampling`: images from seeds.
- :mod:`~lightning_gvae.app.service.uploads`, :mod:`~lightning_gvae.app.service.reconstruction`: a person's image.
- :mod:`~lightning_gvae.app.service.latents`: traversals and interpolation.
- :mod:`~lightning_gvae.app.service.posterior`: the aggregate posterior beside the prior.
- :mod:`~lightning_gvae.app.service.classes`: which classes the samples are of.
- :mod:`~lightning_gvae.app.service.generations`: the generations of a collapse study.
- :mod:`~lightning_gvae.app.service.gaussian_lab`: collapse of a one-dimensional Gaussian.
- :mod:`~lightning_gvae.app.service.breeding`: a person picks parents, SBX and Cauchy jumps make their children.
- :mod:`~lightning_gvae.app.service.sheets`, :mod:`~lightning_gvae.app.service.figures`: what is seen.
- :mod:`~lightning_gvae.app.service.downloads`: what is taken home.

The same arguments give the same result; every draw comes from a stream of :mod:`lightning_gvae.rng`.
"""
