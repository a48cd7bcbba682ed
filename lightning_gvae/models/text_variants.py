"""Sentence models that differ in how the KL weight is written: the image models' own ways, on text."""

from lightning_gvae.models.control_vae import ControlVAE
from lightning_gvae.models.evae import EVAE
from lightning_gvae.models.multi_rate import MultiRateVAE, Rates
from lightning_gvae.models.text_vae import TextVAE

__all__ = ["TextControlVAE", "TextEVAE", "TextMultiRateVAE"]


class TextControlVAE(ControlVAE, TextVAE):
    """A :class:`~lightning_gvae.models.text_vae.TextVAE` whose KL a PI controller holds at ``target_kl``.

    Arguments are those of both; on PTB the authors have ``target_kl`` 1.5 to 3, ``kp`` 0.01, ``ki`` -0.0001 and beta in
    [0, 1].
    """


class TextEVAE(EVAE, TextVAE):
    """A :class:`~lightning_gvae.models.text_vae.TextVAE` whose KL weight the callback ``BetaEvolution`` evolves."""


class TextMultiRateVAE(MultiRateVAE, TextVAE):
    """A :class:`~lightning_gvae.models.text_vae.TextVAE` that is trained on all KL weights of a range at once.

    Arguments are those of both. Gates stand behind the linear layers and before the inputs of the LSTMs.
    """

    plain_class = TextVAE

    def at(self, beta: Rates | None = None) -> TextVAE:
        """The model at one KL weight as a plain model of sentences, with the same words."""
        plain = super().at(beta)
        assert isinstance(plain, TextVAE)
        plain.vocabulary = self.vocabulary
        return plain
