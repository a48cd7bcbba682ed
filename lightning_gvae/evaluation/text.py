"""Scores of text: perplexity by importance sampling, and how varied samples are."""

import math
from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from tqdm import tqdm

from lightning_gvae.evaluation.results import Fact, Measured, Piece
from lightning_gvae.evaluation.settings import ScoreSettings
from lightning_gvae.evaluation.subject import Subject
from lightning_gvae.interfaces import TextModel, TextPart, require
from lightning_gvae.metrics.likelihood import iwae_nll
from lightning_gvae.metrics.text import distinct_ngrams, self_bleu
from lightning_gvae.rng import torch_stream
from lightning_gvae.text import SPECIALS, UNK

__all__ = ["perplexity_pieces", "text_diversity_pieces"]

BATCH = 64  # sentences decoded at once
SAMPLES = 1000  # at most; more say little, and distinct-n compares at one number only
SELF_BLEU = 200  # of them: its cost grows with the square


def perplexity_pieces(subject: Subject, settings: ScoreSettings) -> Iterator[Piece]:
    """``perplexity_iw`` and ``perplexity_elbo`` of the same ``likelihood_images`` test sentences.

    Both are per word, ``<eos>`` counted: the former is importance-weighted with ``importance_samples`` draws a
    sentence, the latter takes one draw, the bound.
    """
    yield Piece("perplexity", partial(_perplexity, subject, settings))


def text_diversity_pieces(subject: Subject, settings: ScoreSettings) -> Iterator[Piece]:
    """``distinct_1``, ``distinct_2`` (shares), ``self_bleu_2``, ``self_bleu_3`` and the mean number of ``words``.

    They are of samples from the prior, drawn word by word, ``<unk>`` left out.
    """

    def sentences() -> list[list[str]]:
        return subject.once("sentences", partial(_sentences, subject, settings))

    def facts(count: int) -> dict[str, Fact]:
        return {"samples": count, "seed": settings.seed}

    def distinct(n: int) -> Iterator[Measured]:
        yield Measured(f"distinct_{n}", distinct_ngrams(sentences(), n).share, facts(len(sentences())))

    def repeated(n: int) -> Iterator[Measured]:
        some = sentences()[:SELF_BLEU]
        yield Measured(f"self_bleu_{n}", self_bleu(some, n), facts(len(some)))

    def lengths() -> Iterator[Measured]:
        yield Measured("words", float(np.mean([len(words) for words in sentences()])), facts(len(sentences())))

    for n in (1, 2):
        yield Piece(f"distinct_{n}", partial(distinct, n))
    for n in (2, 3):
        yield Piece(f"self_bleu_{n}", partial(repeated, n))
    yield Piece("words", lengths)


def _perplexity(subject: Subject, settings: ScoreSettings) -> Iterator[Measured]:
    model = require(subject.model, TextModel, "perplexity")
    part = require(subject.data.test_set, TextPart, "perplexity")
    positions = subject.positions(part, settings.likelihood_images, "nll")
    positions = positions[np.argsort(part.lengths[positions], kind="stable")]  # little padding
    draws = settings.importance_samples if model.latent_dim else 1  # without latents the likelihood is exact
    sums = dict.fromkeys(("iw", "elbo"), 0.0)
    words = 0

    def log_likelihood(tokens: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
        # The sum takes the prior for standard normal.
        return model.log_likelihood(tokens, latents) + (model.log_prior_ratio(latents) if model.latent_dim else 0)

    with subject.inference_mode():
        for start in tqdm(range(0, len(positions), BATCH), desc="perplexity", unit="batch", leave=False):
            tokens, lengths = part.batch(positions[start : start + BATCH])
            tokens = model.prepare(tokens.to(model.device))
            mean, log_var = model.encode(tokens)
            for kind, k in (("iw", draws), ("elbo", 1)):
                stream = torch_stream(settings.seed, f"evaluation/perplexity-{kind}", start, device=model.device)
                sums[kind] += float(iwae_nll(tokens, mean, log_var, log_likelihood, k, stream, chunk=1).sum())
            words += int(lengths.sum())
    for kind, k in (("iw", draws), ("elbo", 1)):
        facts: dict[str, Fact] = {
            "sentences": len(positions),
            "part": "test",
            "importance_samples": k,
            "seed": settings.seed,
        }
        yield Measured(f"perplexity_{kind}", _exp(sums[kind] / words), facts)


def _exp(nats: float) -> float:
    """``exp(nats)``; infinity where Python would raise: a perplexity too large to be written down."""
    return math.exp(nats) if nats < 700 else math.inf


def _sentences(subject: Subject, settings: ScoreSettings) -> list[list[str]]:
    model, count = require(subject.model, TextModel, "text_diversity"), min(settings.samples, SAMPLES)
    stream = torch_stream(settings.seed, "evaluation/text", device=model.device)
    texts: list[str] = []
    with subject.inference_mode():
        while len(texts) < count:
            texts += model.words(model.sample(min(BATCH, count - len(texts)), stream))
    return [[word for word in text.split() if word != SPECIALS[UNK]] for text in texts]
