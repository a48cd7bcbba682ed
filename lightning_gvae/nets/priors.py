"""Priors of a VAE: the standard normal, and a normalising flow and a mixture of Gaussians, which are learnt."""

import inspect
import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from lightning_gvae.errors import ConfigError, checked_count
from lightning_gvae.nets.flow import CouplingFlow

__all__ = ["PRIORS", "MixturePrior", "NormalPrior", "Prior", "RealNVPPrior", "build_prior"]

LOG_2PI = math.log(2 * math.pi)


class Prior(nn.Module, ABC):
    """A density over latents ``(n, Z)`` that can be evaluated and drawn from.

    Args:
        latent_dim: Z, at least 1.
        generator: Source of the initial values, on the CPU.

    Attributes:
        is_normalised: Whether the density integrates to 1.
        is_standard: Whether it is the standard normal, whatever is learnt.
    """

    is_normalised: bool = True
    is_standard: bool = False

    def __init__(self, latent_dim: int, generator: torch.Generator) -> None:
        super().__init__()
        self.latent_dim = checked_count("latent_dim", latent_dim)

    @abstractmethod
    def log_prob(self, latents: Tensor) -> Tensor:
        """Log density, nats, ``(n,)``; differentiable in the latents and in the prior's parameters."""

    @abstractmethod
    def sample(self, n: int, generator: torch.Generator | None, device: torch.device) -> Tensor:
        """``n`` latents ``(n, Z)``."""

    def from_noise(self, noise: Tensor) -> Tensor:
        """Latents ``(n, Z)`` of standard normal noise ``(n, Z)``: a search in the noise never leaves the prior.

        Raises:
            ConfigError: The prior is not a map of noise.
        """
        raise ConfigError(
            f"{type(self).__name__} is not a map of standard normal noise; search its latents, or take prior=realnvp."
        )


class NormalPrior(Prior):
    """The standard normal; nothing is learnt."""

    is_standard = True

    def log_prob(self, latents: Tensor) -> Tensor:
        """Log density, nats, ``(n,)``."""
        return -0.5 * (latents.square() + LOG_2PI).sum(1)

    def sample(self, n: int, generator: torch.Generator | None, device: torch.device) -> Tensor:
        """``n`` latents ``(n, Z)``."""
        return torch.randn(n, self.latent_dim, device=device, generator=generator)

    def from_noise(self, noise: Tensor) -> Tensor:
        """The noise itself."""
        return noise


class RealNVPPrior(Prior):
    r"""A flow u = f(z) of affine couplings from latents to standard normal noise, trained with the model.

    .. math:: \log p(z) = \log N(f(z); 0, I) + \log|\det \partial f / \partial z|

    A new prior is the standard normal.

    Args:
        latent_dim: Z, at least 1; with one dimension the flow is a Gaussian.
        generator: Source of the initial weights, on the CPU.
        layers: Couplings, at least 1; two in a row change different dimensions.
        hidden: Width of the conditioners, at least 1; SOLVEfm has 512.
        depth: Hidden layers of a conditioner, at least 1; SOLVEfm has 5.
        repeat_log_det: Add the log determinant once a dimension, as the published code of SOLVEfm does; the density
            does not integrate to 1 then.

    References:
        Dinh, Sohl-Dickstein and Bengio, Density Estimation Using Real NVP, 2017.
    """

    def __init__(
        self,
        latent_dim: int,
        generator: torch.Generator,
        layers: int = 5,
        hidden: int = 64,
        depth: int = 2,
        repeat_log_det: bool = False,
    ) -> None:
        super().__init__(latent_dim, generator)
        counts = {"layers": layers, "hidden": hidden, "depth": depth}
        for name, count in counts.items():
            checked_count(f"prior_settings.{name}", count)
        self.flow = CouplingFlow(latent_dim, layers, hidden, generator, depth=depth, permute=False)
        self.repeats = latent_dim if repeat_log_det else 1
        self.is_normalised = self.repeats == 1

    def log_prob(self, latents: Tensor) -> Tensor:
        """Log density, nats, ``(n,)``."""
        noise, log_det = self.flow(latents)
        return self.repeats * log_det - 0.5 * (noise.square() + LOG_2PI).sum(1)

    def sample(self, n: int, generator: torch.Generator | None, device: torch.device) -> Tensor:
        """``n`` latents ``(n, Z)``."""
        return self.from_noise(torch.randn(n, self.latent_dim, device=device, generator=generator))

    def from_noise(self, noise: Tensor) -> Tensor:
        """Latents of standard normal noise, by the inverse of the flow."""
        return self.flow.inverse(noise)


class MixturePrior(Prior):
    r"""Mixture of diagonal Gaussians whose weights, means and widths are trained with the model.

    .. math:: p(z) = \sum_m \pi_m N(z; \mu_m, \mathrm{diag}\,\sigma_m^2)

    It starts with equal weights, unit widths, and means drawn from the standard normal.

    Args:
        latent_dim: Z, at least 1.
        generator: Source of the initial means, on the CPU.
        components: Gaussians, at least 1.

    References:
        Dilokthanakul et al., Deep Unsupervised Clustering with Gaussian Mixture Variational Autoencoders, 2016 (the
        idea).
    """

    def __init__(self, latent_dim: int, generator: torch.Generator, components: int = 10) -> None:
        super().__init__(latent_dim, generator)
        count = checked_count("prior_settings.components", components)
        self.logits = nn.Parameter(torch.zeros(count))
        self.means = nn.Parameter(torch.randn(count, latent_dim, generator=generator))
        self.log_sigmas = nn.Parameter(torch.zeros(count, latent_dim))

    def log_prob(self, latents: Tensor) -> Tensor:
        """Log density, nats, ``(n,)``."""
        scaled = (latents.unsqueeze(1) - self.means) * torch.exp(-self.log_sigmas)
        parts = -(0.5 * scaled.square() + self.log_sigmas + 0.5 * LOG_2PI).sum(2)
        return torch.logsumexp(parts + torch.log_softmax(self.logits, 0), dim=1)

    def sample(self, n: int, generator: torch.Generator | None, device: torch.device) -> Tensor:
        """``n`` latents ``(n, Z)``."""
        which = torch.multinomial(torch.softmax(self.logits, 0), n, replacement=True, generator=generator)
        noise = torch.randn(n, self.latent_dim, device=device, generator=generator)
        return self.means[which] + torch.exp(self.log_sigmas[which]) * noise


PRIORS: dict[str, type[Prior]] = {"normal": NormalPrior, "realnvp": RealNVPPrior, "gmm": MixturePrior}


def build_prior(name: str, latent_dim: int, generator: torch.Generator, **settings: Any) -> Prior:
    """Prior by name.

    Args:
        name: One of ``normal``, ``realnvp``, ``gmm``.
        latent_dim: Z, at least 1.
        generator: Source of the initial values, on the CPU.
        settings: Passed on to the class, for example ``components=20`` to ``gmm``.

    Raises:
        ConfigError: The name or a setting is unknown, or a setting is out of range.
    """
    if name not in PRIORS:
        raise ConfigError(f"`prior` must be one of {', '.join(PRIORS)}, got {name!r}.")
    known = set(inspect.signature(PRIORS[name]).parameters) - {"latent_dim", "generator"}
    if unknown := sorted(set(settings) - known):
        raise ConfigError(
            f"the prior {name!r} has no setting {', '.join(unknown)}; it knows {', '.join(sorted(known)) or 'none'}."
        )
    return PRIORS[name](latent_dim, generator, **settings)
