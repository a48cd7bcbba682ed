"""Parts that all networks of text share: the encoder, and the contract of a decoder that writes word by word.

Sentences are ``(B, T)`` numbers of words that end in ``<eos>`` and are padded with 0 on the right. A decoder reads
``<bos>`` and the words so far, and at every step the latents.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_gvae.nets.lstm import run_lstm
from lightning_gvae.text.vocabulary import BOS, PAD, UNK

__all__ = [
    "DecoderNoise",
    "LSTMEncoder",
    "NoEncoder",
    "TextDecoder",
    "drop_words",
    "dropout",
    "hidden_words",
    "lengths_of",
    "masked",
]


class DecoderNoise(NamedTuple):
    """Random numbers of a training pass through a decoder, drawn before it: compiled networks draw none.

    Attributes:
        hidden: Which words are read as ``<unk>``, bool ``(B, T)``; None for none.
        masks: Factors of each dropout, in the order in which they are used; none without dropout.
    """

    hidden: Tensor | None
    masks: tuple[Tensor, ...]


def lengths_of(tokens: Tensor) -> Tensor:
    """Words of each sentence ``(B,)``, ``<eos>`` counted and padding not."""
    return (tokens != PAD).sum(1)


def dropout(values: Tensor, rate: float, generator: torch.Generator | None) -> Tensor:
    """Zero each entry with probability ``rate`` and scale the others; nothing without a generator.

    ``nn.Dropout`` draws from torch's global generator; here every draw has a stream.
    """
    if generator is None or rate == 0:
        return values
    return masked(values, iter([_mask(values.shape, rate, generator)]))


def masked(values: Tensor, masks: Iterator[Tensor]) -> Tensor:
    """Values times the next of the masks that were drawn for a pass; as they are if there is none."""
    mask = next(masks, None)
    return values if mask is None else values * mask.to(values.dtype)


def _mask(shape: Sequence[int], rate: float, generator: torch.Generator) -> Tensor:
    mask = torch.empty(shape, device=generator.device)
    return mask.bernoulli_(1 - rate, generator=generator).div_(1 - rate)


def hidden_words(tokens: Tensor, rate: float, generator: torch.Generator | None) -> Tensor | None:
    """Words of sentences ``(B, T)`` to be hidden, bool, each with probability ``rate``; None without a generator."""
    if generator is None or rate == 0:
        return None
    return torch.rand(tokens.shape, device=tokens.device, generator=generator) < rate


def drop_words(inputs: Tensor, hidden: Tensor | None) -> Tensor:
    """Replace the hidden words among those that a decoder reads by ``<unk>``, but never ``<bos>`` or padding.

    References:
        Bowman et al., Generating Sentences from a Continuous Space, 2016, section 3.2.
    """
    return inputs if hidden is None else inputs.masked_fill(hidden & (inputs != BOS) & (inputs != PAD), UNK)


class LSTMEncoder(nn.Module):
    """Reads a sentence with an LSTM of one layer; the state after the last word gives the posterior.

    Padding changes nothing: it stands behind the last word, and the state is taken there.

    Args:
        vocabulary_size: V, special tokens included.
        latent_dim: Z.
        embedding: Width of the word vectors.
        hidden: Width of the LSTM.
        dropout: Rate of dropout on the word vectors, in [0, 1).
    """

    def __init__(self, vocabulary_size: int, latent_dim: int, embedding: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, embedding)
        nn.init.normal_(self.embedding.weight, std=0.1)
        self.lstm = nn.LSTM(embedding, hidden, batch_first=True)
        self.head = nn.Linear(hidden, 2 * latent_dim)
        self.dropout = dropout

    def forward(self, tokens: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Mean and log-variance side by side, ``(B, 2Z)``, of sentences ``(B, T)``."""
        states, _ = run_lstm(self.lstm, dropout(self.embedding(tokens), self.dropout, generator))
        last = (lengths_of(tokens) - 1).clamp(min=0)
        return self.head(states[torch.arange(len(tokens), device=tokens.device), last])


