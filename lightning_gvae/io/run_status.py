"""Status of a run: read from ``run.json``, and from whether the process that writes it is still there.

A run that is killed can write nothing more. So it notes at its start which process it is, and whoever reads the file
asks whether that process still exists.
"""

import json
import os
import platform
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["RECORD", "STATUSES", "process_facts", "read_status", "run_status"]

RECORD = "run.json"
STATUSES = ("running", "finished", "stopped", "failed", "interrupted")


def run_status(record: Mapping[str, Any]) -> str:
    """One of :data:`STATUSES`.

    ``stopped`` was told to, and has saved; ``failed`` ended in an error; ``interrupted`` says that it is running and
    its process is gone. Of a run of another machine, whose processes cannot be seen from here, its own word is taken.

    Args:
        record: Content of a ``run.json``.
    """
    status = str(record.get("status", "")).partition(":")[0].strip()
    if status != "running":
        return status if status in STATUSES else "interrupted"
    process = record.get("process")
    if not isinstance(process, Mapping) or not isinstance(process.get("pid"), int):
        return "interrupted"  # of a release that did not note its process
    if process.get("host") != _place():
        return "running"
    return "running" if process.get("started") == _started(process["pid"]) is not None else "interrupted"


def read_status(folder: Path) -> str | None:
    """:func:`run_status` of a run folder; None if there is no ``run.json`` or it cannot be read."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return run_status(record) if isinstance(record, dict) else None


def process_facts() -> dict[str, Any]:
    """Identity of this process: ``host``, ``pid`` and ``started``, which tells it from a later one of that number."""
    return {"host": _place(), "pid": os.getpid(), "started": _started(os.getpid())}


def _place() -> str:
    """Machine, and on Linux the container, within which numbers of processes mean anything."""
    try:
        return f"{socket.gethostname()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def _started(pid: int) -> str | None:
    """When a process started, as a text that no other process of the machine has; None if there is none."""
    if platform.system() == "Linux":
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        except OSError:
            return None
        return None if fields[0] in "ZX" else f"{boot} {fields[19]}"  # a zombie has ended
    try:
        command = ["ps", "-o", "lstart=", "-p", str(pid)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None
