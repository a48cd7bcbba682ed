"""The variational autoencoder that all other models of this package are variations of."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_gvae.errors import CheckpointError, ConfigError
from lightning_gvae.io.network_choice import former_facts
from lightning_gvae.io.settings import differences
from lightning_gvae.losses.elbo import (
    BernoulliLikelihood,
    ElboTerms,
    Likelihood,
    build_likelihood,
    free_bits_rate,
    gaussian_kl,
    gaussian_log_prob,
    reparameterise,
)
from lightning_gvae.models.base import BaseModel
from lightning_gvae.models.compiling import MODES, Compile, compile_networks
from lightning_gvae.models.evaluation_log import log_means
from lightning_gvae.models.host_buffers import KeepsFloat64
from lightning_gvae.models.image_batch import PixelRange, image_batch
from lightning_gvae.models.precision import clippable
from lightning_gvae.models.running_means import RunningMeans
from lightning_gvae.nets.build import NetworkChoice, choose_networks, kept_choice, names_a_network
from lightning_gvae.nets.priors import NormalPrior, build_prior
from lightning_gvae.nets.summary import network_note
from lightning_gvae.rng import torch_stream
from lightning_gvae.schedules import BetaSchedule, over_the_run, set_lengths

__all__ = ["VAE", "dim_scalars", "refuse_networks"]

MAX_LOGGED_DIMS = 32
IDENTITY = ("class", "image_shape", "latent_dim", "network", "likelihood", "prior")


class VAE(KeepsFloat64, BaseModel):
    r"""Variational autoencoder with a diagonal Gaussian posterior and a standard normal, or a learnt, prior.

    .. math:: L = D + \beta R,\quad D = -\mathbb{E}_q[\log p(x|z)],\quad R = \mathrm{KL}(q(z|x)\,\|\,p(z))

    D is summed over pixels, R over latents, both are in nats and averaged over the batch; ``elbo`` is logged at
    :math:`\beta = 1` whatever the weight in training. The weight lives in one fp64 buffer, ``model.beta``, which a
    schedule or a callback writes and every checkpoint carries.

    Noise is drawn from streams keyed by (seed, stage, epoch, batch, rank), never from the global generator: nothing
    that happens between two steps can change the training, and a resumed run draws what the uninterrupted one would.

    Args:
        image_shape: ``(C, H, W)``.
        latent_dim: Z, number of latent dimensions.
        network: Name of the encoder and decoder, see :func:`~lightning_gvae.nets.build.build_network`; or a mapping of
            that ``name`` and of sizes, see :class:`~lightning_gvae.nets.settings.NetworkSettings`; or a pair of own
            ones, ``(B, C, H, W) -> (B, 2Z)`` and ``(B, Z) -> (B, C, H, W)``, raw outputs.
        likelihood: ``bernoulli``, ``gaussian``, ``learnt_sigma`` or ``optimal_sigma``; or one of a class of your own,
            derived from :class:`~lightning_gvae.losses.elbo.Likelihood`.
        sigma: Standard deviation of the Gaussian likelihoods, in pixel units (range of an image: 1).
        beta: KL weight, at least 0; the initial one if a schedule or a callback writes it.
        schedule: What writes ``beta`` at every optimiser step; ``None`` leaves it constant.
        free_bits: Nats per latent dimension below which the KL is not reduced further; 0 switches it off. A buffer too,
            which evolution may write where it is not 0 at first.
        prior: ``normal``, or ``realnvp`` or ``gmm``, which are trained with the model; the KL is then estimated by one
            draw an image, ``log q(z|x) - log p(z)``, and has no parts per dimension.
        prior_settings: Settings of a learnt prior by name, see :mod:`~lightning_gvae.nets.priors`.
        optimizer: ``parameters -> Optimizer``; default is fused Adam at 1e-3.
        lr_scheduler: ``optimizer -> scheduler``, stepped after every optimiser step.
        compile: Compile encoder and decoder: True, or a mode of ``torch.compile``, for example ``reduce-overhead``.
        seed: Seed of the noise streams.

    Raises:
        ConfigError: A setting is out of range or does not fit the image shape.

    References:
        Kingma and Welling, Auto-Encoding Variational Bayes, 2014.
    """

    beta: Tensor
    free_bits: Tensor
    sample_name = "image"
    has_posterior = True
    loss_weights: ClassVar[tuple[str, ...]] = ("beta",)  # scalar buffers that the loss reads
    penalty_names: ClassVar[tuple[str, ...]] = ()  # further terms of the latents that training has
    unsaved: ClassVar[tuple[str, ...]] = ("schedule", "optimizer", "lr_scheduler")  # arguments not among hparams
    compile_modes: Sequence[str] = MODES

    def __init__(
        self,
        image_shape: Sequence[int],
        latent_dim: int = 10,
        network: NetworkChoice = "auto",
        likelihood: str | Likelihood = "bernoulli",
        sigma: float | None = None,
        beta: float = 1.0,
        schedule: BetaSchedule | None = None,
        free_bits: float = 0.0,
        prior: str = "normal",
        prior_settings: Mapping[str, Any] | None = None,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer] | None = None,
        lr_scheduler: Callable[[Optimizer], Any] | None = None,
        compile: Compile = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if beta is None or not 0 <= beta < float("inf"):
            raise ConfigError(f"`beta` must be a KL weight of 0 or more, got {beta}.")
        if not free_bits >= 0:
            raise ConfigError(f"`free_bits` must be 0 or more nats per latent dimension, got {free_bits}.")
        if free_bits > 0 and prior != "normal":
            raise ConfigError(
                f"`free_bits` needs a KL per latent dimension, which `prior={prior}` has not; set it to 0."
            )
        self.image_shape, self.latent_dim = tuple(image_shape), latent_dim
        self.network, self.encoder, self.decoder = choose_networks(network, image_shape, latent_dim)
        named = names_a_network(network)
        plain = {"network": named, "likelihood": isinstance(likelihood, str)}
        own = [name for name, is_plain in plain.items() if not is_plain]
        self.save_hyperparameters(ignore=[*self.unsaved, *own])
        if named:
            self.hparams["network"] = kept_choice(network, self.encoder)
        self.likelihood = build_likelihood(likelihood, sigma)
        if getattr(self.decoder, "gives_pixels", False):
            self.likelihood.take_pixels()
        if isinstance(self.likelihood, BernoulliLikelihood):
            self.pixel_range = PixelRange(0, 1, "`likelihood=bernoulli`")
        self.prior = build_prior(prior, latent_dim, torch_stream(seed, "prior-weights"), **(prior_settings or {}))
        self.register_buffer("beta", torch.tensor(float(beta), dtype=torch.float64))
        self.schedule = schedule
        self.has_free_bits = free_bits > 0  # known without a look at the device
        self._settings_as_buffers: dict[str, float] = {}
        self._register_setting("free_bits", free_bits)
        self.seed = seed
        self.beta_writer = None if schedule is None else type(schedule).__name__
        self._make_optimizer, self._make_scheduler = optimizer, lr_scheduler
        self._run_lengths: list[str] = []  # arguments of the learning-rate schedule that are the run's length
        self._means = RunningMeans()
        self._last_beta_step = -1
        compile_networks(self.compilable(), compile, self.compile_modes)

    # What others use: plain functions of tensors.

    def compilable(self) -> list[nn.Module]:
        """Networks that ``compile`` compiles."""
        return [self.encoder, self.decoder]

    def prepare(self, batch: Any) -> Tensor:
        """Float images in [0, 1], see :func:`~lightning_gvae.models.image_batch.image_batch`."""
        return self.checked(image_batch(batch, self.image_shape))

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the posterior, ``(B, Z)`` each, always in fp32 or better."""
        mean, log_var = self.encoder(images).float().chunk(2, dim=1)
        return mean, log_var

    def decode(self, latents: Tensor) -> Tensor:
        """Expected pixels in [0, 1], ``(B, C, H, W)``, of latents ``(B, Z)``."""
        return self.likelihood.mean(self.decoder(latents).float())

    def reconstruct(self, images: Tensor) -> Tensor:
        """Images decoded from the means of their posteriors, ``(B, C, H, W)``."""
        return self.decode(self.encode(images)[0])

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """``n`` images decoded from the prior, ``(n, C, H, W)``."""
        return self.decode(self.prior.sample(n, generator, self.device))

    def decode_noise(self, noise: Tensor) -> Tensor:
        """Expected pixels of standard normal noise ``(B, Z)``, by way of the latents that the prior makes of it."""
        return self.decode(self.prior.from_noise(noise))

    def log_prior_ratio(self, latents: Tensor) -> Tensor:
        """``log p(z) - log N(z; 0, I)`` of latents ``(B, Z)``, nats, ``(B,)``; 0 under the standard normal."""
        zeros = torch.zeros_like(latents)
        return self.prior.log_prob(latents) - gaussian_log_prob(latents, zeros, zeros)

    def log_likelihood(self, images: Tensor, latents: Tensor) -> Tensor:
        """``log p(x|z)`` of every pair of an image in [0, 1] and latents ``(B, Z)``, ``(B,)``, nats."""
        return -self.likelihood(self.decoder(latents.float()).float(), images)

    def posterior_terms(
        self, images: Tensor, mean: Tensor, log_var: Tensor, generator: torch.Generator | None = None
    ) -> ElboTerms:
        """Terms of the ELBO for given posterior parameters, one sample of the latents per image."""
        return self.latent_terms(images, reparameterise(mean, log_var, generator), mean, log_var, generator)

    def latent_terms(
        self, images: Tensor, latents: Tensor, mean: Tensor, log_var: Tensor, generator: torch.Generator | None = None
    ) -> ElboTerms:
        """Terms of the ELBO for latents ``(B, Z)`` that were drawn from the posteriors."""
        kl, kl_dims = self.divergence(latents, mean, log_var)
        recon = self.negative_log_likelihood(images, latents, generator).mean()
        return ElboTerms(recon, kl, kl_dims, self.penalties(latents, mean, log_var, generator))

    def penalties(
        self, latents: Tensor, mean: Tensor, log_var: Tensor, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Further terms of the latents that the loss of a subclass weighs, by name; scalars. None here."""
        return {}

    def posterior(self, images: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the posterior as training has them; a subclass may draw from the generator."""
        return self.encode(images)

    def negative_log_likelihood(
        self, images: Tensor, latents: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """``-log p(x|z)`` of pairs of an image in [0, 1] and latents ``(B, Z)`` as training has it, ``(B,)``, nats."""
        return self.likelihood(self.decoder(latents).float(), images)

    def divergence(self, latents: Tensor, mean: Tensor, log_var: Tensor) -> tuple[Tensor, Tensor]:
        """KL from the posteriors ``(B, Z)`` to the prior, mean over the batch, and its parts ``(Z,)`` if it has any.

        In closed form for the standard normal; otherwise ``log q(z|x) - log p(z)`` of the ``latents`` drawn.
        """
        if isinstance(self.prior, NormalPrior):
            kl_dims = gaussian_kl(mean, log_var).mean(0)
            return kl_dims.sum(), kl_dims
        return self.log_ratio(latents, mean, log_var).mean(), mean.new_zeros(0)

    def log_ratio(self, latents: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
        """``log q(z|x) - log p(z)`` of each latent ``(B, Z)`` and its posterior, ``(B,)``, nats."""
        return gaussian_log_prob(latents, mean, log_var) - self.prior.log_prob(latents)

    def elbo_terms(self, images: Tensor, generator: torch.Generator | None = None) -> ElboTerms:
        """Distortion and rate of a batch of images in [0, 1], see :class:`~lightning_gvae.losses.elbo.ElboTerms`."""
        return self.posterior_terms(images, *self.posterior(images, generator), generator)

    def trained_terms(self, images: Tensor, generator: torch.Generator | None = None) -> ElboTerms:
        """Terms whose ``loss`` the training step lowers; a subclass with its own ``training_step`` says its own."""
        return self.elbo_terms(images, generator)

    def training_noise(self, epoch: int, batch: int) -> torch.Generator:
        """Generator of the noise that the training step draws for a batch of an epoch."""
        return self._noise("train", epoch, batch)

    def rate(self, terms: ElboTerms) -> Tensor:
        """Rate that ``beta`` multiplies: the KL, or its free-bits variant. Scalar, nats."""
        if not self.has_free_bits:
            return terms.kl
        beside = self.free_bits.device == terms.kl.device  # on a device without fp64 it is a number on the CPU
        return free_bits_rate(terms.kl_dims, self.free_bits.to(terms.kl) if beside else self.free_bits.item())

    def loss(self, terms: ElboTerms, beta: Tensor | float | None = None) -> Tensor:
        """``recon + beta * rate``, nats; ``beta=None`` takes the model's own."""
        weight = self.beta if beta is None else torch.as_tensor(beta)
        # Where the device has no fp64 the weight is a number on the CPU, which needs no copy.
        return terms.recon + weight.to(terms.recon.dtype) * self.rate(terms)

    def unfinished(self, end: float) -> str | None:
        """Sentence about what the KL term does not get to in a run of ``end`` optimiser steps; None if to all."""
        return None if self.schedule is None else self.schedule.unfinished(end)

    def claim_beta(self, by: str) -> None:
        """Announce that a callback writes ``beta``.

        Raises:
            ConfigError: Something else writes it already.
        """
        if self.beta_writer not in (None, by):
            raise ConfigError(
                f"`beta` is written by {self.beta_writer} already, {by} cannot write it too; choose a model without a "
                "schedule (model=evae) or remove the callback."
            )
        self.beta_writer = by

    # What Lightning calls.

    def forward(self, images: Tensor) -> Tensor:
        """Same as :meth:`reconstruct`."""
        return self.reconstruct(images)

    def configure_optimizers(self) -> Any:
        """Optimiser and, if given, a learning-rate schedule stepped with every optimiser step."""
        parameters = [parameter for parameter in self.parameters() if parameter.requires_grad]
        make = self._make_optimizer or functools.partial(torch.optim.Adam, lr=1e-3, fused=True)
        if self.clips_in is not None:
            make = clippable(make, self.clips_in)
        optimizer = make(parameters)
        if self._make_scheduler is None:
            return optimizer
        make_scheduler, self._run_lengths = over_the_run(self._make_scheduler)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": make_scheduler(optimizer), "interval": "step"},
        }

    def on_fit_start(self) -> None:
        """Say which networks this run trains, and with which KL weight."""
        rank_zero_info(self.network_note())
        how = f"written by {self.beta_writer}" if self.beta_writer else "constant"
        rank_zero_info(
            f"KL weight: beta = {self.beta.item():g}, {how} (loss = recon + beta * KL, nats per {self.sample_name})"
        )

    def network_note(self) -> str:
        """Sentence about the networks and the number of their weights."""
        return f"Network: {network_note(self, self.network, self.hparams_initial.get('network'))}"

    def on_train_start(self) -> None:
        """Tell schedules how long the run is, and say what that of the KL weight does not get to."""
        # Not before: Lightning would make the training loader without the place that a checkpoint has for it.
        end = float(self.trainer.estimated_stepping_batches)
        if self.schedule is not None:
            self.schedule.set_run_length(end)
        set_lengths((config.scheduler for config in self.trainer.lr_scheduler_configs), self._run_lengths, end)
        note = self.unfinished(end)
        if note is not None:
            rank_zero_info(f"KL weight: {note}")

    def on_train_end(self) -> None:
        """Say by how much a KL that is held at a set-point is off it."""
        kl = self.trainer.callback_metrics.get("train/kl")
        if self.schedule is None or kl is None:
            return
        note = self.schedule.missed(self.global_step, float(kl), float(self.beta))
        if note is not None:
            rank_zero_info(f"KL weight: {note}")

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        """One step on ``recon + beta * rate``; scalars are averaged on the device until the next log step."""
        images = self.prepare(batch)
        terms = self.trained_terms(images, self.training_noise(self.current_epoch, batch_idx))
        self._update_beta(terms)
        loss = self.loss(terms)
        if self.trainer.log_every_n_steps > 0:  # type: ignore[attr-defined]  # else nobody would ever ask for them
            self._means.add(loss, terms.recon, terms.kl, *terms.penalties.values(), terms.kl_dims)
        if self._is_log_step(batch_idx):
            self._log_train(tuple(terms.penalties))
        return {"loss": loss, "kl": terms.kl.detach()}

    def validation_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        """Log the ELBO terms of a validation batch; the posterior means go on to the callbacks."""
        return self._evaluation_step("val", batch, batch_idx)

    def test_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        """Log the ELBO terms of a test batch; the posterior means go on to the callbacks."""
        return self._evaluation_step("test", batch, batch_idx)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what identifies the model and the scalars not logged yet."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["gvae_model"] = self._identity()
        checkpoint["gvae_means"] = self._means.state_dict()
        now = {name: float(self.get_buffer(name)) for name in self._settings_as_buffers}
        checkpoint["gvae_settings"] = {n: value for n, value in now.items() if value != self._settings_as_buffers[n]}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse the checkpoint of another model.

        Raises:
            CheckpointError: The checkpoint names another class, network or shape.
        """
        super().on_load_checkpoint(checkpoint)
        stored = checkpoint.get("gvae_model")
        if stored is None:
            raise CheckpointError("the checkpoint was not written by a model of this package: `gvae_model` is missing.")
        # What was written before there were other priors has the standard normal.
        own, stored = self._identity(), {"prior": NormalPrior.__name__, **former_facts(stored)}
        if changed := differences(*({name: facts.get(name) for name in own} for facts in (stored, own))):
            raise CheckpointError(
                f"the checkpoint belongs to another model ({'; '.join(changed)}); choose the model and data that "
                "it was trained with, or start without `ckpt_path`."
            )
        if "gvae_means" in checkpoint:  # an exported model has none
            self._means.load_state_dict(checkpoint["gvae_means"])
        for name, value in checkpoint.get("gvae_settings", {}).items():
            self.get_buffer(name).fill_(value)

    def _register_setting(self, name: str, value: float) -> None:
        """Make a setting a buffer that evolution may write.

        It is no part of the weights, which are compared and loaded without it; a checkpoint has it if it was written.
        """
        self.register_buffer(name, torch.tensor(float(value), dtype=torch.float64), persistent=False)
        self._settings_as_buffers[name] = float(value)

    def _identity(self) -> dict[str, Any]:
        shape = list(self.image_shape)
        parts = (type(self.likelihood).__name__, type(self.prior).__name__)
        return dict(zip(IDENTITY, (type(self).__name__, shape, self.latent_dim, self.network, *parts), strict=True))

    def _noise(self, stage: str, *counters: int) -> torch.Generator:
        return torch_stream(self.seed, f"{stage}-noise", *counters, self.global_rank, device=self.device)

    def _update_beta(self, terms: ElboTerms) -> None:
        step = self.global_step
        # Several batches share a step under gradient accumulation: act once.
        if self.schedule is None or step == self._last_beta_step:
            return
        kl = terms.kl.detach()
        if self.schedule.target_kl is not None:
            # Every rank must see the same KL, or their betas part ways.
            kl = self.trainer.strategy.reduce(kl.clone(), reduce_op="mean")
        # A value made on the CPU is a number here, for which nothing waits.
        self.beta.fill_(self.schedule(step, kl))
        self._last_beta_step = step

    def _is_log_step(self, batch_idx: int) -> bool:
        every = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        accumulated = self.trainer.accumulate_grad_batches
        # Under gradient accumulation Lightning passes on what is logged with the last batch of an optimiser step.
        steps_now = (batch_idx + 1) % accumulated == 0 or self.trainer.is_last_batch
        return every > 0 and steps_now and (self.global_step + 1) % every == 0

    def _log_train(self, penalties: Sequence[str] = ()) -> None:
        # All at once to the host: Lightning would bring over, and later read, every scalar by itself.
        means = self.trainer.strategy.reduce(self._means.pop(), reduce_op="mean").cpu()
        loss, recon, kl, dims = means[0], means[1], means[2], means[3 + len(penalties) :]
        scalars = {"train/loss": loss, "train/recon": recon, "train/kl": kl, "train/elbo": -(recon + kl)}
        scalars |= {f"train/{name}": value for name, value in zip(penalties, means[3:], strict=False)}
        self.log_dict(scalars | self._weight_scalars() | dim_scalars(dims), prog_bar=False)

    def _weight_scalars(self) -> dict[str, Tensor]:
        """Weights of the loss in force, and the set-point of the KL if there is one, as they are logged."""
        scalars = {f"train/{name}": self.get_buffer(name).detach().cpu() for name in self.loss_weights}
        target = None if self.schedule is None else self.schedule.target_at(self.global_step)
        return scalars if target is None else scalars | {"train/target_kl": torch.tensor(float(target))}

    def _evaluation_step(self, stage: str, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        images = self.prepare(batch)
        mean, log_var = self.encode(images)
        # The same noise at every validation, so that two values differ by the model alone.
        terms = self.posterior_terms(images, mean, log_var, self._noise(stage, batch_idx))
        loss = self.loss(terms)
        values = {"loss": loss, "recon": terms.recon, "kl": terms.kl, "elbo": -(terms.recon + terms.kl)}
        log_means(self, stage, values | dict(terms.penalties), len(images))
        return {"loss": loss, "mean": mean, "nelbo": terms.recon + terms.kl}


def dim_scalars(kl_dims: Tensor) -> dict[str, Tensor]:
    """KL of each dimension ``(Z,)`` by the name it is logged by; none where there are more than 32."""
    return (
        {f"kl/{index}": value for index, value in enumerate(kl_dims.unbind())}
        if len(kl_dims) <= MAX_LOGGED_DIMS
        else {}
    )


def refuse_networks(settings: dict[str, Any]) -> None:
    """Take ``network`` out of the settings of a model that makes its own networks; for its constructor.

    A name is of no effect: checkpoints of release 0.1 hold the default.

    Raises:
        ConfigError: It is no name.
    """
    network = settings.pop("network", "auto")
    if not isinstance(network, str):
        raise ConfigError(f"`network` must be left out, this model makes its own networks, got {network!r:.100}.")
