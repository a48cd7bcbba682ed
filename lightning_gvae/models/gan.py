"""The generative adversarial network, with the decoder and discriminator of the VAE-GAN."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, NoReturn

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_gvae.errors import ConfigError
from lightning_gvae.io.network_choice import plain_choice
from lightning_gvae.io.settings import as_settings
from lightning_gvae.losses.adversarial import Gates
from lightning_gvae.models.adversarial_training import AdversarialTraining, check_identity, probability
from lightning_gvae.models.adversary import Adversary
from lightning_gvae.models.compiling import compile_networks
from lightning_gvae.models.evaluation_log import log_means
from lightning_gvae.models.image_batch import image_batch
from lightning_gvae.nets.build import CUSTOM, choose_networks, names_a_network
from lightning_gvae.nets.summary import network_note
from lightning_gvae.rng import torch_stream

__all__ = ["GAN"]


class GAN(AdversarialTraining):
    r"""A generator from standard normal latents, and a discriminator that it must fool.

    .. math:: \min_D\; -w \log D(x) - (1-w) \log(1 - D(G(z))),\qquad \min_G\; -\log D(G(z))

    There is no encoder: :meth:`sample` and :meth:`decode` work, what needs a posterior raises. Noise is drawn from
    streams keyed by (seed, stage, epoch, batch, rank), as in :class:`~lightning_gvae.models.vae.VAE`.

    Args:
        image_shape: ``(C, H, W)``.
        latent_dim: Z, number of latent dimensions.
        network: Name of the generator, the decoder of :func:`~lightning_gvae.nets.build.build_network`; or a mapping of
            that ``name`` and of sizes; or an own one, ``(B, Z) -> (B, C, H, W)``, raw outputs.
        adversary: Discriminator, losses and order of steps; may be given as a mapping.
        optimizer: ``parameters -> Optimizer`` of each network; default is fused Adam at 5e-4, betas 0.5 and 0.999.
        lr_scheduler: ``optimizer -> scheduler``, stepped after every batch.
        seed: Seed of the noise streams.
        compile: Compile generator and discriminator.

    Raises:
        ConfigError: A setting is out of range or does not fit the image shape.

    References:
        Goodfellow et al., Generative Adversarial Nets, 2014.
    """

    has_posterior = False

    def __init__(
        self,
        image_shape: Sequence[int],
        latent_dim: int = 20,
        network: str | nn.Module | Mapping[str, Any] = "auto_norm",
        adversary: Adversary | Mapping[str, Any] | None = None,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer] | None = None,
        lr_scheduler: Callable[[Optimizer], Any] | None = None,
        seed: int = 0,
        compile: bool = False,
    ) -> None:
        super().__init__()
        rules = as_settings(Adversary, adversary, "adversary")
        adversary = asdict(rules)  # plain among the hyper-parameters
        self.image_shape, self.latent_dim, self.seed = tuple(image_shape), latent_dim, seed
        if names_a_network(network):
            self.network, _, self.decoder = choose_networks(network, image_shape, latent_dim)
            if getattr(self.decoder, "gives_pixels", False):
                raise ConfigError(f"`network={self.network}` belongs to an encoder; take model=vae or model=vae_gan.")
        else:
            self.network, self.decoder = CUSTOM, _own_generator(network)
        named = self.network != CUSTOM
        self.save_hyperparameters(ignore=["optimizer", "lr_scheduler", *([] if named else ["network"])])
        if named:
            self.hparams["network"] = plain_choice(network)
        self._make_optimizer, self._make_scheduler = optimizer, lr_scheduler
        self._set_up_game(image_shape, rules)
        compile_networks(self.compilable(), compile, modes=())

    # What others use: plain functions of tensors.

    def compilable(self) -> list[nn.Module]:
        """Networks that ``compile`` compiles."""
        return [self.decoder, self.discriminator]

    def prepare(self, batch: Any) -> Tensor:
        """Float images in [0, 1], see :func:`~lightning_gvae.models.image_batch.image_batch`."""
        return self.checked(image_batch(batch, self.image_shape))

    def decode(self, latents: Tensor) -> Tensor:
        """Generated pixels in [0, 1], ``(B, C, H, W)``, of latents ``(B, Z)``."""
        return torch.sigmoid(self.decoder(latents).float())

    def decode_noise(self, noise: Tensor) -> Tensor:
        """Same as :meth:`decode`: the latents are standard normal noise."""
        return self.decode(noise)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """``n`` generated images, ``(n, C, H, W)``."""
        return self.decode(torch.randn(n, self.latent_dim, device=self.device, generator=generator))

    def encode(self, images: Tensor) -> NoReturn:
        """Refuses: there is no encoder.

        Raises:
            ConfigError: Always.
        """
        self._refuse("encode")

    def reconstruct(self, images: Tensor) -> NoReturn:
        """Refuses: there is no encoder.

        Raises:
            ConfigError: Always.
        """
        self._refuse("reconstruct")

    def elbo_terms(self, images: Tensor, generator: torch.Generator | None = None) -> NoReturn:
        """Refuses: there is no ELBO.

        Raises:
            ConfigError: Always.
        """
        self._refuse("elbo_terms")

    def log_likelihood(self, images: Tensor, latents: Tensor) -> NoReturn:
        """Refuses: there is no likelihood.

        Raises:
            ConfigError: Always.
        """
        self._refuse("log_likelihood")

    def claim_beta(self, by: str) -> NoReturn:
        """Refuses: there is no KL weight.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(f"a GAN has no KL weight for {by} to write; remove it, or take model=vae_gan.")

    def networks(self) -> dict[str, list[nn.Parameter]]:
        """Parameters of generator and discriminator."""
        return {"decoder": list(self.decoder.parameters()), "discriminator": list(self.discriminator.parameters())}

    # What Lightning calls.

    def forward(self, latents: Tensor) -> Tensor:
        """Same as :meth:`decode`."""
        return self.decode(latents)

    def on_fit_start(self) -> None:
        """Say which networks this run trains."""
        rank_zero_info(f"Network: {network_note(self, self.network, self.hparams_initial.get('network'))}")

    def latent_draws(self, images: Tensor, *counters: int) -> Tensor:
        """Latents of the fakes of a training batch ``(B, Z)``, from the stream of that batch."""
        stream = torch_stream(self.seed, "train-noise", *counters, self.global_rank, device=self.device)
        return torch.randn(len(images), self.latent_dim, device=self.device, generator=stream)

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        """One step of the discriminator, then one of the generator, unless the gates let a side wait."""
        images, counters = self.prepare(batch), (self.current_epoch, batch_idx)
        latents, noise = self.latent_draws(images, *counters), self._instance_noise(*counters)
        log_now = self._log_now()
        with self._one_step() as (of_decoder, of_discriminator):
            step = self._sequential if self.adversary.update_order == "sequential" else self._simultaneous
            scalars = step(of_decoder, of_discriminator, images, latents, noise)
        self._collect(scalars)
        if log_now:
            self._log_collected()
        return {"loss": scalars["generator_loss"].detach()}

    def _sequential(
        self,
        of_decoder: LightningOptimizer,
        of_discriminator: LightningOptimizer,
        images: Tensor,
        latents: Tensor,
        noise: torch.Generator,
    ) -> dict[str, Tensor]:
        with self.toggled_optimizer(of_discriminator):
            with torch.no_grad():
                fakes = self.decode(latents)
            real, fake = self.judge(images, noise)[1], self.judge(fakes, noise)[1]
            scalars, gates = self._verdict(real, fake)
            if gates.discriminator:
                self._descend(of_discriminator, scalars["discriminator_loss"])
        if gates.decoder:
            with self.toggled_optimizer(of_decoder):
                fooled = self.judge(self.decode(latents), noise)[1]
                self._descend(of_decoder, self.game.generator([fooled]))
        return scalars

    def _simultaneous(
        self,
        of_decoder: LightningOptimizer,
        of_discriminator: LightningOptimizer,
        images: Tensor,
        latents: Tensor,
        noise: torch.Generator,
    ) -> dict[str, Tensor]:
        real, fake = self.judge(images, noise)[1], self.judge(self.decode(latents), noise)[1]
        scalars, gates = self._verdict(real, fake)
        steps = [
            (gates.decoder, of_decoder, scalars["generator_loss"]),
            (gates.discriminator, of_discriminator, scalars["discriminator_loss"]),
        ]
        self._descend_together([(optimizer, loss) for steps_now, optimizer, loss in steps if steps_now])
        return scalars

    def _verdict(self, real: Tensor, fake: Tensor) -> tuple[dict[str, Tensor], Gates]:
        """Losses, probabilities and who steps, all seen by the discriminator as it was before the batch."""
        gates = self._gates(self.game.costs(real, [fake]))
        return {
            "discriminator_loss": self.game.discriminator(real, [fake]),
            "generator_loss": self.game.generator([fake]),
            "d_real": probability(real),
            "d_prior": probability(fake),
            "skip_discriminator": real.new_full((), float(not gates.discriminator)),
            "skip_generator": real.new_full((), float(not gates.decoder)),
        }, gates

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Log what the discriminator says of validation images and of fakes."""
        self._evaluation_step("val", batch, batch_idx)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Log what the discriminator says of test images and of fakes."""
        self._evaluation_step("test", batch, batch_idx)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what identifies the model."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["gvae_model"] = self._identity()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse the checkpoint of another model.

        Raises:
            CheckpointError: The checkpoint names another class, network or shape.
        """
        check_identity(self._identity(), checkpoint.get("gvae_model"))
        super().on_load_checkpoint(checkpoint)

    def _identity(self) -> dict[str, Any]:
        return {
            "class": type(self).__name__,
            "image_shape": list(self.image_shape),
            "latent_dim": self.latent_dim,
            "network": self.network,
            "discriminator": self.discriminator_name,
        }

    def _evaluation_step(self, stage: str, batch: Any, batch_idx: int) -> None:
        images = self.prepare(batch)
        # The same noise at every validation, so that two values differ by the model alone.
        stream = torch_stream(self.seed, f"{stage}-noise", batch_idx, self.global_rank, device=self.device)
        real, fake = self.judge(images)[1], self.judge(self.sample(len(images), stream))[1]
        values = {
            "discriminator_loss": self.game.discriminator(real, [fake]),
            "generator_loss": self.game.generator([fake]),
            "d_real": probability(real),
            "d_prior": probability(fake),
        }
        log_means(self, stage, values, len(images))

    def _refuse(self, what: str) -> NoReturn:
        raise ConfigError(
            f"a GAN has no encoder and no likelihood, so there is no `{what}`; take model=vae_gan for both."
        )


def _own_generator(network: object) -> nn.Module:
    decoder = network.get("decoder") if isinstance(network, Mapping) else network
    if not isinstance(decoder, nn.Module):
        raise ConfigError(f"`network` must be a name, or a decoder, got {network!r:.100}.")
    return decoder
