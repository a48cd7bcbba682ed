r"""Gates that make one network of many: every layer's outputs scaled and shifted by the logarithm of the KL weight.

A gate stands behind each linear and convolutional layer, behind its normalisation where it has one, and before the
inputs of each LSTM. It is attached by a hook: the network's own code and the names of its weights stay as they are,
which is why a network at one KL weight can be written as a plain one, see :mod:`~lightning_gvae.nets.rate_folding`.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lightning_gvae.errors import ConfigError

__all__ = ["GATES", "Factors", "GateKind", "RateGates"]

GateKind = Literal["centred", "published"]
GATES: tuple[GateKind, ...] = ("centred", "published")

Convolution = nn.Conv1d | nn.Conv2d | nn.ConvTranspose1d | nn.ConvTranspose2d
Norm = nn.GroupNorm | nn.BatchNorm1d | nn.BatchNorm2d


class Factors(NamedTuple):
    """Scale of a layer's outputs and what is added to them, ``(N, F)`` each; a layer without bias is not shifted."""

    scale: Tensor
    shift: Tensor | None


class _Place(NamedTuple):
    """Place of a layer's F columns among those of all gates.

    Args:
        columns: The columns.
        axis: Axis of the layer's outputs: 1 behind a convolution, -1 behind a linear layer.
        shifts: Whether it is shifted.
    """

    columns: slice
    axis: int
    shifts: bool


