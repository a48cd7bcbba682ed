"""The LSTM decoder of text."""

from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from lightning_gvae.nets.lstm import run_lstm
from lightning_gvae.nets.text.build import TextDecoder, masked

__all__ = ["LSTMDecoder"]

State = list[tuple[Tensor, Tensor]]


class LSTMDecoder(TextDecoder):
    """LSTM whose input at every step is the last word's vector beside the latents, which also make its first state.

    Args:
        vocabulary_size: V.
        latent_dim: Z; 0 makes a plain language model.
        embedding: Width of the word vectors.
        hidden: Width of the LSTM.
        layers: Number of LSTM layers.
        dropout: Rate of dropout on the word vectors, between layers and on the output.
        word_dropout: Probability that a word read is replaced by ``<unk>`` in training.

    References:
        Bowman et al., Generating Sentences from a Continuous Space, 2016.
    """

    def __init__(
        self,
        vocabulary_size: int,
        latent_dim: int,
        embedding: int,
        hidden: int,
        layers: int = 1,
        dropout: float = 0.0,
        word_dropout: float = 0.0,
    ) -> None:
        super().__init__(vocabulary_size, latent_dim, embedding, dropout, word_dropout)
        # One module a layer: dropout between the layers of one nn.LSTM would draw from the global generator.
        widths = [embedding + latent_dim, *[hidden] * (layers - 1)]
        self.lstms = nn.ModuleList(nn.LSTM(width, hidden, batch_first=True) for width in widths)
        self.first = nn.Linear(latent_dim, 2 * layers * hidden) if latent_dim else None
        self.head = nn.Linear(hidden, embedding)
        self.hidden, self.layers, self.width = hidden, layers, embedding

    def features(self, latents: Tensor, inputs: Tensor, masks: Sequence[Tensor] = ()) -> Tensor:
        """Features of every step."""
        return self._run(latents, inputs, self.start(latents)[1], iter(masks))[0]

    def mask_shapes(self, sentences: int, steps: int) -> list[tuple[int, ...]]:
        """Word vectors, and what each LSTM gives out."""
        return [(sentences, steps, width) for width in (self.width, *[self.hidden] * self.layers)]

    def start(self, latents: Tensor) -> tuple[Tensor, State]:
        """The latents and a first state ``(1, B, H)`` for each layer, twice: hidden and cell."""
        batch = len(latents)
        if self.first is None:
            parts = [latents.new_zeros(batch, self.hidden)] * (2 * self.layers)
        else:
            parts = list(torch.tanh(self.first(latents)).chunk(2 * self.layers, dim=1))
        states = [part.contiguous()[None] for part in parts]
        return latents, list(zip(states[::2], states[1::2], strict=True))

    def step(self, words: Tensor, state: tuple[Tensor, State]) -> tuple[Tensor, tuple[Tensor, State]]:
        """One step; the state is all there is to keep."""
        latents, states = state
        features, after = self._run(latents, words[:, None], states, iter(()))
        return self.logits(features[:, 0]), (latents, after)

    def select(self, state: tuple[Tensor, State], rows: Tensor) -> tuple[Tensor, State]:
        """Rows of latents and states."""
        latents, states = state
        return latents[rows], [(hidden[:, rows], cell[:, rows]) for hidden, cell in states]

    def _run(self, latents: Tensor, inputs: Tensor, states: State, masks: Iterator[Tensor]) -> tuple[Tensor, State]:
        values = masked(self.embedding(inputs), masks)
        if self.latent_dim:
            values = torch.cat([values, latents[:, None].expand(-1, inputs.shape[1], -1).to(values.dtype)], dim=2)
        after = []
        for lstm, state in zip(self.lstms, states, strict=True):
            values, last = run_lstm(cast(nn.LSTM, lstm), values, state)
            values = masked(values, masks)
            after.append(last)
        return self.head(values), after
