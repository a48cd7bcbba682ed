"""Packages of the user's own, whose classes a configuration may name besides those of this one.

Who may extend the list is the person at the keyboard: by the environment, or by the file ``local/default.yaml`` of one
of the configuration folders that the command reads. A checkpoint, an experiment or the command line cannot.
"""

import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from lightning_gvae.errors import ConfigError

__all__ = ["EXTENSION", "HOW_TO_ALLOW", "SETTING", "allow", "allowed_prefixes", "checked_prefixes", "is_allowed"]

EXTENSION = "GVAE_ALLOW_TARGETS"  # prefixes, separated by commas
SETTING = "allow_targets"
HOW_TO_ALLOW = (
    f"Allow your own classes with {EXTENSION}=my_package in the environment, or with {SETTING}: [my_package] in "
    f"conf/local/default.yaml"
)


def allowed_prefixes() -> tuple[str, ...]:
    """Names of packages, modules or classes that the environment allows, without a point at the end.

    Raises:
        ConfigError: One is no name, or is of Python's own library.
    """
    return checked_prefixes(os.environ.get(EXTENSION, "").split(","), f"the environment variable {EXTENSION}")


def is_allowed(target: str, prefixes: Sequence[str]) -> bool:
    """Whether a full name is one of the prefixes or lies below one; names are compared part by part.

    >>> is_allowed("my_package.nets.Encoder", ["my_package"]), is_allowed("my_package_2.nets.Encoder", ["my_package"])
    (True, False)
    """
    return any(target == prefix or target.startswith(f"{prefix}.") for prefix in prefixes)


def allow(prefixes: Iterable[str]) -> None:
    """Allow prefixes in this process and in those that it starts, which inherit the environment."""
    os.environ[EXTENSION] = ",".join(dict.fromkeys([*allowed_prefixes(), *prefixes]))


def checked_prefixes(entries: Iterable[Any], where: str) -> tuple[str, ...]:
    """Names of packages, modules or classes, without a point at the end; empty texts are left out.

    Args:
        entries: The names.
        where: What lists them, for the message.

    Raises:
        ConfigError: One is no name, or is of Python's own library.
    """
    prefixes = [str(entry).strip().removesuffix(".") for entry in entries if entry is None or str(entry).strip()]
    for prefix in prefixes:
        parts = prefix.split(".")
        if not all(part.isidentifier() for part in parts):
            raise ConfigError(f"{where} must list names such as my_package or my_package.nets, got {prefix!r:.100}.")
        if parts[0] in sys.stdlib_module_names:
            raise ConfigError(
                f"{where} lists {prefix!r:.100}, which is of Python's own library: with it a configuration could do "
                "anything. List packages of your own."
            )
    return tuple(prefixes)
