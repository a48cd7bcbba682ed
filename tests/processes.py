"""Processes of a group, forked from a server that has done the imports: each starts in milliseconds."""

import multiprocessing
import os
import socket
from collections.abc import Callable
from typing import Any

import torch.multiprocessing as mp

IMPORTED = (
    *("lightning", "torch.distributed", "torchmetrics"),
    *("lightning_gvae.callbacks.beta_evolution", "lightning_gvae.datamodules.digits", "lightning_gvae.models"),
)


def start_ranks(work: Callable[..., None], *arguments: Any, world: int = 2) -> None:
    """Call ``work(rank, *arguments)`` in ``world`` processes and wait for their end.

    Raises:
        ProcessRaisedException: One of them raised; the others have been stopped.
    """
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    if method == "forkserver":
        multiprocessing.set_forkserver_preload(list(IMPORTED))
    mp.start_processes(work, args=arguments, nprocs=world, start_method=method)


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def join_lightning(rank: int, port: int) -> None:
    """Make this process rank ``rank`` of a Trainer with ``strategy=ddp`` that starts no processes itself."""
    os.environ |= {
        "GLOO_SOCKET_IFNAME": "lo",
        "LOCAL_RANK": str(rank),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "NODE_RANK": "0",
    }
