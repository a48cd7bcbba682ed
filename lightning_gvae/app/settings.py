"""Settings of the web lab: what it may show and how much it may do at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning_gvae.errors import ConfigError, checked_count

__all__ = ["LOOPBACK", "AppSettings"]

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class AppSettings:
    """Folders, limits and address of the web lab.

    Args:
        root: Folder below which checkpoints and collapse studies are looked for.
        any_folder: Whether a person may also name existing folders outside ``root``; None: only if nobody but this
            machine can reach the page.
        data_roots: Folders below which the data of a checkpoint may lie: a checkpoint may be a stranger's, and names
            its data itself. None: anywhere.
        cache_dir: Folder where classifiers are kept; None keeps them in memory alone.
        host: Address to listen on; the default lets nobody in from outside.
        port: TCP port, 0 takes a free one.
        max_images: Images a person may ask for at once.
        max_upload_mb: Size of an uploaded file, MB.
        kept_models: Models kept in memory; the one not used for longest makes room.
        concurrency: Requests worked on at a time; others queue.
        open_browser: Open the page in this machine's browser.

    Raises:
        ConfigError: A number is out of range.
    """

    root: str | Path = "logs"
    any_folder: bool | None = None
    data_roots: Sequence[str | Path] | None = None
    cache_dir: str | Path | None = None
    host: str = "127.0.0.1"
    port: int = 7860
    max_images: int = 1000
    max_upload_mb: int = 10
    kept_models: int = 4
    concurrency: int = 4
    open_browser: bool = False

    def __post_init__(self) -> None:
        for name in ("max_images", "max_upload_mb", "kept_models", "concurrency"):
            checked_count(name, getattr(self, name))
        if isinstance(self.port, bool) or not isinstance(self.port, int) or not 0 <= self.port < 2**16:
            raise ConfigError(f"`port` must be a TCP port, 1 to 65535, or 0 for a free one, got {self.port!r}")

    @property
    def takes_any_folder(self) -> bool:
        """Whether folders outside ``root`` may be named."""
        return self.host in LOOPBACK if self.any_folder is None else self.any_folder
