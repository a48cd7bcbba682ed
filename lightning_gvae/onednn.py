"""Who multiplies in linear layers on the CPU.

torch multiplies fp32 matrices with Intel's MKL, which has no AVX-512 kernels for processors of other makers. oneDNN, which is
part of torch and computes its convolutions, has: a product takes half of the time there, in fp32 all the same, equal up to
rounding.
"""

import os
from functools import cache
from pathlib import Path

from lightning_gvae.errors import ConfigError

__all__ = ["VARIABLE", "onednn_chosen", "onednn_pays", "use_onednn"]

VARIABLE = "GVAE_ONEDNN_LINEAR"  # tells processes that this one starts; unset is auto
CHOICES = {"auto": None, "true": True, "false": False}
INFO = Path("/proc/cpuinfo")


def use_onednn(choice: bool | str = "auto") -> bool:
    """Choose oneDNN or torch's own library, for this process and those that it starts from now on.

    Args:
        choice: ``True``, ``False``, or ``"auto"``: where :func:`onednn_pays`.

    Returns:
        Whether it is oneDNN.

    Raises:
        ConfigError: Another choice.
    """
    word = str(choice).lower()
    if word not in CHOICES:
        raise ConfigError(f"`onednn_linear` must be auto, true or false, got {choice!r}.")
    os.environ[VARIABLE] = word
    onednn_chosen.cache_clear()
    return onednn_chosen()


@cache
def onednn_pays() -> bool:
    """Whether this is a processor on which oneDNN multiplies faster than MKL: one with AVX-512 that is not Intel's."""
    import torch

    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        return False
    return INFO.is_file() and "GenuineIntel" not in INFO.read_text(encoding="utf-8")


@cache
def onednn_chosen() -> bool:
    """Whether linear layers are to multiply by oneDNN."""
    import torch

    chosen = CHOICES.get(os.environ.get(VARIABLE, "auto"))
    wanted = onednn_pays() if chosen is None else chosen
    return wanted and torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
