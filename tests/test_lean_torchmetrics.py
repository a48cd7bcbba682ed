import subprocess
import sys

LEAN = """
import sys
from lightning_gvae.lean_torchmetrics import import_torchmetrics
assert import_torchmetrics() is True
import lightning, torchmetrics
print("scipy.signal" in sys.modules, "torchmetrics" in sys.modules)
import scipy.signal
from scipy import signal
assert signal is scipy.signal is sys.modules["scipy.signal"]
print(signal.windows.hamming(3).round(3).tolist(), hasattr(signal, "hamming"))
print(import_torchmetrics())
"""

TOO_LATE = """
import scipy.signal
from lightning_gvae.lean_torchmetrics import import_torchmetrics
assert import_torchmetrics() is False
import lightning
print(scipy.signal.windows.hamming(3).round(3).tolist())
"""

PLAIN = "import sys, lightning; print('scipy.signal' in sys.modules)"


def said(script):
    command = [sys.executable, "-c", script]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=240).stdout.splitlines()


def test_signal_is_left_out_and_there_for_those_who_want_it():
    assert said(PLAIN) == ["True"]  # what is to be saved
    assert said(LEAN) == ["False True", "[0.08, 1.0, 0.08] False", "False"]


def test_what_is_imported_stays():
    assert said(TOO_LATE) == ["[0.08, 1.0, 0.08]"]