class RateGates(nn.Module):
    r"""Gates of all layers of some networks, :math:`y = a(s^\top u + v)\,x + s^\top w` with standardised log weights s.

    ``"centred"`` gates have :math:`a(h) = 2\,\sigma(h)`, on every layer; u, v and w are 0 at the start, which makes the
    plain network. ``"published"`` ones have no w and stand on all layers but a network's last, with :math:`a(h) =
    \sigma(h)` in an encoder and :math:`\sqrt{\max(0, 1 - e^h)}` in a decoder; u and v start uniform in [-1, 1].

    The columns of all layers lie side by side in u ``(G, F)``, v ``(F,)`` and w ``(G, F)``, since many small tensors
    would cost more than the arithmetic.

    Args:
        networks: Encoder and decoder by name.
        groups: G, KL weights that the gates see.
        kind: ``"centred"`` or ``"published"``.
        own: Gives s ``(1, G)`` where nothing else is set.
        generator: Source of initial values that are not 0.

    Raises:
        ConfigError: A network has no layer that can be gated.

    References:
        Bae et al., Multi-Rate VAE: Train Once, Get the Full Rate-Distortion Curve, 2023, eq. 7.
    """

    def __init__(
        self,
        networks: Mapping[str, nn.Module],
        groups: int,
        kind: GateKind,
        own: Callable[[], Tensor],
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.kind, self._own = kind, own
        self._places: dict[str, _Place] = {}
        self._ends: dict[str, int] = {}  # of the columns of each network
        width = 0
        for name, network in networks.items():
            found = gated_layers(network)
            if kind == "published":
                found = dict(list(found.items())[:-1])
            if not found:
                raise ConfigError(
                    f"`network` must have layers that can be gated ({kind} gates), its {name} has none; use linear or "
                    "convolutional layers"
                )
            for path, layer in found.items():
                outputs, axis, biased = _outputs(layer)
                columns = slice(width, width := width + outputs)
                self._places[f"{name}.{path}"] = _Place(columns, axis, kind == "centred" and biased)
            self._ends[name] = width
        self.slope = nn.Parameter(torch.zeros(groups, width))
        self.offset = nn.Parameter(torch.zeros(width))
        self.shift = nn.Parameter(torch.zeros(groups, width)) if kind == "centred" else None
        if kind == "published":
            with torch.no_grad():
                for parameter in (self.slope, self.offset):
                    parameter.uniform_(-1, 1, generator=generator)
        self._set: dict[str, Factors] | None = None
        self._hooks: list[RemovableHandle] = []
        self._attach(networks)

    @property
    def layers(self) -> list[str]:
        """Names of the gated layers, ``encoder.layers.0`` and so on."""
        return list(self._places)

    def factors(self, condition: Tensor) -> dict[str, Factors]:
        """Factors ``(N, F)`` of every gated layer under log weights ``(N, G)``."""
        # Not as a product of matrices, which autocast would round.
        across = condition.to(self.slope)[:, :, None]
        scale = self._activation((across * self.slope).sum(1) + self.offset)
        widths = [place.columns.stop - place.columns.start for place in self._places.values()]
        scales = scale.split(widths, 1)
        shifts: tuple[Tensor, ...] | list[None] = [None] * len(scales)
        if self.shift is not None:
            shifts = (across * self.shift).sum(1).split(widths, 1)
        return {
            name: Factors(scale, shift if place.shifts else None)
            for (name, place), scale, shift in zip(self._places.items(), scales, shifts, strict=True)
        }

    @contextmanager
    def set_to(self, condition: Tensor) -> Iterator[None]:
        """Let log weights ``(N, G)`` hold meanwhile; a batch is N parts of equal size, in order, or N is 1."""
        before, self._set = self._set, self.factors(condition)
        try:
            yield
        finally:
            self._set = before

    @contextmanager
    def detached(self, networks: Mapping[str, nn.Module]) -> Iterator[None]:
        """Networks without their gates meanwhile, for example to copy them."""
        for hook in self._hooks:
            hook.remove()
        try:
            yield
        finally:
            self._attach(networks)

    def gated(self, name: str, values: Tensor) -> Tensor:
        """Values ``(B, ..., F)`` or ``(B, F, ...)`` of the layer called ``name``, gated."""
        scale, shift = (self.factors(self._own()) if self._set is None else self._set)[name]
        if self._places[name].axis == 1 and values.ndim > 2:
            return _scale_channels(values, scale, shift)
        shape = [len(scale)] + [1] * (values.ndim - 1) + [-1]
        apart = values.unflatten(0, (len(scale), -1))
        scale = scale.to(values.dtype).view(shape)
        found = apart * scale if shift is None else torch.addcmul(shift.to(values.dtype).view(shape), apart, scale)
        return found.flatten(0, 1)

    def _activation(self, values: Tensor) -> Tensor:
        if self.kind == "centred":
            return 2 * torch.sigmoid(values)
        encoder = self._ends.get("encoder", 0)
        root = torch.sqrt(torch.relu(-torch.expm1(values[:, encoder:])))
        return torch.cat([torch.sigmoid(values[:, :encoder]), root], 1)

    def _attach(self, networks: Mapping[str, nn.Module]) -> None:
        self._hooks = []
        for network, module in networks.items():
            for path, layer in gated_layers(module).items():
                name = f"{network}.{path}"
                if name not in self._places:
                    continue
                hook = _Hook(self, name)
                self._hooks.append(
                    layer.register_forward_pre_hook(hook.before)
                    if isinstance(layer, nn.RNNBase)
                    else layer.register_forward_hook(hook.behind)
                )


class _Hook:
    """Hook of one layer; an object and no closure, so that a copy of a model has hooks of its own."""

    def __init__(self, gates: RateGates, name: str) -> None:
        self._gates, self._name = gates, name

    def behind(self, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        return self._gates.gated(self._name, output)

    def before(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return (self._gates.gated(self._name, inputs[0]), *inputs[1:])


def _scale_channels(values: Tensor, scale: Tensor, shift: Tensor | None) -> Tensor:
    """Maps ``(B, F, ...)`` times scales, plus shifts, ``(N, F)`` each."""
    # Factors are repeated: they are small beside maps, and an activation in place would be slow on a view of maps.
    shape = (-1, values.shape[1], *[1] * (values.ndim - 2))
    each = 1 if len(scale) == 1 else len(values) // len(scale)
    scale = scale.to(values.dtype).repeat_interleave(each, 0).view(shape)
    if shift is None:
        return values * scale
    return torch.addcmul(shift.to(values.dtype).repeat_interleave(each, 0).view(shape), values, scale)


def gated_layers(network: nn.Module) -> dict[str, nn.Module]:
    """Layers of a network that get a gate, by name: the normalisation instead of the layer that it follows."""
    normalised = {
        first: second
        for module in network.modules()
        if isinstance(module, nn.Sequential)
        for first, second in zip(list(module)[:-1], list(module)[1:], strict=True)
        if isinstance(first, nn.Linear | Convolution) and isinstance(second, Norm) and second.affine
    }
    chosen = set(normalised.values())
    return {
        name: module
        for name, module in network.named_modules()
        if module in chosen or (isinstance(module, nn.Linear | Convolution | nn.RNNBase) and module not in normalised)
    }


def _outputs(layer: nn.Module) -> tuple[int, int, bool]:
    """Number of outputs, their axis, and whether there is a bias; of an LSTM that of the inputs."""
    if isinstance(layer, nn.RNNBase):
        return layer.input_size, -1, bool(layer.bias)
    if isinstance(layer, nn.Linear):
        return layer.out_features, -1, layer.bias is not None
    if isinstance(layer, Convolution):
        return layer.out_channels, 1, layer.bias is not None
    assert isinstance(layer, Norm)
    return (layer.num_channels if isinstance(layer, nn.GroupNorm) else layer.num_features), 1, True
