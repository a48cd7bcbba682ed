"""Import torchmetrics, and with it Lightning, without a part of SciPy that no training run uses: 58 MB and time to start."""

import importlib
import sys
from types import ModuleType

__all__ = ["import_torchmetrics"]

SIGNAL = "scipy.signal"


def import_torchmetrics() -> bool:
    """Import torchmetrics without ``scipy.signal``; call it before anything that imports Lightning.

    While it is imported, torchmetrics loads ``scipy.signal`` for one reason: to put a function back that SciPy took away
    (``hamming``), for a package of speech measures. It is shown a module that has one. Whoever imports ``scipy.signal``
    afterwards gets the real module.

    Returns:
        Whether it was done; False if torchmetrics or ``scipy.signal`` had been imported before.
    """
    if "torchmetrics" in sys.modules or SIGNAL in sys.modules:
        return False
    stand_in = ModuleType(SIGNAL)
    vars(stand_in)["hamming"] = None
    sys.modules[SIGNAL] = stand_in
    try:
        importlib.import_module("torchmetrics")
    finally:
        del sys.modules[SIGNAL]
    return True
