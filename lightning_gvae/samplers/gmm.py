"""A mixture of Gaussians fitted to the aggregate posterior."""

from collections.abc import Mapping

import numpy as np
import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from lightning_gvae.devices import widest_float
from lightning_gvae.errors import ConfigError, DataError
from lightning_gvae.rng import numpy_stream, torch_stream
from lightning_gvae.samplers.base import Sampler, check_count, check_fitted, draw_posterior

__all__ = ["GaussianMixtureSampler"]


class GaussianMixtureSampler(Sampler):
    """Mixture of Gaussians with full covariances, by expectation maximisation on one draw z ~ q(z|x) an image.

    Fitted on the CPU in fp64: seconds for tens of thousands of images and tens of dimensions.

    Args:
        latent_dim: Z, at least 1.
        components: Gaussians in the mixture, at least 1; 10 is the value of the reference.
        max_iter: Steps of expectation maximisation, at least 1; scikit-learn warns if they were not enough.

    Raises:
        ConfigError: A setting is out of range.

    References:
        Ghosh et al., From Variational to Deterministic Autoencoders, 2020, section 4.
    """

    def __init__(self, latent_dim: int, components: int = 10, max_iter: int = 300) -> None:
        super().__init__(latent_dim)
        if components < 1 or max_iter < 1:
            raise ConfigError(
                f"`components` and `max_iter` must be at least 1, got components={components}, max_iter={max_iter}."
            )
        self.components, self.max_iter = components, max_iter
        self._state: dict[str, Tensor] = {}

    @torch.no_grad()
    def fit(self, means: Tensor, log_vars: Tensor | None, seed: int) -> None:
        """Fit the mixture; N must be at least the number of components.

        Raises:
            DataError: The posteriors lie so that a covariance becomes singular.
        """
        self._check_posteriors(means, log_vars)
        if len(means) < max(2, self.components):
            raise ConfigError(
                f"`components` must not exceed the number of images, and at least 2 images are needed; got "
                f"components={self.components} for {len(means)} images."
            )
        means = means.detach().cpu().double()
        log_vars = None if log_vars is None else log_vars.detach().cpu().double()
        draws = draw_posterior(means, log_vars, torch_stream(seed, "sampler-gmm-draws"))
        # k-means++ instead of all of k-means: its threads add in any order, which would change the last bits.
        mixture = GaussianMixture(
            self.components,
            covariance_type="full",
            init_params="k-means++",
            max_iter=self.max_iter,
            random_state=int(numpy_stream(seed, "sampler-gmm").integers(2**31)),
        )
        try:
            mixture.fit(draws.numpy())
        except ValueError as error:
            raise DataError(
                f"no mixture of {self.components} Gaussians fits the posteriors ({error}); take fewer `components`"
            ) from error
        self._state = {
            "weights": torch.from_numpy(mixture.weights_.copy()),
            "means": torch.from_numpy(mixture.means_.copy()),
            "cholesky": torch.from_numpy(np.linalg.cholesky(mixture.covariances_)),
        }

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """``n`` latents ``(n, Z)``, fp32, on the device of ``generator``."""
        check_count(n)
        check_fitted(bool(self._state), "gmm")
        device = generator.device
        weights, means, cholesky = self._placed(device)
        which = torch.multinomial(weights, n, replacement=True, generator=generator)
        noise = torch.randn(n, self.latent_dim, 1, dtype=means.dtype, device=device, generator=generator)
        return (means[which] + (cholesky[which] @ noise).squeeze(2)).float()

    def log_prob(self, latents: Tensor) -> Tensor:
        """Log density, nats, ``(n,)``, fp64 where the device has it."""
        check_fitted(bool(self._state), "gmm")
        self._check_latents(latents)
        weights, means, cholesky = self._placed(latents.device)
        gaussians = MultivariateNormal(means, scale_tril=cholesky, validate_args=False)
        mixture = MixtureSameFamily(Categorical(weights), gaussians, validate_args=False)
        return mixture.log_prob(latents.to(means.dtype))

    def _placed(self, device: torch.device) -> list[Tensor]:
        """Weights, means and Cholesky factors on a device, as precise as it has numbers."""
        wide = widest_float(device)
        return [self._state[name].to(device, wide) for name in ("weights", "means", "cholesky")]

    def state_dict(self) -> dict[str, Tensor]:
        """Weights ``(K,)``, means ``(K, Z)`` and Cholesky factors of the covariances ``(K, Z, Z)``, fp64."""
        check_fitted(bool(self._state), "gmm")
        return dict(self._state)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take a mixture of as many components over."""
        k, z = self.components, self.latent_dim
        self._check_state(state, {"weights": (k,), "means": (k, z), "cholesky": (k, z, z)})
        self._state = {name: value.detach().cpu().clone() for name, value in state.items()}
