"""Files that are written whole or not at all.

Everything is written to a temporary file beside its place, brought to the disk and renamed: a reader never sees half a
file, and after a kill, a power cut or a full disk the earlier file is still there.
"""

import contextlib
import csv
import errno
import io
import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the command line writes files before anything heavy is imported
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor

__all__ = [
    "explained",
    "replace_file",
    "write_array",
    "write_arrays",
    "write_bytes",
    "write_csv",
    "write_json",
    "write_tensors",
    "write_text",
    "write_torch",
]

FULL = (errno.ENOSPC, errno.EDQUOT)


def replace_file(path: Path, write: Callable[[Path], object], *, only_writer: bool = False) -> None:
    """Let ``write`` fill a temporary file beside ``path``, bring it to the disk, then rename it.

    Args:
        path: The file; its folder is made if it does not exist.
        write: Writes the file whose path it is given; that path ends like ``path``, unless ``only_writer``.
        only_writer: Whether no other process writes to ``path``. Then the temporary file always has the same name,
            ``.<name>.part``, and the next write takes the place of what a kill has left; large files need this.

    Raises:
        OSError: The file cannot be written; the message names ``path`` and, on a full disk, what is free. The earlier
            file is as it was.
    """
    name = f".{path.name}.part" if only_writer else f".{path.stem}.{os.getpid()}{path.suffix}"
    beside = path.with_name(name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(beside)
        with beside.open("r+b") as file:
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        raise explained(error, path, is_kept=path.is_file()) from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes | memoryview, *, only_writer: bool = False) -> None:
    """Write bytes; arguments and errors as for :func:`replace_file`."""
    replace_file(path, lambda beside: beside.write_bytes(content), only_writer=only_writer)


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8, its line ends as they are; errors as for :func:`replace_file`."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, content: Any, *, indent: int | None = 2, ensure_ascii: bool = True) -> None:
    """Write plain containers as JSON.

    Args:
        path: The file.
        content: Anything that :func:`json.dumps` takes.
        indent: Spaces of each level; None writes one line.
        ensure_ascii: Whether other characters are escaped.

    Raises:
        OSError: As for :func:`replace_file`.
        TypeError: ``content`` holds something that JSON cannot express; nothing is written.
    """
    write_text(path, json.dumps(content, indent=indent, ensure_ascii=ensure_ascii) + "\n")


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any] | Mapping[str, Any]]) -> None:
    """Write a table with a header.

    Args:
        path: The file.
        columns: Names of the columns.
        rows: Cells in the order of the columns, or by the name of their column; a name that is missing leaves its cell
            empty.

    Raises:
        OSError: As for :func:`replace_file`.
        ValueError: A row has another number of cells, or names a column that is none; nothing is written.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    known = set(columns)
    for number, row in enumerate(rows, 1):
        if isinstance(row, Mapping):
            if unknown := set(row) - known:
                raise ValueError(f"row {number} names columns that are not there: {', '.join(sorted(unknown))}")
            row = [row.get(name, "") for name in columns]
        if len(row) != len(columns):
            raise ValueError(f"row {number} must have {len(columns)} cells, got {len(row)}")
        writer.writerow(row)
    write_text(path, text.getvalue())


def write_array(path: Path, array: "npt.NDArray[Any]") -> None:
    """Write an array as ``.npy``; arrays of objects are refused with ``ValueError``."""
    import numpy as np

    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    write_bytes(path, content.getbuffer())


def write_arrays(path: Path, arrays: "Mapping[str, npt.NDArray[Any] | np.generic]", *, compress: bool = False) -> None:
    """Write arrays by name as ``.npz``; errors as for :func:`replace_file`.

    Raises:
        ValueError: One is an array of objects, which only a pickle could hold.
    """
    import numpy as np

    for name, array in arrays.items():
        if np.asarray(array).dtype.hasobject:
            raise ValueError(f"the array {name} holds objects; convert it to numbers or text")
    content = io.BytesIO()
    save: Any = np.savez_compressed if compress else np.savez
    save(content, **arrays)
    write_bytes(path, content.getbuffer())


def write_tensors(path: Path, tensors: "Mapping[str, Tensor]", metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors by name, of any device, as ``.safetensors``; errors as for :func:`replace_file`."""
    from safetensors.torch import save

    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # As bytes: a full disk would be an error of the format's own type.
    write_bytes(path, save(plain, None if metadata is None else dict(metadata)))


def write_torch(path: Path, content: Any, *, only_writer: bool = False) -> int:
    """Write what :func:`torch.save` takes, and return its size in bytes; errors as for :func:`replace_file`."""
    import torch

    # In memory first: torch's own writer ends in a RuntimeError when a disk is full.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_bytes(path, buffer.getbuffer(), only_writer=only_writer)
    return buffer.getbuffer().nbytes


def explained(error: OSError, path: Path, *, is_kept: bool = False) -> OSError:
    """Same error about the path that was asked for; of a full disk with what is free, and whether the file is kept."""
    if error.errno is None:
        return error
    reason = error.strerror or os.strerror(error.errno)
    if error.errno in FULL:
        folder = next((folder for folder in path.absolute().parents if folder.is_dir()), Path("/"))
        kept = "; the earlier file is as it was" if is_kept else ""
        reason += f" ({shutil.disk_usage(folder).free / 1e6:.1f} MB free{kept})"
    return OSError(error.errno, reason, str(path))
