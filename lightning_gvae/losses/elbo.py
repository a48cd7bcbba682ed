r"""Likelihoods, the KL divergence and the terms of the ELBO.

Units everywhere: nats; the reconstruction term is summed over pixels, the KL over latent dimensions, and both are
averaged over the batch. Nothing is rescaled: a loss of 100 means 100 nats an image, whatever the image size.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_gvae.errors import ConfigError
from lightning_gvae.rng import standard_normal

__all__ = [
    "LIKELIHOODS",
    "NO_PENALTIES",
    "BernoulliLikelihood",
    "ElboTerms",
    "GaussianLikelihood",
    "LearntSigmaLikelihood",
    "Likelihood",
    "OptimalSigmaLikelihood",
    "build_likelihood",
    "capacity_rate",
    "free_bits_rate",
    "gaussian_kl",
    "gaussian_log_prob",
    "reparameterise",
]

NO_PENALTIES: Mapping[str, Tensor] = {}
LOG_SIGMA_FLOOR = -6.0  # soft lower bound of log sigma (Rybkin et al. 2021)


class ElboTerms(NamedTuple):
    """Distortion and rate of one batch: ``elbo = -(recon + kl)``.

    Attributes:
        recon: Negative log-likelihood, nats, summed over pixels, mean over the batch. Scalar.
        kl: KL divergence from the posterior to the prior, nats, summed over latents, mean over the batch. Scalar.
        kl_dims: The same per latent dimension, ``(Z,)``; sums to ``kl``. Empty, ``(0,)``, under a prior that does not
            factorise over the dimensions: there the KL has no parts.
        penalties: Further terms of the latents that a model's loss weighs, by name; scalars, means over the batch. Most
            models have none.
    """

    recon: Tensor
    kl: Tensor
    kl_dims: Tensor
    penalties: Mapping[str, Tensor] = NO_PENALTIES


class Likelihood(nn.Module):
    """Likelihood of pixels given a decoder's raw output; the images are in [0, 1].

    Attributes:
        is_normalised: Whether the likelihood integrates to 1 over what the data can be.
        of_pixels: Whether the raw output are pixels, see :meth:`take_pixels`.
    """

    is_normalised: bool = True
    of_pixels: bool = False

    def take_pixels(self) -> None:
        """Take the raw output for pixels, about [0, 1], where it is else a logit.

        Raises:
            ConfigError: This likelihood is one of logits.
        """
        raise ConfigError(
            f"`likelihood` must be gaussian, learnt_sigma or optimal_sigma for a decoder that gives pixels, such as "
            f"network=autoencoder_kl, got {type(self).__name__}."
        )

    def forward(self, output: Tensor, images: Tensor) -> Tensor:
        """Negative log-likelihood, nats, summed over pixels, ``(B,)``."""
        raise NotImplementedError

    def mean(self, output: Tensor) -> Tensor:
        """Expected pixels in [0, 1] under ``output``, same shape."""
        return torch.sigmoid(output)


class BernoulliLikelihood(Likelihood):
    r"""Independent Bernoulli pixels; the decoder's output are logits.

    .. math:: -\log p(x|z) = -\sum_i x_i \log\sigma(l_i) + (1-x_i)\log(1-\sigma(l_i))

    For grey values between 0 and 1 this is the usual cross-entropy, a proper likelihood only for binary images.
    """

    def forward(self, output: Tensor, images: Tensor) -> Tensor:
        """Cross-entropy summed over pixels, ``(B,)``."""
        return F.binary_cross_entropy_with_logits(output, images, reduction="none").flatten(1).sum(1)


class GaussianLikelihood(Likelihood):
    r"""Gaussian pixels around ``sigmoid(output)`` with one fixed standard deviation.

    .. math:: -\log p(x|z) = \sum_i \frac{(x_i-\hat x_i)^2}{2\sigma^2} + \log\sigma + \tfrac12\log 2\pi

    Args:
        sigma: Standard deviation in pixel units (the image range is 1). Must be positive.

    Raises:
        ConfigError: ``sigma`` is not positive.
    """

    def __init__(self, sigma: float = 0.1) -> None:
        super().__init__()
        if not sigma > 0:
            raise ConfigError(f"`sigma` must be positive, got {sigma}; typical values are 0.05 to 1.")
        self.register_buffer("log_sigma", torch.tensor(math.log(sigma)))

    def forward(self, output: Tensor, images: Tensor) -> Tensor:
        """Gaussian negative log-likelihood summed over pixels, ``(B,)``."""
        # Pixels are not bounded here: beyond the bounds there would be no gradient.
        centre = output if self.of_pixels else self.mean(output)
        squared = (centre - images).square().flatten(1)
        log_sigma = self.resolve_log_sigma(squared)
        constant = squared.shape[1] * (log_sigma + 0.5 * math.log(2 * math.pi))
        return squared.sum(1) / (2 * torch.exp(2 * log_sigma)) + constant

    def take_pixels(self) -> None:
        """Take the raw output for pixels, about [0, 1]."""
        self.of_pixels = True

    def mean(self, output: Tensor) -> Tensor:
        """Expected pixels in [0, 1] under ``output``, same shape."""
        return output.clamp(0, 1) if self.of_pixels else super().mean(output)

    def resolve_log_sigma(self, squared: Tensor) -> Tensor:
        """Log standard deviation to use for a batch of squared errors ``(B, pixels)``. Scalar."""
        return self.get_buffer("log_sigma")


class LearntSigmaLikelihood(GaussianLikelihood):
    """Gaussian pixels whose one standard deviation is a trained parameter (sigma-VAE).

    References:
        Rybkin, Daniilidis and Levine, Simple and Effective VAE Training with Calibrated Decoders, 2021.
    """

    def __init__(self, sigma: float = 1.0) -> None:
        super().__init__(sigma)
        initial = self.get_buffer("log_sigma")
        delattr(self, "log_sigma")
        self.log_sigma = nn.Parameter(initial)

    def resolve_log_sigma(self, squared: Tensor) -> Tensor:
        """The trained value, softly bounded below at ``LOG_SIGMA_FLOOR``."""
        return _soft_floor(self.log_sigma)


class OptimalSigmaLikelihood(GaussianLikelihood):
    r"""Gaussian pixels with the batch's own optimal variance, :math:`\sigma^2 = \mathrm{MSE}` (optimal sigma-VAE).

    Equivalent to an automatic :math:`\beta = 2\sigma^2` on the squared error. While training, sigma is the batch's
    root mean squared error; evaluation uses its running mean, because a likelihood may not look at its own test batch.

    References:
        Rybkin, Daniilidis and Levine, Simple and Effective VAE Training with Calibrated Decoders, 2021, section 3.2.
    """

    momentum = 0.01

    def __init__(self, sigma: float = 1.0) -> None:
        super().__init__(sigma)
        self.register_buffer("updates", torch.tensor(0))

    def resolve_log_sigma(self, squared: Tensor) -> Tensor:
        """The batch's optimum in training mode, the running mean of it in evaluation mode."""
        running, updates = self.get_buffer("log_sigma"), self.get_buffer("updates")
        if not self.training:
            return running
        log_sigma = _soft_floor(0.5 * torch.log(squared.mean()))
        with torch.no_grad():
            updates += 1
            # A plain mean at first, so that the initial value leaves no trace.
            weight = torch.clamp(1.0 / updates, min=self.momentum).to(running.dtype)
            running += weight * (log_sigma.to(running.dtype) - running)
        return log_sigma


