"""beta-TCVAE: the KL in three parts, each with a weight of its own."""

from collections.abc import Mapping, Sequence, Sized
from typing import Any, ClassVar, get_args

import torch
from torch import Tensor

from lightning_gvae.errors import ConfigError, checked_choice, checked_count
from lightning_gvae.interfaces import DataModule, offers
from lightning_gvae.lightning_compat import datamodule_of
from lightning_gvae.losses.elbo import ElboTerms
from lightning_gvae.losses.total_correlation import Estimate, kl_parts
from lightning_gvae.models.penalised_vae import PenalisedVAE

__all__ = ["TCVAE"]


class TCVAE(PenalisedVAE):
    r"""VAE whose KL is decomposed, and its parts weighted.

    .. math:: L = D + \alpha\, I(x;z) + \beta\, \mathrm{KL}\Big(q(z)\Big\|\prod_j q(z_j)\Big)
              + \gamma \sum_j \mathrm{KL}(q(z_j)\|p(z_j))

    With all weights 1 this is a VAE whose KL is estimated by one draw. The parts are estimated from the minibatch, see
    :func:`~lightning_gvae.losses.total_correlation.kl_parts`; the KL that is logged is that in closed form.

    Args:
        image_shape: ``(C, H, W)``.
        alpha: Weight of the mutual information between the index of an image and its latents, at least 0.
        beta: Weight of the total correlation, at least 0; schedules write it.
        gamma: Weight of the KL of each dimension on its own, at least 0.
        data_size: N, training images, at least 1; ``None`` takes those of the data when a fit starts.
        estimate: Of the aggregate posterior, ``weighted`` or ``stratified``.
        kwargs: Further arguments of :class:`~lightning_gvae.models.vae.VAE`.

    Raises:
        ConfigError: A weight is negative, or ``prior`` is learnt, ``free_bits`` is set, or N is not known when it is
            needed.

    References:
        Chen, Li, Grosse and Duvenaud, Isolating Sources of Disentanglement in Variational Autoencoders, 2018, eq. 4.
    """

    alpha: Tensor
    gamma: Tensor
    loss_weights = ("alpha", "beta", "gamma")
    rate_name = "total_correlation"
    penalty_names = ("information", "total_correlation", "dimension_wise_kl")
    penalised: ClassVar[Mapping[str, str]] = {"alpha": "information", "gamma": "dimension_wise_kl"}

    def __init__(
        self,
        image_shape: Sequence[int],
        alpha: float = 1.0,
        beta: float = 6.0,
        gamma: float = 1.0,
        data_size: int | None = None,
        estimate: Estimate = "stratified",
        **kwargs: Any,
    ) -> None:
        checked_choice("estimate", estimate, get_args(Estimate))
        if data_size is not None:
            checked_count("data_size", data_size, unit="training images")
        super().__init__(image_shape, beta=beta, **kwargs)
        if self.has_free_bits:
            raise ConfigError("`free_bits` has no meaning for parts of the KL: set it to 0, or use model=vae.")
        self.data_size, self.estimate = data_size, estimate
        self._register_weights(alpha=alpha, gamma=gamma)

    def penalties(
        self, latents: Tensor, mean: Tensor, log_var: Tensor, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """The three parts of the KL, nats.

        Raises:
            ConfigError: The number of training images is not known.
        """
        if self.data_size is None:
            raise ConfigError(
                "TCVAE needs the number of training images: give `data_size` (model.data_size), or fit with a data "
                "module."
            )
        return kl_parts(latents, mean, log_var, self.data_size, self.estimate)._asdict()

    def rate(self, terms: ElboTerms) -> Tensor:
        """Total correlation, which ``beta`` multiplies. Scalar, nats."""
        return terms.penalties["total_correlation"]

    def setup(self, stage: str) -> None:
        """Take the number of training images from the data module.

        Raises:
            ConfigError: The precision is refused.
        """
        super().setup(stage)
        data = datamodule_of(self.trainer)
        if stage == "fit" and offers(data, DataModule):
            self._know_size(len(data.train_set))

    def on_train_start(self) -> None:
        """Take the number of training images from the loader, where there is no data module."""
        super().on_train_start()
        dataset = getattr(self.trainer.train_dataloader, "dataset", None)
        if isinstance(dataset, Sized):
            self._know_size(len(dataset))

    def _know_size(self, size: int) -> None:
        if self.data_size is None:
            self.data_size = self.hparams["data_size"] = size
