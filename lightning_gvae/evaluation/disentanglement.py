"""Scores of disentanglement, from posterior means and known factors."""

from collections.abc import Iterator
from functools import partial

import numpy as np

from lightning_gvae.evaluation.results import Fact, Measured, Piece
from lightning_gvae.evaluation.settings import ScoreSettings
from lightning_gvae.evaluation.subject import Subject
from lightning_gvae.metrics.disentanglement.beta_vae_score import beta_vae_score
from lightning_gvae.metrics.disentanglement.dci import dci
from lightning_gvae.metrics.disentanglement.factor_vae_score import factor_vae_score
from lightning_gvae.metrics.disentanglement.mig import mig
from lightning_gvae.metrics.disentanglement.mig_chen import DSPRITES_FACTORS, mig_chen
from lightning_gvae.metrics.disentanglement.modularity import explicitness, modularity
from lightning_gvae.metrics.disentanglement.sap import sap
from lightning_gvae.rng import numpy_stream

__all__ = [
    "beta_vae_pieces",
    "dci_pieces",
    "factor_vae_pieces",
    "mig_chen_pieces",
    "mig_pieces",
    "modularity_pieces",
    "sap_pieces",
]

MOST_DRAWS = 10_000  # an entropy of `mig_chen`
Codes = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def mig_pieces(subject: Subject, settings: ScoreSettings) -> Iterator[Piece]:
    """``mig``."""

    def compute() -> Iterator[Measured]:
        codes, factors, _, _ = _codes(subject, settings)
        facts = _facts(subject, settings)
        del facts["test_images"]
        found = mig(codes, factors)
        for name, latent in zip(subject.spec.factor_names, found.information.argmax(0), strict=True):
            facts[f"latent_of_{name}"] = int(latent)  # that knows most of the factor, from 0
        yield Measured("mig", found.score, facts)

    yield Piece("mig", compute)


def sap_pieces(subject: Subject, settings: ScoreSettings) -> Iterator[Piece]:
    """``sap``."""

    def compute() -> Iterator[Measured]:
        yield Measured("sap", sap(*_codes(subject, settings)).score, _facts(subject, settings))

    yield Piece("sap", compute)


def modularity_pieces(subject: Subject, settings: ScoreSettings) -> Iterator[Piece]:
    """``modularity`` and ``explicitness``."""

    def modular() -> Iterator[Measured]:
        codes, factors, _, _ = _codes(subject, settings)
        yield Measured("modularity", modularity(codes, factors), _facts(subject, settings))

    def explicit() -> Iterator[Measured]:
        yield Measured("explicitness", explicitness(*_codes(subject, settings)), _facts(subject, settings))

    yield Piece("modularity", modular)
    yield Piece("explicitness", explicit)


def dci_pieces(subject: Subject, settings: ScoreSettings) -> Iterator[Piece]:
    """``dci_disentanglement``, ``dci_completeness`` and ``dci_informativeness``."""

    def compute() -> Iterator[Measured]:
        found = dci(*_codes(subject, settings), seed=settings.seed)
        for name in ("disentanglement", "completeness", "informativeness"):
            yield Measured(f"dci_{name}", getattr(found, name), _facts(subject, settings))

    yield Piece("dci", compute)


def mig_chen_pieces(subject: Subject, settings: ScoreSettings) -> Iterator[Piece]:
    """``mig_chen``, of images drawn from the whole grid, or of test images of other data."""

    def compute() -> Iterator[Measured]:
        part, where = (subject.grid, "all") if subject.spec.is_grid else (subject.data.test_set, "test")
        found = subject.posteriors(part, settings.posteriors, "mig_chen")
        use = DSPRITES_FACTORS if subject.spec.name == "dsprites" else None
        samples = min(MOST_DRAWS, settings.posteriors)
        gap = mig_chen(found.means, found.log_vars, found.targets, seed=settings.seed, use=use, samples=samples)
        facts: dict[str, Fact] = {"images": len(found.means), "part": where, "draws": samples, "seed": settings.seed}
        yield Measured("mig_chen", gap.score, facts)

    yield Piece("mig_chen", compute)


def beta_vae_pieces(subject: Subject, settings: ScoreSettings) -> Iterator[Piece]:
    """``beta_vae_score``."""

    def compute() -> Iterator[Measured]:
        train, test = settings.votes, _test_votes(settings)
        sizes = subject.spec.factor_sizes
        score = beta_vae_score(subject.encode_factors, sizes, seed=settings.seed, train=train, test=test)
        yield Measured("beta_vae_score", score, {"points": train, "test_points": test, "seed": settings.seed})

    yield Piece("beta_vae_score", compute)


def factor_vae_pieces(subject: Subject, settings: ScoreSettings) -> Iterator[Piece]:
    """``factor_vae_score``."""

    def compute() -> Iterator[Measured]:
        train, test = settings.votes, _test_votes(settings)
        found = factor_vae_score(
            subject.encode_factors,
            subject.spec.factor_sizes,
            seed=settings.seed,
            train=train,
            test=test,
            pool=settings.pool,
        )
        facts = {"votes": train, "test_votes": test, "pool": settings.pool, "seed": settings.seed}
        yield Measured("factor_vae_score", found.score, facts)

    yield Piece("factor_vae_score", compute)


def _test_votes(settings: ScoreSettings) -> int:
    return max(1, settings.votes // 2)


def _codes(subject: Subject, settings: ScoreSettings) -> Codes:
    """Codes and factors to learn from, and half as many to test on, which several scores share."""
    return subject.once("codes", partial(_encoded, subject, settings))


def _encoded(subject: Subject, settings: ScoreSettings) -> Codes:
    """Codes of factors that are drawn independently from a grid, as the reference does, or of test images."""
    wanted = settings.posteriors + settings.posteriors // 2
    stream = numpy_stream(settings.seed, "evaluation/codes")
    if subject.spec.is_grid:
        factors = stream.integers(0, subject.spec.factor_sizes, (wanted, len(subject.spec.factor_sizes)))
        codes = subject.encode_factors(factors)
    else:
        found = subject.posteriors(subject.data.test_set, wanted, "codes")
        order = stream.permutation(len(found.means))
        codes, factors = found.means.numpy()[order], found.targets[order]
    learnt = len(codes) * 2 // 3
    return codes[:learnt], factors[:learnt], codes[learnt:], factors[learnt:]


def _facts(subject: Subject, settings: ScoreSettings) -> dict[str, Fact]:
    codes, _, test_codes, _ = _codes(subject, settings)
    part = "all, drawn with replacement" if subject.spec.is_grid else "test"
    return {"images": len(codes), "test_images": len(test_codes), "part": part, "seed": settings.seed}
