"""Settings that every search in the latent space of a trained model shares."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lightning_gvae.errors import ConfigError, checked_count

__all__ = ["LatentOptions"]


@dataclass(frozen=True, kw_only=True)
class LatentOptions:
    """Space and bounds of a search in latents, and the way it is kept.

    Args:
        bounds: ``"auto"`` (where the posteriors of training data lie, see
            :func:`~lightning_gvae.evolution.latent.search.latent_bounds`), or a lower and an upper bound of every
            latent.
        space: ``"latent"``, or ``"noise"``: search the standard normal noise that a learnt prior makes latents of.
        chunk_size: Latents decoded at a time; None for all.
        save_every: Generations after which the state is saved; None never.
        cache_dir: Where classifiers are kept.
        seed: Of every draw.

    Raises:
        ConfigError: An argument is out of range.
    """

    bounds: Literal["auto"] | Sequence[float] = "auto"
    space: Literal["latent", "noise"] = "latent"
    chunk_size: int | None = None
    save_every: int | None = 10
    cache_dir: str | Path | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.save_every is not None:
            checked_count("save_every", self.save_every, unit="generations")
        if self.space not in ("latent", "noise"):
            raise ConfigError(f"`space` must be latent or noise, got {self.space!r}")
        if isinstance(self.bounds, str):
            if self.bounds != "auto":
                raise ConfigError(f"`bounds` must be auto or two numbers, got {self.bounds!r}")
            if self.space == "noise":
                raise ConfigError("`bounds=auto` looks at codes of data, not at noise; give two numbers, e.g. [-2, 2]")
        elif len(self.bounds) != 2 or not self.bounds[0] < self.bounds[1]:
            raise ConfigError(f"`bounds` must be auto or [lower, upper] with lower < upper, got {list(self.bounds)}")
