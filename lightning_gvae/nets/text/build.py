"""Parts that all networks of text share: the encoder, and the contract of a decoder that writes word by word.

Sentences are ``(B, T)`` numbers of words that end in ``<eos>`` and are padded with 0 on the right. A decoder reads
``<bos>`` and the words so far, and at every step the latents.
"""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_gvae.nets.lstm import run_lstm
from lightning_gvae.text.vocabulary import BOS, PAD, UNK

__all__ = ["LSTMEncoder", "NoEncoder", "TextDecoder", "drop_words", "dropout", "lengths_of"]


def lengths_of(tokens: Tensor) -> Tensor:
    """Words of each sentence ``(B,)``, ``<eos>`` counted and padding not."""
    return (tokens != PAD).sum(1)


def dropout(values: Tensor, rate: float, generator: torch.Generator | None) -> Tensor:
    """Zero each entry with probability ``rate`` and scale the others; nothing without a generator.

    ``nn.Dropout`` draws from torch's global generator; here every draw has a stream.
    """
    if generator is None or rate == 0:
        return values
    mask = torch.empty(values.shape, dtype=values.dtype, device=values.device)
    return values * mask.bernoulli_(1 - rate, generator=generator).div_(1 - rate)


def drop_words(inputs: Tensor, rate: float, generator: torch.Generator | None) -> Tensor:
    """Replace each word that a decoder reads by ``<unk>`` with probability ``rate``, but never ``<bos>`` or padding.

    References:
        Bowman et al., Generating Sentences from a Continuous Space, 2016, section 3.2.
    """
    if generator is None or rate == 0:
        return inputs
    drawn = torch.rand(inputs.shape, device=inputs.device, generator=generator) < rate
    return inputs.masked_fill(drawn & (inputs != BOS) & (inputs != PAD), UNK)


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
        word_dropout: Probability that a word read is replaced by ``<unk>`` in training.
    """

    def __init__(self, vocabulary_size: int, latent_dim: int, embedding: int, word_dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, embedding)
        nn.init.normal_(self.embedding.weight, std=0.1)
        self.bias = nn.Parameter(torch.zeros(vocabulary_size))
        self.latent_dim, self.word_dropout = latent_dim, word_dropout

    @abstractmethod
    def features(self, latents: Tensor, inputs: Tensor, generator: torch.Generator | None) -> Tensor:
        """Features ``(B, T, E)`` of every step for the words read ``(B, T)``; dropout is drawn from the generator."""

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

    def forward(self, latents: Tensor, tokens: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Negative log-likelihood of sentences ``(B, T)``, nats summed over the words up to ``<eos>``, ``(B,)``."""
        inputs = torch.cat([torch.full_like(tokens[:, :1], BOS), tokens[:, :-1]], dim=1)
        inputs = drop_words(inputs, self.word_dropout, generator)
        features, there = self.features(latents, inputs, generator), tokens != PAD
        # The output layer is most of the work, so padding is left out before it.
        nats = F.cross_entropy(self.logits(features[there]).float(), tokens[there], reduction="none")
        return nats.new_zeros(tokens.shape).masked_scatter(there, nats).sum(1)
