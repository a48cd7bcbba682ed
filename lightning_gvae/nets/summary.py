"""A sentence about the networks of a model: what they are, and how many weights they have."""

from typing import Any

from torch import nn

from lightning_gvae.io.network_choice import AUTO, plain_choice

__all__ = ["network_note", "weights_in"]

PARTS = ("encoder", "decoder", "discriminator")


def weights_in(network: nn.Module) -> int:
    """Number of trained and untrained weights; buffers do not count."""
    return sum(parameter.numel() for parameter in network.parameters())


def network_note(model: nn.Module, label: str, given: Any = None) -> str:
    """Name of a model's networks and the number of their weights.

    Args:
        model: Holds some of ``encoder``, ``decoder`` and ``discriminator``.
        label: Name of encoder and decoder.
        given: Choice that led to it; ``auto`` is mentioned.

    >>> parts = nn.ModuleDict({"encoder": nn.Linear(784, 20), "decoder": nn.Linear(10, 784)})
    >>> network_note(parts, "mlp", "auto")
    'mlp (chosen by auto), 24,324 weights: encoder 15,700, decoder 8,624'
    """
    counts = {name: weights_in(part) for name, part in model.named_children() if name in PARTS}
    choice = plain_choice(given)
    name = choice.get("name", "auto") if isinstance(choice, dict) else choice
    chosen = f" (chosen by {name})" if name in AUTO else ""
    each = ", ".join(f"{part} {counts[part]:,}" for part in PARTS if part in counts)
    return f"{label}{chosen}, {sum(counts.values()):,} weights: {each}"
