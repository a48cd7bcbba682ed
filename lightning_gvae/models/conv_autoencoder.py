"""The convolutional autoencoder that architecture evolution builds, and its variational twin."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_gvae.models.evaluation_log import log_means
from lightning_gvae.models.genome_built import GenomeBuilt
from lightning_gvae.models.image_batch import PixelRange, image_batch
from lightning_gvae.models.vae import VAE
from lightning_gvae.nets.genome_plan import Decoder
from lightning_gvae.nets.priors import build_prior
from lightning_gvae.rng import torch_stream

__all__ = ["ConvAutoencoder", "ConvVAE", "clipped_bce"]

CLIP = 1e-7  # of Keras


def clipped_bce(pixels: Tensor, images: Tensor) -> Tensor:
    """Binary cross-entropy of pixels clipped to [1e-7, 1 - 1e-7], nats, mean over pixels and batch: Keras's loss."""
    return F.binary_cross_entropy(pixels.clamp(CLIP, 1 - CLIP), images)


class ConvAutoencoder(GenomeBuilt):
    """Deterministic convolutional autoencoder built from a genome.

    It is trained on the binary cross-entropy, mean over pixels, in nats: the loss of the paper. ``bce`` is logged in
    that unit, ``recon`` in nats summed over pixels, as all other models of this package have it. By the reference's
    rules the pixels are the first block's activation, clipped; by the robust ones the outputs are logits.

    Args:
        image_shape: ``(C, H, W)``, square.
        genome: As ``Genome.to_dict`` or ``Genome.to_json`` writes it, or the text of ``Genome.key``; None if a callback
            will hand one over before the network is built.
        upsampling: ``reference`` or ``mirror``, see :func:`~lightning_gvae.nets.genome_plan.plan`.
        seed: Seed of the initial weights.

    Raises:
        ConfigError: From ``configure_model``: there is no genome, or its decoder cannot reach the image's side.

    References:
        Dimanov, Balaguer-Ballester, Singleton, Rostami, MONCAE: Multi-Objective Neuroevolution of Convolutional
        Autoencoders, 2021.
    """

    has_posterior = False  # its code is a point

    def __init__(
        self,
        image_shape: Sequence[int],
        genome: Mapping[str, Any] | str | None = None,
        upsampling: Decoder = "reference",
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.image_shape = tuple(image_shape)
        self.take_genome(genome)
        self.upsampling, self.seed = upsampling, seed
        self.pixel_range = PixelRange(0, 1, "the cross-entropy of pixels")

    def prepare(self, batch: Any) -> Tensor:
        """Float images in [0, 1], see :func:`~lightning_gvae.models.image_batch.image_batch`."""
        return self.checked(image_batch(batch, self.image_shape))

    def encode(self, images: Tensor) -> Tensor:
        """The code, ``(B, c, h, w)``."""
        return self.encoder(images)

    def decode(self, code: Tensor) -> Tensor:
        """Pixels in [0, 1], ``(B, C, H, W)``, of codes ``(B, c, h, w)``."""
        output = self.decoder(code).float()
        return output.clamp(0, 1) if self._pixels else torch.sigmoid(output)

    def reconstruct(self, images: Tensor) -> Tensor:
        """Decoded codes of images, ``(B, C, H, W)``."""
        return self.decode(self.encode(images))

    def features(self, images: Tensor) -> Tensor:
        """The flat code, ``(B, Z)``."""
        return self.encode(images).flatten(1)

    def loss(self, images: Tensor) -> Tensor:
        """Cross-entropy of images in [0, 1] with their reconstructions, nats, mean over pixels and batch."""
        output = self.decoder(self.encode(images)).float()
        if self._pixels:
            return clipped_bce(output, images)
        return F.binary_cross_entropy_with_logits(output, images)

    def forward(self, images: Tensor) -> Tensor:
        """Same as :meth:`reconstruct`."""
        return self.reconstruct(images)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """One step on the mean cross-entropy."""
        loss = self.loss(self.prepare(batch))
        self.log("train/bce", loss.detach())
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Log ``val/bce`` and ``val/recon``."""
        self._evaluate("val", batch)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Log ``test/bce`` and ``test/recon``."""
        self._evaluate("test", batch)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Build the network of the checkpoint's genome, or refuse another one."""
        super().on_load_checkpoint(checkpoint)
        self.check_genome(checkpoint)

    @property
    def _pixels(self) -> bool:
        return self.genome is not None and self.genome.rules == "reference"

    def _evaluate(self, stage: str, batch: Any) -> None:
        images = self.prepare(batch)
        bce = self.loss(images)
        log_means(self, stage, {"bce": bce, "recon": bce * images[0].numel()}, len(images))


class ConvVAE(GenomeBuilt, VAE):
    """The same network with a Gaussian code: two 1x1 convolutions give mean and log-variance of every number in it.

    A variational autoencoder in everything else; its decoder ends in raw outputs, whatever the genome's rules.

    Args:
        image_shape: ``(C, H, W)``, square.
        genome: As for :class:`ConvAutoencoder`.
        upsampling: As for :class:`ConvAutoencoder`.
        likelihood: As for :class:`~lightning_gvae.models.vae.VAE`.
        sigma: As for :class:`~lightning_gvae.models.vae.VAE`.
        beta: KL weight.
        seed: Seed of the initial weights and of the noise.
    """

    variational = True

    def __init__(
        self,
        image_shape: Sequence[int],
        genome: Mapping[str, Any] | str | None = None,
        upsampling: Decoder = "reference",
        likelihood: str = "bernoulli",
        sigma: float | None = None,
        beta: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__(
            image_shape,
            latent_dim=1,
            network=(nn.Identity(), nn.Identity()),
            likelihood=likelihood,
            sigma=sigma,
            beta=beta,
            seed=seed,
        )
        self.take_genome(genome)
        self.upsampling = upsampling
        self.network = "genome"

    def configure_model(self) -> None:
        """Build the network; the number of latents follows from the genome."""
        GenomeBuilt.configure_model(self)
        channels, height, width = self.plan.code_shape
        self.latent_dim = channels * height * width
        self.prior = build_prior("normal", self.latent_dim, torch_stream(self.seed, "prior-weights"))

    def features(self, images: Tensor) -> Tensor:
        """Posterior means, ``(B, Z)``."""
        return self.encode(images)[0]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Build the network of the checkpoint's genome, or refuse another model."""
        self.check_genome(checkpoint)
        VAE.on_load_checkpoint(self, checkpoint)
