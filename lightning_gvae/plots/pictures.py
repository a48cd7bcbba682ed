"""The pictures that a run leaves, with the words that go with them."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from lightning_gvae.plots import adversarial, curves, images

__all__ = ["Picture", "Views", "curve_pictures", "image_pictures", "side_by_side"]

Series = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Views:
    """Views of a model, as arrays of images in [0, 1].

    Args:
        originals: Validation images, ``(N, C, H, W)``; none of a model without posteriors, which has no traversals.
        reconstructions: The same images decoded from their posterior means.
        samples: Images decoded from the prior, ``(M, C, H, W)``.
        frames: Traversals, ``(D, V, C, H, W)``: D latents, each at V values.
        dims: Numbers of the D latents, by descending KL.
        kl: Their mean KL, nats, ``(D,)``.
        values: The V values.
    """

    originals: np.ndarray
    reconstructions: np.ndarray
    samples: np.ndarray
    frames: np.ndarray
    dims: list[int]
    kl: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class Picture:
    """A picture of a run.

    Args:
        title: Headline in the report.
        caption: What one sees, in a sentence or two.
        file: File name in the run's ``figures`` folder.
        figure: What to write there; ``None`` for the animation, which is no figure.
    """

    title: str
    caption: str
    file: str
    figure: Figure | None = None

    @property
    def tag(self) -> str:
        """Name under which loggers keep it."""
        return f"figures/{Path(self.file).stem}" + ("_in_motion" if self.figure is None else "")


def image_pictures(views: Views) -> list[Picture]:
    """Reconstructions, traversals, their animation and samples; of a model without posteriors samples alone."""
    samples = Picture(
        "Samples from the prior",
        f"{len(views.samples)} images decoded from standard normal latents.",
        "samples.png",
        images.prior_samples(views.samples),
    )
    if not len(views.originals):
        return [samples]
    low, high = (f"{value:g}".replace("-", "\N{MINUS SIGN}") for value in (views.values[0], views.values[-1]))
    return [
        Picture(
            "Reconstructions",
            "Validation images above, below them what the decoder makes of the means of their posteriors.",
            "reconstructions.png",
            images.reconstructions(views.originals, views.reconstructions),
        ),
        Picture(
            "Latent traversals",
            f"Each row moves one latent from {low} to {high}; the others stay at the posterior mean of a validation "
            "image. Rows are ordered by the mean KL of their latent over validation images.",
            "traversals.png",
            images.traversals(views.frames[:, ::2], views.dims, views.kl, views.values[::2]),
        ),
        Picture("Latent traversals in motion", f"Each latent from {low} to {high} and back.", "traversals.gif"),
        samples,
    ]


def curve_pictures(series: Callable[[str], Series], names: Sequence[str]) -> list[Picture]:
    """Curves of what was logged; a curve whose values were not logged is left out.

    Args:
        series: Gives ``(steps, values)`` of a name, empty if it was never logged.
        names: All names that were logged.
    """
    elbo, val = series("train/elbo"), series("val/elbo")
    beta, kl, recon, target = (series(f"train/{name}") for name in ("beta", "kl", "recon", "target_kl"))
    dims = sorted((name for name in names if re.fullmatch(r"kl/\d+", name)), key=lambda name: int(name[3:]))
    pictures = _game(series)
    if len(elbo[0]):
        figure = curves.learning_curves(elbo, val if len(val[0]) else None)
        caption = "ELBO at a KL weight of 1; higher is better."
        pictures.append(Picture("Learning curves", caption, "learning_curves.png", figure))
    if len(kl[0]) and len(recon[0]):
        steps, path = side_by_side([kl, recon])
        figure = curves.rate_distortion(steps, path[:, 0], path[:, 1])
        caption = "Path of training. Down is a better reconstruction, left is a shorter code."
        pictures.append(Picture("Rate and distortion", caption, "rate_distortion.png", figure))
    if len(beta[0]) and len(kl[0]):
        figure = curves.beta_and_kl(beta, kl, target if len(target[0]) else None)
        caption = "The KL weight and below it the KL" + (" with its set-point." if len(target[0]) else ".")
        pictures.append(Picture("KL weight and KL", caption, "beta_and_kl.png", figure))
    if dims:
        figure = curves.kl_per_dimension(*side_by_side([series(name) for name in dims]))
        caption = "Dimensions near zero carry no information about the image."
        pictures.append(Picture("KL per latent dimension", caption, "kl_per_dimension.png", figure))
    return pictures


def _game(series: Callable[[str], Series]) -> list[Picture]:
    kinds = {"images": "d_real", "reconstructions": "d_recon", "samples": "d_prior"}
    sides = {"discriminator": "discriminator_loss", "generator": "generator_loss"}
    probabilities, losses = (
        {name: found for name, key in names.items() if len((found := series(f"train/{key}"))[0])}
        for names in (kinds, sides)
    )
    if not probabilities:
        return []
    caption = "What the discriminator takes for real: at 0.5 it cannot tell. Below, what each side minimises."
    return [Picture("The game", caption, "game.png", adversarial.game(probabilities, losses))]


def side_by_side(columns: Sequence[Series]) -> tuple[np.ndarray, np.ndarray]:
    """All steps ``(T,)`` of some series and their values ``(T, series)``, NaN where one has no row."""
    steps = np.unique(np.concatenate([rows for rows, _ in columns]))
    values = np.full((len(steps), len(columns)), np.nan)
    for column, (rows, numbers) in enumerate(columns):
        values[np.searchsorted(steps, rows), column] = numbers
    return steps, values
