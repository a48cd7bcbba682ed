"""A profiler that costs nothing when nobody profiles."""

from contextlib import AbstractContextManager, nullcontext

from lightning.pytorch.profilers import PassThroughProfiler

__all__ = ["NoProfiler"]

_NOTHING: AbstractContextManager = nullcontext()


class NoProfiler(PassThroughProfiler):
    """Lightning asks its profiler for a context around every hook of every callback, some seventy times a step.

    The default one builds a generator each time; here it is one object that does nothing. ``trainer.profiler=simple``
    profiles.
    """

    def profile(self, action_name: str) -> AbstractContextManager:  # type: ignore[override]
        """A context that does nothing."""
        return _NOTHING
