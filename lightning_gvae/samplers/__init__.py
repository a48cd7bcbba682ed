"""Samplers of new latents: the prior, or a density fitted to the posteriors of a trained model.

- :class:`~lightning_gvae.samplers.prior.PriorSampler` (``prior``): the standard normal.
- :class:`~lightning_gvae.samplers.gmm.GaussianMixtureSampler` (``gmm``): a mixture of Gaussians, full covariances.
- :class:`~lightning_gvae.samplers.flow.FlowSampler` (``flow``): a normalising flow of affine couplings.
"""

import inspect
from typing import Any

from lightning_gvae.errors import ConfigError
from lightning_gvae.samplers.base import Sampler
from lightning_gvae.samplers.flow import FlowSampler
from lightning_gvae.samplers.gmm import GaussianMixtureSampler
from lightning_gvae.samplers.prior import PriorSampler

__all__ = ["SAMPLERS", "FlowSampler", "GaussianMixtureSampler", "PriorSampler", "Sampler", "make_sampler"]

SAMPLERS: dict[str, type[Sampler]] = {"prior": PriorSampler, "gmm": GaussianMixtureSampler, "flow": FlowSampler}


def make_sampler(name: str, latent_dim: int, **settings: Any) -> Sampler:
    """Sampler by name.

    Args:
        name: One of ``prior``, ``gmm``, ``flow``.
        latent_dim: Z.
        settings: Passed on to the class, for example ``components=20`` to ``gmm``.

    Raises:
        ConfigError: The name or a setting is unknown, or a setting is out of range.
    """
    if name not in SAMPLERS:
        raise ConfigError(f"`sampler` must be one of {', '.join(SAMPLERS)}, got {name!r}.")
    known = set(inspect.signature(SAMPLERS[name]).parameters) - {"latent_dim"}
    if unknown := sorted(set(settings) - known):
        raise ConfigError(
            f"the sampler {name!r} has no setting {', '.join(unknown)}; it knows {', '.join(sorted(known)) or 'none'}."
        )
    return SAMPLERS[name](latent_dim, **settings)
