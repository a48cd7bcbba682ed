"""Further training of a decoder by an objective instead of the data."""

import copy
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from lightning_gvae.errors import ConfigError, NonFiniteError, checked_count
from lightning_gvae.interfaces import HasDecoder
from lightning_gvae.rng import torch_stream

__all__ = ["FineTuned", "between_classes", "fine_tuned", "novelty", "unreal"]

Objective = Callable[[Tensor], Tensor]
Model = TypeVar("Model", bound=HasDecoder)


class FineTuned(NamedTuple, Generic[Model]):
    """A model that went its own way.

    Args:
        model: A copy with other decoder weights.
        objective: Mean objective before every step and after the last, ``(steps + 1,)`` or fewer.
        moved: Euclidean distance of the decoder's weights from where they began, relative to their length.
    """

    model: Model
    objective: list[float]
    moved: float


def fine_tuned(
    model: Model,
    objective: Objective,
    steps: int = 100,
    *,
    learning_rate: float = 1e-4,
    batch_size: int = 64,
    leash: float = 0.0,
    stop_at: float | None = None,
    seed: int = 0,
) -> FineTuned[Model]:
    """Train a copy of a model's decoder so that its samples score high, away from what the data taught it.

    Args:
        model: It stays as it is.
        objective: Images ``(B, C, H, W)`` in [0, 1] to numbers ``(B,)``, differentiable; high is wanted.
        steps: Of Adam, at most.
        learning_rate: Of Adam; keep it small.
        batch_size: Samples of the prior a step.
        leash: Weight of the squared distance of the decoder's parameters from where they began, 0 or more.
        stop_at: Stop as soon as the mean objective reaches this.
        seed: Of the samples.

    Raises:
        ConfigError: A setting is out of range, or the objective is not ``(B,)``.
        NonFiniteError: The objective is no longer finite.
    """
    checked_count("steps", steps)
    checked_count("batch_size", batch_size)
    if not learning_rate > 0 or not leash >= 0:
        raise ConfigError(f"`learning_rate` must be above 0 and `leash` 0 or more, got {learning_rate!r} and {leash!r}")
    own = copy.deepcopy(model).eval().requires_grad_(False)
    parameters = list(own.decoder.requires_grad_(True).parameters())
    start = [parameter.detach().clone() for parameter in parameters]
    optimizer = torch.optim.Adam(parameters, lr=learning_rate)
    device = parameters[0].device
    history: list[float] = []
    for step in range(steps + 1):
        stream = torch_stream(seed, "divergence/fine-tuning", step)
        latents = torch.randn(batch_size, own.latent_dim, generator=stream).to(device)
        scores = objective(own.decode(latents))
        if scores.shape != (batch_size,):
            raise ConfigError(f"`objective` must give one number a sample, ({batch_size},), got {tuple(scores.shape)}")
        mean = scores.mean()
        if not torch.isfinite(mean):
            raise NonFiniteError(
                f"the objective is {float(mean.detach())} at step {step}; lower `learning_rate`, now {learning_rate}"
            )
        history.append(float(mean.detach()))
        if step == steps or (stop_at is not None and history[-1] >= stop_at):
            break
        apart = sum(((p - s).square().sum() for p, s in zip(parameters, start, strict=True)), mean.new_zeros(()))
        optimizer.zero_grad()
        (leash * apart - mean).backward()
        optimizer.step()
    with torch.no_grad():
        apart = sum(
            ((p - s).square().sum() for p, s in zip(parameters, start, strict=True)), torch.zeros((), device=device)
        )
        length = sum((s.square().sum() for s in start), torch.zeros((), device=device))
    return FineTuned(own.requires_grad_(True), history, float((apart / length).sqrt()))


def between_classes(classifier: Callable[[Tensor], Tensor]) -> Objective:
    """Entropy of a classifier's verdict, nats: samples that are not clearly of any class score high.

    Args:
        classifier: Images ``(B, C, H, W)`` in [0, 1] to logits ``(B, K)``, differentiable.
    """

    def objective(images: Tensor) -> Tensor:
        logs = torch.log_softmax(classifier(images), dim=1)
        return -(logs.exp() * logs).sum(1)

    return objective


def novelty(references: Tensor, features: Callable[[Tensor], Tensor] | None = None) -> Objective:
    """Distance to the nearest reference: samples unlike all of them score high.

    Args:
        references: Images ``(M, C, H, W)`` in [0, 1].
        features: Images to ``(B, D)``, differentiable; None compares pixels.
    """
    embed: Callable[[Tensor], Tensor] = features or nn.Flatten(1)
    with torch.no_grad():
        known = embed(references)

    def objective(images: Tensor) -> Tensor:
        return torch.cdist(embed(images), known).amin(1)

    return objective


def unreal(discriminator: Callable[[Tensor], Tensor]) -> Objective:
    """A discriminator's verdict turned round: what it takes for fake scores high (its logit, negated).

    Args:
        discriminator: Images to logits ``(B,)`` or ``(B, 1)``, high for real.
    """

    def objective(images: Tensor) -> Tensor:
        return -discriminator(images).flatten()

    return objective
