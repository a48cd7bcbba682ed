"""Loss and terms of a batch as a run trains on them, for copies of its model."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import lightning as L
import torch
from torch import Tensor, nn

from lightning_gvae.evolution.beta.lookahead import ProbeLoss
from lightning_gvae.interfaces import ConditionedModel, DeclaresTerms, TrainsJointly, offers
from lightning_gvae.training.modes import eval_mode

__all__ = ["TrainedTerms", "conditioned_loss", "forward_context", "observed_terms", "probe_loss", "trained_loss"]

Context = Callable[[], AbstractContextManager[Any]]
TrainedTerms = Callable[[nn.Module, Any, torch.Generator], Any]  # (module, batch, noise) -> terms


def trained_loss(
    pl_module: L.LightningModule, genes: Sequence[str]
) -> Callable[[nn.Module, Any, torch.Generator], tuple[Tensor, Any]]:
    """Function ``(module, batch, noise) -> loss, terms`` of copies of a model.

    Where genes are in the losses of several optimisers the loss is the common one of all of them.
    """
    declares_terms = offers(pl_module, DeclaresTerms)
    jointly = offers(pl_module, TrainsJointly) and any(name in pl_module.gene_optimizers for name in genes)

    def loss_and_terms(module: nn.Module, batch: Any, generator: torch.Generator) -> tuple[Tensor, Any]:
        model = cast(DeclaresTerms, module)  # a copy of the run's, which was checked when the fit was set up
        images = model.prepare(batch)
        if jointly:
            return cast(TrainsJointly, module).joint_loss(images, generator)
        terms_of = model.trained_terms if declares_terms else model.elbo_terms
        terms = terms_of(images, generator=generator)
        return model.loss(terms), terms

    return loss_and_terms


def observed_terms(pl_module: L.LightningModule) -> TrainedTerms:
    """Function ``(module, batch, noise) -> terms`` of copies of a model, with all penalties that it has."""
    if offers(pl_module, TrainsJointly):
        return lambda module, batch, generator: cast(TrainsJointly, module).joint_loss(
            cast(DeclaresTerms, module).prepare(batch), generator
        )[1]
    of = trained_loss(pl_module, ())
    return lambda module, batch, generator: of(module, batch, generator)[1]


def probe_loss(trainer: L.Trainer, pl_module: L.LightningModule, genes: Sequence[str]) -> ProbeLoss:
    """Loss, D and R of a batch in the precision of a run."""
    context, of = forward_context(trainer), trained_loss(pl_module, genes)

    def loss_of(module: nn.Module, batch: Any, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        # Left again after every forward pass: autocast caches converted weights until then, and ours are about to move.
        with context():
            loss, terms = of(module, batch, generator)
            return loss, terms.recon, terms.kl

    return loss_of


def conditioned_loss(trainer: L.Trainer) -> ProbeLoss:
    """Loss, D and R of a batch by a network that is used at the weights it is conditioned on, in evaluation mode."""
    context = forward_context(trainer)

    def loss_of(module: nn.Module, batch: Any, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        model = cast(ConditionedModel, module)
        with context(), eval_mode(model):
            terms = model.elbo_terms(model.prepare(batch), generator=generator)
            return model.loss(terms), terms.recon, terms.kl

    return loss_of


def forward_context(trainer: L.Trainer) -> Context:
    """Context of a forward pass, for the precision of a run."""
    plugin = trainer.precision_plugin
    if getattr(plugin, "scaler", None) is not None:
        # fp16 gradients underflow without a scaler, and the run's scaler must not see ours: look ahead in fp32.
        return nullcontext
    return plugin.train_step_context
