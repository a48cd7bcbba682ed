"""Name and version of this package."""

import importlib

__all__ = ["PACKAGE", "package_version"]

PACKAGE = "lightning-gvae"


def package_version() -> str:
    """Version of the code that runs, installed or not."""
    return str(importlib.import_module("lightning_gvae").__version__)
