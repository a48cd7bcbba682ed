"""Finding checkpoints below a folder, and opening each of them once for everybody."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from lightning_gvae.app.service.opened import Opened
from lightning_gvae.app.settings import AppSettings
from lightning_gvae.errors import CheckpointError, ConfigError
from lightning_gvae.io.run_status import read_status
from lightning_gvae.loading.folder import WEIGHTS, is_export
from lightning_gvae.loading.restore import Restored

__all__ = ["Library", "Restored", "newest_below"]

MOST_LISTED = 200
PREFERRED = ("last.ckpt", "best.ckpt")  # of the several checkpoints of a run folder
LONGEST = 4096  # characters of a path


@dataclass
class _Slot:
    lock: threading.Lock = field(default_factory=threading.Lock)
    opened: Opened | None = None


class Library:
    """The checkpoints that the lab offers.

    Several people may ask at once: a checkpoint is opened once, while others wait for it, and at most
    ``settings.kept_models`` stay in memory. A file that was written anew is opened anew.

    Args:
        settings: Root folder and limits.
        restore: Opens a checkpoint file; raises CheckpointError where it cannot.
    """

    def __init__(self, settings: AppSettings, restore: Callable[[Path], Restored]) -> None:
        self.settings = settings
        self.root = Path(settings.root).expanduser().resolve()
        self._restore = restore
        self._slots: OrderedDict[tuple[Path, int, int], _Slot] = OrderedDict()
        self._lock = threading.Lock()
        self._building = threading.Lock()  # one at a time: a new network draws weights before it is given its own

    def choices(self) -> list[str]:
        """Checkpoints and weights of exported models below the root, newest first, relative to it; at most 200."""
        return [str(path.relative_to(self.root)) for path in newest_below(self.root, "*.ckpt", WEIGHTS)]

    def status(self, choice: str) -> str | None:
        """Status of the run of a checkpoint that :meth:`choices` names; None if it has no ``run.json``."""
        folder = (self.root / choice).parent
        return read_status(folder.parent if folder.name == "checkpoints" else folder)

    def folder(self, text: str) -> Path:
        """The existing folder or file that ``text`` names, relative to the root or absolute.

        Raises:
            ConfigError: There is none, or it lies outside the root and only folders below may be named.
        """
        text = text.strip()
        if not text or len(text) > LONGEST or "\0" in text:
            raise ConfigError("no folder was named; choose a checkpoint from the list, or enter an existing folder.")
        try:
            path = (self.root / Path(text).expanduser()).resolve()
            there = path.exists()
        except (OSError, RuntimeError, ValueError) as error:  # too long, no such user, no text that a path can have
            raise ConfigError(
                f"{text!r:.200} cannot be the name of a folder ({type(error).__name__}); enter an existing one."
            ) from error
        if not self.settings.takes_any_folder and not path.is_relative_to(self.root):
            raise ConfigError(f"{text!r} lies outside the folder that this lab shows; name one below it.")
        if not there:
            raise ConfigError(f"there is no folder or checkpoint {text!r}; it may have been moved or deleted.")
        return path

    def find(self, text: str) -> Path:
        """The checkpoint that ``text`` names: a file, a run folder, an exported folder or a folder of checkpoints.

        Raises:
            ConfigError: There is no such folder.
            CheckpointError: There is no checkpoint in it.
        """
        path = self.folder(text)
        if path.is_file():
            return path
        if is_export(path):
            return path / WEIGHTS
        for folder in (path / "checkpoints", path):
            for name in PREFERRED:
                if (folder / name).is_file():
                    return folder / name
        if found := newest_below(path, "*.ckpt", WEIGHTS):
            return found[0]
        raise CheckpointError(
            f"there is no checkpoint (a file .ckpt) in {text!r}; name the folder of a run of train.py."
        )

    def open(self, path: Path) -> Opened:
        """The model of a checkpoint file.

        Raises:
            CheckpointError: The file is gone, or cannot be opened as a model that makes images.
        """
        try:
            facts = path.stat()
        except OSError as error:
            raise CheckpointError(
                f"the checkpoint {self.label(path)} is no longer there; load another one, or press Refresh."
            ) from error
        key = (path, facts.st_mtime_ns, facts.st_size)
        with self._lock:
            slot = self._slots.pop(key, None) or _Slot()
            self._slots[key] = slot
        try:
            return self._opened(path, slot)
        except Exception:
            with self._lock:
                self._slots.pop(key, None)  # what cannot be opened takes nobody's place
            raise

    def _opened(self, path: Path, slot: _Slot) -> Opened:
        with slot.lock:
            if slot.opened is None:
                with self._building:
                    config, model, datamodule, withheld = self._restore(path)
                    cache_dir = self.settings.cache_dir
                    slot.opened = Opened(self.label(path), config, model, datamodule, cache_dir, withheld)
                with self._lock:
                    while len(self._slots) > self.settings.kept_models:
                        self._slots.popitem(last=False)
            return slot.opened

    def label(self, path: Path) -> str:
        """The path as it is shown: relative to the root where it lies below."""
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path)


def newest_below(root: Path, *patterns: str, most: int = MOST_LISTED) -> list[Path]:
    """Paths below ``root`` that match a pattern, newest first; what vanishes meanwhile is left out."""
    found = []
    for path in (path for pattern in patterns for path in (root.rglob(pattern) if root.is_dir() else ())):
        try:
            found.append((path.stat().st_mtime, path))
        except OSError:
            continue
    return [path for _, path in sorted(found, reverse=True)[:most]]