LIKELIHOODS: dict[str, type[Likelihood]] = {
    "bernoulli": BernoulliLikelihood,
    "gaussian": GaussianLikelihood,
    "learnt_sigma": LearntSigmaLikelihood,
    "optimal_sigma": OptimalSigmaLikelihood,
}


def build_likelihood(name: str | Likelihood, sigma: float | None = None) -> Likelihood:
    """Likelihood by name.

    Args:
        name: One of ``bernoulli``, ``gaussian``, ``learnt_sigma``, ``optimal_sigma``; or an own one, which is returned.
        sigma: Standard deviation (initial one where it is learnt); only for the Gaussian ones.

    Raises:
        ConfigError: The name is unknown, ``sigma`` is given to the Bernoulli likelihood or to an own one, or an own one
            is no :class:`Likelihood`.
    """
    if isinstance(name, Likelihood):
        if sigma is not None:
            raise ConfigError(
                f"`sigma` belongs to the Gaussian likelihoods, got sigma={sigma} with {type(name).__name__}; give it "
                "to your likelihood itself."
            )
        return name
    if not isinstance(name, str) or name not in LIKELIHOODS:
        raise ConfigError(
            f"`likelihood` must be one of {', '.join(LIKELIHOODS)}, or of a class derived from "
            f"{Likelihood.__module__}.{Likelihood.__name__}, got {name!r:.100}."
        )
    if sigma is None:
        return LIKELIHOODS[name]()
    if name == "bernoulli":
        raise ConfigError(
            f"`sigma` belongs to the Gaussian likelihoods, got sigma={sigma} with likelihood='bernoulli'."
        )
    return LIKELIHOODS[name](sigma)


