"""Perplexity, distinct n-grams and self-BLEU against definitions written out."""

import math
from collections import Counter

import pytest
import torch

from lightning_gvae.errors import ConfigError, DataError
from lightning_gvae.metrics.text import WordPerplexity, distinct_ngrams, self_bleu


def test_perplexity_of_a_uniform_model_is_the_number_of_words_whatever_the_batches():
    metric = WordPerplexity()
    for lengths in ([3, 5], [1], [7, 2, 2]):
        nats = torch.tensor([n * math.log(50.0) for n in lengths]).mean()
        metric.update(nats, len(lengths), torch.tensor(sum(lengths)), torch.tensor(1))
    found = metric.compute()
    assert found["perplexity"].item() == pytest.approx(50, rel=1e-6)
    assert found["unknown_rate"].item() == pytest.approx(3 / (20 - 6))  # <eos> is no word of the corpus


def test_long_sentences_count_more_than_short_ones():
    metric = WordPerplexity()
    metric.update(torch.tensor(1 * math.log(2.0)), 1, torch.tensor(1), torch.tensor(0))
    metric.update(torch.tensor(9 * math.log(8.0)), 1, torch.tensor(9), torch.tensor(0))
    assert metric.compute()["perplexity"].item() == pytest.approx(2 ** ((1 + 27) / 10), rel=1e-6)


def test_distinct_ngrams_are_counted_within_sentences():
    sentences = [text.split() for text in ("a b a b", "b a", "c", "")]
    assert distinct_ngrams(sentences, 1) == (3, 3 / 7)
    assert distinct_ngrams(sentences, 2) == (2, 2 / 4)
    assert distinct_ngrams(sentences, 4) == (1, 1.0)
    with pytest.raises(DataError, match="none of the 4 sentences has 5 words"):
        distinct_ngrams(sentences, 5)
    with pytest.raises(ConfigError, match="`n` must be an integer of at least 1"):
        distinct_ngrams(sentences, 0)


def bleu(sentence, references, n):
    """BLEU as Papineni et al. define it, with 0.1 for no match, written out."""
    logs, orders = 0.0, min(n, len(sentence))
    for order in range(1, orders + 1):
        grams = lambda words, order=order: Counter(tuple(words[i : i + order]) for i in range(len(words) - order + 1))
        most = Counter()
        for reference in references:
            most |= grams(reference)
        own = grams(sentence)
        matches = sum(min(count, most[gram]) for gram, count in own.items())
        logs += math.log((matches or 0.1) / sum(own.values()))
    closest = min((abs(len(r) - len(sentence)), len(r)) for r in references)[1]
    brevity = min(0.0, 1 - closest / len(sentence))
    return math.exp(logs / orders + brevity)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_self_bleu_is_the_mean_of_bleu_against_the_others(n):
    texts = ["the cat sat on the mat", "the dog sat on a mat", "a bird sang", "the cat", "cat"]
    sentences = [text.split() for text in texts]
    expected = [bleu(s, sentences[:i] + sentences[i + 1 :], n) for i, s in enumerate(sentences)]
    assert self_bleu(sentences, n) == pytest.approx(sum(expected) / len(expected), rel=1e-6)


def test_self_bleu_ends_at_its_bounds():
    assert self_bleu([["a", "b", "c"]] * 4, 3) == pytest.approx(1)
    assert self_bleu([["a", "b"], ["c", "d"], ["e", "f"]], 2) < 0.11
    with pytest.raises(ConfigError, match="`n` must be the longest n-gram, 1 to 4, got 5"):
        self_bleu([["a"], ["b"]], 5)
    with pytest.raises(DataError, match="self-BLEU compares sentences with each other, got 1"):
        self_bleu([["a"]], 2)
