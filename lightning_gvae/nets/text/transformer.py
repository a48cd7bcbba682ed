"""The Transformer decoder of text."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_gvae.errors import ConfigError
from lightning_gvae.nets.text.build import TextDecoder, masked

__all__ = ["TransformerBlock", "TransformerDecoder"]

Cache = tuple[Tensor, Tensor]  # keys and values of the words read, (B, heads, t, E / heads)


class TransformerState(NamedTuple):
    """State between two words: the latents, and keys and values of every block."""

    latents: Tensor
    caches: list[Cache | None]


class TransformerBlock(nn.Module):
    """Causal self-attention, the latents, and a feed-forward network, each added to its input, normalised before.

    The latents come in through one linear map: that is what cross-attention to a memory of a single entry computes,
    since its only weight is 1.

    Args:
        width: E, divisible by ``heads``.
        heads: Attention heads.
        feedforward: Width of the hidden layer.
        latent_dim: Z; 0 for no latents.
    """

    def __init__(self, width: int, heads: int, feedforward: int, latent_dim: int) -> None:
        super().__init__()
        self.norm_attention, self.norm_feedforward = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.latents = nn.Linear(latent_dim, width) if latent_dim else None
        self.up, self.down = nn.Linear(width, feedforward), nn.Linear(feedforward, width)
        self.heads = heads

    def forward(
        self, values: Tensor, latents: Tensor, cache: Cache | None, masks: Iterator[Tensor]
    ) -> tuple[Tensor, Cache]:
        """Values ``(B, T, E)`` behind those in the cache, and the cache with them added; a mask for each sum."""
        attended, cache = self._attend(self.norm_attention(values), cache)
        values = values + masked(attended, masks)
        if self.latents is not None:
            values = values + masked(self.latents(latents)[:, None], masks)
        hidden = F.relu(self.up(self.norm_feedforward(values)))
        return values + masked(self.down(hidden), masks), cache

    def _attend(self, values: Tensor, cache: Cache | None) -> tuple[Tensor, Cache]:
        batch, steps, width = values.shape
        query, key, value = (
            part.view(batch, steps, self.heads, -1).transpose(1, 2) for part in self.qkv(values).chunk(3, dim=2)
        )
        if cache is not None:
            key, value = torch.cat([cache[0], key], dim=2), torch.cat([cache[1], value], dim=2)
        # With a cache there is one query, which may see everything.
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=cache is None)
        return self.out(mixed.transpose(1, 2).reshape(batch, steps, width)), (key, value)


class TransformerDecoder(TextDecoder):
    """Pre-norm Transformer with sinusoidal positions; the latents enter every block at every step.

    Padding stands behind the words and attention only looks back, so no mask but the causal one is needed.

    Args:
        vocabulary_size: V.
        latent_dim: Z; 0 makes a plain language model.
        width: E, of word vectors and blocks, even and divisible by ``heads``.
        layers: Blocks.
        heads: Attention heads.
        feedforward: Width of the feed-forward networks.
        dropout: Rate of dropout on the inputs and in the blocks.
        word_dropout: Probability that a word read is replaced by ``<unk>`` in training.

    Raises:
        ConfigError: The width is odd or cannot be split between the heads.

    References:
        Vaswani et al., Attention Is All You Need, 2017.
    """

    def __init__(
        self,
        vocabulary_size: int,
        latent_dim: int,
        width: int,
        layers: int = 3,
        heads: int = 8,
        feedforward: int = 1024,
        dropout: float = 0.0,
        word_dropout: float = 0.0,
    ) -> None:
        if width % heads or width % 2:
            raise ConfigError(f"`embedding` must be even and divisible by `heads` {heads}, got {width}.")
        super().__init__(vocabulary_size, latent_dim, width, dropout, word_dropout)
        self.blocks = nn.ModuleList(TransformerBlock(width, heads, feedforward, latent_dim) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.width = width

    def features(self, latents: Tensor, inputs: Tensor, masks: Sequence[Tensor] = ()) -> Tensor:
        """Features of every step."""
        return self._run(inputs, self.start(latents), iter(masks))[0]

    def mask_shapes(self, sentences: int, steps: int) -> list[tuple[int, ...]]:
        """Word vectors, and each sum of each block; the latents are dropped alike at all steps."""
        all_steps, one = (sentences, steps, self.width), (sentences, 1, self.width)
        of_block = [all_steps, one, all_steps] if self.latent_dim else [all_steps, all_steps]
        return [all_steps, *of_block * len(self.blocks)]

    def start(self, latents: Tensor) -> TransformerState:
        """The latents and no words."""
        return TransformerState(latents, [None] * len(self.blocks))

    def step(self, words: Tensor, state: TransformerState) -> tuple[Tensor, TransformerState]:
        """One step; keys and values of earlier words are taken from the state."""
        features, state = self._run(words[:, None], state, iter(()))
        return self.logits(features[:, 0]), state

    def select(self, state: TransformerState, rows: Tensor) -> TransformerState:
        """Rows of latents, keys and values."""
        kept: list[Cache | None] = [None if c is None else (c[0][rows], c[1][rows]) for c in state.caches]
        return TransformerState(state.latents[rows], kept)

    def _run(self, inputs: Tensor, state: TransformerState, masks: Iterator[Tensor]) -> tuple[Tensor, TransformerState]:
        read = 0 if state.caches[0] is None else state.caches[0][0].shape[2]
        # Word vectors start with a standard deviation of 0.1; times sqrt(E) they are as large as the positions.
        values = self.embedding(inputs) * math.sqrt(self.width) + _positions(read, inputs.shape[1], self.width, inputs)
        values = masked(values, masks)
        caches: list[Cache | None] = []
        for block, cache in zip(self.blocks, state.caches, strict=True):
            values, after = block(values, state.latents, cache, masks)
            caches.append(after)
        return self.norm(values), TransformerState(state.latents, caches)


def _positions(first: int, count: int, width: int, like: Tensor) -> Tensor:
    """Sines and cosines of the positions ``first`` and on, ``(count, width)``."""
    steps = torch.arange(first, first + count, device=like.device)[:, None]
    rates = torch.exp(torch.arange(0, width, 2, device=like.device) * (-math.log(10_000) / width))
    return torch.stack([torch.sin(steps * rates), torch.cos(steps * rates)], dim=2).flatten(1)
