"""Base of all samplers of latents, and the checks they share."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor

from lightning_gvae.errors import CheckpointError, ConfigError, DataError

__all__ = ["Sampler", "draw_posterior"]


class Sampler(ABC):
    r"""A density over latents, fitted once to the posteriors of a trained model (ex-post density estimation).

    The decoder has seen draws of the aggregate posterior :math:`q(z) = E_x q(z|x)`, not the prior; where the two
    differ, samples of the prior fall into holes. The density is therefore fitted to draws z ~ q(z|x). Means alone would
    have too little variance, by :math:`E_x \sigma^2(x)`, and none at all in the dimensions that the model does not use.
    For a deterministic encoder give ``log_vars=None``: its codes are the draws.

    Args:
        latent_dim: Z, at least 1.

    Raises:
        ConfigError: ``latent_dim`` is below 1.

    References:
        Ghosh, Sajjadi, Vergari, Black and Schoelkopf, From Variational to Deterministic Autoencoders, 2020, section 4.
    """

    def __init__(self, latent_dim: int) -> None:
        if latent_dim < 1:
            raise ConfigError(f"`latent_dim` must be at least 1, got {latent_dim}.")
        self.latent_dim = latent_dim

    @abstractmethod
    def fit(self, means: Tensor, log_vars: Tensor | None, seed: int) -> None:
        """Fit to posteriors with ``means`` and natural ``log_vars``, ``(N, Z)`` each; the same seed, the same fit.

        Raises:
            ConfigError: N is too small for the settings.
            DataError: The shapes are wrong or a value is not finite.
        """

    @abstractmethod
    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """``n`` latents ``(n, Z)``, fp32, on the device of ``generator``.

        Raises:
            ConfigError: ``n`` is below 1, or the sampler was not fitted.
        """

    @abstractmethod
    def log_prob(self, latents: Tensor) -> Tensor:
        """Log density of ``latents (n, Z)``, nats, ``(n,)``.

        Raises:
            ConfigError: The sampler was not fitted.
            DataError: The shape is wrong.
        """

    @abstractmethod
    def state_dict(self) -> dict[str, Tensor]:
        """Tensors that :meth:`load_state_dict` of a sampler with the same settings takes; on the CPU.

        Raises:
            ConfigError: The sampler was not fitted.
        """

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take a fit over.

        Raises:
            CheckpointError: The state is of another sampler or of other settings.
        """

    def _check_posteriors(self, means: Tensor, log_vars: Tensor | None) -> None:
        for name, values in (("means", means), ("log_vars", log_vars)):
            if values is None:
                continue
            if values.ndim != 2 or values.shape[1] != self.latent_dim or len(values) < 1 or len(values) != len(means):
                raise DataError(
                    f"`{name}` must be (N, {self.latent_dim}), one row an image, got {tuple(values.shape)} beside "
                    f"{len(means)} means."
                )
            if not values.isfinite().all():
                raise DataError(f"`{name}` must be finite; the encoder returned NaN or infinity.")

    def _check_latents(self, latents: Tensor) -> None:
        if latents.ndim != 2 or latents.shape[1] != self.latent_dim:
            raise DataError(f"`latents` must be (n, {self.latent_dim}), got {tuple(latents.shape)}.")

    def _check_state(self, state: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]) -> None:
        found = {name: tuple(value.shape) for name, value in state.items()}
        if found != dict(shapes):
            wrong = sorted(name for name in {*found, *shapes} if found.get(name) != shapes.get(name))
            raise CheckpointError(
                f"the state does not belong to this {type(self).__name__}: {wrong[0]} is {found.get(wrong[0])}, "
                "expected "
                f"{shapes.get(wrong[0])}; build the sampler with the settings that it was fitted with."
            )


def check_count(n: int) -> None:
    """Raise ConfigError if ``n`` samples cannot be drawn."""
    if n < 1:
        raise ConfigError(f"`n` must be at least 1 sample, got {n}.")


def check_fitted(fitted: bool, name: str) -> None:
    """Raise ConfigError if the sampler ``name`` was not fitted."""
    if not fitted:
        raise ConfigError(
            f"the sampler {name!r} was not fitted; call `fit` with the posteriors of a trained model first."
        )


def draw_posterior(means: Tensor, log_vars: Tensor | None, generator: torch.Generator) -> Tensor:
    """One draw of every posterior, ``(N, Z)``; ``means`` themselves for a deterministic encoder."""
    if log_vars is None:
        return means
    noise = torch.randn(means.shape, dtype=means.dtype, device=means.device, generator=generator)
    return means + torch.exp(0.5 * log_vars) * noise
