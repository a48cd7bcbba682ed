"""One VAE for every KL weight: a network conditioned on the weight, trained on all weights at once."""

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn

from lightning_gvae.errors import ConfigError
from lightning_gvae.losses.elbo import NO_PENALTIES, ElboTerms, gaussian_kl, reparameterise
from lightning_gvae.losses.multi_rate import group_sums, mean_weight, normalised_loss, stratified_rates
from lightning_gvae.models.multi_rate_settings import check_settings, checked_groups
from lightning_gvae.models.vae import VAE
from lightning_gvae.nets.priors import NormalPrior
from lightning_gvae.nets.rate_folding import fold
from lightning_gvae.nets.rate_gates import GateKind, RateGates
from lightning_gvae.rng import torch_stream

__all__ = ["MultiRateTerms", "MultiRateVAE", "Rates"]

Rates = float | Sequence[float] | Tensor


class MultiRateTerms(NamedTuple):
    """Terms of a batch whose images have KL weights of their own.

    Attributes:
        recon: As in :class:`~lightning_gvae.losses.elbo.ElboTerms`, the mean over the weights drawn.
        kl: Likewise.
        kl_dims: Likewise.
        weighted: Mean of the normalised loss, the objective of training. Scalar.
        penalties: As in :class:`~lightning_gvae.losses.elbo.ElboTerms`; there are none.
    """

    recon: Tensor
    kl: Tensor
    kl_dims: Tensor
    weighted: Tensor
    penalties: Mapping[str, Tensor] = NO_PENALTIES


