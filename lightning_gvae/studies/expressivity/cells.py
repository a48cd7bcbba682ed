"""One repeat of the expressivity study: a VAE of shapes, and searches in its latents and in the shapes' parameters."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from lightning_gvae.errors import ConfigError, checked_count
from lightning_gvae.evolution.archive.voronoi import Population, voronoi_elites
from lightning_gvae.evolution.model_copy import preserved_rng
from lightning_gvae.io.content import text_hash
from lightning_gvae.io.files import write_arrays, write_json
from lightning_gvae.metrics.diversity.pure import hamming, pure_diversity, spanning_tree_weight
from lightning_gvae.metrics.diversity.vendi import vendi_features
from lightning_gvae.metrics.fidelity.density_coverage import density_coverage
from lightning_gvae.metrics.fidelity.features import Features, SpaceId
from lightning_gvae.metrics.fidelity.precision_recall import precision_recall
from lightning_gvae.models.vae import VAE
from lightning_gvae.problems.shapes2d import FAMILIES, bounds, draw, point_symmetry, sobol_genomes, split
from lightning_gvae.report.circumstances import circumstances
from lightning_gvae.rng import stream_key, torch_stream

__all__ = [
    "SETTINGS",
    "SPACES",
    "Setting",
    "ShapesSettings",
    "cell_file",
    "diversity",
    "fit_vae",
    "relative_error",
    "run_cell",
    "search_both",
]

VERSION = 1
Setting = Literal["recombination", "interpolation", "extrapolation", "expansion"]
SETTINGS: tuple[Setting, ...] = ("recombination", "interpolation", "extrapolation", "expansion")
SPACES = ("parameters", "latents")
NEIGHBOURS = 3  # of precision, recall, density and coverage


@dataclass(frozen=True)
class ShapesSettings:
    """Sizes of the study.

    Args:
        size: Pixels along an edge.
        bins: Elites of a search, and shapes that the network of ``expansion`` learns from.
        generations: Of a search.
        children: Of a generation.
        sigma: Of the mutation, in widths of the box.
        steps: Scales, and turns, of a base shape.
        latents: Latent dimensions.
        hidden: Units of the encoder's layers; the decoder mirrors them.
        epochs: Passes over the shapes.
        batch_size: Shapes a step.
        beta: Weight of the KL. The published loss, gamma (KL - C) without an absolute value, has the gradients of
            beta = gamma = 4, whatever C.
        box: Half width of the latent box.

    Raises:
        ConfigError: A value is out of range.
    """

    size: int = 32
    bins: int = 256
    generations: int = 200
    children: int = 32
    sigma: float = 0.1
    steps: int = 16
    latents: int = 8
    hidden: tuple[int, ...] = (256, 128)
    epochs: int = 150
    batch_size: int = 128
    beta: float = 4.0
    box: float = 3.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", tuple(self.hidden))
        for name, least in [
            ("size", 8),
            ("bins", 8),
            ("generations", 1),
            ("children", 1),
            ("steps", 4),
            ("latents", 1),
        ]:
            checked_count(name, getattr(self, name), least)
        for name in ("epochs", "batch_size"):
            checked_count(name, getattr(self, name))
        if not self.hidden:
            raise ConfigError("`hidden` must hold at least one layer of units, got none")
        for name in ("sigma", "box"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"`{name}` must be positive, got {getattr(self, name)!r}")
        if not self.beta >= 0:
            raise ConfigError(f"`beta` must be 0 or more, got {self.beta!r}")

    @property
    def digest(self) -> str:
        """Hash of everything that the numbers depend on."""
        return text_hash(json.dumps([VERSION, asdict(self)], sort_keys=True), 4)


def cell_file(folder: Path, setting: Setting, repeat: int, settings: ShapesSettings) -> Path:
    """File of the result of a setting and a repeat; other settings make another file."""
    return folder / "cells" / f"{setting}-{repeat}-{settings.digest}.json"


def run_cell(setting: Setting, repeat: int, settings: ShapesSettings, folder: Path) -> None:
    """Train, search in both spaces, measure, and write the result and the elites (``.npz``, bits) beside it."""
    started = time.perf_counter()
    learnt, held, base = training_shapes(setting, repeat, settings)
    seed = stream_key(repeat, f"expressivity/{setting}") % 2**31
    images = draw(learnt, settings.size)
    model = fit_vae(images, settings, seed)
    found = search_both(model, learnt, settings, seed)
    reference = images if held is None else draw(held, settings.size)
    encode = _encoder(model)
    rebuilt = _binary(model.reconstruct(images))
    sets = {"start": images, "rebuilt": rebuilt, **{space: shapes for space, (_, shapes) in found.items()}}
    measured = {name: diversity(shapes, reference, encode) for name, shapes in sets.items()}
    for space, (elites, _) in found.items():
        measured[space] |= {
            "fitness": float(elites.fitness.mean()),
            "qd_score": float(elites.fitness.sum()),
            "rejected": float(elites.rejected),
        }
    errors = {"seen": relative_error(images, rebuilt)}
    if held is not None:
        errors["held out"] = relative_error(reference, _binary(model.reconstruct(reference)))
    result = {
        "setting": setting,
        "repeat": repeat,
        "base": base,
        "measured": measured,
        "errors": errors,
        "seconds": time.perf_counter() - started,
        "circumstances": circumstances(),
    }
    path = cell_file(folder, setting, repeat, settings)
    bits: dict[str, Any] = {name: np.packbits(shapes[:, 0].numpy() > 0.5, axis=-1) for name, shapes in sets.items()}
    write_arrays(path.with_suffix(".npz"), bits, compress=True)
    write_json(path, result, indent=None)


def training_shapes(setting: Setting, repeat: int, settings: ShapesSettings) -> tuple[Tensor, Tensor | None, str]:
    """Genomes that the network learns from and the searches start with, those held out, and the name of their base.

    ``expansion``: genomes all over the box, nothing held out. Otherwise scales and turns of one base shape, another
    one each repeat.
    """
    if setting == "expansion":
        return sobol_genomes(settings.bins, repeat), None, "all"
    base = list(FAMILIES)[repeat % len(FAMILIES)]
    return *split(base, setting, settings.steps), base


def fit_vae(images: Tensor, settings: ShapesSettings, seed: int) -> VAE:
    """A VAE of images ``(N, 1, H, W)``: dense layers, Bernoulli likelihood, Adam at 1e-3."""
    sizes = (images[0].numel(), *settings.hidden)
    with preserved_rng(images.device):  # layers draw their first weights from the global generator
        encoder = nn.Sequential(nn.Flatten(), *_dense((*sizes, 2 * settings.latents)))
        decoder = nn.Sequential(*_dense((settings.latents, *sizes[::-1])), nn.Unflatten(1, tuple(images.shape[1:])))
        model = VAE(tuple(images.shape[1:]), settings.latents, network=(encoder, decoder), seed=seed)
    start = torch_stream(seed, "expressivity/weights")
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight, generator=start)
            nn.init.zeros_(layer.bias)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for epoch in range(settings.epochs):
        stream = torch_stream(seed, "expressivity/epoch", epoch)
        for rows in torch.randperm(len(images), generator=stream).split(settings.batch_size):
            terms = model.elbo_terms(images[rows], stream)
            optimizer.zero_grad()
            (terms.recon + settings.beta * terms.kl).backward()
            optimizer.step()
    return model.eval()


@torch.no_grad()
def search_both(
    model: VAE, learnt: Tensor, settings: ShapesSettings, seed: int
) -> dict[str, tuple[Population, Tensor]]:
    """Voronoi-Elites in the parameters and in the latents: same start, same budget, same niches. Elites and images.

    Niches lie in the latent means of the network, between their extremes over the shapes it was trained on; in either
    space the shape that comes out is encoded, not the latent that made it. Decoded pixels above one half are the shape.
    """
    encode = _encoder(model)
    means = encode(draw(learnt, settings.size))
    least, most = means.min(0).values, means.max(0).values
    width = (most - least).clamp(min=1e-6)

    def judged(images: Tensor) -> tuple[Tensor, Tensor]:
        return point_symmetry(images), (encode(images) - least) / width

    low, high = bounds()
    half = torch.full((settings.latents,), settings.box)
    makes: dict[str, Callable[[Tensor], Tensor]] = {
        "parameters": lambda genomes: draw(genomes, settings.size),
        "latents": lambda latents: _binary(model.decode(latents)),
    }
    starts = {"parameters": (learnt, low, high), "latents": (means.clamp(-half, half), -half, half)}
    found = {}
    for space, (start, lowest, highest) in starts.items():
        make = makes[space]
        elites = voronoi_elites(
            start,
            lambda genomes, make=make: judged(make(genomes)),  # type: ignore[misc]
            lowest,
            highest,
            settings.bins,
            settings.generations,
            settings.children,
            settings.sigma,
            seed,
            f"expressivity/{space}",
        )
        found[space] = elites, make(elites.genomes)
    return found


def diversity(images: Tensor, reference: Tensor, encode: Callable[[Tensor], Tensor]) -> dict[str, float]:
    """Diversity of shapes ``(N, 1, H, W)``, and how they lie beside reference shapes, by name."""
    distances = hamming(images)
    pixels = images.flatten(1)
    lit = pixels.sum(1) > 0  # a blank picture has no direction; only the network's own ones can be blank
    space = SpaceId("shapes", pixels.shape[1], None, "pixels")
    ours, theirs = Features(pixels, None, space), Features(reference.flatten(1), None, space)
    precision, recall = precision_recall(ours, theirs, neighbours=NEIGHBOURS)
    density, coverage = density_coverage(ours, theirs, neighbours=NEIGHBOURS)
    return {
        "count": float(len(images)),
        "pure_diversity": pure_diversity(distances),
        "spanning_tree": spanning_tree_weight(distances),
        "vendi_pixels": vendi_features(pixels[lit]),
        "vendi_codes": vendi_features(encode(images)),
        "precision": precision.value,
        "recall": recall.value,
        "density": density.value,
        "coverage": coverage.value,
    }


def relative_error(images: Tensor, rebuilt: Tensor) -> float:
    """Pixels that differ over pixels of the shape, mean over the shapes."""
    wrong = (images != rebuilt).flatten(1).sum(1)
    return float((wrong / images.flatten(1).sum(1).clamp(min=1)).mean())


def _encoder(model: VAE) -> Callable[[Tensor], Tensor]:
    def encode(images: Tensor) -> Tensor:
        with torch.no_grad():
            return model.encode(images)[0]

    return encode


@torch.no_grad()
def _binary(images: Tensor) -> Tensor:
    return (images > 0.5).float()


def _dense(sizes: tuple[int, ...]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return layers[:-1]