def gaussian_kl(mean: Tensor, log_var: Tensor) -> Tensor:
    r"""KL divergence from a diagonal Gaussian to the standard normal, per dimension.

    .. math:: \mathrm{KL}_j = \tfrac12 (\mu_j^2 + \sigma_j^2 - 1 - \log\sigma_j^2)

    Zero exactly at mean 0 and log-variance 0, positive elsewhere.

    Args:
        mean: ``(B, Z)``.
        log_var: ``(B, Z)``, natural logarithm of the variance.

    Returns:
        Nats, ``(B, Z)``.
    """
    # expm1 keeps the digits that exp(log_var) - 1 would lose near the prior.
    return 0.5 * (mean.square() + torch.expm1(log_var) - log_var)


def gaussian_log_prob(values: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    """Log density of ``values`` under diagonal Gaussians, all ``(B, Z)``; nats, summed over dimensions, ``(B,)``."""
    scaled = (values - mean).square() * torch.exp(-log_var)
    return -0.5 * (scaled + log_var + math.log(2 * math.pi)).sum(1)


def reparameterise(mean: Tensor, log_var: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Sample ``mean + exp(log_var / 2) * noise``, ``(B, Z)``; differentiable in both arguments."""
    return mean + torch.exp(0.5 * log_var) * standard_normal(mean, generator)


def free_bits_rate(kl_dims: Tensor, free_bits: Tensor | float) -> Tensor:
    r"""Rate that does not reward a dimension for falling below ``free_bits`` nats.

    .. math:: \sum_j \max(\lambda, \overline{\mathrm{KL}}_j)

    The mean over the batch comes before the maximum. At 0 this is the plain KL.

    Args:
        kl_dims: KL per latent dimension, mean over the batch, ``(Z,)``.
        free_bits: :math:`\lambda`, nats per latent dimension, at least 0.

    References:
        Kingma et al., Improved Variational Inference with Inverse Autoregressive Flow, 2016, eq. 15.
    """
    return kl_dims.clamp(min=free_bits).sum()


def capacity_rate(kl: Tensor, capacity: Tensor | float) -> Tensor:
    r"""Distance of the KL from a capacity, :math:`|\mathrm{KL} - C|`, nats.

    References:
        Burgess et al., Understanding Disentangling in beta-VAE, 2018, eq. 8.
    """
    return (kl - capacity).abs()


def _soft_floor(log_sigma: Tensor) -> Tensor:
    return LOG_SIGMA_FLOOR + F.softplus(log_sigma - LOG_SIGMA_FLOOR)
