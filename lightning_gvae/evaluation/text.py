"""Scores of text: perplexity by importance sampling, and how varied samples are."""

import math
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from lightning_gvae.errors import ConfigError
from lightning_gvae.evaluation.subject import Subject
from lightning_gvae.metrics.likelihood import iwae_nll
from lightning_gvae.metrics.text import distinct_ngrams, self_bleu
from lightning_gvae.rng import torch_stream
from lightning_gvae.text import SPECIALS, UNK

__all__ = ["TEXT", "text_scores"]

TEXT = ("perplexity", "text_diversity")
BATCH = 64  # sentences decoded at once
SAMPLES = 1000  # at most; more say little, and distinct-n compares at one number only
SELF_BLEU = 200  # of them: its cost grows with the square

Scores = dict[str, float]


def text_scores(name: str, subject: Subject, settings: Any) -> Scores:
    """One score of text.

    ``perplexity`` gives ``perplexity_iw`` (per word, ``<eos>`` counted, importance-weighted with ``importance_samples``
    draws a sentence) and ``perplexity_elbo`` (one draw, the bound) of the same ``likelihood_images`` test sentences.
    ``text_diversity`` gives ``distinct_1``, ``distinct_2`` (shares), ``self_bleu_2``, ``self_bleu_3`` and the mean
    number of ``words`` of samples from the prior, drawn word by word, ``<unk>`` left out.

    Args:
        name: One of ``TEXT``.
        subject: Model and data.
        settings: The :class:`~lightning_gvae.evaluation.suite.Suite`.

    Raises:
        ConfigError: The data are no text.
        DataError: No sample has two words.
    """
    if not hasattr(subject.model, "decode_sampled"):
        raise ConfigError(
            f"{name} is a score of text, and {subject.spec.name} is none; leave it out, or take data=ptb with "
            "model=text_vae"
        )
    return _perplexity(subject, settings) if name == "perplexity" else _diversity(subject, settings)


def _perplexity(subject: Subject, settings: Any) -> Scores:
    model, part = subject.model, subject.data.test_set
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
    return {f"perplexity_{kind}": math.exp(total / words) for kind, total in sums.items()}


def _diversity(subject: Subject, settings: Any) -> Scores:
    model, count = subject.model, min(settings.samples, SAMPLES)
    stream = torch_stream(settings.seed, "evaluation/text", device=model.device)
    texts: list[str] = []
    with subject.inference_mode():
        while len(texts) < count:
            texts += model.words(model.sample(min(BATCH, count - len(texts)), stream))
    sentences = [[word for word in text.split() if word != SPECIALS[UNK]] for text in texts]
    scores = {f"distinct_{n}": distinct_ngrams(sentences, n).share for n in (1, 2)}
    scores |= {f"self_bleu_{n}": self_bleu(sentences[:SELF_BLEU], n) for n in (2, 3)}
    return scores | {"words": float(np.mean([len(words) for words in sentences]))}
