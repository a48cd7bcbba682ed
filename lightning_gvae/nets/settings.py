"""Settings of a network: which family, how wide, how deep; names as checkpoints have them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from lightning_gvae.errors import ConfigError, checked_choice, checked_count
from lightning_gvae.io.network_choice import SIZES, plain_choice
from lightning_gvae.io.settings import as_settings

__all__ = ["MOST_DENSE_PIXELS", "NetworkSettings"]

MOST_DENSE_PIXELS = 64 * 64  # height times width up to which ``auto`` may choose fully connected layers

BARE = ("autoencoder_kl",)  # families whose sizes are those of a file, and not in their label


@dataclass(frozen=True)
class NetworkSettings:
    """A network by name, and what of its size differs from the family's own.

    Args:
        name: Family, ``auto`` or another one of those that the builder knows.
        width: Channels of the first convolution; deeper ones have multiples of it.
        blocks: Halvings of the image's sides, each by one convolution of stride 2.
        layers_per_block: Residual blocks after every halving; of ``resnet``.
        hidden: Widths of the linear layers, those of an encoder or discriminator; a decoder has them in reverse.
        pretrained: Folder of a network in diffusers' format; of ``autoencoder_kl``.
        architecture: The configuration in such a folder; of ``autoencoder_kl``.
    """

    name: str = "auto"
    width: int | None = None
    blocks: int | None = None
    layers_per_block: int | None = None
    hidden: Sequence[int] | None = None
    pretrained: str | None = None
    architecture: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, value: str | Mapping[str, Any], setting: str, names: Sequence[str]) -> "NetworkSettings":
        """Settings from a name or from a mapping.

        Args:
            value: Name of the family, or the fields by name.
            setting: Full name of the setting, for messages.
            names: Families that there are.

        Raises:
            ConfigError: A field is unknown or out of its range.
        """
        value = plain_choice(value)
        found = cls(name=value) if isinstance(value, str) else as_settings(cls, value, setting)
        checked_choice(setting if isinstance(value, str) else f"{setting}.name", found.name, names)
        for name in ("width", "blocks", "layers_per_block"):
            if getattr(found, name) is not None:
                checked_count(f"{setting}.{name}", getattr(found, name))
        if found.hidden is not None:
            if isinstance(found.hidden, str) or not isinstance(found.hidden, Sequence):
                raise ConfigError(f"`{setting}.hidden` must be a list of widths, such as [400], got {found.hidden!r}")
            for width in found.hidden:
                checked_count(f"{setting}.hidden", width)
        if found.pretrained is not None and not isinstance(found.pretrained, str):
            raise ConfigError(f"`{setting}.pretrained` must be the path of a folder, got {found.pretrained!r}")
        if found.architecture is not None and not isinstance(found.architecture, Mapping):
            raise ConfigError(f"`{setting}.architecture` must be a mapping, got {found.architecture!r:.100}")
        return found

    @property
    def sizes(self) -> dict[str, Any]:
        """Sizes that are given, by name."""
        given = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "name"}
        return {name: value for name, value in given.items() if value is not None}

    def label(self) -> str:
        """Name with the given sizes, which checkpoints are compared by.

        >>> NetworkSettings("conv").label(), NetworkSettings("conv", width=64, hidden=[256]).label()
        ('conv', 'conv(width=64, hidden=[256])')
        """
        if self.name in BARE:
            return self.name
        given = ", ".join(
            f"{name}={list(value) if isinstance(value, Sequence) else value}" for name, value in self.sizes.items()
        )
        return f"{self.name}({given})" if given else self.name

    def check_sizes(self, setting: str) -> None:
        """Refuse sizes that the family does not have.

        Raises:
            ConfigError: One is given.
        """
        known = SIZES.get(self.name, ())
        for name in self.sizes:
            if name not in known:
                has = f"has the sizes {', '.join(known)}" if known else "has no sizes to set"
                raise ConfigError(
                    f"`{setting}.{name}` is none of `{setting}.name={self.name}`, which {has}; leave it out, or choose "
                    "another name."
                )
