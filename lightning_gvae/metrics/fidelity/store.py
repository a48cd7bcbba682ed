"""Tensors computed once and kept in a file."""

from collections.abc import Callable
from pathlib import Path

from filelock import FileLock
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lightning_gvae.errors import DataError
from lightning_gvae.io.files import write_tensors

__all__ = ["Stored", "cached"]

Stored = tuple[dict[str, Tensor], dict[str, str]]


def cached(path: Path | None, make: Callable[[], Stored]) -> Stored:
    """Tensors and their metadata from ``path``, computed and written there if the file is not there yet.

    The file is written beside and renamed, so nobody reads half of it; of several processes one computes and the others
    wait. The format holds numbers only: no code runs when it is read.

    Args:
        path: A ``.safetensors`` file; None computes without keeping.
        make: Computes tensors and metadata.

    Raises:
        DataError: The file is damaged, or the folder cannot be written.
    """
    if path is None:
        return make()
    path = path.expanduser()
    try:
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{path}.lock"):
                # Another process may have done it while this one waited.
                if not path.is_file():
                    tensors, metadata = make()
                    write_tensors(path, tensors, metadata)
        with safe_open(path, framework="pt") as file:
            # Always what the file holds, so that the first run and all later ones see the same numbers.
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except SafetensorError as error:
        raise DataError(f"{path} is damaged ({error}); delete it, it will be computed anew") from error
    except OSError as error:
        raise DataError(
            f"{path} cannot be written or read: {error.strerror or error}; make room there, or choose another "
            "`cache_dir`"
        ) from error
