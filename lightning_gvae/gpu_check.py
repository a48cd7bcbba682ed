"""Where there is no GPU, look for one once and not at every optimiser step."""

import os

__all__ = ["settle_gpu_check"]

VARIABLE = "PYTORCH_NVML_BASED_CUDA_CHECK"  # torch reads it at every torch.cuda.is_available()


def settle_gpu_check() -> bool:
    """Let torch keep the answer that this machine has no GPU.

    Torch's optimisers ask at every step. Lightning has torch ask the driver's library each time, so that processes can
    still be forked; without a driver that is a search for a file that is not there, in vain and at every step. With a
    GPU nothing is changed.

    Returns:
        Whether there is none, so that it took effect.
    """
    import torch

    if torch.cuda.device_count() > 0:
        return False
    os.environ[VARIABLE] = "0"
    return True
