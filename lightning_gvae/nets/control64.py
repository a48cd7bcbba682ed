"""The 64x64 network of beta-VAE H and ControlVAE, with their He initialisation."""

from collections.abc import Sequence

from torch import Tensor, nn

from lightning_gvae.errors import ConfigError

__all__ = ["Control64Decoder", "Control64Encoder"]


class Control64Encoder(nn.Module):
    """Convolutions 32-32-64-64 (kernel 4, stride 2), 256 (kernel 4), then one linear layer.

    Args:
        image_shape: ``(C, 64, 64)``.
        latent_dim: Z.

    Raises:
        ConfigError: The images are not 64x64.

    References:
        Shao et al., ControlVAE, 2020, appendix; Higgins et al., beta-VAE, 2017.
    """

    def __init__(self, image_shape: Sequence[int], latent_dim: int) -> None:
        super().__init__()
        _check_64(image_shape)
        layers: list[nn.Module] = []
        for fan_in, fan_out in zip((image_shape[0], 32, 32, 64), (32, 32, 64, 64), strict=True):
            layers += [nn.Conv2d(fan_in, fan_out, kernel_size=4, stride=2, padding=1), nn.ReLU(inplace=True)]
        layers += [
            nn.Conv2d(64, 256, kernel_size=4),
            nn.ReLU(inplace=True),
            nn.Flatten(),
            nn.Linear(256, 2 * latent_dim),
        ]
        self.layers = nn.Sequential(*layers)
        self.apply(_he_normal)

    def forward(self, images: Tensor) -> Tensor:
        """``(B, C, 64, 64)`` to ``(B, 2Z)``: means, then log-variances."""
        return self.layers(images)


class Control64Decoder(nn.Module):
    """One linear layer, then transposed convolutions 64-64-32-32-C.

    Args:
        image_shape: ``(C, 64, 64)``.
        latent_dim: Z.

    Raises:
        ConfigError: The images are not 64x64.
    """

    def __init__(self, image_shape: Sequence[int], latent_dim: int) -> None:
        super().__init__()
        _check_64(image_shape)
        layers: list[nn.Module] = [nn.Linear(latent_dim, 256), nn.ReLU(), nn.Unflatten(1, (256, 1, 1))]
        layers += [nn.ConvTranspose2d(256, 64, kernel_size=4), nn.ReLU(inplace=True)]
        for fan_in, fan_out in zip((64, 64, 32), (64, 32, 32), strict=True):
            layers += [nn.ConvTranspose2d(fan_in, fan_out, kernel_size=4, stride=2, padding=1), nn.ReLU(inplace=True)]
        layers += [nn.ConvTranspose2d(32, image_shape[0], kernel_size=4, stride=2, padding=1)]
        self.layers = nn.Sequential(*layers)
        self.apply(_he_normal)

    def forward(self, latents: Tensor) -> Tensor:
        """``(B, Z)`` to ``(B, C, 64, 64)``."""
        return self.layers(latents)


def _he_normal(module: nn.Module) -> None:
    # As in the authors' code: the transposed convolutions keep PyTorch's default.
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.kaiming_normal_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _check_64(image_shape: Sequence[int]) -> None:
    if tuple(image_shape[1:]) != (64, 64):
        raise ConfigError(
            f"`network='control64'` needs 64x64 images, got {image_shape[1]}x{image_shape[2]}; use conv or mlp."
        )
