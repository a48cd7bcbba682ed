"""The variational autoencoder of sentences."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_gvae.errors import CheckpointError, ConfigError, checked_count
from lightning_gvae.interfaces import HasVocabulary, offers
from lightning_gvae.lightning_compat import datamodule_of
from lightning_gvae.losses.elbo import Likelihood
from lightning_gvae.models.vae import VAE, refuse_networks
from lightning_gvae.nets.text.build import LSTMEncoder, NoEncoder, TextDecoder, lengths_of
from lightning_gvae.nets.text.lstm import LSTMDecoder
from lightning_gvae.nets.text.transformer import TransformerDecoder
from lightning_gvae.text import SPECIALS, UNK, Vocabulary
from lightning_gvae.text.generation import beam_search, greedy, sample_words

__all__ = ["DECODERS", "TextVAE"]

DECODERS = ("lstm", "transformer")


class TextVAE(VAE):
    r"""VAE of sentences: an LSTM encoder, and a decoder that writes word by word and sees the latents at every step.

    .. math:: -\log p(x|z) = -\sum_{t=1}^{n} \log p(x_t | x_{<t}, z)

    summed over the words of a sentence, ``<eos>`` counted; everything else (KL weight, schedules, free bits, evolution,
    logs, checkpoints) is that of :class:`~lightning_gvae.models.vae.VAE`. An image is a sentence here: ``(B, T)``
    numbers of words that end in ``<eos>``, padded with 0. ``decode`` and ``sample`` give such sentences.

    Dropout and word dropout draw from the noise stream of the step, so a resumed run draws what the uninterrupted one
    would. Validation and test are computed in single precision whatever the training's.

    The model takes the words from the data module when a run starts, and every checkpoint carries them.

    Args:
        image_shape: ``(T, V)``: most tokens of a sentence, and tokens of the vocabulary with the special ones.
        latent_dim: Z; the authors of ControlVAE have 32 with the LSTM, 64 with the Transformer.
        architecture: Of the decoder, ``lstm`` or ``transformer``.
        embedding: Width of the word vectors; of the Transformer as a whole.
        hidden: Width of the encoder's and the decoder's LSTM.
        layers: LSTM layers or Transformer blocks of the decoder.
        heads: Attention heads of the Transformer.
        feedforward: Width of the Transformer's feed-forward networks.
        dropout: Rate of dropout in the decoder, in [0, 1).
        encoder_dropout: Rate of dropout on the words that the encoder reads, in [0, 1). With it the KL of training is
            not that of evaluation, so a KL that is held in training is missed on the test set.
        word_dropout: Probability that a word that the decoder reads is replaced by ``<unk>``, in [0, 1].
        kwargs: Further arguments of :class:`~lightning_gvae.models.vae.VAE`.

    Raises:
        ConfigError: A setting is out of range, or the data are no sentences.
        CheckpointError: Later: a checkpoint or the data have another vocabulary.

    References:
        Bowman et al., Generating Sentences from a Continuous Space, 2016.
        Shao et al., ControlVAE: Controllable Variational Autoencoder, 2020.
    """

    decoder: TextDecoder
    sample_name = "sentence"

    def __init__(
        self,
        image_shape: Sequence[int],
        latent_dim: int = 32,
        architecture: str = "lstm",
        embedding: int = 256,
        hidden: int = 256,
        layers: int = 1,
        heads: int = 8,
        feedforward: int = 1024,
        dropout: float = 0.5,
        encoder_dropout: float = 0.0,
        word_dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        _check(image_shape, architecture, dropout, encoder_dropout, word_dropout)
        sizes = {"embedding": embedding, "hidden": hidden, "layers": layers, "heads": heads, "feedforward": feedforward}
        for name, size in sizes.items():
            checked_count(name, size)
        self._check_latents(latent_dim)
        words = image_shape[1]
        writer: TextDecoder
        if architecture == "lstm":
            writer = LSTMDecoder(words, latent_dim, embedding, hidden, layers, dropout, word_dropout)
        else:
            writer = TransformerDecoder(words, latent_dim, embedding, layers, heads, feedforward, dropout, word_dropout)
        reader = LSTMEncoder(words, latent_dim, embedding, hidden, encoder_dropout) if latent_dim else NoEncoder()
        refuse_networks(kwargs)
        super().__init__(image_shape, max(1, latent_dim), network=(reader, writer), **kwargs)
        self.latent_dim = self.hparams["latent_dim"] = latent_dim
        self.network = f"{architecture}-{embedding}-{hidden}-{layers}"
        self.likelihood = Likelihood()  # the decoder scores words itself
        self.max_length = int(image_shape[0])
        self.vocabulary: Vocabulary | None = None

    def prepare(self, batch: Any) -> Tensor:
        """Sentences ``(B, T)`` of a batch: tokens alone or first of a tuple.

        Raises:
            ConfigError: The batch holds no numbers of words.
        """
        tokens = batch[0] if isinstance(batch, list | tuple) else batch
        if tokens.ndim != 2 or tokens.dtype not in (torch.int64, torch.int32):
            raise ConfigError(
                f"{type(self).__name__} reads sentences, integers (B, T), got {tokens.dtype} of shape "
                f"{tuple(tokens.shape)}; choose data=ptb or data=text."
            )
        return tokens.long()

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the posterior of sentences ``(B, T)``, ``(B, Z)`` each, without dropout."""
        return self._posterior(images, None)

    def decode(self, latents: Tensor) -> Tensor:
        """The sentences that latents ``(B, Z)`` stand for, the likeliest word at every step, ``(B, T)``."""
        return greedy(self.decoder, latents.float(), self.max_length)

    def decode_beam(self, latents: Tensor, width: int = 5, length_penalty: float = 0.0) -> Tensor:
        """Sentences of latents ``(B, Z)`` by beam search, ``(B, T)``."""
        return beam_search(self.decoder, latents.float(), self.max_length, width, length_penalty).tokens

    def decode_sampled(
        self,
        latents: Tensor,
        generator: torch.Generator | None = None,
        temperature: float = 1.0,
        top_p: float = 1.0,
        unknown: bool = True,
    ) -> Tensor:
        """Sentences of latents ``(B, Z)``, words drawn by temperature and nucleus, ``(B, T)``."""
        return sample_words(self.decoder, latents.float(), self.max_length, generator, temperature, top_p, unknown)

    def sample(
        self, n: int, generator: torch.Generator | None = None, temperature: float = 1.0, top_p: float = 1.0
    ) -> Tensor:
        """``n`` sentences drawn from the model: latents from the prior, then word by word, ``(n, T)``."""
        return self.decode_sampled(self._prior_latents(n, generator), generator, temperature, top_p)

    def interpolate(self, first: Tensor, second: Tensor, steps: int = 7) -> Tensor:
        """Sentences ``(steps, T)`` on the straight line between the codes of two sentences ``(T,)``, ends included."""
        checked_count("steps", steps, 2)
        start, end = (self.encode(tokens[None])[0] for tokens in (first, second))
        return self.decode(torch.lerp(start, end, torch.linspace(0, 1, steps, device=self.device)[:, None]))

    def words(self, tokens: Tensor) -> list[str]:
        """Sentences ``(B, T)`` as text.

        Raises:
            ConfigError: The model has no vocabulary yet.
        """
        if self.vocabulary is None:
            raise ConfigError(
                "the model has no words yet; fit or test it with a text data module, or load a checkpoint."
            )
        return [self.vocabulary.decode(row) for row in tokens.tolist()]

    def log_likelihood(self, images: Tensor, latents: Tensor) -> Tensor:
        """``log p(x|z)`` of every pair of a sentence and latents ``(B, Z)``, ``(B,)``, nats, words summed."""
        return -self.decoder(latents.float(), images)

    def posterior(self, images: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the posterior of sentences ``(B, T)``; in training mode with dropout."""
        return self._posterior(images, generator if self.training else None)

    def negative_log_likelihood(
        self, images: Tensor, latents: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """``-log p(x|z)`` of pairs of a sentence and latents, ``(B,)``, nats; in training mode with dropout."""
        return self.decoder(latents, images, self.decoder.noise(images, generator if self.training else None))

    def setup(self, stage: str) -> None:
        """Take the words from the data module.

        Raises:
            CheckpointError: The model was trained with others.
            ConfigError: The vocabulary has another size than the model, or the precision is refused.
        """
        super().setup(stage)
        data = datamodule_of(self.trainer)
        if offers(data, HasVocabulary):
            self._adopt(data.vocabulary, "the data")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the words to what every model adds."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["gvae_vocabulary"] = None if self.vocabulary is None else list(self.vocabulary.words)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the words over, unless they are not those of the data.

        Raises:
            CheckpointError: They are others.
        """
        super().on_load_checkpoint(checkpoint)
        words = checkpoint.get("gvae_vocabulary")
        if words is not None:
            self._adopt(Vocabulary(words), "the checkpoint")

    def _adopt(self, vocabulary: Vocabulary, source: str) -> None:
        if len(vocabulary) != self.image_shape[1]:
            raise ConfigError(
                f"`image_shape` says {self.image_shape[1]} tokens, but {source} has a vocabulary of {len(vocabulary)}; "
                "build the model for the data."
            )
        if self.vocabulary is not None and self.vocabulary != vocabulary:
            raise CheckpointError(
                f"{source} has another vocabulary (hash {vocabulary.digest}) than the model (hash "
                f"{self.vocabulary.digest}): a word would mean something else. Read the data with the model's words "
                "(vocabulary=model.vocabulary; eval.py does so), or start a new run."
            )
        self.vocabulary = vocabulary

    def _posterior(self, tokens: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        mean, log_var = self.encoder(tokens, generator).float().chunk(2, dim=1)
        return mean, log_var

    def _prior_latents(self, n: int, generator: torch.Generator | None) -> Tensor:
        return self.prior.sample(n, generator, self.device)

    @staticmethod
    def _check_latents(latent_dim: int) -> None:
        checked_count("latent_dim", latent_dim)

    def _evaluation_step(self, stage: str, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        with torch.autocast(self.device.type, enabled=False):
            outputs = super()._evaluation_step(stage, batch, batch_idx)
        tokens = self.prepare(batch)
        return outputs | {"words": lengths_of(tokens).sum(), "unknown": (tokens == UNK).sum()}


def _check(
    image_shape: Sequence[int], architecture: str, dropout: float, encoder_dropout: float, word_dropout: float
) -> None:
    if len(image_shape) != 2 or image_shape[0] < 2 or image_shape[1] <= len(SPECIALS):
        raise ConfigError(
            f"`image_shape` must be (most tokens of a sentence, tokens of the vocabulary), got {tuple(image_shape)}; "
            "text models need text: choose data=ptb or data=text."
        )
    if architecture not in DECODERS:
        raise ConfigError(f"`architecture` must be one of {', '.join(DECODERS)}, got {architecture!r}.")
    for name, rate in {"dropout": dropout, "encoder_dropout": encoder_dropout}.items():
        if not 0 <= rate < 1:
            raise ConfigError(f"`{name}` must be in [0, 1), got {rate}.")
    if not 0 <= word_dropout <= 1:
        raise ConfigError(f"`word_dropout` must be in [0, 1], got {word_dropout}.")
