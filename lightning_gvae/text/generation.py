"""Sentences from a decoder, word by word and many at once.

A decoder is anything with ``start(latents)``, ``step(words, state)`` and ``select(state, rows)``, as
:class:`~lightning_gvae.nets.text.TextDecoder` has them; the state keeps what was computed for earlier words. ``<pad>``
and ``<bos>`` are never written. Results are ``(B, T)`` numbers of words, ``<eos>`` included and ``<pad>`` behind it; a
sentence that does not end within ``max_length`` tokens has no ``<eos>``.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_gvae.devices import widest_float
from lightning_gvae.errors import ConfigError, checked_count
from lightning_gvae.text.vocabulary import BOS, EOS, PAD, UNK

__all__ = ["Beams", "beam_search", "greedy", "next_word_probabilities", "sample_words"]


def next_word_probabilities(logits: Tensor, temperature: float = 1.0, top_p: float = 1.0) -> Tensor:
    r"""Distribution that the next word is drawn from, ``(B, V)``.

    .. math:: p_i \propto \exp(l_i / \tau) \; [i \in N_p]

    The nucleus :math:`N_p` is the smallest set of most probable words with a probability of at least ``top_p``
    together.

    Args:
        logits: ``(B, V)``; words that must not be drawn have minus infinity.
        temperature: :math:`\tau`, positive; below 1 the likely words become likelier.
        top_p: In (0, 1]; 1 keeps every word.

    References:
        Holtzman et al., The Curious Case of Neural Text Degeneration, 2020, section 3.1.
    """
    probabilities = F.softmax(logits.to(widest_float(logits.device)) / temperature, dim=1)
    if top_p >= 1:
        return probabilities
    ordered, order = probabilities.sort(dim=1, descending=True, stable=True)
    before = ordered.cumsum(1) - ordered  # probability of the words ahead; the first is always kept
    kept = ordered * (before < top_p)
    return torch.zeros_like(kept).scatter(1, order, kept / kept.sum(1, keepdim=True))


@torch.no_grad()
def greedy(decoder: Any, latents: Tensor, max_length: int, unknown: bool = True) -> Tensor:
    """The most probable word at every step.

    Args:
        decoder: See above.
        latents: ``(B, Z)``.
        max_length: Most tokens of a sentence, at least 1.
        unknown: Whether ``<unk>`` may be written.
    """
    return _write(decoder, latents, max_length, unknown, lambda logits: logits.argmax(1))


@torch.no_grad()
def sample_words(
    decoder: Any,
    latents: Tensor,
    max_length: int,
    generator: torch.Generator | None = None,
    temperature: float = 1.0,
    top_p: float = 1.0,
    unknown: bool = True,
) -> Tensor:
    """Words drawn from :func:`next_word_probabilities`; at temperature 1 without a nucleus, from the model itself.

    Args:
        decoder: See above.
        latents: ``(B, Z)``.
        max_length: Most tokens of a sentence, at least 1.
        generator: Source of randomness.
        temperature: Positive.
        top_p: Probability of the nucleus, in (0, 1].
        unknown: Whether ``<unk>`` may be written.

    Raises:
        ConfigError: ``temperature`` or ``top_p`` is out of range.
    """
    if not 0 < temperature < float("inf"):
        raise ConfigError(f"`temperature` must be positive, got {temperature}; greedy decoding is its limit at 0.")
    if not 0 < top_p <= 1:
        raise ConfigError(f"`top_p` must be a probability in (0, 1], got {top_p}; 1 keeps every word.")

    def draw(logits: Tensor) -> Tensor:
        # By the distribution function: one uniform number a sentence, whatever the size of the vocabulary.
        ends = next_word_probabilities(logits, temperature, top_p).cumsum(1)
        uniform = torch.rand(len(ends), 1, dtype=ends.dtype, device=ends.device, generator=generator)
        return torch.searchsorted(ends, uniform * ends[:, -1:], right=True)[:, 0].clamp(max=ends.shape[1] - 1)

    return _write(decoder, latents, max_length, unknown, draw)


class Beams(NamedTuple):
    """Result of a beam search for each latent.

    Attributes:
        tokens: ``(B, T)``, the best sentence.
        log_prob: Its log-probability, nats, ``(B,)``.
    """

    tokens: Tensor
    log_prob: Tensor


@torch.no_grad()
def beam_search(
    decoder: Any,
    latents: Tensor,
    max_length: int,
    width: int = 5,
    length_penalty: float = 0.0,
    unknown: bool = True,
) -> Beams:
    r"""The best sentence among those that a search of ``width`` beams keeps.

    Sentences are ranked by :math:`\log p / n^\alpha` with n tokens; an ended sentence keeps its place among the beams.
    Of the sentences kept at the end, those that have ended come first.

    Args:
        decoder: See above.
        latents: ``(B, Z)``.
        max_length: Most tokens of a sentence, at least 1.
        width: Beams, at least 1; 1 is greedy.
        length_penalty: :math:`\alpha`, at least 0; 0 is the plain log-probability.
        unknown: Whether ``<unk>`` may be written.

    Raises:
        ConfigError: A number is out of range.
    """
    checked_count("width", width)
    checked_count("max_length", max_length)
    if not length_penalty >= 0:
        raise ConfigError(f"`length_penalty` must be 0 or more, got {length_penalty}.")
    batch = len(latents)
    rows = torch.arange(batch, device=latents.device)
    words = torch.full((batch,), BOS, device=latents.device)
    logits, state = decoder.step(words, decoder.start(latents))
    size = logits.shape[1]
    tokens = torch.empty(batch, 1, 0, dtype=torch.long, device=latents.device)
    total = torch.zeros(batch, 1, dtype=widest_float(latents.device), device=latents.device)
    for step in range(max_length):
        beams = tokens.shape[1]
        ended = (tokens == EOS).any(2)
        scores = _allowed(logits, unknown).log_softmax(1).view(batch, beams, size)
        # An ended sentence has one successor, itself with padding, which changes nothing.
        stay = torch.full_like(scores, -torch.inf)
        stay[..., PAD] = 0
        joined = total[..., None] + torch.where(ended[..., None], stay, scores)
        lengths = torch.where(ended, (tokens != PAD).sum(2), step + 1).clamp(min=1)
        ranked = (joined / lengths[..., None].to(total.dtype) ** length_penalty).flatten(1)
        best = ranked.topk(min(width, ranked.shape[1]), dim=1).indices
        parents, words = best // size, best % size
        total = joined.flatten(1).gather(1, best)
        tokens = torch.cat([tokens.gather(1, parents[..., None].expand(-1, -1, step)), words[..., None]], dim=2)
        if step + 1 == max_length or bool((tokens == EOS).any(2).all()):
            break
        state = decoder.select(state, (rows[:, None] * beams + parents).flatten())
        logits, state = decoder.step(words.flatten(), state)
    lengths = (tokens != PAD).sum(2).clamp(min=1)
    final = total / lengths.to(total.dtype) ** length_penalty
    first = torch.where((tokens == EOS).any(2), final, final - 1e9).argmax(1)
    return Beams(_trimmed(tokens[rows, first]), total[rows, first])


def _write(decoder: Any, latents: Tensor, max_length: int, unknown: bool, choose: Callable[[Tensor], Tensor]) -> Tensor:
    checked_count("max_length", max_length)
    words = torch.full((len(latents),), BOS, device=latents.device)
    state, ended, written = decoder.start(latents), torch.zeros_like(words, dtype=torch.bool), []
    for _ in range(max_length):
        logits, state = decoder.step(words, state)
        words = choose(_allowed(logits, unknown)).masked_fill(ended, PAD)
        written.append(words)
        ended = ended | (words == EOS)
        if ended.all():
            break
    return torch.stack(written, dim=1)


def _allowed(logits: Tensor, unknown: bool) -> Tensor:
    """Logits in fp64, where the device has it; minus infinity for what is never written."""
    logits = logits.to(widest_float(logits.device), copy=True)
    for word in (PAD, BOS) if unknown else (PAD, BOS, UNK):
        logits[:, word] = -torch.inf
    return logits


def _trimmed(tokens: Tensor) -> Tensor:
    """Without the columns in which every sentence has ended."""
    return tokens[:, : max(1, int((tokens != PAD).sum(1).max()))]
