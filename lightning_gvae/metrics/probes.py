"""Probes: the accuracy of a linear classifier and of a small network on a frozen code."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_gvae.errors import ConfigError
from lightning_gvae.rng import numpy_stream, torch_stream

__all__ = ["Probe", "linear_probe", "mlp_probe", "train_probe"]

EPOCHS = 30
STEPS = 1000  # at least, so that few codes are enough
BATCH = 256
HIDDEN = 64


class Probe(NamedTuple):
    """Scores of a probe on test codes.

    Args:
        accuracy: Share of codes whose class is found.
        loss: Cross-entropy, nats.
    """

    accuracy: float
    loss: float


def linear_probe(train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], classes: int, seed: int = 0) -> Probe:
    """Soft-max regression on standardised codes.

    The paper reports a classifier on codes without naming it; its figures fit a linear one.

    Args:
        train: Codes ``(N, Z)`` and labels ``(N,)``.
        test: Codes ``(M, Z)`` and labels ``(M,)``.
        classes: Number of classes.
        seed: Of the initial weights and the order.

    References:
        Alain and Bengio, Understanding intermediate layers using linear classifier probes, 2016.
    """
    with torch.random.fork_rng(devices=[]):  # layers draw initial weights, which are replaced
        probe = nn.Linear(train[0].shape[1], classes)
    return train_probe(probe, train, test, seed, lr=1e-2)


def mlp_probe(train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], classes: int, seed: int = 0) -> Probe:
    """One hidden layer of 64 rectified units on standardised codes; arguments as for :func:`linear_probe`."""
    with torch.random.fork_rng(devices=[]):
        probe = nn.Sequential(nn.Linear(train[0].shape[1], HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, classes))
    return train_probe(probe, train, test, seed, lr=3e-3)


def train_probe(
    probe: nn.Module, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], seed: int, lr: float
) -> Probe:
    """Train a classifier for 30 epochs and at least 1,000 steps of Adam, batches of 256, the rate falling to 0.

    Raises:
        ConfigError: There is nothing to train or test on, or the labels are not one a code.
    """
    (codes, labels), (others, wanted) = train, test
    if not len(codes) or not len(others) or labels.ndim != 1 or wanted.ndim != 1:
        raise ConfigError(
            f"probes need codes with one label each to train and to test on, got labels of shape {tuple(labels.shape)} "
            f"and {tuple(wanted.shape)}"
        )
    probe = probe.to(codes.device)
    stream = torch_stream(seed, "probe/weights")
    with torch.no_grad():
        for layer in probe.modules():
            if isinstance(layer, nn.Linear):
                weight = torch.empty(layer.weight.shape)
                nn.init.xavier_uniform_(weight, generator=stream)
                layer.weight.copy_(weight)
                nn.init.zeros_(layer.bias)
    mean, scale = codes.mean(0), codes.std(0, correction=0)
    scale = torch.where(scale > 1e-6, scale, 1.0)  # numbers that never change
    per_epoch = -(-len(codes) // BATCH)
    epochs = max(EPOCHS, -(-STEPS // per_epoch))
    optimizer = torch.optim.Adam(probe.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / (epochs * per_epoch))
    for epoch in range(epochs):
        order = torch.from_numpy(numpy_stream(seed, "probe/order", epoch).permutation(len(codes))).to(codes.device)
        for part in order.split(BATCH):
            loss = F.cross_entropy(probe((codes[part] - mean) / scale), labels[part])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        scores = torch.cat([probe((part - mean) / scale) for part in others.split(4096)])
    found = (scores.argmax(1) == wanted).double().mean()
    return Probe(float(found), float(F.cross_entropy(scores, wanted)))
