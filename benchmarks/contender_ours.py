"""Our run in ``benchmarks.peers``, in a process that starts as ``train.py`` does.

    python -m benchmarks.contender_ours mlp28        # waits for the word of benchmarks.peers on its input

It is the run that ``train.py`` makes: Trainer, default callbacks, CSV logging, checkpoints, progress bar, memory kept.
"""

import sys
import tempfile
from pathlib import Path

from benchmarks.pausing import Pausing
from benchmarks.throughput import CASES, data_for, default_trainer, make_model
from lightning_gvae.runtime import keep_freed_memory


def ours(name: str) -> None:
    keep_freed_memory()
    case = CASES[name]
    datamodule = data_for(case)
    with tempfile.TemporaryDirectory() as folder:
        default_trainer(Path(folder), [Pausing()]).fit(make_model(case), datamodule=datamodule)


if __name__ == "__main__":
    ours(sys.argv[1])
