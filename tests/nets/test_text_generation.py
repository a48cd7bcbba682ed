"""Decoding: against exhaustive search, written-out definitions, and the distribution it draws from."""

import itertools

import numpy as np
import pytest
import torch
from scipy import stats

from lightning_gvae.errors import ConfigError
from lightning_gvae.nets.text.lstm import LSTMDecoder
from lightning_gvae.nets.text.transformer import TransformerDecoder
from lightning_gvae.rng import torch_stream
from lightning_gvae.text import BOS, EOS, PAD, UNK
from lightning_gvae.text.generation import beam_search, greedy, next_word_probabilities, sample_words

V, Z = 7, 2
WORDS = [UNK, EOS, 4, 5, 6]  # what may be written


class Chain:
    """A decoder that is a Markov chain with given logits ``(V, V)``; latents only say how many sentences."""

    def __init__(self, logits):
        self.table = logits

    def start(self, latents):
        return None

    def step(self, words, state):
        return self.table[words].clone(), None

    def select(self, state, rows):
        return None


def chain(seed=0, scale=1.5):
    return Chain(scale * torch.randn(V, V, generator=torch_stream(seed, "chain"), dtype=torch.float64))


def networks(seed):
    torch.manual_seed(seed)
    decoders = LSTMDecoder(V, Z, 6, 8), TransformerDecoder(V, Z, 8, 1, 2, 16)
    for decoder in decoders:
        torch.nn.init.normal_(decoder.embedding.weight)
        torch.nn.init.normal_(decoder.bias)
    return decoders


@torch.no_grad()
def log_prob(decoder, latent, sentence):
    """Of one sentence, word by word, with ``<pad>`` and ``<bos>`` impossible."""
    state, word, total = decoder.start(latent[None]), BOS, 0.0
    for following in sentence:
        logits, state = decoder.step(torch.tensor([word]), state)
        logits = logits.double()
        logits[:, [PAD, BOS]] = -torch.inf
        total += float(torch.log_softmax(logits[0], 0)[following])
        word = following
    return total


def every_sentence(max_length):
    """All sentences that end, and those of full length that do not."""
    for length in range(1, max_length + 1):
        for body in itertools.product([word for word in WORDS if word != EOS], repeat=length - 1):
            yield (*body, EOS)
    yield from itertools.product([word for word in WORDS if word != EOS], repeat=max_length)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("alpha", [0.0, 0.7])
def test_a_beam_wide_enough_finds_what_exhaustive_search_finds(seed, alpha):
    latents = torch.randn(2, Z, generator=torch_stream(seed, "z"))
    for decoder in networks(seed):
        with torch.no_grad():
            scored = [
                {s: log_prob(decoder, latent, s) / len(s) ** alpha for s in every_sentence(3)} for latent in latents
            ]
        # Sentences that end come first, as documented.
        best = [max((s for s in found if s[-1] == EOS), key=found.get) for found in scored]
        beams = beam_search(decoder, latents, 3, width=2 * len(WORDS) ** 3, length_penalty=alpha)
        for row, sentence in enumerate(best):
            written = tuple(word for word in beams.tokens[row].tolist() if word != PAD)
            assert written == sentence
            assert beams.log_prob[row].item() == pytest.approx(scored[row][sentence] * len(sentence) ** alpha, rel=1e-5)


def test_probabilities_of_every_sentence_add_up_to_one():
    decoder = networks(0)[0]
    with torch.no_grad():
        total = sum(np.exp(log_prob(decoder, torch.ones(Z), s)) for s in every_sentence(3))
    assert total == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_a_beam_of_one_is_greedy_and_greedy_takes_the_likeliest_word(seed):
    latents = torch.randn(3, Z, generator=torch_stream(seed, "z"))
    for decoder in (*networks(seed), chain(seed)):
        found = greedy(decoder, latents, 6)
        beams = beam_search(decoder, latents, 6, width=1).tokens
        assert torch.equal(found[:, : beams.shape[1]], beams)
        for latent, row in zip(latents, found.tolist(), strict=True):
            sentence = [word for word in row if word != PAD]
            for position, word in enumerate(sentence):
                others = [log_prob(decoder, latent, [*sentence[:position], other]) for other in WORDS]
                assert WORDS[int(np.argmax(others))] == word