class MultiRateVAE(VAE):
    r"""VAE that is trained on all KL weights of a range at once and can be used at any of them.

    Encoder and decoder are gated by :math:`s`, the standardised logarithm of the weight, see
    :mod:`~lightning_gvae.nets.rate_gates`; every step draws weights, uniform in log beta:

    .. math:: L = \mathbb{E}_{\beta}\left[\beta^{-p}\,(D_\beta + \beta R_\beta)\right] / \mathbb{E}_\beta[\beta^{-p}]

    The buffer ``model.beta`` says at which weight the network is used outside training: validation, test, samples,
    reconstructions and the web lab follow it, training does not. :meth:`at` gives a plain VAE at one weight.

    With ``latent_groups`` every group of latents has a weight of its own, ``beta * beta_0``, ``beta * beta_1`` and so
    on, which are buffers too; the loss is then :math:`D + \sum_g \beta_g R_g`.

    Args:
        image_shape: ``(C, H, W)``.
        beta_range: Lowest and highest weight that is trained.
        latent_groups: Sizes of the groups of latents, in order, together all latents; None for one group.
        draws_per_batch: Weights drawn a step, each for an equal part of the batch; None, or a number that does not
            divide the batch, draws one an image, which costs more time.
        normalisation: p, in [0, 1]: 0 counts nats, 1 divides every loss by its weight; between them small weights gain
            on large ones.
        gate: ``"centred"`` or ``"published"``, see :class:`~lightning_gvae.nets.rate_gates.RateGates`.
        kwargs: Further arguments of :class:`~lightning_gvae.models.vae.VAE`, but no ``schedule`` and no ``free_bits``.

    Raises:
        ConfigError: A setting is out of range or does not fit the others.

    References:
        Bae et al., Multi-Rate VAE: Train Once, Get the Full Rate-Distortion Curve, 2023; gate and draws differ, see
        docs/multi_rate.md.
    """

    plain_class: type[VAE] = VAE
    own_settings = frozenset({"beta_range", "latent_groups", "draws_per_batch", "normalisation", "gate"})

    def __init__(
        self,
        image_shape: Sequence[int],
        *,
        beta_range: Sequence[float] = (0.1, 10.0),
        latent_groups: Sequence[int] | None = None,
        draws_per_batch: int | None = 16,
        normalisation: float = 0.0,
        gate: GateKind = "centred",
        **kwargs: Any,
    ) -> None:
        check_settings(beta_range, draws_per_batch, normalisation, gate, kwargs)
        super().__init__(image_shape, **kwargs)
        self.beta_range = (float(beta_range[0]), float(beta_range[1]))
        self.latent_groups = checked_groups(latent_groups, self.latent_dim, isinstance(self.prior, NormalPrior))
        self.draws_per_batch, self.normalisation, self.gate = draws_per_batch, float(normalisation), gate
        self.conditions = ["beta"]
        if len(self.latent_groups) > 1:
            self.conditions += [f"beta_{group}" for group in range(len(self.latent_groups))]
            for name in self.conditions[1:]:
                self.register_buffer(name, torch.tensor(1.0, dtype=torch.float64))
        stream = torch_stream(self.seed, "rate-gates")
        self.gates = RateGates(self._networks, len(self.latent_groups), gate, self._own_condition, stream)
        self.checked_rates()

    # The weight in use.

    def rates(self) -> Tensor:
        """KL weight of every group of latents that the model is used at, ``(G,)``, fp64."""
        if len(self.latent_groups) == 1:
            return self.beta[None]
        return self.beta * torch.stack([self.get_buffer(name) for name in self.conditions[1:]])

    def checked_rates(self, beta: Rates | None = None) -> Tensor:
        """KL weights ``(G,)`` that ``beta`` means: one for all groups, one a group, or None for the model's own.

        Raises:
            ConfigError: They lie outside ``beta_range``, or are not as many as the groups.
        """
        own = self.rates()
        if beta is None:
            rates = own
        else:
            given = torch.as_tensor(beta, dtype=own.dtype).reshape(-1).to(own.device)
            if len(given) not in (1, len(own)):
                raise ConfigError(f"`beta` must be one KL weight or {len(own)}, one a group of latents, got {beta}")
            rates = given.expand(len(own))
        low, high = self.beta_range
        # A little room for weights that were computed, as a product or from a logarithm.
        if not bool(((rates >= low * (1 - 1e-6)) & (rates <= high * (1 + 1e-6))).all()):
            shown = ", ".join(f"{value:g}" for value in rates.tolist())
            raise ConfigError(
                f"`beta` must lie in `model.beta_range`, [{low:g}, {high:g}], the weights that the network knows, got "
                f"{shown}; choose another weight, or train with a wider range"
            )
        return rates

    @contextmanager
    def using(self, beta: Rates | None) -> Iterator[None]:
        """Use the network at other KL weights meanwhile; None leaves the model's own. See :meth:`checked_rates`."""
        if beta is None:
            yield
            return
        with self.gates.set_to(self._standardised(self.checked_rates(beta)[None])):
            yield

    def encode(self, images: Tensor, beta: Rates | None = None) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the posterior at ``beta``, the model's own if None, ``(B, Z)`` each."""
        with self.using(beta):
            return super().encode(images)

    def decode(self, latents: Tensor, beta: Rates | None = None) -> Tensor:
        """Expected pixels in [0, 1] at ``beta``, the model's own if None, ``(B, C, H, W)``, of latents ``(B, Z)``."""
        with self.using(beta):
            return super().decode(latents)

    def at(self, beta: Rates | None = None) -> VAE:
        """The model at one KL weight as a plain VAE without gates, which computes the same up to rounding.

        It is saved, loaded and trained like any other; nothing is shared with this model.

        Args:
            beta: See :meth:`checked_rates`. With several groups the plain model's own ``beta`` is the geometric mean.

        Raises:
            ConfigError: See :meth:`checked_rates`.
        """
        rates = self.checked_rates(beta)
        settings = {name: value for name, value in self.hparams.items() if name not in self.own_settings}
        settings["beta"] = math.exp(float(rates.log().mean()))
        with torch.random.fork_rng(devices=[]):
            plain = self._plain(settings)
        state = {name: value for name, value in self.state_dict().items() if name in plain.state_dict()}
        state |= fold(self._networks, self.gates, self._standardised(rates[None]))
        state["beta"] = plain.beta
        plain.load_state_dict(state)
        plain.data_facts, plain.origin = self.data_facts, self.origin
        return plain.to(self.device).train(self.training)

    # Training.

    def trained_terms(self, images: Tensor, generator: torch.Generator | None = None) -> MultiRateTerms:  # type: ignore[override]
        """Terms of a batch whose KL weights are drawn from the generator, before all other draws."""
        groups, batch = len(self.latent_groups), len(images)
        draws = self.draws_per_batch or batch
        rates = stratified_rates(draws if batch % draws == 0 else batch, groups, *self.beta_range, generator, self.beta)
        with self.gates.set_to(self._standardised(rates)):
            mean, log_var = self.posterior(images, generator)
            latents = reparameterise(mean, log_var, generator)
            recon = self.negative_log_likelihood(images, latents, generator)
        if isinstance(self.prior, NormalPrior):
            kl_dims = gaussian_kl(mean, log_var)
            kl = group_sums(kl_dims, self.latent_groups)
        else:
            kl_dims, kl = mean[:0], self.log_ratio(latents, mean, log_var)[:, None]
        each = rates.to(recon).repeat_interleave(batch // len(rates), dim=0)
        weighted = normalised_loss(recon, kl, each, self.normalisation)
        scale = mean_weight(*self.beta_range, self.normalisation, groups)
        per_dim = kl_dims.mean(0) if len(kl_dims) else mean.new_zeros(0)
        return MultiRateTerms(recon.mean(), kl.sum(1).mean(), per_dim, weighted.mean() / scale)

    def loss(self, terms: ElboTerms | MultiRateTerms, beta: Tensor | float | None = None) -> Tensor:
        """Objective of a training batch; of other terms ``recon + beta * rate``, nats."""
        if isinstance(terms, MultiRateTerms):
            return terms.weighted
        if beta is None and len(self.latent_groups) > 1:
            return terms.recon + (self.rates().to(terms.kl_dims) * self._grouped(terms.kl_dims)).sum()
        return super().loss(terms, beta)

    def on_fit_start(self) -> None:
        """Say which KL weights this run trains with, and at which one it is validated."""
        used = ", ".join(f"{rate:g}" for rate in self.checked_rates().tolist())
        how = "" if self.beta_writer is None else f", written by {self.beta_writer}"
        low, high = self.beta_range
        rank_zero_info(
            f"KL weights: {low:g} to {high:g}, drawn at every step (loss = (recon + beta * KL) / beta^"
            f"{self.normalisation:g}, nats per {self.sample_name}); used at beta = {used} outside training{how}"
        )

    def on_validation_start(self) -> None:
        """Refuse a KL weight that the network does not know: something may have written ``beta``."""
        self.checked_rates()

    def on_test_start(self) -> None:
        """Refuse a KL weight that the network does not know."""
        self.checked_rates()

    def _grouped(self, kl_dims: Tensor) -> Tensor:
        return group_sums(kl_dims[None], self.latent_groups)[0]

    @property
    def _networks(self) -> dict[str, nn.Module]:
        return {"encoder": self.encoder, "decoder": self.decoder}

    def _plain(self, settings: dict[str, Any]) -> VAE:
        if self.network == "custom":
            with self.gates.detached(self._networks):
                settings["network"] = copy.deepcopy(self._networks)
        return self.plain_class(**settings)

    def _identity(self) -> dict[str, Any]:
        own = {"beta_range": list(self.beta_range), "latent_groups": list(self.latent_groups), "gate": self.gate}
        return super()._identity() | own

    def _own_condition(self) -> Tensor:
        return self._standardised(self.rates()[None])

    def _standardised(self, rates: Tensor) -> Tensor:
        """Logarithm with mean 0 and variance 1 over the range."""
        low, high = (math.log(bound) for bound in self.beta_range)
        return (rates.log() - (low + high) / 2) * (math.sqrt(12) / (high - low))
