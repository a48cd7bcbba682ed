"""Train, evolve and study variational autoencoders with PyTorch Lightning.

    >>> from lightning_gvae import EVAE, BetaEvolution, load

Models, the callbacks that evolve, and :func:`load`, which opens whatever this package has trained. They are imported
when they are first asked for, so that ``import lightning_gvae`` takes no time.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from lightning_gvae.callbacks.architecture_evolution import ArchitectureEvolution
    from lightning_gvae.callbacks.beta_evolution import BetaEvolution
    from lightning_gvae.callbacks.latent_archive import LatentArchive
    from lightning_gvae.callbacks.latent_search import LatentSearch
    from lightning_gvae.callbacks.population_evolution import PopulationEvolution
    from lightning_gvae.loading.load import load
    from lightning_gvae.models import (
        DIPVAE,
        EVAE,
        GAN,
        TCVAE,
        VAE,
        VAEGAN,
        BetaVAE,
        CapacityVAE,
        ControlVAE,
        ConvAutoencoder,
        ConvVAE,
        FactorVAE,
        InfoVAE,
        MultiRateVAE,
        SolveVAE,
        TextControlVAE,
        TextEVAE,
        TextLM,
        TextMultiRateVAE,
        TextVAE,
    )

__all__ = [
    "DIPVAE",
    "EVAE",
    "GAN",
    "TCVAE",
    "VAE",
    "VAEGAN",
    "ArchitectureEvolution",
    "BetaEvolution",
    "BetaVAE",
    "CapacityVAE",
    "ControlVAE",
    "ConvAutoencoder",
    "ConvVAE",
    "FactorVAE",
    "InfoVAE",
    "LatentArchive",
    "LatentSearch",
    "MultiRateVAE",
    "PopulationEvolution",
    "SolveVAE",
    "TextControlVAE",
    "TextEVAE",
    "TextLM",
    "TextMultiRateVAE",
    "TextVAE",
    "__version__",
    "load",
]

# Module of each name; models come from one.
_PLACES = {
    "ArchitectureEvolution": "callbacks.architecture_evolution",
    "BetaEvolution": "callbacks.beta_evolution",
    "LatentArchive": "callbacks.latent_archive",
    "LatentSearch": "callbacks.latent_search",
    "PopulationEvolution": "callbacks.population_evolution",
    "load": "loading.load",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(f"{__name__}.{_PLACES.get(name, 'models')}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
