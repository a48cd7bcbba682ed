"""Calls as tasks of Ray: so many at a time, and once more for one whose worker was lost."""

import importlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from lightning_gvae.errors import ConfigError, checked_count

__all__ = ["RayTasks", "Told"]


class Told(NamedTuple):
    """Outcome of a call.

    Args:
        number: Of the call.
        value: What it returned; None if it failed.
        problem: Why it failed; empty if it did not.
    """

    number: int
    value: Any
    problem: str = ""


class RayTasks:
    """Runs calls side by side, on this machine or on a cluster.

    A call that raises has failed. If its worker or the worker's machine is lost, that call alone is made once more; if
    it loses its worker again, it has failed.

    Args:
        workers: Calls at a time, at least 1.
        address: Cluster to join; None joins the one that the environment variable ``RAY_ADDRESS`` names, or starts Ray
            on this machine.
        gpus: GPUs a call, 0 or more, may be a fraction. A call with none sees none.
        setting: What asked for Ray, and what can be had without, for the error.

    Raises:
        ConfigError: A number is out of range, Ray is not installed, or there is no cluster at the address.
    """

    def __init__(
        self,
        workers: int = 2,
        address: str | None = None,
        gpus: float = 0.0,
        setting: tuple[str, str] = ("`executor` 'ray'", "executor=process"),
    ) -> None:
        self.workers = checked_count("workers", workers, unit="tasks")
        if isinstance(gpus, bool) or not isinstance(gpus, int | float) or not 0 <= gpus < float("inf"):
            raise ConfigError(f"`gpus` must be a number of GPUs a task, 0 or more, got {gpus!r}")
        try:
            self._ray: Any = importlib.import_module("ray")
        except ImportError as error:
            raise ConfigError(
                f"{setting[0]} needs Ray, which is not installed; pip install 'lightning-gvae[ray]', or use "
                f"{setting[1]}"
            ) from error
        self._own = not self._ray.is_initialized()
        if self._own:
            address = address or os.environ.get("RAY_ADDRESS") or None
            own: dict[str, Any] = {} if address else {"num_cpus": workers, "include_dashboard": False}
            try:
                self._ray.init(address=address, log_to_driver=False, logging_level="ERROR", **own)
            except ConnectionError as error:
                raise ConfigError(
                    f"there is no cluster of Ray at {address!r}; start one with `ray start --head`, or leave the "
                    "address and RAY_ADDRESS out to start Ray here"
                ) from error
        # Lost workers are counted here, and Ray does not know that a call may be made again.
        self._options = {"num_cpus": 1, "num_gpus": gpus, "max_retries": 0}

    def share(self, value: Any) -> Any:
        """Put a value where every worker finds it, one copy a machine; pass what this returns as an argument."""
        return self._ray.put(value)

    def run(self, function: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> Iterator[Told]:
        """Call ``function`` with each of the tuples of arguments; yields as each becomes known, in any order."""
        task = self._ray.remote(**self._options)(function)
        queue, lost = list(range(len(calls))), set[int]()
        running: dict[Any, int] = {}
        while queue or running:
            while queue and len(running) < self.workers:
                index = queue.pop(0)
                running[task.remote(*calls[index])] = index
            done, _ = self._ray.wait(list(running))
            index = running.pop(done[0])
            try:
                value = self._ray.get(done[0])
            except self._ray.exceptions.RayError as error:
                raised = isinstance(error, self._ray.exceptions.RayTaskError)
                if index not in lost and not raised:
                    lost.add(index)
                    queue.insert(0, index)
                    continue
                cause = error.cause if raised else error
                lines = str(cause).strip().splitlines()
                yield Told(index, None, f"{type(cause).__name__}: {lines[0] if lines else 'no message'}")
            else:
                yield Told(index, value)

    def close(self) -> None:
        """Stop Ray if it was started, or leave the cluster if it was joined, here."""
        if self._own and self._ray.is_initialized():
            self._ray.shutdown()
