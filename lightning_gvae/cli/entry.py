"""Entry points: errors as one paragraph, no warnings that say nothing."""

import logging
import os
import sys
import textwrap
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from lightning_gvae.cli.hydra_guard import guard_hydra
from lightning_gvae.errors import ConfigError, GvaeError, StoppedError, printable
from lightning_gvae.io.version import PACKAGE, package_version
from lightning_gvae.stopping import STOPPED, Stop, signal_name, stop_signals

__all__ = ["CONF", "run_entry"]

CONF = "pkg://lightning_gvae.conf"


def run_entry(entry: Callable[[], Any], stops: bool = True) -> None:
    """Run an entry point; the user's own mistakes end in one paragraph, bugs in a traceback.

    Args:
        entry: Composes a configuration and does the work.
        stops: Whether Ctrl-C, SIGTERM and the like end the work in good order, with the exit status 75.
    """
    if "--version" in sys.argv[1:]:  # Hydra's own would be Hydra's
        print(f"{PACKAGE} {package_version()}")
        return
    _quiet()
    guard_hydra()
    full = os.environ.get("HYDRA_FULL_ERROR") == "1" and "GVAE_SHORT_ERRORS" not in os.environ
    if not full:
        # Hydra would print its own mixture of message and traceback; with this it hands the exception over.
        os.environ["HYDRA_FULL_ERROR"] = os.environ["GVAE_SHORT_ERRORS"] = "1"
    try:
        with stop_signals() if stops else nullcontext():
            _check_text()
            entry()
    except (StoppedError, Stop, KeyboardInterrupt) as error:
        # Of several processes of a run the first speaks for all.
        if not getattr(error, "told", False) and os.environ.get("LOCAL_RANK", "0") == "0":
            print(f"\nStopped: {_stopped(error)}", file=sys.stderr)
        sys.exit(STOPPED)
    except (GvaeError, HydraException, OmegaConfBaseException, OSError) as error:
        if full:
            raise
        sys.exit(_paragraph(error))


def _check_text() -> None:
    """Refuse what cannot be written into a configuration, which Hydra would notice halfway through."""
    for text in (*sys.argv[1:], os.getcwd()):
        if printable(text) != text:
            raise ConfigError(
                f"{text} is not UTF-8, as settings and the folder that commands are run in must be; rename the "
                "file or folder,"
                " or give a link to it."
            )


def _stopped(error: BaseException) -> str:
    if isinstance(error, StoppedError):
        return textwrap.fill(" ".join(str(error).split()), 118, break_long_words=False, break_on_hyphens=False)
    return f"the command was told to stop ({signal_name(error)})."


def _quiet() -> None:
    """Leave out what says nothing about the run: advertisements, and warnings about what is meant to be so."""
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(lambda record: "Tip:" not in record.msg)
    for message in (
        "Experiment logs directory .* exists and is not empty",  # Hydra made it
        ".*isinstance.treespec, LeafSpec.* is deprecated",  # inside Lightning
        ".*does not have many workers",  # whole batches come from memory
        "The number of training batches .* is smaller than the logging interval",  # steps count here, not epochs
        "Checkpoint directory .* exists and is not empty",
        "The dirpath has changed from",  # a resumed run has a folder of its own
    ):
        warnings.filterwarnings("ignore", message)


def _paragraph(error: BaseException) -> str:
    text = str(error).split("Config search path")[0]  # Hydra's list of providers helps nobody
    message = " ".join(text.split())
    return "\n" + textwrap.fill(f"{type(error).__name__}: {message} (HYDRA_FULL_ERROR=1 shows the traceback)", 118)
