"""Scores of the likelihood: negative log-likelihood by importance sampling, and the parts of the KL."""

from collections.abc import Iterator
from functools import partial

from torch import Tensor

from lightning_gvae.errors import ScoreUnavailable
from lightning_gvae.evaluation.results import Fact, Measured, Piece
from lightning_gvae.evaluation.settings import ScoreSettings
from lightning_gvae.evaluation.subject import Subject
from lightning_gvae.interfaces import HasDensity, HasPrior, NamesLikelihood, PriorDensity, offers, require
from lightning_gvae.metrics.aggregate_posterior import AggregateKL, aggregate_kl
from lightning_gvae.metrics.likelihood import iwae_nll
from lightning_gvae.rng import torch_stream

__all__ = ["aggregate_kl_pieces", "nll_pieces"]

MOST_DRAWS = 1000  # latents of the parts of the KL: their cost grows with draws times images


def nll_pieces(subject: Subject, settings: ScoreSettings) -> Iterator[Piece]:
    """``nll``: nats an image, mean over ``likelihood_images`` test images, by ``importance_samples`` draws each."""
    yield Piece("nll", partial(_nll, subject, settings))


def _nll(subject: Subject, settings: ScoreSettings) -> Iterator[Measured]:
    model, part = require(subject.model, HasDensity, "nll"), subject.data.test_set
    total, count = 0.0, 0

    def log_likelihood(images: Tensor, latents: Tensor) -> Tensor:
        # The sum below takes the prior for standard normal.
        return model.log_likelihood(images, latents) + model.log_prior_ratio(latents)

    positions = subject.positions(part, settings.likelihood_images, "nll")
    with subject.inference_mode():
        for number, (images, _) in enumerate(subject.batches(part, positions)):
            prepared = model.prepare(images.to(model.device))
            stream = torch_stream(settings.seed, "evaluation/nll", number, device=model.device)
            mean, log_var = model.encode(prepared)
            nll = iwae_nll(prepared, mean, log_var, log_likelihood, settings.importance_samples, stream, chunk=1)
            total, count = total + float(nll.sum()), count + len(images)
    facts: dict[str, Fact] = {
        "images": count,
        "part": "test",
        "importance_samples": settings.importance_samples,
        "seed": settings.seed,
        "likelihood": _likelihood(subject),
        "caution": _caution(subject),
    }
    yield Measured("nll", total / count, {name: fact for name, fact in facts.items() if fact is not None})


def _likelihood(subject: Subject) -> str:
    """Class of the likelihood, or of the model if it is none of its parts."""
    model = subject.model
    return type(model.likelihood if offers(model, NamesLikelihood) else model).__name__


def _caution(subject: Subject) -> str | None:
    """Caution for readers of the negative log-likelihood, about the pixels."""
    kind = _likelihood(subject)
    if kind == "BernoulliLikelihood" and not subject.spec.binary:
        return (
            "cross-entropy of grey values, which is no normalised density: compare with the same on the same data only"
        )
    if "Sigma" in kind or kind == "GaussianLikelihood":
        return (
            "density of pixels in [0, 1] without dequantising noise: not comparable with likelihoods of discrete pixels"
        )
    return None


def aggregate_kl_pieces(subject: Subject, settings: ScoreSettings) -> Iterator[Piece]:
    """``mutual_information``, ``total_correlation`` and ``dimension_wise_kl`` of ``posteriors`` test images, nats."""

    def parts() -> tuple[AggregateKL, dict[str, int | str]]:
        found = subject.posteriors(subject.data.test_set, settings.posteriors, "aggregate")
        draws = min(MOST_DRAWS, len(found.means))
        stream = torch_stream(settings.seed, "evaluation/aggregate")
        facts: dict[str, int | str] = {"images": len(found.means), "part": "test"}
        facts |= {"draws": draws, "seed": settings.seed}
        return aggregate_kl(found.means, found.log_vars, stream, draws=draws), facts

    def one(name: str) -> Iterator[Measured]:
        prior = subject.model.prior if offers(subject.model, HasPrior) else None
        if name == "dimension_wise_kl" and offers(prior, PriorDensity) and not prior.is_standard:
            raise ScoreUnavailable(
                f"it compares with the standard normal, and the model's prior is a learnt {type(prior).__name__}"
            )
        found, facts = subject.once("aggregate", parts)
        yield Measured(name, float(getattr(found, name)), facts)

    for name in ("mutual_information", "total_correlation", "dimension_wise_kl"):
        yield Piece(name, partial(one, name))
