"""Check of logging configurations: Hydra hands them to ``logging.config.dictConfig``, which makes what they name."""

import re
from collections.abc import Mapping
from typing import Any

from lightning_gvae.errors import ConfigError

__all__ = ["check_logging"]

# Exact names: below `logging.` there are also functions, such as logging.io.open, and handlers that reach other
# machines.
HANDLERS = ("logging.StreamHandler", "logging.NullHandler")
FILE_HANDLERS = (
    "logging.FileHandler",
    "logging.handlers.RotatingFileHandler",
    "logging.handlers.TimedRotatingFileHandler",
    "logging.handlers.WatchedFileHandler",
)
FORMATTERS = ("logging.Formatter", "colorlog.ColoredFormatter")
STREAMS = ("ext://sys.stdout", "ext://sys.stderr")
RUN_FOLDER = "${hydra.runtime.output_dir}/"
JOB = "${hydra.job.name}"


def check_logging(node: Any) -> None:
    """Refuse a logging configuration that makes anything but plain handlers, or writes outside the run folder.

    Args:
        node: Plain containers, not resolved.

    Raises:
        ConfigError: It names a class that is not on the list, a factory ``()`` other than a formatter, a stream other
            than the console's, or a file that is not below ``${hydra.runtime.output_dir}``.
    """
    if isinstance(node, Mapping):
        for section, entries in node.items():
            if section in ("handlers", "formatters", "filters") and isinstance(entries, Mapping):
                for name, entry in entries.items():
                    _check_entry(f"{section}.{name}", section, entry)
        _check_strings(node)


def _check_entry(where: str, section: str, entry: Any) -> None:
    if not isinstance(entry, Mapping):
        return
    allowed = {"handlers": HANDLERS + FILE_HANDLERS, "formatters": FORMATTERS}.get(section, ())
    for key in ("class", "()"):
        named = entry.get(key)
        if named is not None and (named not in allowed or (key == "()" and section != "formatters")):
            raise ConfigError(
                f"a logging configuration may name {', '.join(allowed) or 'no class'} in `{section}`, got "
                f"{named!r:.100} in `{where}`; nothing was called."
            )
    if section == "handlers" and entry.get("class") in FILE_HANDLERS:
        _check_file(where, entry.get("filename"))


def _check_file(where: str, filename: Any) -> None:
    text = str(filename)
    below = text.removeprefix(RUN_FOLDER).replace(JOB, "job")
    plain = re.fullmatch(r"[\w. /-]+", below) is not None and ".." not in below.split("/")
    if not text.startswith(RUN_FOLDER) or not plain or below.startswith("/"):
        raise ConfigError(
            f"a log file must lie below the run folder, {RUN_FOLDER}<name>, got {text!r:.100} in `{where}`; "
            "nothing was "
            "written."
        )


def _check_strings(node: Any) -> None:
    """Refuse what ``dictConfig`` would import: ``ext://`` of anything but the console, at any depth."""
    if isinstance(node, Mapping):
        if "()" in node and node["()"] not in FORMATTERS:
            raise ConfigError(f"a logging configuration may not name a factory, got {node['()']!r:.100}; remove `()`.")
        for value in node.values():
            _check_strings(value)
    elif isinstance(node, list | tuple):
        for value in node:
            _check_strings(value)
    elif isinstance(node, str) and "ext://" in node and node not in STREAMS:
        raise ConfigError(
            f"a logging configuration may write to {' and '.join(STREAMS)}, got {node!r:.100}; nothing was called."
        )
