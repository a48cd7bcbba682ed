"""Lightning asks every callback at every hook; here those that have nothing to say at a hook are not asked."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.trainer import call

__all__ = ["lean_hooks", "leave_out_idle_callbacks"]

NAME = "_call_callback_hooks"
EXPECTED = ["trainer", "hook_name", "args", "monitoring_callbacks", "kwargs"]


def lean_hooks() -> bool:
    """Have every Trainer of this process call only the hooks that a callback's class, or the callback itself, defines.

    A step has six hooks for callbacks. With a dozen callbacks that makes seventy calls a step, each with a label that is written
    for the profiler, of which ten do something. Order, arguments and results are those of Lightning, which does it itself
    where somebody profiles.

    Returns:
        Whether it took effect: not if this Lightning calls its callbacks in another way.
    """
    theirs = getattr(call, NAME, None)
    if hasattr(theirs, "__wrapped__"):
        return True
    if theirs is None or list(inspect.signature(theirs).parameters) != EXPECTED:
        return False
    setattr(call, NAME, leave_out_idle_callbacks(theirs))
    return True


def leave_out_idle_callbacks(theirs: Callable[..., None]) -> Callable[..., None]:
    """The same function without the calls of hooks that do nothing."""

    @wraps(theirs)
    def call_callback_hooks(
        trainer: L.Trainer, hook_name: str, *args: Any, monitoring_callbacks: bool | None = None, **kwargs: Any
    ) -> None:
        if not isinstance(trainer.profiler, PassThroughProfiler):  # type: ignore[attr-defined]
            theirs(trainer, hook_name, *args, monitoring_callbacks=monitoring_callbacks, **kwargs)
            return
        module = trainer.lightning_module
        before = None
        if module:
            before, module._current_fx_name = module._current_fx_name, hook_name
        nothing = getattr(L.Callback, hook_name, None)
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            hook = getattr(callback, hook_name)
            if getattr(hook, "__func__", hook) is nothing or not callable(hook):
                continue
            if monitoring_callbacks is None or isinstance(callback, EarlyStopping | Checkpoint) is monitoring_callbacks:
                hook(trainer, trainer.lightning_module, *args, **kwargs)
        if module:
            module._current_fx_name = before

    return call_callback_hooks