class NoEncoder(nn.Module):
    """Reads nothing: the posterior of a model without latents, ``(B, 0)``."""

    def forward(self, tokens: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """An empty row for each sentence."""
        return torch.zeros(len(tokens), 0, device=tokens.device)


class TextDecoder(nn.Module, ABC):
    """A decoder that predicts each word from those before it and from the latents.

    The words' vectors are also the rows of the output layer: the features of a step are compared with each of them.

    Args:
        vocabulary_size: V.
        latent_dim: Z; 0 makes a plain language model.
        embedding: Width E of the word vectors and of the features.
        dropout: Rate of dropout, in [0, 1).
        word_dropout: Probability that a word read is replaced by ``<unk>`` in training.
    """

    def __init__(
        self, vocabulary_size: int, latent_dim: int, embedding: int, dropout: float, word_dropout: float
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, embedding)
        nn.init.normal_(self.embedding.weight, std=0.1)
        self.bias = nn.Parameter(torch.zeros(vocabulary_size))
        self.latent_dim, self.dropout, self.word_dropout = latent_dim, dropout, word_dropout

    @abstractmethod
    def features(self, latents: Tensor, inputs: Tensor, masks: Sequence[Tensor] = ()) -> Tensor:
        """Features ``(B, T, E)`` of every step for the words read ``(B, T)``, with the masks of dropout."""

    @abstractmethod
    def mask_shapes(self, sentences: int, steps: int) -> list[tuple[int, ...]]:
        """Shapes of the masks of dropout in a pass, in the order in which they are used."""

    @abstractmethod
    def start(self, latents: Tensor) -> Any:
        """State before the first word, for :meth:`step`."""

    @abstractmethod
    def step(self, words: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Logits ``(B, V)`` of the next word after reading ``words`` ``(B,)``, and the state then."""

    @abstractmethod
    def select(self, state: Any, rows: Tensor) -> Any:
        """The state of the given rows ``(N,)``, which may repeat: what a beam search keeps."""

    def logits(self, features: Tensor) -> Tensor:
        """Unnormalised log-probabilities of the words, ``(..., V)``."""
        return F.linear(features, self.embedding.weight, self.bias)

    def noise(self, tokens: Tensor, generator: torch.Generator | None) -> DecoderNoise | None:
        """Random numbers of a training pass over sentences ``(B, T)``; None without a generator."""
        if generator is None:
            return None
        hidden = hidden_words(tokens, self.word_dropout, generator)
        sentences, steps = tokens.shape
        shapes = self.mask_shapes(sentences, steps) if self.dropout > 0 else []
        return DecoderNoise(hidden, tuple(_mask(shape, self.dropout, generator) for shape in shapes))

    def forward(self, latents: Tensor, tokens: Tensor, noise: DecoderNoise | None = None) -> Tensor:
        """Negative log-likelihood of sentences ``(B, T)``, nats summed over the words up to ``<eos>``, ``(B,)``."""
        inputs = torch.cat([torch.full_like(tokens[:, :1], BOS), tokens[:, :-1]], dim=1)
        hidden, masks = noise or (None, ())
        features = self.features(latents, drop_words(inputs, hidden), masks)
        if tokens.device.type != "cpu" or torch.compiler.is_compiling():
            # Which words are padding is known on the device alone, and the host would have to wait to leave them out.
            logits = self.logits(features).float().flatten(0, 1)
            words = F.cross_entropy(logits, tokens.flatten(), ignore_index=PAD, reduction="none")
            return words.view(tokens.shape).sum(1)
        there = tokens != PAD
        # The output layer is most of the work, so padding is left out before it.
        nats = F.cross_entropy(self.logits(features[there]).float(), tokens[there], reduction="none")
        return nats.new_zeros(tokens.shape).masked_scatter(there, nats).sum(1)
