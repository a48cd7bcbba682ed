"""Every score by name: what it needs, and what computes it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from lightning_gvae.evaluation.disentanglement import (
    beta_vae_pieces,
    dci_pieces,
    factor_vae_pieces,
    mig_chen_pieces,
    mig_pieces,
    modularity_pieces,
    sap_pieces,
)
from lightning_gvae.evaluation.diversity import diversity_pieces
from lightning_gvae.evaluation.images import image_pieces
from lightning_gvae.evaluation.likelihood import aggregate_kl_pieces, nll_pieces
from lightning_gvae.evaluation.real_data import RealData
from lightning_gvae.evaluation.requirements import (
    needs_density,
    needs_factors,
    needs_grid,
    needs_images,
    needs_posterior,
    needs_text,
)
from lightning_gvae.evaluation.results import Piece
from lightning_gvae.evaluation.settings import ScoreSettings
from lightning_gvae.evaluation.subject import Subject
from lightning_gvae.evaluation.text import perplexity_pieces, text_diversity_pieces

__all__ = ["CATALOGUE", "Entry", "names_of_all"]

POINTS, TEXT, IMAGES = 1, 2, 3  # dimensions of ``image_shape``


@dataclass(frozen=True)
class Entry:
    """A name that ``metrics`` may hold.

    Args:
        pieces: Parts of the evaluation that can be done one by one; nothing is computed before a piece is.
        needs: Checks of model and data, which raise :class:`~lightning_gvae.errors.ScoreUnavailable`.
        kinds: Data that ``all`` computes it for: ``POINTS``, ``TEXT``, ``IMAGES``; without any it must be named.
        shows_samples: Whether it looks at generated images, of which a sheet is then kept.
    """

    pieces: Callable[[Subject, ScoreSettings], Iterator[Piece]]
    needs: tuple[Callable[[Subject], None], ...]
    kinds: tuple[int, ...] = ()
    shows_samples: bool = False

    def check(self, subject: Subject) -> None:
        """Check model and data.

        Raises:
            ScoreUnavailable: They lack what the score needs.
        """
        for need in self.needs:
            need(subject)


def _images(name: str, kinds: tuple[int, ...] = ()) -> Entry:
    return Entry(partial(image_pieces, name), (needs_images,), kinds, shows_samples=True)


def _diversity(name: str, kinds: tuple[int, ...] = ()) -> Entry:
    return Entry(partial(diversity_pieces, name), (needs_images,), kinds, shows_samples=True)


CATALOGUE: dict[str, Entry] = {
    "nll": Entry(nll_pieces, (needs_posterior, needs_density), (POINTS, IMAGES)),
    "aggregate_kl": Entry(aggregate_kl_pieces, (needs_posterior,), (POINTS, TEXT, IMAGES)),
    "mig": Entry(mig_pieces, (needs_posterior, needs_factors), (IMAGES,)),
    "sap": Entry(sap_pieces, (needs_posterior, needs_factors), (IMAGES,)),
    "modularity": Entry(modularity_pieces, (needs_posterior, needs_factors), (IMAGES,)),
    "beta_vae_score": Entry(beta_vae_pieces, (needs_posterior, needs_grid), (IMAGES,)),
    "factor_vae_score": Entry(factor_vae_pieces, (needs_posterior, needs_grid), (IMAGES,)),
    # Minutes, so they must be named.
    "mig_chen": Entry(mig_chen_pieces, (needs_posterior, needs_factors)),
    "dci": Entry(dci_pieces, (needs_posterior, needs_factors)),
    "fid": _images("fid", (IMAGES,)),
    "kid": _images("kid", (IMAGES,)),
    "is": _images("is", (IMAGES,)),
    "precision_recall": _images("precision_recall", (IMAGES,)),
    "density_coverage": _images("density_coverage", (IMAGES,)),
    "class_balance": _images("class_balance"),  # says little in a space of other data's classes
    "vendi": _diversity("vendi", (IMAGES,)),
    "duplicates": _diversity("duplicates", (IMAGES,)),
    "class_diversity": _diversity("class_diversity", (IMAGES,)),
    # Longer, or with more images than the others.
    "pure_diversity": _diversity("pure_diversity"),
    "memorisation": _diversity("memorisation"),
    "fid_train": _diversity("fid_train"),
    "perplexity": Entry(perplexity_pieces, (needs_text,), (TEXT,)),
    "text_diversity": Entry(text_diversity_pieces, (needs_text,), (TEXT,)),
}


def names_of_all(data: RealData) -> list[str]:
    """Names that ``all`` stands for: the scores of this kind of data (images, text or points) that take no minutes."""
    return [name for name, entry in CATALOGUE.items() if len(data.spec.image_shape) in entry.kinds]
