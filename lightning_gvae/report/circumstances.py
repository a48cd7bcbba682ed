"""Circumstances of a computation: revision of the code, versions of packages, processor."""

import platform
import subprocess
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["circumstances", "git_revision", "package_versions", "processor"]

PACKAGES = ("lightning-gvae", "torch", "torchvision", "lightning", "torchmetrics", "numpy", "hydra-core", "wandb")


@lru_cache
def git_revision() -> str | None:
    """Revision of the checkout the code lies in, as it was when first asked for; ``None`` outside one."""
    here = Path(__file__).resolve().parent
    try:
        command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=5).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def package_versions() -> dict[str, str]:
    """Versions of the packages that numbers depend on."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


@lru_cache
def processor() -> str:
    """Name of the processor, or its architecture where the system does not tell the name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {platform.machine()}" if names else platform.processor() or platform.machine()


def circumstances() -> dict[str, Any]:
    """Circumstances of what this process computes."""
    return {
        "git_revision": git_revision(),
        "versions": package_versions(),
        "machine": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "processor": processor(),
    }
