"""Weights of training images under which the training set is more diverse, computed once."""

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_gvae.datamodules.batches import SampleWeights, Split
from lightning_gvae.datamodules.cache import default_cache_dir
from lightning_gvae.datamodules.weights_file import VERSION, WeightedData, read_weights, write_once
from lightning_gvae.errors import ConfigError
from lightning_gvae.io.content import batch_hash, text_hash
from lightning_gvae.metrics.diversity.weights import WeightObjective, diversity_weights
from lightning_gvae.metrics.fidelity.domain import LabelledImages, domain_space
from lightning_gvae.metrics.fidelity.feature_spaces import FEATURE_SPACES, feature_space
from lightning_gvae.metrics.fidelity.features import FeatureSpace

__all__ = ["WeightOptions", "training_weights"]

MOST = 200_000  # images whose features are held in memory
PIXELS = 16  # images are averaged down to at most so many rows and columns for the features `pixels`
CHUNK = 1024


@dataclass(frozen=True)
class WeightOptions:
    """Settings of the weights that ``data.weights`` asks for.

    Args:
        kind: ``diversity``.
        features: ``domain`` (a classifier trained on the labelled training part), ``pixels`` (means over squares), the
            name of a fixed feature space, or ``auto``: domain if there are labels, pixels otherwise.
        strength: As for :class:`~lightning_gvae.metrics.diversity.weights.WeightObjective`, like all below.
        order: q of the Vendi score.
        ess: Smallest effective sample size, as a share of the images.
        objective: ``nats`` or ``published``.
        steps: Iterations at most.
        cache_dir: Folder of the caches; None is ``$GVAE_CACHE_DIR`` or the user's folder of caches.

    Raises:
        ConfigError: A setting is unknown or out of range.
    """

    kind: str = "diversity"
    features: str = "auto"
    strength: float = 0.8
    order: float = 1.0
    ess: float = 0.3
    objective: str = "nats"
    steps: int = 200
    cache_dir: str | Path | None = None

    def __post_init__(self) -> None:
        if self.kind != "diversity":
            raise ConfigError(
                "`weights` may be diversity, settings of it by name, or the path of a .safetensors file of "
                "weights, got "
                f"{self.kind!r}"
            )
        known = ("auto", "domain", "pixels", *FEATURE_SPACES)
        if self.features not in known:
            raise ConfigError(f"`weights.features` must be one of {', '.join(known)}, got {self.features!r}")
        self.target()

    def target(self) -> WeightObjective:
        """Quantity that is maximised."""
        return WeightObjective(self.strength, self.order, self.ess, self.objective, self.steps)

    @classmethod
    def of(cls, setting: str | Mapping[str, Any]) -> "WeightOptions":
        """Options of ``data.weights``: the kind alone, or settings by name."""
        if isinstance(setting, str):
            return cls(kind=setting)
        names = [field.name for field in fields(cls)]
        if unknown := set(setting) - set(names):
            raise ConfigError(f"`weights` may set {', '.join(names)}, got {', '.join(sorted(map(str, unknown)))}")
        return cls(**setting)


def training_weights(
    train: Split,
    val: Split,
    labelled: bool,
    setting: str | Mapping[str, Any],
    device: torch.device | str = "cpu",
) -> SampleWeights:
    """Weights of the images of a training part, from the cache if they have been computed before.

    Args:
        train: The part.
        val: What the accuracy of a classifier is measured on.
        labelled: Whether targets are labels ``(B,)``.
        setting: ``"diversity"``, settings of :class:`WeightOptions` by name, or the path of a file of weights.
        device: Where features are extracted.

    Raises:
        ConfigError: A setting is out of range, ``domain`` is asked for without labels, or there are too many images.
        DataError: A file of weights is missing, damaged, or of another set.
    """
    data = WeightedData(train.name, len(train), batch_hash(_images(train)))
    if isinstance(setting, str) and setting.endswith(".safetensors"):
        return SampleWeights(*read_weights(Path(setting).expanduser(), data))
    options = WeightOptions.of(setting)
    if len(train) > MOST:
        raise ConfigError(
            f"`weights` are computed for up to {MOST:,} training images, {train.name} has {len(train):,}; give a "
            "file of "
            "weights, or hold out more images"
        )
    name = options.features if options.features != "auto" else "domain" if labelled else "pixels"
    if name == "domain" and not labelled:
        raise ConfigError(f"`weights.features=domain` needs labels, and {train.name} has none; take pixels")
    folder = Path(options.cache_dir) if options.cache_dir is not None else default_cache_dir()
    asked = {key: value for key, value in asdict(options).items() if key != "cache_dir"} | {"features": name}
    settings = json.dumps(asked, sort_keys=True)
    key = text_hash(f"{data}{settings}{VERSION}")
    path = folder.expanduser() / "weights" / f"{train.name.replace('/', '-')}-{key}.safetensors"

    def computed() -> tuple[Tensor, dict[str, str]]:
        print(f"Computing diversity weights of {train.name} from {name} features ...", file=sys.stderr)
        rows, space = _features(name, train, val, folder, device)
        found = diversity_weights(rows, options.target())
        facts = {
            "settings": settings,
            "features": space,
            "vendi": f"{found.vendi:.6g}",
            "uniform_vendi": f"{found.uniform_vendi:.6g}",
            "effective_samples": f"{found.effective_samples:.6g}",
            "steps": str(found.steps),
        }
        print(
            f"Diversity weights of {train.name}: Vendi score {found.uniform_vendi:.3g} -> {found.vendi:.3g}, effective "
            f"sample size {found.effective_samples:,.0f} of {len(train):,} ({path})",
            file=sys.stderr,
        )
        return found.weights, facts

    write_once(path, data, computed)
    return SampleWeights(*read_weights(path, data))


def _features(name: str, train: Split, val: Split, folder: Path, device: torch.device | str) -> tuple[Tensor, str]:
    """Features ``(N, D)`` of a part, and the name of their space."""
    if name == "pixels":
        return torch.cat([_small(images) for images in _images(train)]), f"pixels-{PIXELS}"
    space: FeatureSpace
    if name == "domain":
        parts = [LabelledImages(*_arrays(part)) for part in (train, val)]
        space = domain_space(train.name, *parts, cache_dir=folder, device=device)
    else:
        space = feature_space(name, device=device)
    return torch.cat([space(images) for images in _images(train)]), str(space.space)


def _small(images: Tensor) -> Tensor:
    """Means over squares of pixels ``(B, C * h * w)``; points ``(B, D)`` stay as they are."""
    if images.ndim == 2:
        return images.float()
    rows, columns = (min(PIXELS, side) for side in images.shape[-2:])
    # A little grey: an empty image would have no direction.
    return F.adaptive_avg_pool2d(images.float() / 255, (rows, columns)).flatten(1) + 1e-3


def _images(part: Split) -> Any:
    for start in range(0, len(part), CHUNK):
        yield part.batch(np.arange(start, min(start + CHUNK, len(part))))[0].cpu()


def _arrays(part: Split) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    pairs = [part.batch(np.arange(start, min(start + 4096, len(part)))) for start in range(0, len(part), 4096)]
    images, targets = zip(*pairs, strict=True)
    return torch.cat(images).cpu().numpy(), torch.cat(targets).cpu().numpy()
