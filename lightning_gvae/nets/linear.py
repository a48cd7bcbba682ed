"""Linear layers whose products oneDNN computes where :func:`~lightning_gvae.onednn.use_onednn` says so.

torch offers oneDNN for linear layers under a private name only, so everything here falls back on ``F.linear``.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_gvae.onednn import onednn_chosen
from lightning_gvae.vmap_rules import in_front

__all__ = ["Linear", "linear"]

# Below, MKL is as fast, the way by Python counted; the product is rows * inputs * outputs.
LEAST_ROWS, LEAST_PRODUCT = 8, 2**22


class Linear(nn.Linear):
    """``nn.Linear`` by way of :func:`linear`: same weights, same names, same start."""

    def forward(self, input: Tensor) -> Tensor:
        """``(..., inputs)`` to ``(..., outputs)``."""
        return linear(input, self.weight, self.bias)


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``F.linear``, its products and those of its gradients by oneDNN where :func:`~lightning_gvae.onednn.use_onednn` says so.

    Only large fp32 products on the CPU, outside of autocast and of compiled code. Gradients of any order; under ``vmap`` each
    member is a product of its own.

    Args:
        input: ``(..., inputs)``.
        weight: ``(outputs, inputs)``.
        bias: ``(outputs,)``.
    """
    if not _suits(input, weight):
        return F.linear(input, weight, bias)
    return _Linear.apply(input, weight, bias)


def _suits(input: Tensor, weight: Tensor) -> bool:
    outputs, inputs = weight.shape
    size = input.numel() * outputs
    return (
        size >= LEAST_PRODUCT
        and size >= LEAST_ROWS * inputs * outputs
        and onednn_chosen()
        and input.dtype == weight.dtype == torch.float32
        and input.device.type == weight.device.type == "cpu"
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


def _product(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``rows @ weight.T + bias``; oneDNN takes the matrices as they lie in memory, transposed or not."""
    return torch.ops.mkldnn._linear_pointwise(_dense(rows), _dense(weight), bias, "none", [], "")


def _dense(matrix: Tensor) -> Tensor:
    """Without gaps between rows or columns, for which oneDNN has no fast kernels: ten times as slow."""
    return matrix if matrix.is_contiguous() or (matrix.ndim == 2 and matrix.T.is_contiguous()) else matrix.contiguous()


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return _product(input, weight, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        input, weight, _ = inputs
        ctx.save_for_backward(input, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        input, weight = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        rows, seen = gradient.flatten(0, -2), input.flatten(0, -2)
        return (
            linear(gradient, weight.mT) if wanted[0] else None,
            _of_weight(rows, seen, weight, linear) if wanted[1] else None,
            rows.sum(0) if wanted[2] else None,
        )

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], input: Tensor, weight: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, int]:
        shared = in_dims[0] is None and in_dims[1] is not None
        _, weights, biases = parts = in_front(info.batch_size, in_dims, input, weight, bias)
        return (_LinearsOfOne.apply(input, weights, biases) if shared else _LinearOfEach.apply(*parts)), 0


class _LinearsOfOne(torch.autograd.Function):
    """P layers that read the same input, ``(B, inputs)``, as one layer of P times the outputs."""

    @staticmethod
    def forward(input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        output = _product(input, weight.flatten(0, 1), None if bias is None else bias.flatten())
        return output.unflatten(-1, weight.shape[:2]).movedim(-2, 0)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        input, weight = ctx.saved_tensors
        wanted, merged = ctx.needs_input_grad, weight.flatten(0, 1)
        gradient = gradient.movedim(0, -2).flatten(-2)
        rows, seen = gradient.flatten(0, -2), input.flatten(0, -2)
        return (
            linear(gradient, merged.mT) if wanted[0] else None,
            linear(rows.mT, seen.mT).unflatten(0, weight.shape[:2]) if wanted[1] else None,
            rows.sum(0).unflatten(0, weight.shape[:2]) if wanted[2] else None,
        )

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], input: Tensor, weight: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, int]:
        input, weight, bias = in_front(info.batch_size, in_dims, input, weight, bias)
        output = input.flatten(1, -2).unsqueeze(1) @ weight.mT
        output = output if bias is None else output + bias.unsqueeze(-2)
        return output.unflatten(2, input.shape[1:-1]), 0


class _LinearOfEach(torch.autograd.Function):
    """P layers side by side: ``(P, B, inputs)``, ``(P, outputs, inputs)`` and ``(P, outputs)``, each a product of its own.

    Results are written into their places in one tensor; to stack them afterwards takes as long as the products.
    """

    @staticmethod
    def forward(input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        output = input.new_empty(*input.shape[:-1], weight.shape[-2])
        for number, place in enumerate(output):
            place.copy_(_product(input[number], weight[number], None if bias is None else bias[number]))
        return output

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        input, weight = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        rows, seen = gradient.flatten(1, -2), input.flatten(1, -2)
        return (
            _LinearOfEach.apply(gradient, weight.mT, None) if wanted[0] else None,
            _of_weight(rows, seen, weight, _LinearOfEach.apply) if wanted[1] else None,
            rows.sum(1) if wanted[2] else None,
        )

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], input: Tensor, weight: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, int]:
        input, weight, bias = in_front(info.batch_size, in_dims, input, weight, bias)
        output = input.flatten(2, -2) @ weight.mT
        output = output if bias is None else output + bias.unsqueeze(-2)
        return output.unflatten(2, input.shape[2:-1]), 0


def _of_weight(gradient: Tensor, input: Tensor, weight: Tensor, product: Callable[..., Tensor]) -> Tensor:
    """Gradient of the weight, in the weight's own order of memory, which is what optimisers want."""
    if weight.stride(-1) == 1:
        return product(gradient.mT, input.mT, None)
    return product(input.mT, gradient.mT, None).mT
