"""Models as files for other runtimes: ONNX, and the programs of ``torch.export``; each is run and compared."""

import functools
import io
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightning_gvae.errors import ConfigError
from lightning_gvae.export.graphs import Graph, graphs_of
from lightning_gvae.interfaces import CheckpointedModel
from lightning_gvae.io.files import replace_file, write_bytes

__all__ = ["TOLERANCE", "export_onnx", "export_programs"]

TOLERANCE = 1e-5  # of an output, relative to 1 plus its magnitude
BATCHES = (1, 5)  # sizes that a file is compared with

Run = Callable[[Tensor], Sequence[Any]]


def export_onnx(model: CheckpointedModel, folder: str | os.PathLike[str]) -> list[Path]:
    """Write the parts of a model as ONNX: ``encoder.onnx``, ``decoder.onnx``, and ``prior.onnx`` of a learnt flow.

    ONNX Runtime computes each with batches of several sizes, and must agree with the model.

    Args:
        model: In evaluation mode, on the CPU; its parts are those of :func:`~lightning_gvae.export.graphs.graphs_of`.
        folder: Where to.

    Returns:
        The files.

    Raises:
        ConfigError: The extra ``onnx`` is not installed, the model has no such parts, or a file does not agree.
    """
    try:
        import onnx  # noqa: F401 - torch looks for them when it writes
        import onnxruntime
        import onnxscript  # noqa: F401
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"`to=onnx` needs {error.name}; install it with: pip install 'lightning-gvae[onnx]'"
        ) from error
    found = []
    for graph in graphs_of(model):
        path = Path(folder) / f"{graph.name}.onnx"
        _write_onnx(graph, path)
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        _compare(graph, functools.partial(_run_onnx, session, graph.takes), path)
        found.append(path)
    return found


def _write_onnx(graph: Graph, path: Path) -> None:
    with _quiet():
        program = torch.onnx.export(
            graph.module,
            (graph.example,),
            dynamo=True,
            verbose=False,
            input_names=[graph.takes],
            output_names=list(graph.gives),
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        )
    assert program is not None
    replace_file(path, program.save)


def _run_onnx(session: Any, takes: str, inputs: Tensor) -> Sequence[Any]:
    found: Sequence[Any] = session.run(None, {takes: inputs.numpy()})
    return found


def export_programs(model: CheckpointedModel, folder: str | os.PathLike[str]) -> list[Path]:
    """Write the parts of a model by ``torch.export``: ``encoder.pt2`` and so on, for ``torch.export.load``.

    Arguments, result and errors are those of :func:`export_onnx`; no extra is needed.
    """
    found = []
    for graph in graphs_of(model):
        path, content = Path(folder) / f"{graph.name}.pt2", io.BytesIO()
        shapes = ({0: torch.export.Dim("batch")},)
        with _quiet(), torch.no_grad():
            program = torch.export.export(graph.module, (graph.example,), dynamic_shapes=shapes)
            torch.export.save(program, content)
        write_bytes(path, content.getbuffer())
        computes = torch.export.load(io.BytesIO(path.read_bytes())).module()
        _compare(graph, functools.partial(_run_program, computes), path)
        found.append(path)
    return found


def _run_program(computes: Callable[[Tensor], Any], inputs: Tensor) -> Sequence[Any]:
    with torch.no_grad():
        outputs = computes(inputs)
    return outputs if isinstance(outputs, list | tuple) else (outputs,)


def _compare(graph: Graph, run: Run, path: Path) -> None:
    """Compare a file with the part that it was made of.

    Raises:
        ConfigError: They differ by more than the tolerance; the file is deleted.
    """
    for size in BATCHES:
        shape = (size, *graph.example.shape[1:])
        inputs = torch.rand(shape, generator=torch.Generator().manual_seed(size))
        with torch.no_grad():
            expected = graph.module(inputs)
        expected = expected if isinstance(expected, tuple) else (expected,)
        for name, theirs, ours in zip(graph.gives, map(torch.as_tensor, run(inputs)), expected, strict=True):
            worst = float(((theirs - ours).abs() / (1 + ours.abs())).max()) if theirs.shape == ours.shape else None
            if worst is None or not worst <= TOLERANCE:
                path.unlink()
                by = f"differ by {worst:.2g}" if worst is not None else f"have the shape {tuple(theirs.shape)}"
                raise ConfigError(
                    f"{path.name} was not kept: its {name} {by} from the model's {tuple(ours.shape)} for a batch of "
                    f"{size}, more than {TOLERANCE:g}; export the model with to=folder, and report its class."
                )


@contextmanager
def _quiet() -> Iterator[None]:
    """Leaves out what the exporters say on their way to those who develop them."""
    names = ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
