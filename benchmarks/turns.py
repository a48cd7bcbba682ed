"""Contenders in processes of their own that take turns, so that each may live in another environment.

A contender is a program that calls :meth:`Pause.step` before every step; the parent lets it go on for some steps at a
time. One runs while the others wait, and ratios are formed turn by turn. Needs nothing but the standard library: the
environments of the peers import it too.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["Contender", "Pause", "take_turns"]


class Pause:
    """The contender's side. What it prints goes to the error stream, the parent alone reads its output."""

    def __init__(self) -> None:
        self._answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)
        self._left = 0
        self._mark: tuple[float, float] | None = None

    def step(self) -> bool:
        """Wait here for the next turn if this one is over; False if there is none."""
        if self._left == 0:
            self._answer()
            word = sys.stdin.readline().strip()
            if not word.isdigit():
                return False
            self._left = int(word)
            self._mark = (time.perf_counter(), time.process_time())
        self._left -= 1
        return True

    def _answer(self) -> None:
        answer = {"peak_mb": round(_peak_mb(), 1)}
        if self._mark is not None:
            wall, cpu = self._mark
            answer |= {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
        print(json.dumps(answer), file=self._answers, flush=True)


def _peak_mb() -> float:
    """Most memory that this program has had; `getrusage` would count what its parent had when it was forked."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # macOS counts in bytes
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 1024


class Contender:
    """The parent's side: starts a contender and gives it its turns.

    Args:
        command: Program and arguments.
        environment: Changes to the environment of this process.
        folder: Working directory.

    Raises:
        RuntimeError: It ended before it was told to; what it wrote to the error stream says why.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str] | None = None, folder: str | None = None
    ) -> None:
        self._command = list(command)
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
            env={**os.environ, **(environment or {})},
        )
        self._read()

    def turn(self, steps: int) -> dict[str, Any]:
        """Let it make so many steps: ``seconds``, ``cpu_seconds`` and ``peak_mb``."""
        self._tell(str(steps))
        return self._read()

    def close(self) -> None:
        """Tell it that there is no further turn, and see that it ends."""
        try:
            if self._process.poll() is None:
                self._tell("end")
            self._process.wait(60)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        self._close_pipes()

    def _close_pipes(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None and not pipe.closed:
                pipe.close()

    def _tell(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            status = self._process.wait()
            self._close_pipes()
            raise RuntimeError(f"{' '.join(self._command)} ended with status {status}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def take_turns(contenders: Mapping[str, Contender], steps: int, turns: int) -> list[dict[str, dict[str, Any]]]:
    """So many counted turns of each; the first one warms up, and every other goes through them backwards."""
    rounds = []
    for turn in range(turns + 1):
        names = list(contenders)[:: 1 if turn % 2 else -1]
        rounds.append({name: contenders[name].turn(steps) for name in names})
    return rounds[1:]
