"""Checkpoint of a model at one KL weight, made of that of a model for all of them."""

from collections.abc import Mapping
from typing import Any

import lightning as L

__all__ = ["plain_checkpoint"]

# What belongs to the training of the other model: a run cannot go on from it.
TRAINING = ("optimizer_states", "lr_schedulers", "callbacks", "loops", "MixedPrecision", "NativeMixedPrecisionPlugin")


def plain_checkpoint(
    checkpoint: Mapping[str, Any], plain: L.LightningModule, dropped: frozenset[str]
) -> dict[str, Any]:
    """Checkpoint that ``eval.py``, the web lab and ``load_from_checkpoint`` take for that of a plain model.

    Args:
        checkpoint: Of the model that ``plain`` was made of; it is not changed.
        plain: The plain model.
        dropped: Settings in the run's configuration that a plain model does not have.
    """
    made = {name: value for name, value in checkpoint.items() if name not in TRAINING}
    made["state_dict"] = plain.state_dict()
    made["hyper_parameters"] = dict(plain.hparams)
    config = made.get("gvae_config")
    if config is not None and "model" in config:
        settings = {name: value for name, value in config["model"].items() if name not in dropped}
        kind = type(plain)
        settings |= {"_target_": f"{kind.__module__}.{kind.__qualname__}", "beta": float(plain.hparams["beta"])}
        made["gvae_config"] = {**config, "model": settings}
    plain.on_save_checkpoint(made)
    return made
