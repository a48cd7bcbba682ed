"""The feature spaces that can be had by name."""

from pathlib import Path

import torch

from lightning_gvae.errors import ConfigError
from lightning_gvae.metrics.fidelity.efficientnet import EfficientNetLite0Space
from lightning_gvae.metrics.fidelity.features import FeatureSpace

__all__ = ["FEATURE_SPACES", "feature_space"]

FEATURE_SPACES = ("inception", "efficientnet_lite0", "inception-768", "inception-192", "inception-64")


def feature_space(name: str, *, weights: str | Path | None = None, device: torch.device | str = "cpu") -> FeatureSpace:
    """A feature space with fixed weights; the one learnt from a data set is :func:`~.domain.domain_space`.

    Args:
        name: ``"inception"`` (2048 dimensions, the space of published tables; 96 MB of weights are fetched once),
            ``"efficientnet_lite0"`` (1280 dimensions, weights in the extra ``[fidelity]``), or ``"inception-768"``,
            ``"inception-192"``, ``"inception-64"`` for few samples.
        weights: File of weights; None is where the space's own come from.
        device: Where it runs.

    Raises:
        ConfigError: There is no such space.
        DataError: Its weights are not there.
    """
    if name == "efficientnet_lite0":
        return EfficientNetLite0Space(weights, device)
    if name in FEATURE_SPACES:
        # Here, because it imports torch-fidelity and torchvision, which takes seconds that other spaces need not wait.
        from lightning_gvae.metrics.fidelity.inception import InceptionSpace

        return InceptionSpace(weights, name.partition("-")[2] or "2048", device)
    hint = "; the space domain is learnt from a data set, with domain_space(...)" if name == "domain" else ""
    raise ConfigError(f"the feature space must be one of {', '.join(FEATURE_SPACES)}, got {name!r}{hint}")
