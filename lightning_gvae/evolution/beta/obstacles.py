"""Side effects of a forward pass, which keep candidates from being trained together."""

import torch
from torch import Tensor, nn

__all__ = ["Footprint"]


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
        """Trace that was left behind since, or ``None``."""
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
