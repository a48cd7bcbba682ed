"""The VAE of SOLVE: K small VAEs of points trained side by side, of which the best one counts."""

from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from lightning_gvae.errors import ConfigError, checked_count
from lightning_gvae.interfaces import HasDataRange, offers
from lightning_gvae.lightning_compat import datamodule_of
from lightning_gvae.losses.elbo import ElboTerms, Likelihood
from lightning_gvae.models.stacked_vae import StackedTerms, StackedVAE, from_unit
from lightning_gvae.models.vae import VAE, refuse_networks
from lightning_gvae.nets.priors import NormalPrior
from lightning_gvae.rng import torch_stream

__all__ = ["SolveVAE", "SquaredError"]


class SquaredError(Likelihood):
    """Squared error of ``tanh(output)``: a Gaussian of variance 1/2 around it, up to a constant."""

    is_normalised = False  # the constant is missing

    def forward(self, output: Tensor, images: Tensor) -> Tensor:
        """Squared errors summed over features, ``(B,)``."""
        return (self.mean(output) - images).square().flatten(1).sum(1)

    def mean(self, output: Tensor) -> Tensor:
        """Expected features in [-1, 1]."""
        return torch.tanh(output)


class SolveVAE(VAE):
    r"""VAE of points whose decoder is a search space: every latent decodes into the range of its training data.

    .. math:: L = \sum_k \mathrm{recon}_k + s\,\mathrm{KL}_k

    ``candidates`` networks are trained on the same batches from different initial weights with different noise, none
    knowing of the others. The one with the smallest reconstruction error over the last whole epoch is the model:
    ``encode``, ``decode``, ``sample`` and all scores are its own. Logged training values are means over the networks.

    Batches hold points scaled to [-1, 1], as ``CriterionDataModule`` hands them out; what is decoded is in the units of
    the problem. The range in between is taken from the data module (``data_range``) when the fit starts, and every
    checkpoint carries it; without a data module it is [-1, 1].

    Args:
        image_shape: ``(D,)``, the shape of a point.
        latent_dim: L; ``None`` is D, as published.
        hidden: Widths of the encoder's hidden layers, which the decoder has in reverse; ``None`` is ``(2 L,)``.
        candidates: K, at least 1; 1 with a learnt prior.
        kl_scale: s, weight of the KL (nats) beside the squared error (of features in [-1, 1]); published: 1 / batch
            size.
        log_var_bounds: Smallest and largest log-variance of a posterior; ``None`` for no bounds. SOLVEfm: (-6, 1).
        kwargs: Further arguments of :class:`~lightning_gvae.models.vae.VAE`, such as ``prior``, ``schedule``,
            ``optimizer`` and ``seed``.

    Raises:
        ConfigError: A setting is out of range, or a learnt prior is to be shared by several candidates.

    References:
        Bentley, Lim, Gaier and Tran, Evolving Through the Looking Glass: Learning Improved Search Spaces with
        Variational Autoencoders, PPSN 2022.
    """

    net: StackedVAE
    low: Tensor
    high: Tensor
    best: Tensor
    errors: Tensor
    batches: Tensor
    last_errors: Tensor

    def __init__(
        self,
        image_shape: Sequence[int],
        latent_dim: int | None = None,
        hidden: Sequence[int] | None = None,
        candidates: int = 10,
        kl_scale: float = 1 / 64,
        log_var_bounds: Sequence[float] | None = None,
        prior: str = "normal",
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        if len(image_shape) != 1 or image_shape[0] < 1:
            raise ConfigError(f"`image_shape` of SolveVAE must be (D,), the size of a point, got {tuple(image_shape)}.")
        if kl_scale is None or not 0 <= kl_scale < float("inf"):
            raise ConfigError(f"`kl_scale` must be a weight of 0 or more, got {kl_scale}; published: 1 / batch size.")
        if log_var_bounds is not None and not log_var_bounds[0] < log_var_bounds[1]:
            raise ConfigError(f"`log_var_bounds` must be (smallest, largest), got {tuple(log_var_bounds)}.")
        if kwargs.pop("beta", kl_scale) != kl_scale:  # checkpoints hold it among the arguments of VAE
            raise ConfigError("the weight of the KL is `kl_scale` here; give it instead of `beta`.")
        refuse_networks(kwargs)
        checked_count("candidates", candidates)
        if candidates > 1 and prior != "normal":
            raise ConfigError(f"a learnt prior belongs to one network: `prior={prior}` needs `candidates=1`.")
        latent_dim = int(image_shape[0]) if latent_dim is None else latent_dim
        widths = tuple(hidden) if hidden is not None else (2 * latent_dim,)
        generators = [torch_stream(seed, "solve-weights", number) for number in range(candidates)]
        bounds = None if log_var_bounds is None else (log_var_bounds[0], log_var_bounds[1])
        net = StackedVAE(int(image_shape[0]), latent_dim, widths, generators, bounds)
        super().__init__(
            image_shape,
            latent_dim,
            network=(net.encoder, net.decoder),
            beta=kl_scale,
            prior=prior,
            seed=seed,
            **kwargs,
        )
        # Not a submodule: its two halves are registered as encoder and decoder already.
        self.__dict__["net"] = net
        self.network = f"{candidates} x {'-'.join(map(str, widths))}"
        self.likelihood = SquaredError()
        self.candidates = candidates
        self.register_buffer("low", torch.full((int(image_shape[0]),), -1.0))
        self.register_buffer("high", torch.full((int(image_shape[0]),), 1.0))
        self.register_buffer("best", torch.tensor(0))
        self.register_buffer("errors", torch.zeros(candidates))  # of the epoch so far
        self.register_buffer("batches", torch.tensor(0))
        self.register_buffer("last_errors", torch.full((candidates,), torch.inf))  # of the last whole epoch

    @property
    def data_range(self) -> tuple[Tensor, Tensor]:
        """Values ``(D,)``, in the units of the problem, that are -1 and 1 to the networks."""
        return self.low, self.high

    def prepare(self, batch: Any) -> Tensor:
        """Points ``(B, D)`` in [-1, 1], float, from a batch: points alone or first of a tuple.

        Raises:
            ConfigError: The points have another size than the model was built for.
        """
        points = batch[0] if isinstance(batch, list | tuple) else batch
        if points.shape[1:] != self.image_shape:
            raise ConfigError(
                f"the data has points of shape {tuple(points.shape[1:])}, the model was built for `image_shape` "
                f"{self.image_shape}; build the model for the data, or choose the matching data."
            )
        return points.float()

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance ``(B, L)`` of the posteriors of points ``(B, D)`` in [-1, 1], by the best network."""
        mean, log_var = self.net.encode(images, self.best)
        return mean.float(), log_var.float()

    def decode(self, latents: Tensor) -> Tensor:
        """Points ``(B, D)`` in the units of the problem, never outside the range of the data, of latents ``(B, L)``.

        Raises:
            ConfigError: The latents have another size than the model's.
        """
        return from_unit(self.net.decode(latents, self.best).float(), self.low, self.high)

    def log_likelihood(self, images: Tensor, latents: Tensor) -> Tensor:
        """Minus the squared error of every pair of a point in [-1, 1] and latents, ``(B,)``."""
        return -(self.net.decode(latents.float(), self.best).float() - images).square().sum(1)

    def posterior_terms(
        self, images: Tensor, mean: Tensor, log_var: Tensor, generator: torch.Generator | None = None
    ) -> ElboTerms:
        """Terms of the best network; ``recon`` is the squared error."""
        noise = torch.randn(mean.shape, dtype=mean.dtype, device=mean.device, generator=generator)
        latents = mean + torch.exp(0.5 * log_var) * noise
        recon = -self.log_likelihood(images, latents).mean()
        return ElboTerms(recon, *self.divergence(latents, mean, log_var))

    def stacked_terms(self, points: Tensor, generators: Sequence[torch.Generator]) -> StackedTerms:
        """Terms of all K networks for points ``(B, D)`` in [-1, 1]; network k takes its noise from generator k."""
        shape = (len(points), self.latent_dim)
        noise = torch.stack([torch.randn(shape, device=points.device, generator=each) for each in generators])
        if isinstance(self.prior, NormalPrior):
            terms: StackedTerms = self.net(points, noise)
            return terms
        mean, log_var = self.net.encode(points, 0)
        latents = mean + torch.exp(0.5 * log_var) * noise[0]
        squared = (self.net.decode(latents, 0) - points).square()
        kl, kl_dims = self.divergence(latents, mean, log_var)
        error = squared.detach().sum(0).sqrt().mean()
        return StackedTerms(squared.sum(1).mean()[None], kl[None], kl_dims[None], error[None])

    def trained_terms(self, images: Tensor, generator: torch.Generator | None = None) -> ElboTerms:
        """Terms of the best network, whose own loss the common training step lowers."""
        return self.elbo_terms(images, generator)

    def setup(self, stage: str) -> None:
        """Take the range of the data over from the data module."""
        super().setup(stage)
        data = datamodule_of(self.trainer)
        if stage == "fit" and offers(data, HasDataRange):
            low, high = data.data_range
            self.low.copy_(low)
            self.high.copy_(high)

    def on_fit_start(self) -> None:
        """Say which weight the KL has."""
        rank_zero_info(
            f"KL weight: {self.beta.item():g} beside the squared error, points in [-1, 1]; {self.candidates} networks"
        )

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        """One step of all networks; the best one is chosen at the end of every epoch."""
        points = self.prepare(batch)
        streams = [self._noise(f"train-{number}", self.current_epoch, batch_idx) for number in range(self.candidates)]
        terms = self.stacked_terms(points, streams)
        means = ElboTerms(terms.recon.mean(), terms.kl.mean(), terms.kl_dims.mean(0))
        self._update_beta(means)
        loss = terms.loss(self.beta.to(terms.recon.dtype))
        self._compare(terms.error)
        if self.trainer.log_every_n_steps > 0:  # type: ignore[attr-defined]
            self._means.add(loss / self.candidates, means.recon, means.kl, means.kl_dims)
        if self._is_log_step(batch_idx):
            self._log_train()
        return {"loss": loss}

    def _compare(self, error: Tensor) -> None:
        """Add a batch's errors; at the last batch of the epoch choose the best network."""
        self.errors += error
        self.batches += 1
        if self.trainer.is_last_batch:
            # All ranks must choose the same network.
            self.last_errors.copy_(self.trainer.strategy.reduce(self.errors / self.batches, reduce_op="mean"))
            self.best.copy_(self.last_errors.argmin())
            self.errors.zero_()
            self.batches.zero_()
