"""Prediction of sentences, and variety of generated ones."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_gvae.errors import ConfigError, DataError, checked_count

__all__ = ["DistinctNgrams", "WordPerplexity", "distinct_ngrams", "self_bleu"]

Words = Sequence[str]


class WordPerplexity(Metric):
    r"""Perplexity per word of a corpus, ``<eos>`` counted as a word.

    .. math:: \mathrm{ppl} = \exp\Big(\sum_n -\log p(x_n) \Big/ \sum_n |x_n|\Big)

    Of a model with latents the ELBO stands for :math:`\log p(x_n)`, which makes an upper bound. Sums are kept in fp64.
    """

    full_state_update = False
    nats: Tensor
    words: Tensor
    unknown: Tensor
    sentences: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("nats", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        for name in ("words", "unknown", "sentences"):
            self.add_state(name, torch.tensor(0), dist_reduce_fx="sum")

    def update(self, nats: Tensor, sentences: int, words: Tensor, unknown: Tensor) -> None:
        """Add a batch.

        Args:
            nats: Negative log-likelihood or ELBO, nats, words summed, mean over the batch. Scalar.
            sentences: Sentences of the batch.
            words: Their words, ``<eos>`` counted. Scalar.
            unknown: How many of them are ``<unk>``. Scalar.
        """
        self.nats += nats.detach().to(self.nats) * sentences
        self.words += words.to(self.words.device)
        self.unknown += unknown.to(self.unknown.device)
        self.sentences += sentences

    def compute(self) -> dict[str, Tensor]:
        """``perplexity``, and ``unknown_rate``, the share of ``<unk>`` among the words without ``<eos>``."""
        plain = (self.words - self.sentences).clamp(min=1)
        return {"perplexity": torch.exp(self.nats / self.words), "unknown_rate": self.unknown.double() / plain}


class DistinctNgrams(NamedTuple):
    """Different n-grams of a corpus.

    Attributes:
        distinct: How many different ones there are.
        share: Their number over that of all n-grams, in [0, 1]; it falls with the size of the corpus.
    """

    distinct: int
    share: float


def distinct_ngrams(sentences: Sequence[Words], n: int) -> DistinctNgrams:
    """Distinct-n of a corpus: n-grams do not go over the end of a sentence.

    Args:
        sentences: Words of each sentence.
        n: Length of the n-grams, at least 1.

    Raises:
        ConfigError: ``n`` is below 1.
        DataError: No sentence has n words.

    References:
        Li et al., A Diversity-Promoting Objective Function for Neural Conversation Models, 2016, section 5 (the share).

    >>> distinct_ngrams([["a", "b", "a", "b"], ["a"]], 2)
    DistinctNgrams(distinct=2, share=0.6666666666666666)
    """
    checked_count("n", n)
    ngrams = [tuple(words[i : i + n]) for words in sentences for i in range(len(words) - n + 1)]
    if not ngrams:
        raise DataError(f"none of the {len(sentences)} sentences has {n} words; generate longer or more sentences.")
    return DistinctNgrams(len(set(ngrams)), len(set(ngrams)) / len(ngrams))


def self_bleu(sentences: Sequence[Words], n: int) -> float:
    """Mean BLEU-n of each sentence against all others, by sacrebleu, in [0, 1]; lower is more varied.

    An n-gram order without a match counts 0.1 matches (sacrebleu's smoothing ``floor``; NLTK calls it method 1), and
    orders longer than a sentence are left out. Words are taken as they are. The value grows with the number of
    sentences: compare at one number.

    Args:
        sentences: Words of each sentence, at least two.
        n: Longest n-gram, 1 to 4.

    Raises:
        ConfigError: ``n`` is out of range, or sacrebleu is not installed.
        DataError: There are fewer than two sentences.

    References:
        Zhu et al., Texygen: A Benchmarking Platform for Text Generation Models, 2018.
        Post, A Call for Clarity in Reporting BLEU Scores, 2018.
    """
    if not 1 <= n <= 4:
        raise ConfigError(f"`n` must be the longest n-gram, 1 to 4, got {n}.")
    if len(sentences) < 2:
        raise DataError(f"self-BLEU compares sentences with each other, got {len(sentences)}; generate at least 2.")
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ModuleNotFoundError as error:
        raise ConfigError(
            "self-BLEU needs sacrebleu; install it with: pip install 'lightning-gvae[text]', or leave "
            "text_diversity out"
        ) from error
    bleu = BLEU(max_ngram_order=n, smooth_method="floor", smooth_value=0.1, effective_order=True, tokenize="none")
    texts = [" ".join(words) for words in sentences]
    scores = [bleu.sentence_score(text, texts[:i] + texts[i + 1 :]).score for i, text in enumerate(texts)]
    return sum(scores) / len(scores) / 100
