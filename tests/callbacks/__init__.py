"""A tiny VAE and its loaders, enough of both for callbacks to work with."""

from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_gvae.rng import torch_stream


class Terms(NamedTuple):
    recon: Tensor
    kl: Tensor
    kl_dims: Tensor


class FakeVAE(L.LightningModule):
    """Linear VAE that follows the contract of the real ones; noise and weights come from keyed streams."""

    beta: Tensor
    has_posterior = True

    def __init__(self, shape: tuple[int, int, int] = (1, 8, 8), latent_dim: int = 3, dropout: float = 0.1) -> None:
        super().__init__()
        self.image_shape, self.latent_dim = shape, latent_dim
        size = shape[0] * shape[1] * shape[2]
        self.encoder = nn.Sequential(nn.Flatten(), nn.Dropout(dropout), nn.Linear(size, 2 * latent_dim))
        self.decoder = nn.Sequential(nn.Linear(latent_dim, size), nn.BatchNorm1d(size))
        self.register_buffer("beta", torch.tensor(0.5, dtype=torch.float64))
        generator = torch_stream(0, "weights")
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.1, generator=generator)

    def prepare(self, batch: Any) -> Tensor:
        images = batch[0] if isinstance(batch, list | tuple) else batch
        return images.float() / 255

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_var = self.encoder(images).chunk(2, dim=1)
        return mean, log_var

    def decode(self, latents: Tensor) -> Tensor:
        return self.decoder(latents).sigmoid().unflatten(1, self.image_shape)

    def reconstruct(self, images: Tensor) -> Tensor:
        return self.decode(self.encode(images)[0])

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        return self.decode(torch.randn(n, self.latent_dim, generator=generator, device=self.device))

    def elbo_terms(self, images: Tensor, generator: torch.Generator | None = None) -> Terms:
        mean, log_var = self.encode(images)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        output = self.decode(mean + (0.5 * log_var).exp() * noise)
        recon = nn.functional.binary_cross_entropy(output, images, reduction="sum") / len(images)
        kl_dims = (0.5 * (mean**2 + log_var.exp() - 1 - log_var)).mean(0)
        return Terms(recon, kl_dims.sum(), kl_dims)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        terms = self.elbo_terms(self.prepare(batch), torch_stream(0, "noise", self.trainer.global_step))
        loss = terms.recon + self.beta.float() * terms.kl
        scalars = {"loss": loss, "recon": terms.recon, "kl": terms.kl, "elbo": -(terms.recon + terms.kl)}
        scalars |= {"beta": self.beta.clone(), "target_kl": torch.tensor(2.0)}
        self.log_dict({f"train/{name}": value for name, value in scalars.items()})
        self.log_dict({f"kl/{index}": value for index, value in enumerate(terms.kl_dims)})
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        terms = self.elbo_terms(self.prepare(batch), torch_stream(0, "val", batch_idx))
        self.log_dict({"val/recon": terms.recon, "val/kl": terms.kl, "val/elbo": -(terms.recon + terms.kl)})

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("test/kl", self.elbo_terms(self.prepare(batch), torch_stream(0, "val", batch_idx)).kl)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-2)


class Loader(DataLoader):
    """Batches that are all the same, so that a resume in the middle of an epoch loses nothing."""

    def state_dict(self) -> dict[str, int]:
        return {}

    def load_state_dict(self, state: dict[str, int]) -> None:
        pass


def images(count: int, shape: tuple[int, int, int] = (1, 8, 8), tag: str = "images") -> Tensor:
    return torch.randint(0, 256, (count, *shape), dtype=torch.uint8, generator=torch_stream(0, tag))


def train_loader(batches: int = 8, shape: tuple[int, int, int] = (1, 8, 8)) -> Loader:
    batch = images(4, shape, "train")
    return Loader(TensorDataset(batch.repeat(batches, 1, 1, 1), torch.zeros(4 * batches)), batch_size=4)


def val_loader(count: int = 40, shape: tuple[int, int, int] = (1, 8, 8)) -> DataLoader:
    return DataLoader(TensorDataset(images(count, shape, "val"), torch.arange(count)), batch_size=16)


def quiet_trainer(folder: Path, *callbacks: L.Callback, **settings: Any) -> L.Trainer:
    """A Trainer on the CPU that shows nothing."""
    return L.Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        callbacks=list(callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        **settings,
    )
