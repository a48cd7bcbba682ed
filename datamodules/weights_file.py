"""Files of sample weights: numbers and the set that they belong to."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lightning_gvae.errors import DataError
from lightning_gvae.io.files import write_tensors
from lightning_gvae.io.settings import differences

__all__ = ["VERSION", "WeightedData", "read_weights", "write_once"]

VERSION = 1  # of the method; another one computes anew
KIND = "lightning-gvae sample weights"


class WeightedData(NamedTuple):
    """The set that weights belong to.

    Args:
        data: Name of the data set and part.
        samples: Number of images.
        fingerprint: Hash of the images in their order.
    """

    data: str
    samples: int
    fingerprint: str


def write_once(path: Path, data: WeightedData, compute: Callable[[], tuple[Tensor, dict[str, str]]]) -> None:
    """Compute weights and write them beside ``path``, then rename; of several processes one does it.

    Args:
        path: A ``.safetensors`` file; if it is there, nothing happens.
        data: The set.
        compute: Returns the weights ``(N,)`` and facts for the reader of the file.

    Raises:
        DataError: The folder cannot be written.
    """
    if path.is_file():
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            # Another process may have done it while this one waited.
            if not path.is_file():
                weights, facts = compute()
                own = {"kind": KIND, **{name: str(value) for name, value in data._asdict().items()}}
                write_tensors(path, {"weights": weights.double()}, {**facts, **own})
    except OSError as error:
        raise DataError(
            f"{path} cannot be written: {error.strerror or error}; make room there, or choose another "
            "`weights.cache_dir`"
        ) from error


def read_weights(path: Path, data: WeightedData) -> tuple[npt.NDArray[np.float64], str]:
    """Weights ``(N,)`` that sum to 1, and a short name of them; the format holds numbers only, no code runs.

    Args:
        path: The file.
        data: The set that they are for.

    Raises:
        DataError: The file is missing, damaged, no file of weights, or of another set; the message says what differs.
    """
    if not path.is_file():
        raise DataError(f"no file of weights at {path}; `data.weights=diversity` computes weights")
    try:
        with safe_open(path, framework="pt") as file:
            facts = file.metadata() or {}
            if facts.get("kind") != KIND or "weights" not in file.keys():  # noqa: SIM118
                raise DataError(f"{path} is not a file of sample weights; it was written by something else")
            weights = file.get_tensor("weights").double().numpy()
    except SafetensorError as error:
        raise DataError(f"{path} is damaged ({error}); delete it, it will be computed anew") from error
    own = {name: str(value) for name, value in data._asdict().items()}
    if different := differences({name: facts.get(name) for name in own}, own):
        raise DataError(
            f"{path} holds the weights of another set: {'; '.join(different)}. The order of the images counts too: set "
            "the data's seed and sizes as they were, or compute new weights with data.weights=diversity"
        )
    if weights.shape != (data.samples,) or not np.isfinite(weights).all() or weights.min() < 0 or not weights.sum() > 0:
        raise DataError(f"{path} must hold {data.samples} weights of 0 or more, found shape {weights.shape}; delete it")
    return weights / weights.sum(), f"{path.stem}"
