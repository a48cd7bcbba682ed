"""What keeps candidates that are trained in another way than one after the other from being the same."""

import torch
from torch import Tensor, nn

__all__ = ["Footprint", "why_unlike"]


def why_unlike(name: str, part: nn.Module) -> str | None:
    """What stands in the way of every other way in this submodule, or ``None``."""
    if getattr(part, "_compiled_call_impl", None) is not None:
        return f"`{name}` is compiled"
    if isinstance(part, nn.modules.dropout._DropoutNd) and part.training and part.p > 0:
        return f"`{name}` drops units out at random"
    return None


class Footprint:
    """Notices what a forward pass leaves behind: changed buffers, and draws from torch's global generator.

    Either would tell candidates that are trained together from those trained one after the other.

    Args:
        module: Module whose forward passes are watched from now on.
        device: Where it lives.
    """

    def __init__(self, module: nn.Module, device: torch.device) -> None:
        self._module, self._device = module, device
        # Values, since the kernels of batch statistics do not count as changes in place.
        self._buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
        self._states = self._generators()

    def found(self) -> str | None:
        """What was left behind since, or ``None``."""
        for name, buffer in self._module.named_buffers():
            if name not in self._buffers or not torch.equal(self._buffers[name], buffer):
                return f"a forward pass changes the buffer `{name}`"
        if any(not torch.equal(a, b) for a, b in zip(self._states, self._generators(), strict=True)):
            return "a forward pass draws from torch's global generator"
        return None

    def _generators(self) -> list[Tensor]:
        states = [torch.get_rng_state()]
        if self._device.type == "cuda":
            states.append(torch.cuda.get_rng_state(self._device))
        return states