def test_beams_of_one_sentence_do_not_touch_those_of_another():
    latents = torch.randn(5, Z, generator=torch_stream(9, "z"))
    for decoder in networks(9):
        together = beam_search(decoder, latents, 6, width=3)
        for row in range(5):
            alone = beam_search(decoder, latents[row : row + 1], 6, width=3)
            assert together.log_prob[row].item() == pytest.approx(alone.log_prob[0].item(), rel=1e-5)
            assert [w for w in together.tokens[row].tolist() if w] == [w for w in alone.tokens[0].tolist() if w]


@pytest.mark.parametrize("top_p", [0.05, 0.3, 0.6, 0.9, 0.999, 1.0])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_the_nucleus_is_the_smallest_set_of_likely_words_with_the_probability(top_p, temperature):
    logits = 2 * torch.randn(20, 9, generator=torch_stream(0, "logits"), dtype=torch.float64)
    found = next_word_probabilities(logits, temperature, top_p).numpy()
    for row, scores in zip(found, logits.numpy(), strict=True):
        p = np.exp(scores / temperature) / np.exp(scores / temperature).sum()
        kept, together = [], 0.0
        for word in sorted(range(9), key=lambda word: -p[word]):
            if together >= top_p:
                break
            kept.append(word)
            together += p[word]
        expected = np.array([p[word] / together if word in kept else 0 for word in range(9)])
        np.testing.assert_allclose(row, expected, atol=1e-12)


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 1.0), (1.0, 0.8)])
def test_sampled_sentences_have_their_probabilities(temperature, top_p):
    decoder, draws = chain(3, scale=0.8), 40_000
    tokens = sample_words(decoder, torch.zeros(draws, Z), 2, torch_stream(5, "draw"), temperature, top_p)
    words, counts = np.unique(tokens.numpy(), axis=0, return_counts=True)

    def following(word):
        logits = decoder.table[word][None].clone()
        logits[:, [PAD, BOS]] = -torch.inf
        return next_word_probabilities(logits, temperature, top_p)[0]

    expected = {}
    for first in WORDS:
        for second in [PAD] if first == EOS else WORDS:
            p = following(BOS)[first] * (1 if first == EOS else following(first)[second])
            if p > 0:
                expected[(first, second)] = float(p)
    assert set(map(tuple, words.tolist())) <= set(expected)
    seen = dict(zip(map(tuple, words.tolist()), counts, strict=True))
    result = stats.chisquare([seen.get(s, 0) for s in expected], [draws * p for p in expected.values()])
    assert result.pvalue > 0.001


def test_what_is_never_written_and_what_stands_behind_the_end():
    decoder = chain(1)
    decoder.table[:, [PAD, BOS, UNK]] += 20  # all that may not be written is most likely
    for unknown in (True, False):
        tokens = sample_words(decoder, torch.zeros(300, Z), 12, torch_stream(0, "s"), unknown=unknown)
        assert not (tokens == BOS).any()
        assert bool((tokens == UNK).any()) is unknown
        for row in tokens.tolist():
            end = row.index(EOS) if EOS in row else len(row)
            assert PAD not in row[:end] and set(row[end + 1 :]) <= {PAD}


def test_the_same_stream_writes_the_same_and_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    draw = lambda seed: sample_words(chain(), torch.zeros(20, Z), 9, torch_stream(seed, "s"))
    assert torch.equal(draw(0), draw(0))
    assert draw(0).shape != draw(1).shape or not torch.equal(draw(0), draw(1))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda d, z: sample_words(d, z, 5, temperature=0.0), "`temperature` must be positive, got 0.0"),
        (lambda d, z: sample_words(d, z, 5, top_p=0.0), r"`top_p` must be a probability in \(0, 1\], got 0.0"),
        (lambda d, z: sample_words(d, z, 5, top_p=1.5), "got 1.5"),
        (lambda d, z: beam_search(d, z, 5, width=0), "`width` must be an integer of at least 1"),
        (lambda d, z: beam_search(d, z, 5, length_penalty=-1.0), "`length_penalty` must be 0 or more"),
        (lambda d, z: greedy(d, z, 0), "`max_length` must be an integer of at least 1"),
    ],
)
def test_settings_out_of_range_are_refused(call, message):
    with pytest.raises(ConfigError, match=message):
        call(chain(), torch.zeros(1, Z))
