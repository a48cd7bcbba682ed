"""A choice of network among settings: its short form, and what ``auto`` stood for when a checkpoint was written."""

from collections.abc import Mapping
from typing import Any

__all__ = [
    "AUTO",
    "FORMER_DISCRIMINATORS",
    "SIZES",
    "as_trained",
    "former_facts",
    "has_own_networks",
    "plain_choice",
]

AUTO = ("auto", "auto_norm")
# Settings that the layers of a family have; what is published with fixed sizes has none.
SIZES: dict[str, tuple[str, ...]] = {
    "mlp": ("hidden",),
    "conv": ("width", "blocks", "hidden"),
    "conv_norm": ("width", "blocks", "hidden"),
    "resnet": ("width", "blocks", "layers_per_block", "hidden"),
    "autoencoder_kl": ("width", "blocks", "layers_per_block", "pretrained", "architecture"),
}
# Sides of square images for which ``auto`` of the last release had a convolutional discriminator.
FORMER_DISCRIMINATORS = (28, 32, 64)


def plain_choice(value: Any) -> Any:
    """A choice of network without what is not set; a name if nothing else is left. Other values as they are.

    >>> plain_choice({"name": "auto", "width": None}), plain_choice({"name": "conv", "width": 64})
    ('auto', {'name': 'conv', 'width': 64})
    """
    if not isinstance(value, Mapping):
        return value
    given = {name: part for name, part in value.items() if part is not None}
    return given["name"] if given.keys() == {"name"} else given


def has_own_networks(choice: Any) -> bool:
    """Whether a choice of network is a section with networks of the user's own."""
    return isinstance(choice, Mapping) and any(choice.get(part) is not None for part in ("encoder", "decoder"))


def as_trained(model: Mapping[str, Any], checkpoint: Mapping[str, Any] | None) -> dict[str, Any]:
    """Settings of a model of images as they were when a checkpoint of it was written.

    They name the network that ``auto`` stood for, and hold the architecture of a pretrained one.

    Args:
        model: Settings by name, as of the constructor.
        checkpoint: Content of the checkpoint; with None, or where it says nothing, nothing changes.

    Returns:
        Only the settings that change.
    """
    facts = (checkpoint or {}).get("gvae_model")
    if not isinstance(facts, Mapping):
        return {}
    changed: dict[str, Any] = {}
    network = model.get("network")
    if settled := _settled(network, facts.get("network")):
        changed["network"] = settled
    if isinstance(network, Mapping) and network.get("pretrained") is not None:
        # Weights are the checkpoint's; the folder that training started from may be gone.
        changed["network"] = (checkpoint or {}).get("hyper_parameters", {}).get("network", network)
    adversary, stored = model.get("adversary") or {}, former_facts(facts).get("discriminator")
    if isinstance(adversary, Mapping) and (settled := _settled(adversary.get("discriminator", "auto"), stored)):
        changed["adversary"] = {**adversary, "discriminator": settled}
    return changed


def former_facts(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Facts that identify the model of a checkpoint, the discriminator's ``auto`` resolved as it was once.

    Checkpoints have network, norm and layer of a discriminator, and had ``auto`` among the networks.
    """
    facts = dict(stored)
    name, _, rest = str(facts.get("discriminator")).partition("/")
    if name == "auto":
        _, height, width = facts["image_shape"]
        name = "conv" if height == width and height in FORMER_DISCRIMINATORS else "mlp"
        facts["discriminator"] = f"{name}/{rest}"
    return facts


def _settled(given: Any, stored: Any) -> Any:
    """A choice with the stored name in the place of ``auto``; None if it is no ``auto``, or no such name is stored."""
    # Behind the name stand sizes, or a discriminator's norm and layer.
    name = stored.partition("/")[0].partition("(")[0] if isinstance(stored, str) else ""
    if name not in SIZES:
        return None
    if given in AUTO:
        return name
    if isinstance(given, Mapping) and given.get("name", "auto") in AUTO and not has_own_networks(given):
        return {**given, "name": name}
    return None
