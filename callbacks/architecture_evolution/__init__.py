"""Architecture evolution: a callback that searches for a network before the fit."""

from lightning_gvae.callbacks.architecture_evolution.callback import ArchitectureEvolution

__all__ = ["ArchitectureEvolution"]
