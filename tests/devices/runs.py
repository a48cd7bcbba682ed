"""Complete runs on the pretend device, in a process of their own."""

import os
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_module
from lightning.pytorch.accelerators import Accelerator, AcceleratorRegistry
from lightning.pytorch.strategies import SingleDeviceStrategy

from lightning_gvae import cli
from tests.devices import pretend, steps
from tests.devices.steps import Stage, stages_of
from tests.processes import start_ranks

__all__ = ["PretendStrategy", "Runs", "train_there"]

STAGES, ERROR = "stages.json", "error.txt"


class PretendAccelerator(Accelerator):
    """What Lightning wants to know of the device."""

    def setup_device(self, device: Any) -> None: ...

    def teardown(self) -> None: ...

    def get_device_stats(self, device: Any) -> dict[str, Any]:
        return {}

    @staticmethod
    def parse_devices(devices: Any) -> Any:
        return devices

    @staticmethod
    def get_parallel_devices(devices: Any) -> list:
        return [pretend.DEVICE]

    @staticmethod
    def auto_device_count() -> int:
        return 1

    @staticmethod
    def is_available() -> bool:
        return True

    @staticmethod
    def name() -> str:
        return "pretend"


class PretendStrategy(SingleDeviceStrategy):
    """One device, the pretend one."""

    def __init__(self) -> None:
        super().__init__(device=pretend.DEVICE, accelerator=PretendAccelerator())


def train_there(folder: Path, overrides: Sequence[str]) -> None:
    """Train as ``train.py`` does, on the pretend device, which must be there."""
    given = [
        f"paths.output_dir={folder}",
        f"paths.log_dir={folder}/logs",
        f"paths.cache_dir={folder}/cache",
        "trainer.strategy={_target_:tests.devices.runs.PretendStrategy}",
        f"+callbacks.step_count={{_target_:tests.devices.steps.StepCount,path:{folder}/{STAGES}}}",
        *overrides,
    ]
    with initialize_config_module("lightning_gvae.conf", version_base="1.3"):
        cfg = compose("train", given)
    cli.train(cfg)


def train_all(rank: int, folder: str, cases: dict[str, list[str]], float64: bool) -> None:
    """All runs, one after the other; the traceback of one that fails stands in its folder."""
    os.environ["GVAE_ALLOW_TARGETS"] = "tests.devices."
    AcceleratorRegistry.register("pretend", PretendAccelerator, description="for tests", override=True)
    with pretend.pretend_device(steps.ledger, float64):
        for name, overrides in cases.items():
            here = Path(folder) / name
            here.mkdir(parents=True)
            try:
                train_there(here, overrides)
            except Exception:  # noqa: BLE001  (the others go on)
                (here / ERROR).write_text(traceback.format_exc())


class Runs:
    """Runs on the pretend device, by name, made in one process when they are made.

    Args:
        folder: Holds a folder a run.
        cases: Overrides of each run's configuration.
        float64: Whether the device has fp64.
    """

    def __init__(self, folder: Path, cases: Mapping[str, Sequence[str]], float64: bool = True) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        start_ranks(train_all, str(folder), {name: list(given) for name, given in cases.items()}, float64, world=1)

    def stages(self, name: str) -> list[Stage]:
        """Stages of a run's fit; the test fails with the traceback of a run that failed."""
        error = self.error(name)
        assert error is None, error
        return stages_of(self.folder / name / STAGES)

    def error(self, name: str) -> str | None:
        """Traceback of a run that failed."""
        path = self.folder / name / ERROR
        return path.read_text() if path.exists() else None

    def checkpoint(self, name: str) -> dict[str, Any]:
        """Content of a run's last checkpoint."""
        path = self.folder / name / "checkpoints" / "last.ckpt"
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return content
