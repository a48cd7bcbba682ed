"""Model collapse where it can be computed: a Gaussian fitted to its own samples, generation after generation.

- :mod:`~lightning_gvae.collapse.gaussian`: many chains of generations at once, under several policies.
- :mod:`~lightning_gvae.collapse.theory`: what their moments must be, in closed form.
"""
