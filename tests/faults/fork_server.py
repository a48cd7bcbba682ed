"""Starts real commands at once: a process that has done all imports forks one child, in a group of its own, a command.

What is killed is the child: a process with arguments, files and signals of its own, as if it had been started by
``python train.py``; only the seconds of importing are saved. The server itself never runs torch, so a child starts with
one thread.
"""

import contextlib
import ctypes
import importlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WARM = (
    *("hydra.main", "lightning", "matplotlib.pyplot", "sklearn.datasets", "torch", "torchmetrics", "wandb"),
    *(
        f"lightning_gvae.{name}"
        for name in ("models", "report.finish", "report.run_record", "plots.animation", "loggers.csv")
    ),
    *(f"lightning_gvae.callbacks.{name}" for name in ("beta_evolution", "evaluation", "figures", "latent_search")),
    *(f"lightning_gvae.callbacks.{name}" for name in ("architecture_evolution", "save_on_signal", "finite_guard")),
    *(f"lightning_gvae.callbacks.{name}" for name in ("text_samples", "token_rate")),
    *(f"lightning_gvae.datamodules.{name}" for name in ("celeba", "digits", "dsprites", "image_folder", "ptb")),
    *(f"lightning_gvae.studies.{name}" for name in ("betas", "solve", "latent_search")),
)


class ForkServer:
    """The server, and the commands it has started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        environment = os.environ | {
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "GLOO_SOCKET_IFNAME": "lo",
            "MPLBACKEND": "agg",
            "WANDB_MODE": "disabled",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.fork_server"],
            cwd=ROOT,
            env=environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=1,
        )

    def start(self, command: str, *arguments: str, cwd: Path, log: Path, **environment: str) -> int:
        """Start ``train``, ``eval``, ``study`` or ``inspect`` with arguments; its process id, which is its group's."""
        log.parent.mkdir(parents=True, exist_ok=True)
        cwd.mkdir(parents=True, exist_ok=True)
        request = {"command": command, "arguments": arguments, "cwd": str(cwd), "log": str(log), "env": environment}
        return self._ask(request)["pid"]

    def wait(self, pid: int, seconds: float) -> int | None:
        """Exit status (negative: the signal that ended it), or None if it still runs after ``seconds``."""
        return self._ask({"wait": pid, "seconds": seconds})["status"]

    def run(self, command: str, *arguments: str, cwd: Path, log: Path, seconds: float = 120, **environment: str) -> int:
        """Start a command and wait for its end."""
        pid = self.start(command, *arguments, cwd=cwd, log=log, **environment)
        status = self.wait(pid, seconds)
        if status is None:
            self.kill(pid)
            raise TimeoutError(f"{command} {' '.join(arguments)} did not end within {seconds} s: {log.read_text()}")
        return status

    def kill(self, pid: int, number: int = signal.SIGKILL, group: bool = True) -> int:
        """Send a signal to the process's group, or to it alone, and wait for its end."""
        with contextlib.suppress(ProcessLookupError):  # it may have ended
            (os.killpg if group else os.kill)(pid, number)
        status = self.wait(pid, 60)
        assert status is not None, f"process {pid} outlived signal {number}"
        return status

    def close(self) -> None:
        self._process.kill()  # libraries that it has imported have threads to wait for
        self._process.communicate()

    def _ask(self, request: dict) -> dict:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the fork server has died"
        return json.loads(answer)


def serve() -> None:
    """Answer requests until the standard input ends."""
    entries = _entries()
    ended: dict[int, int] = {}
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            answer = {"status": _wait(request["wait"], request["seconds"], ended)}
        else:
            answer = {"pid": _fork(entries[request["command"]], request)}
        print(json.dumps(answer), flush=True)


def _entries() -> dict:
    """Import what the commands import, and know their entry points."""
    for name in WARM:
        importlib.import_module(name)
    import torch

    from lightning_gvae.cli.evaluate import main as eval_main
    from lightning_gvae.cli.inspect import main as inspect_main
    from lightning_gvae.cli.study import main as study_main
    from lightning_gvae.cli.train import main as train_main

    torch.set_num_threads(1)
    return {"train": train_main, "eval": eval_main, "study": study_main, "inspect": inspect_main}


def _fork(entry, request: dict) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        os.setsid()
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: nothing outlives the tests
        os.environ |= request["env"]
        os.chdir(request["cwd"])
        log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        sys.argv = [f"{request['command']}.py", *request["arguments"]]
        entry()
        status = 0
    except SystemExit as error:
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:  # noqa: BLE001  (the child must not come back into the server)
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _wait(pid: int, seconds: float, ended: dict[int, int]) -> int | None:
    until = time.monotonic() + seconds
    while pid not in ended:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            ended[pid] = os.waitstatus_to_exitcode(status)
        elif time.monotonic() > until:
            return None
        else:
            time.sleep(0.01)
    return ended[pid]


if __name__ == "__main__":
    serve()
