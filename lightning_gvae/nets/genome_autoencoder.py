"""Encoder and decoder of a genome."""

from collections.abc import Sequence

import torch
from torch import nn

from lightning_gvae.evolution.architecture.genome import Rules
from lightning_gvae.nets.genome_plan import Conv, Plan

__all__ = ["build_decoder", "build_encoder", "initialise"]

_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid}


def build_encoder(plan: Plan, rules: Rules) -> nn.Sequential:
    """``(B, C, H, W)`` to the code ``(B, c, h, w)``; variational: to mean and log-variance, flat, ``(B, 2 c h w)``."""
    encoder = _stack(plan.encoder, rules)
    if plan.head is not None:
        # Mean and log-variance are the halves of the channels, so they are the halves of the flat vector too.
        encoder.extend([nn.Conv2d(plan.head.channels_in, plan.head.channels_out, 1), nn.Flatten(1)])
    return encoder


def build_decoder(plan: Plan, rules: Rules) -> nn.Sequential:
    """The code, flat if variational, to ``(B, C, H, W)``: pixels by the reference's rules, raw outputs otherwise."""
    layers = plan.decoder
    decoder = _stack(layers[:-1], rules)
    last = layers[-1]
    decoder.append(_convolution(last))
    if last.activation and not plan.variational:
        decoder.append(_ACTIVATIONS[last.activation]())
    return nn.Sequential(nn.Unflatten(1, plan.code_shape), *decoder) if plan.variational else decoder


@torch.no_grad()
def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Glorot's uniform weights and no biases, as Keras does, drawn from ``generator`` in the order of the layers."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.xavier_uniform_(layer.weight, generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def _stack(layers: Sequence[Conv], rules: Rules) -> nn.Sequential:
    stack: list[nn.Module] = []
    for layer in layers:
        stack.append(_convolution(layer))
        if layer.batch_norm:
            # Keras: running statistics keep 0.99 of themselves, epsilon 1e-3.
            momentum, eps = (0.01, 1e-3) if rules == "reference" else (0.1, 1e-5)
            stack.append(nn.BatchNorm2d(layer.channels_out, eps=eps, momentum=momentum))
        if layer.activation:
            stack.append(_ACTIVATIONS[layer.activation]())
        if layer.resize and layer.resize < layer.conv_side:
            stack.append(nn.MaxPool2d(2, ceil_mode=True))
        elif layer.resize:
            stack.append(nn.UpsamplingNearest2d(size=(layer.resize, layer.resize)))
    return nn.Sequential(*stack)


def _convolution(layer: Conv) -> nn.Conv2d:
    padding = layer.kernel // 2 if layer.padded else 0
    return nn.Conv2d(layer.channels_in, layer.channels_out, layer.kernel, padding=padding)
