"""VAE-GAN: an autoencoder that measures similarity by the features of a discriminator."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar, NamedTuple

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim import Optimizer

from lightning_gvae.errors import ConfigError
from lightning_gvae.io.settings import as_settings
from lightning_gvae.losses.adversarial import Gates, feature_nll
from lightning_gvae.losses.elbo import ElboTerms, reparameterise
from lightning_gvae.models.adversarial_training import AdversarialTraining, check_identity, probability
from lightning_gvae.models.adversary import VAEGANAdversary
from lightning_gvae.models.compiling import compile_networks
from lightning_gvae.models.evaluation_log import log_means
from lightning_gvae.models.vae import VAE, dim_scalars
from lightning_gvae.nets.build import NetworkChoice
from lightning_gvae.schedules import BetaSchedule

__all__ = ["VAEGAN", "Draws"]


class Draws(NamedTuple):
    """Noise of one training batch.

    Attributes:
        posterior: Standard normal, ``(B, Z)``; makes latents of the posteriors' parameters.
        prior: Latents of the fakes that come from the prior, ``(B, Z)``.
    """

    posterior: Tensor
    prior: Tensor


class Step(NamedTuple):
    """Values that the parts of a training step share."""

    images: Tensor
    draws: Draws
    noise: torch.Generator
    of_encoder: LightningOptimizer
    of_decoder: LightningOptimizer
    of_discriminator: LightningOptimizer


class VAEGAN(AdversarialTraining, VAE):
    r"""Encoder, decoder and discriminator, each with a loss of its own.

    .. math::
        L_\mathrm{enc} &= \beta R + L_\mathrm{llike} \\
        L_\mathrm{dec} &= \gamma L_\mathrm{llike} + L_\mathrm{adv} \\
        L_\mathrm{dis} &= -\log D(x) - \log(1 - D(\tilde x)) - \log(1 - D(x_p)) \quad\text{(weighted)}

    with :math:`L_\mathrm{llike} = \tfrac12\|D_l(\tilde x) - D_l(x)\|^2`, :math:`\tilde x` the reconstruction from a
    draw of the posterior and :math:`x_p` decoded from the prior. The adversarial loss never reaches the encoder, the
    feature loss never the discriminator.

    As a VAE it has the same methods and the same ``beta``: schedules write it, and ``BetaEvolution`` looks ahead with
    the encoder, the only network whose loss ``beta`` is in; with the decoder too where ``gamma`` is a gene.
    ``elbo_terms``, ``recon`` and ``elbo`` are those of the *pixels*, comparable with a VAE's but not trained for;
    ``trained_terms`` and ``llike`` are those of the features.

    Args:
        image_shape: ``(C, H, W)``.
        latent_dim: Z, number of latent dimensions.
        network: Name of encoder and decoder, see :func:`~lightning_gvae.nets.build.build_network`; or a mapping of that
            ``name`` and of sizes; or a pair of own ones.
        adversary: Discriminator, losses, fakes and order of steps; may be given as a mapping. The encoder always steps.
        gamma: Weight of the feature loss in the decoder's, at least 0; a buffer, which evolution may write.
        beta: KL weight beside the feature loss, at least 0; the initial one if a schedule or a callback writes it. Its
            scale is that of the features: with spectral norm they are small, and a weight of 1 leaves few nats of KL.
        schedule: What writes ``beta`` at every batch; ``None`` leaves it constant.
        free_bits: Nats per latent dimension below which the KL is not reduced further; 0 switches it off.
        likelihood: Of the pixels, for the reported ELBO: ``bernoulli``, ``gaussian`` or ``optimal_sigma``.
        sigma: Standard deviation of the Gaussian likelihoods, in pixel units.
        optimizer: ``parameters -> Optimizer`` of each network; default is fused Adam at 5e-4, betas 0.5 and 0.999.
        lr_scheduler: ``optimizer -> scheduler``, stepped after every batch.
        seed: Seed of the noise streams.
        compile: Compile encoder, decoder and discriminator.

    Raises:
        ConfigError: A setting is out of range or does not fit the image shape.

    References:
        Larsen, Soenderby, Larochelle and Winther, Autoencoding beyond Pixels Using a Learned Similarity Metric, 2016.
    """

    gamma: Tensor
    loss_weights = ("beta", "gamma")
    penalty_names = ("generator_loss",)
    beta_optimizer = 0  # the encoder's: what BetaEvolution looks ahead with
    gene_optimizers: ClassVar[Mapping[str, int]] = {"gamma": 1}  # the decoder's
    compile_modes = ()  # a network runs several times a step, and CUDA graphs overwrite what it gave before

    def __init__(
        self,
        image_shape: Sequence[int],
        latent_dim: int = 20,
        network: NetworkChoice = "auto_norm",
        adversary: VAEGANAdversary | Mapping[str, Any] | None = None,
        gamma: float = 0.03,
        beta: float = 0.3,
        schedule: BetaSchedule | None = None,
        free_bits: float = 0.0,
        likelihood: str = "bernoulli",
        sigma: float | None = None,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer] | None = None,
        lr_scheduler: Callable[[Optimizer], Any] | None = None,
        seed: int = 0,
        compile: bool = False,
    ) -> None:
        if not 0 <= gamma < float("inf"):
            raise ConfigError(f"`gamma` must be a weight of 0 or more, got {gamma}.")
        if likelihood == "learnt_sigma":
            raise ConfigError("`likelihood=learnt_sigma` is not trained by a VAE-GAN; take optimal_sigma or bernoulli.")
        rules = as_settings(VAEGANAdversary, adversary, "adversary")
        adversary = asdict(rules)  # plain among the hyper-parameters
        super().__init__(
            image_shape,
            latent_dim=latent_dim,
            network=network,
            likelihood=likelihood,
            sigma=sigma,
            beta=beta,
            schedule=schedule,
            free_bits=free_bits,
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            seed=seed,
            compile=compile,
        )
        self._register_setting("gamma", gamma)
        self.discriminate_recon, self.discriminate_prior = rules.discriminate_recon, rules.discriminate_prior
        self._set_up_game(image_shape, rules, rules.recon_layer)
        compile_networks([self.discriminator], compile, self.compile_modes)

    # What others use.

    def compilable(self) -> list[nn.Module]:
        """Encoder and decoder, and the discriminator once it is made."""
        return [self.encoder, self.decoder, *([self.discriminator] if hasattr(self, "discriminator") else [])]

    def networks(self) -> dict[str, list[nn.Parameter]]:
        """Parameters of encoder, decoder and discriminator."""
        parts = {"encoder": self.encoder, "decoder": self.decoder, "discriminator": self.discriminator}
        return {name: list(network.parameters()) for name, network in parts.items()}

    def trained_terms(self, images: Tensor, generator: torch.Generator | None = None) -> ElboTerms:
        """Terms that ``beta`` trades off in training: ``recon`` is the feature loss here, not the pixels'. Nats."""
        mean, log_var = self.encode(images)
        latents = reparameterise(mean, log_var, generator)
        llike = feature_nll(self.judge(self.decode(latents))[0], self.judge(images)[0].detach())
        return ElboTerms(llike, *self.divergence(latents, mean, log_var))

    def decoder_loss(self, llike: Tensor, adversarial: Tensor) -> Tensor:
        """``gamma * llike + adversarial``, scalar."""
        return self.gamma.to(llike.dtype) * llike + adversarial

    def joint_loss(self, images: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, ElboTerms]:
        """Sum of the losses of encoder and decoder, each with the gradient of its own network alone, and their terms.

        The discriminator is taken as it is. ``generator_loss`` is among the terms.
        """
        mean, log_var = self.encode(images)
        latents = reparameterise(mean, log_var, generator)
        target = self.judge(images)[0].detach()
        frozen = {name: parameter.detach() for name, parameter in self.decoder.named_parameters()}
        output = functional_call(self.decoder, frozen, (latents,)).float()
        terms = ElboTerms(
            feature_nll(self.judge(self.likelihood.mean(output))[0], target), *self.divergence(latents, mean, log_var)
        )
        features, recon = self.judge(self.decode(latents.detach()))
        fooled = [recon] if self.discriminate_recon else []
        if self.discriminate_prior:
            drawn = torch.randn(latents.shape, device=latents.device, generator=generator)
            fooled.append(self.judge(self.decode(drawn))[1])
        adversarial = self.game.generator(fooled)
        loss = self.loss(terms) + self.decoder_loss(feature_nll(features, target), adversarial)
        return loss, terms._replace(penalties={"generator_loss": adversarial})

    # What Lightning calls.

    def on_fit_start(self) -> None:
        """Say which networks this run trains, and with which weights."""
        rank_zero_info(self.network_note())
        how = f"written by {self.beta_writer}" if self.beta_writer else "constant"
        rank_zero_info(
            f"KL weight: beta = {self.beta.item():g}, {how} (encoder: feature loss + beta * KL, nats per image); "
            f"decoder: gamma = {self.gamma.item():g} times the feature loss + adversarial loss"
        )

    def latent_draws(self, images: Tensor, *counters: int) -> Draws:
        """Noise of a training batch, from the stream of that batch."""
        stream, shape = self._noise("train", *counters), (len(images), self.latent_dim)
        draw = (torch.randn(shape, device=self.device, generator=stream) for _ in Draws._fields)
        return Draws(*draw)

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        """One step of discriminator, encoder and decoder, unless the gates let one of the players wait."""
        images, counters = self.prepare(batch), (self.current_epoch, batch_idx)
        draws, noise, log_now = self.latent_draws(images, *counters), self._instance_noise(*counters), self._log_now()
        with self._one_step() as (of_encoder, of_decoder, of_discriminator):
            step = Step(images, draws, noise, of_encoder, of_decoder, of_discriminator)
            scalars = (
                self._sequential(step) if self.adversary.update_order == "sequential" else self._simultaneous(step)
            )
        self._collect(scalars)
        if log_now:
            self._log_collected()
            self.log_dict(self._weight_scalars())
        return {"loss": scalars["encoder_loss"].detach(), "kl": scalars["kl"].detach()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse the checkpoint of another model, of another discriminator too.

        Raises:
            CheckpointError: The checkpoint names another class, network or shape.
        """
        super().on_load_checkpoint(checkpoint)
        check_identity(self._identity(), checkpoint.get("gvae_model"))

    def _identity(self) -> dict[str, Any]:
        return super()._identity() | {"discriminator": self.discriminator_name}

    def _sequential(self, step: Step) -> dict[str, Tensor]:
        images, draws, noise = step.images, step.draws, step.noise
        with self.toggled_optimizer(step.of_discriminator):
            with torch.no_grad():
                recon_latents = self._posterior(images, draws)[0] if self.discriminate_recon else None
                fakes = self._fakes(recon_latents, draws.prior)
            real = self.judge(images, noise)[1]
            logits = {name: self.judge(fake, noise)[1] for name, fake in fakes.items()}
            scalars, gates = self._verdict(real, logits)
            if gates.discriminator:
                self._descend(step.of_discriminator, scalars["discriminator_loss"])
        with self.toggled_optimizer(step.of_encoder):
            with torch.no_grad():
                target = self.judge(images, noise)[0]
            latents, mean, log_var = self._posterior(images, draws)
            output = self.decoder(latents).float()
            llike = feature_nll(self.judge(self.likelihood.mean(output), noise)[0], target)
            scalars |= self._encoder_scalars(images, output, llike, latents, mean, log_var)
            self._descend(step.of_encoder, scalars["encoder_loss"])
        if gates.decoder:
            with self.toggled_optimizer(step.of_decoder):
                features, recon = self.judge(self.decode(latents.detach()), noise)
                fooled = [recon] if self.discriminate_recon else []
                if self.discriminate_prior:
                    fooled.append(self.judge(self.decode(draws.prior), noise)[1])
                loss = self.decoder_loss(feature_nll(features, target), self.game.generator(fooled))
                self._descend(step.of_decoder, loss)
        return scalars

    def _simultaneous(self, step: Step) -> dict[str, Tensor]:
        images, noise = step.images, step.noise
        latents, mean, log_var = self._posterior(images, step.draws)
        output = self.decoder(latents).float()
        target, real = self.judge(images, noise)
        features, recon = self.judge(self.likelihood.mean(output), noise)
        llike = feature_nll(features, target.detach())
        logits = {"recon": recon} if self.discriminate_recon else {}
        if self.discriminate_prior:
            logits["prior"] = self.judge(self.decode(step.draws.prior), noise)[1]
        scalars, gates = self._verdict(real, logits)
        scalars |= self._encoder_scalars(images, output, llike, latents, mean, log_var)
        # Which gradient reaches which network is settled by asking for those of its own parameters alone.
        steps = [(step.of_encoder, scalars["encoder_loss"])]
        if gates.decoder:
            steps.append((step.of_decoder, self.decoder_loss(llike, scalars["generator_loss"])))
        if gates.discriminator:
            steps.append((step.of_discriminator, scalars["discriminator_loss"]))
        self._descend_together(steps)
        return scalars

    def _posterior(self, images: Tensor, draws: Draws) -> tuple[Tensor, Tensor, Tensor]:
        """Latents drawn with the given noise, means and log-variances, ``(B, Z)`` each."""
        mean, log_var = self.encode(images)
        return mean + torch.exp(0.5 * log_var) * draws.posterior, mean, log_var

    def _fakes(self, recon_latents: Tensor | None, prior_latents: Tensor) -> dict[str, Tensor]:
        fakes = {} if recon_latents is None else {"recon": self.decode(recon_latents)}
        return fakes | ({"prior": self.decode(prior_latents)} if self.discriminate_prior else {})

    def _verdict(self, real: Tensor, fakes: dict[str, Tensor]) -> tuple[dict[str, Tensor], Gates]:
        """Losses, probabilities and who steps, all seen by the discriminator as it was before the batch."""
        logits = list(fakes.values())
        gates = self._gates(self.game.costs(real, logits))
        scalars = {
            "discriminator_loss": self.game.discriminator(real, logits),
            "generator_loss": self.game.generator(logits),
            "d_real": probability(real),
            **{f"d_{name}": probability(fake) for name, fake in fakes.items()},
            "skip_discriminator": real.new_full((), float(not gates.discriminator)),
            "skip_generator": real.new_full((), float(not gates.decoder)),
        }
        return scalars, gates

    def _encoder_scalars(
        self, images: Tensor, output: Tensor, llike: Tensor, latents: Tensor, mean: Tensor, log_var: Tensor
    ) -> dict[str, Tensor]:
        """The encoder's loss, with beta brought up to date first, and the terms of the pixels beside it."""
        kl, kl_dims = self.divergence(latents, mean, log_var)
        terms = ElboTerms(llike, kl, kl_dims)
        self._update_beta(terms)
        with torch.no_grad():
            recon = self.likelihood(output, images).mean()
        scalars = {"encoder_loss": self.loss(terms), "llike": llike, "kl": kl, "recon": recon, "elbo": -(recon + kl)}
        return scalars | dim_scalars(kl_dims)

    def _evaluation_step(self, stage: str, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        images = self.prepare(batch)
        mean, log_var = self.encode(images)
        # The same noise at every validation, so that two values differ by the model alone.
        latents = reparameterise(mean, log_var, self._noise(stage, batch_idx))
        kl, _ = self.divergence(latents, mean, log_var)
        output = self.decoder(latents).float()
        recon = self.likelihood(output, images).mean()
        target, real = self.judge(images)
        features, logits = self.judge(self.likelihood.mean(output))
        values = {"recon": recon, "kl": kl, "elbo": -(recon + kl), "llike": feature_nll(features, target)}
        values |= {"d_real": probability(real), "d_recon": probability(logits)}
        log_means(self, stage, values, len(images))
        return {"loss": -values["elbo"], "mean": mean}
