"""Checkpoints kept as text and plain tensors, and the very file that ``torch.save`` wrote made of them again.

``checkpoint.json`` holds everything but tensors, which lie in ``state.safetensors`` under their path. What JSON does
not know is an object with one key that begins with ``$``:

==============  =====================================================================================
``$tensor``     name of a tensor
``$values``     a small tensor: ``[type, shape, values]``
``$noise``      a tensor of reproducible noise: ``seed``, ``shape``, ``dtype``, ``scale``, ``positive``
``$integers``   name of a tensor that stands for a list of integers
``$tuple``      a tuple
``$ordered``    an ``OrderedDict``, as pairs
``$dict``       a dictionary with other keys than text, as pairs
==============  =====================================================================================

Folders of the machine on which the file was written are named in text as ``$ROOT``.
"""

import json
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

__all__ = ["ROOT", "Noise", "pack", "restore_checkpoint", "unpack"]

ROOT = "$ROOT"
KINDS = ("$tensor", "$values", "$noise", "$integers", "$tuple", "$ordered", "$dict")
SHORT = 8  # numbers of a tensor that is written as text
LONG = 64  # integers; a longer list is kept as a tensor


@dataclass(frozen=True)
class Noise:
    """A tensor that is not stored because it can be made again, on every machine with the same bits.

    Args:
        shape: Its shape.
        seed: Of the numbers.
        scale: Largest magnitude.
        positive: Whether all numbers are positive.
    """

    shape: tuple[int, ...]
    seed: int
    scale: float
    positive: bool = False

    def tensor(self) -> Tensor:
        """The tensor, fp32."""
        count = int(np.prod(self.shape))
        with np.errstate(over="ignore"):
            state = np.arange(1, count + 1, dtype=np.uint64) + np.uint64(self.seed) * np.uint64(2**32)
            # SplitMix64 (Steele, Lea and Flood, Fast Splittable Pseudorandom Number Generators, 2014).
            state *= np.uint64(0x9E3779B97F4A7C15)
            state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            state ^= state >> np.uint64(31)
        unit = (state >> np.uint64(40)).astype(np.float64) / 2**24  # 24 bits: exact in fp32
        values = self.scale * (unit if self.positive else 2 * unit - 1)
        return torch.from_numpy(values.astype(np.float32).reshape(self.shape))


@dataclass
class _Packer:
    root: str
    noise: dict[str, Noise]
    tensors: dict[str, Tensor] = field(default_factory=dict)

    def pack(self, value: Any, path: str) -> Any:
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, str):
            return value.replace(self.root, ROOT)
        if isinstance(value, Tensor):
            if path in self.noise:
                made = self.noise[path]
                assert torch.equal(made.tensor(), value), path
                return {
                    "$noise": {
                        "shape": list(made.shape),
                        "seed": made.seed,
                        "scale": made.scale,
                        "positive": made.positive,
                    }
                }
            if value.numel() <= SHORT:
                return {
                    "$values": [str(value.dtype).removeprefix("torch."), list(value.shape), value.flatten().tolist()]
                }
            self.tensors[path] = value.detach().contiguous().clone()
            return {"$tensor": path}
        if isinstance(value, dict):
            items = [
                (self.pack(key, path), self.pack(item, f"{path}/{key}" if path else str(key)))
                for key, item in value.items()
            ]
            if isinstance(value, OrderedDict):
                return {"$ordered": [list(pair) for pair in items]}
            if type(value) is dict and all(isinstance(key, str) and key not in KINDS for key in value):
                return dict(items)
            if type(value) is dict:
                return {"$dict": [list(pair) for pair in items]}
        if type(value) is list and len(value) > LONG and all(type(item) is int for item in value):
            self.tensors[path] = torch.tensor(value)
            return {"$integers": path}
        if type(value) in (list, tuple):
            parts = [self.pack(item, f"{path}/{number}") for number, item in enumerate(value)]
            return parts if isinstance(value, list) else {"$tuple": parts}
        raise TypeError(f"{path}: a {type(value).__name__} has no place in a fixture")


def pack(
    content: Any, folder: Path, root: Path, noise: dict[str, Noise] | None = None, name: str = "checkpoint"
) -> None:
    """Keep what ``torch.load(..., weights_only=True)`` has read as text and plain tensors.

    Args:
        content: The content of the file.
        folder: Where to keep it.
        root: Folder of this machine whose name must not be kept.
        noise: Tensors, by path, that can be made again.
        name: Of the JSON file, without its ending.
    """
    packer = _Packer(str(root), noise or {})
    packed = packer.pack(content, "")
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(packed, ensure_ascii=False, separators=(",", ":"))
    (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    save_file(packer.tensors, folder / ("state.safetensors" if name == "checkpoint" else f"{name}.safetensors"))


def unpack(folder: Path, root: Path, name: str = "checkpoint") -> Any:
    """What :func:`pack` has kept, with ``root`` for the folder that was left out."""
    tensors = load_file(folder / ("state.safetensors" if name == "checkpoint" else f"{name}.safetensors"))

    def made(value: Any) -> Any:
        if isinstance(value, str):
            return value.replace(ROOT, str(root))
        if isinstance(value, list):
            return [made(item) for item in value]
        if not isinstance(value, dict):
            return value
        if len(value) == 1 and (kind := next(iter(value))) in KINDS:
            return special(kind, value[kind])
        return {made(key): made(item) for key, item in value.items()}

    def special(kind: str, value: Any) -> Any:
        if kind == "$tensor":
            return tensors[value]
        if kind == "$values":
            return torch.tensor(value[2], dtype=getattr(torch, value[0])).reshape(value[1])
        if kind == "$noise":
            return Noise(tuple(value["shape"]), value["seed"], value["scale"], value["positive"]).tensor()
        if kind == "$integers":
            return tensors[value].tolist()
        if kind == "$tuple":
            return tuple(made(item) for item in value)
        return (OrderedDict if kind == "$ordered" else dict)((made(key), made(item)) for key, item in value)

    return made(json.loads((folder / f"{name}.json").read_text(encoding="utf-8")))


def restore_checkpoint(folder: Path, root: Path, file: str = "last.ckpt", name: str = "checkpoint") -> Path:
    """Write the checkpoint of a fixture to ``root`` as the Trainer wrote it, and return its path."""
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(unpack(folder, root, name), path)
    return path
