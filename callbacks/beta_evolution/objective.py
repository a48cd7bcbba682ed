"""Objective of a run: whether a look-ahead trains on what the run itself is trained on, and whether beta is in it."""

import inspect
from collections.abc import Sequence
from typing import Any

import lightning as L

from lightning_gvae.callbacks.beta_evolution.plan import EvaluatorName
from lightning_gvae.errors import ConfigError
from lightning_gvae.evolution.beta.genes import Gene
from lightning_gvae.interfaces import ConditionedModel, offers

__all__ = ["check_conditions", "check_objective"]


def check_conditions(module: L.LightningModule, genes: Sequence[Gene], evaluator: EvaluatorName) -> None:
    """Check that a network that is conditioned on KL weights is scored by its conditions, and no other one is.

    Raises:
        ConfigError: It is not, or a gene is no condition of the network or goes beyond what it was trained at.
    """
    setting = "`evaluator` (callbacks.beta_evolution.evaluator)"
    if not offers(module, ConditionedModel):
        if evaluator == "conditioned":
            raise ConfigError(
                f"{setting} 'conditioned' needs a model whose network is conditioned on the KL weight, and D and R of "
                f"{type(module).__name__} do not depend on it at fixed weights; use 'lookahead', or "
                "model=multi_rate_vae"
            )
        return
    if evaluator != "conditioned":
        raise ConfigError(
            f"{setting} must be 'conditioned' for {type(module).__name__}, got '{evaluator}': it is trained at all KL "
            "weights, so that training under a candidate says nothing of it"
        )
    low, high = module.beta_range
    for gene in genes:
        if gene.name not in module.conditions:
            raise ConfigError(
                f"`genes` must be conditions of the network, {', '.join(module.conditions)}, got {gene.name!r}"
            )
        if gene.low < low * (1 - 1e-6) or gene.high > high * (1 + 1e-6):
            raise ConfigError(
                f"`low` and `high` of gene {gene.name!r} must lie in `model.beta_range`, [{low:g}, {high:g}], the KL "
                f"weights that the network is trained at, got {gene.low:g} and {gene.high:g}; narrow the gene or widen "
                "the range"
            )


def check_objective(
    module: L.LightningModule, who: str = "BetaEvolution", setting: str = "callbacks.beta_evolution"
) -> None:
    """Check that the model's ``training_step`` trains on ``loss(trained_terms(images))``, as a look-ahead does.

    It does if the class that defines ``training_step``, or a subclass of that class, defines ``trained_terms`` too;
    for a model without ``trained_terms``, ``elbo_terms`` takes its place.

    Args:
        module: The model.
        who: Callback that trains copies of it, for the message.
        setting: Full name of that callback in a configuration.

    Raises:
        ConfigError: ``training_step`` is overridden, and nothing says what it trains on.
    """
    kind: Any = type(module)
    terms = "elbo_terms" if _depth(kind, "trained_terms") is None else "trained_terms"
    step, known = _depth(kind, "training_step"), _depth(kind, terms)
    own = inspect.unwrap(vars(module).get("training_step", kind.training_step))  # a compiled step wraps the class's
    if known is not None and step is not None and known <= step and getattr(own, "__func__", own) is kind.training_step:
        return
    raise ConfigError(
        f"{who} trains copies of the model on `loss(trained_terms(images))`, but {kind.__name__} has a "
        "`training_step` of its own, which may train on something else: the KL weight would be evolved for another "
        "objective than the run's. Let the same class define `trained_terms(self, images, generator=None)`, which "
        "returns the terms (`recon`, `kl`) that its `training_step` trains on, and `loss(self, terms)` if it is not "
        "recon + beta * KL; if only logging was added, `return self.elbo_terms(images, generator)` is enough. Or "
        "remove "
        f"the callback (`~{setting}`)"
    )


def _depth(kind: type, name: str) -> int | None:
    """Place in the order of inheritance of the first class that defines ``name``; None without."""
    return next((place for place, each in enumerate(kind.__mro__) if name in vars(each)), None)
