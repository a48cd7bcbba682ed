"""Loggers that cannot end a run: one that fails is reported once and left out, and the run goes on."""

import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.loggers.logger import DummyExperiment
from lightning.pytorch.utilities import rank_zero_info

__all__ = ["attempt", "failures", "guarded", "logging_session"]

FAILURE = "gvae_failure"  # attribute of a guarded logger: why it was left out, None while it works


def guarded(logger: Logger) -> Logger:
    """The same logger, whose public methods and properties no longer raise.

    The object gets a subclass of its own class, so that ``isinstance`` holds. The first failure is reported by the
    logger's name and leaves it out: from there on its methods do nothing, and ``experiment`` is an object that takes
    everything. What only says where its files are (``name``, ``version``, ``save_dir``) is still asked.
    """
    if not hasattr(type(logger), FAILURE):
        logger.__class__ = _guarded_class(type(logger))
    return logger


def attempt(logger: Logger, what: str, call: Callable[[], object]) -> None:
    """Do something with a logger that is more than one of its methods, under the same guard.

    Args:
        logger: Any logger; one that fails here is guarded from here on.
        what: Name of what is done, for the report.
        call: Does it; not called if the logger was left out before.
    """
    if _failure(logger) is not None:
        return
    try:
        call()
    except Exception as error:  # noqa: BLE001  (of any library, and none may end the run)
        _leave_out(guarded(logger), what, error)


def failures(loggers: Sequence[Logger]) -> dict[str, str]:
    """Why loggers were left out, by the names of their classes; empty if all work."""
    found = {type(logger).__name__: _failure(logger) for logger in loggers}
    return {name: reason for name, reason in found.items() if reason is not None}


@contextmanager
def logging_session(loggers: Sequence[Logger]) -> Iterator[None]:
    """Scope of one run: its loggers are guarded, and a W&B run that it has begun is finished with it, also if it fails.

    Without that the next run of the same process, as in a multirun, would be logged into the run of the first.
    """
    before = _wandb_run()
    for logger in loggers:
        guarded(logger)
    status = 1
    try:
        yield
        status = 0
    finally:
        run = _wandb_run()
        if run is not None and run is not before:
            owner = next((each for each in loggers if type(each).__name__ == "WandbLogger"), None)
            finish = functools.partial(run.finish, exit_code=status)
            if owner is None or _failure(owner) is not None:
                _quietly(finish)
            else:
                attempt(owner, "finish", finish)


@functools.cache
def _guarded_class(kind: type[Logger]) -> type[Logger]:
    members: dict[str, Any] = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, FAILURE: None}
    for name in dir(kind):
        member = inspect.getattr_static(kind, name)
        if name.startswith("_"):
            continue
        if isinstance(member, property):
            members[name] = _guarded_property(kind, name)
        elif inspect.isfunction(member):
            members[name] = _guarded_method(kind, name, member)
    # A copy, or one sent to another process, is made as one of the class that was guarded.
    members["__reduce_ex__"] = lambda self, protocol: (_remade, (kind, _state(self)))
    return type(kind.__name__, (kind,), members)


def _guarded_method(kind: type[Logger], name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(self: Logger, *args: Any, **kwargs: Any) -> Any:
        if _failure(self) is not None:
            return None
        try:
            return getattr(super(_guarded_class(kind), self), name)(*args, **kwargs)
        except Exception as error:  # noqa: BLE001  (of any library, and none may end the run)
            return _leave_out(self, name, error)

    return call


def _guarded_property(kind: type[Logger], name: str) -> property:
    def get(self: Logger) -> Any:
        failed = _failure(self) is not None
        if name == "experiment" and failed:
            return DummyExperiment()
        try:
            return getattr(super(_guarded_class(kind), self), name)
        except Exception as error:  # noqa: BLE001  (of any library, and none may end the run)
            if not failed:
                _leave_out(self, name, error)
            return DummyExperiment() if name == "experiment" else None

    return property(get)


def _failure(logger: Logger) -> str | None:
    # Not `getattr`: Lightning's logger for dry runs has every attribute that it is asked for.
    return vars(logger).get(FAILURE)


def _leave_out(logger: Logger, what: str, error: Exception) -> None:
    name = type(logger).__name__
    said = (str(error).strip().splitlines() or [""])[0]
    reason = f"{type(error).__name__}: {said}" if said else type(error).__name__
    if _failure(logger) is not None:
        return
    setattr(logger, FAILURE, f"{what}: {reason}")
    rank_zero_info(
        f"The logger {name} has failed in {what} ({reason}) and is left out for the rest of the run, which goes on."
    )


def _remade(kind: type[Logger], state: dict[str, Any]) -> Logger:
    logger = kind.__new__(kind)
    setter = getattr(logger, "__setstate__", None)
    if setter is None:
        logger.__dict__.update(state)
    else:
        setter(state)
    return guarded(logger)


def _state(logger: Logger) -> Any:
    own = getattr(logger, "__getstate__", None)
    return logger.__dict__ if own is None else own()


def _wandb_run() -> Any:
    """The W&B run of this process; only asked where wandb is imported already, which takes a second."""
    wandb = sys.modules.get("wandb")
    return None if wandb is None else getattr(wandb, "run", None)


def _quietly(call: Callable[[], object]) -> None:
    try:
        call()
    except Exception as error:  # noqa: BLE001  (the logger has failed before, and was reported then)
        rank_zero_info(f"W&B could not finish its run ({type(error).__name__}: {error}).")
