"""A pretend accelerator: tensors that hold their values on the CPU and say that they are on the device ``pretend``.

Every operation is computed on the CPU, so training is real and its numbers are those of the CPU. What an accelerator
would refuse is refused: operations that mix devices, generators of another device, and fp64 where it is forbidden. What
it would charge for is written into a :class:`~tests.devices.ledger.Ledger`: copies from the host, and operations for
which the host waits until the device has done all that is queued. As on CUDA, a copy from the host waits unless it is
``non_blocking`` from pinned memory.

It has no kernels, no speed and no streams. It changes the process for good and belongs in a process of its own.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self
from unittest import mock

import torch
from torch import Tensor
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from tests.devices.kernels import KERNELS
from tests.devices.ledger import Ledger

__all__ = ["DEVICE", "MixedDevicesError", "PretendTensor", "pretend_device"]

NAME = "pretend"
MEMORY = 2**30  # bytes that it says are free, and in all

# Operations for which a device tells the host a size, a truth or a number before it can go on.
WAITING = {
    "aten::_local_scalar_dense": "a number is read (item, float, int, bool, if)",
    "aten::allclose": "allclose",
    "aten::bincount": "bincount",
    "aten::equal": "torch.equal",
    "aten::histc": "histc",
    "aten::_linalg_check_errors": "an error check of torch.linalg",
    "aten::masked_select": "masked_select",
    "aten::nonzero": "nonzero",
    "aten::repeat_interleave": "repeat_interleave",
    "aten::_unique2": "unique",
    "aten::unique_consecutive": "unique",
    "aten::unique_dim": "unique",
}
COPIES = ("aten::_to_copy", "aten::copy_")
INDEXING = ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_")
# Where a scalar on the CPU is not taken for a number, as it is elsewhere.
NO_SCALARS = ("aten::addmm", "aten::cat", "aten::mm", "aten::stack", "aten::_fused", "aten::_foreach_copy_")


class MixedDevicesError(RuntimeError):
    """An operation was given tensors of the CPU and of the device."""


class PretendTensor(Tensor):
    """A tensor on the device; what it holds is on the CPU and nobody's business but the harness's."""

    held: Tensor

    @staticmethod
    def __new__(cls, values: Tensor) -> Self:
        _device_now().check_type(values.dtype)
        return Tensor._make_wrapper_subclass(
            cls,
            values.shape,
            strides=values.stride(),
            storage_offset=values.storage_offset(),
            dtype=values.dtype,
            device=DEVICE,
        )

    def __init__(self, values: Tensor) -> None:
        self.held = values

    def __reduce_ex__(self, protocol: Any) -> Any:
        _device_now().ledger.note("wait", "a tensor is saved")
        return self.held.detach().clone().__reduce_ex__(protocol)

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        return f"PretendTensor({self.held})"

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if self.ndim == 0 else repr(self)

    def tolist(self) -> Any:
        _device_now().ledger.note("wait", "tolist")
        return self.held.tolist()

    def new_tensor(  # type: ignore[override]
        self, data: Any, *, dtype: Any = None, device: Any = None, **kwargs: Any
    ) -> Tensor:
        made: Tensor = torch.tensor(data, dtype=dtype or self.dtype, device=device or self.device, **kwargs)
        return made

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _device_now().run(function, args, kwargs or {})

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]


class PretendDevice:
    """The rules of the device.

    Args:
        ledger: Where copies and waits are written.
        float64: Whether there are fp64 tensors; Apple's GPUs have none.
    """

    def __init__(self, ledger: Ledger, float64: bool = True) -> None:
        self.ledger, self.float64 = ledger, float64
        self.pinned: list[Tensor] = []  # kept, so that no other memory gets their address
        self.generators: set[int] = set()  # addresses, as operations are handed another object than was made

    def check_type(self, dtype: torch.dtype) -> None:
        if dtype == torch.float64 and not self.float64:
            raise TypeError("Cannot convert a pretend tensor to float64 dtype as the device doesn't support float64.")

    def is_pinned(self, tensor: Tensor) -> bool:
        start = tensor.untyped_storage().data_ptr()
        return any(start == pinned.untyped_storage().data_ptr() for pinned in self.pinned)

    def run(self, function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """An operation, computed on the CPU if it is the device's."""
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        ours = [tensor for tensor in tensors if isinstance(tensor, PretendTensor)]
        target = kwargs.get("device")
        if not ours and not is_ours(target):
            return function(*args, **kwargs)
        name = function._schema.name
        self._check_generator(name, kwargs.get("generator"))
        self._account(name, args, kwargs, ours)
        others = [tensor for tensor in tensors if not isinstance(tensor, PretendTensor)]
        if ours and name not in COPIES:
            self._check_mix(name, args, others)
        if kwargs.get("dtype") is not None and (is_ours(target) or (ours and target is None)):
            self.check_type(kwargs["dtype"])
        plain = {key: _cpu(value) if key == "device" else tree_map(_values, value) for key, value in kwargs.items()}
        result = KERNELS.get(name, function)(*tree_map(_values, args), **plain)
        leaves_device = target is not None and not is_ours(target)
        return tree_map(functools.partial(self._wrapped, ours, others, leaves_device), result)

    def _wrapped(self, ours: Sequence[PretendTensor], others: Sequence[Tensor], leaves: bool, result: Any) -> Any:
        if not isinstance(result, Tensor) or isinstance(result, PretendTensor) or leaves:
            return result
        for tensor in ours:  # changed in place
            if tensor.held is result:
                return tensor
        return result if any(other is result for other in others) else PretendTensor(result)

    def _account(self, name: str, args: Any, kwargs: dict[str, Any], ours: Sequence[Tensor]) -> None:
        if name == "aten::_to_copy":
            target = kwargs.get("device")
            into = isinstance(args[0], PretendTensor) if target is None else is_ours(target)
            self._account_copy(args[0], into, bool(kwargs.get("non_blocking")), to_pinned=False)
        elif name == "aten::copy_":
            quick = bool(args[2] if len(args) > 2 else kwargs.get("non_blocking"))
            into = isinstance(args[0], PretendTensor)
            self._account_copy(args[1], into, quick, to_pinned=not into and self.is_pinned(args[0]))
        elif name in WAITING and ours:
            self.ledger.note("wait", WAITING[name])
        elif name in INDEXING and ours:
            chosen = [index for index in args[1] if isinstance(index, Tensor)]
            if any(index.dtype in (torch.bool, torch.uint8) for index in chosen):
                self.ledger.note("wait", "a boolean index")
            if any(not isinstance(index, PretendTensor) for index in chosen):
                self.ledger.note("copy", "an index")
                self.ledger.note("wait", "an index from the CPU")

    def _account_copy(self, source: Tensor, into_device: bool, non_blocking: bool, to_pinned: bool) -> None:
        from_device = isinstance(source, PretendTensor)
        if from_device and not into_device and not (non_blocking and to_pinned):
            self.ledger.note("wait", "a copy to the host")
        if not from_device and into_device:
            pinned = self.is_pinned(source)
            self.ledger.note("copy", "a scalar" if source.ndim == 0 else "a tensor")
            if not (non_blocking and pinned):
                why = "pageable" if non_blocking else "not non_blocking"
                self.ledger.note("wait", f"a copy from the host that is {why}")

    def _check_mix(self, name: str, args: Any, others: Sequence[Tensor]) -> None:
        if name in INDEXING:  # indices may be on the CPU, what is indexed may not
            others = [other for other in others if not any(other is index for index in args[1])]
        scalars = not name.startswith(NO_SCALARS)
        wrong = [tuple(other.shape) for other in others if other.ndim > 0 or not scalars]
        if wrong:
            raise MixedDevicesError(
                f"Expected all tensors to be on the same device, but {name} got some on {DEVICE} and some of shape "
                f"{wrong} on the CPU"
            )

    def _check_generator(self, name: str, generator: Any) -> None:
        if generator is not None and generator._cdata not in self.generators:
            raise MixedDevicesError(f"Expected a {NAME!r} device type for generator of {name}, got one of the CPU")


DEVICE: torch.device
_current: list[PretendDevice] = []


def is_ours(device: Any) -> bool:
    """Whether a device, or its name, is the pretend one."""
    return device is not None and torch.device(device).type == NAME


def _device_now() -> PretendDevice:
    return _current[-1]


def _values(value: Any) -> Any:
    return value.held if isinstance(value, PretendTensor) else value


def _cpu(device: Any) -> Any:
    return torch.device("cpu") if is_ours(device) else device


class _Mode(TorchDispatchMode):
    """Brings operations that make tensors on the device to it, and takes apart composite ones in inference mode."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if torch.is_inference_mode_enabled() and _is_composite(function):
            with self:
                result = function.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        return _device_now().run(function, args, kwargs)


def _is_composite(function: Any) -> bool:
    return (
        function.namespace == "aten"
        and function.has_kernel_for_dispatch_key(torch._C.DispatchKey.CompositeImplicitAutograd)
        and not function._schema.name.startswith(("aten::__", "aten::sym"))
    )


class _Module(backend_registration._DummyBackendModule):
    """``torch.pretend``, what ``torch.cuda`` is for CUDA."""

    def get_rng_state(self, device: Any = None) -> Tensor:
        return torch.get_rng_state()

    def set_rng_state(self, state: Tensor, device: Any = None) -> None:
        """Nothing: the states of the device are those of the CPU, which are restored too."""

    def manual_seed(self, seed: int) -> None:
        """Nothing, see above."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]

    def mem_get_info(self, device: Any = None) -> tuple[int, int]:
        return MEMORY, MEMORY

    def synchronize(self, device: Any = None) -> None:
        _device_now().ledger.note("wait", "synchronize")


class _Generator(torch.Generator):
    """A generator of the CPU that says it is the device's if it was asked to be."""

    _ours: bool

    def __new__(cls, device: Any = "cpu") -> Self:
        made: Any = super().__new__(cls, device="cpu")  # type: ignore[call-arg]
        made._ours = is_ours(device)
        ours = _device_now().generators
        (ours.add if made._ours else ours.discard)(made._cdata)
        created: Self = made
        return created

    def __init__(self, device: Any = "cpu") -> None: ...

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return DEVICE if self._ours else torch.device("cpu")


def _placing(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """``torch.tensor`` and its like: on a device, what is made on the CPU and copied, as torch does it unseen."""

    @functools.wraps(make)
    def placed(data: Any, *args: Any, device: Any = None, **kwargs: Any) -> Tensor:
        if not is_ours(device):
            return make(data, *args, device=device, **kwargs)
        if isinstance(data, Tensor):
            return data.to(device=device, **kwargs)
        return make(data, *args, **kwargs).to(device)

    return placed


def _empty(make: Callable[..., Tensor], *args: Any, pin_memory: bool = False, **kwargs: Any) -> Tensor:
    """``torch.empty``, which alone makes pinned memory here; also in threads, where the mode is not in force."""
    made = make(*args, **kwargs)
    if pin_memory:
        _device_now().pinned.append(made)
    return made


@functools.cache
def _register() -> torch.device:
    backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=_Module())
    return torch.device(NAME, 0)


@contextmanager
def pretend_device(ledger: Ledger, float64: bool = True) -> Iterator[torch.device]:
    """Context in which the device exists."""
    global DEVICE
    DEVICE = _register()
    _current.append(PretendDevice(ledger, float64))
    try:
        with (
            mock.patch.object(torch, "tensor", _placing(torch.tensor)),
            mock.patch.object(torch, "as_tensor", _placing(torch.as_tensor)),
            mock.patch.object(torch, "empty", functools.partial(_empty, torch.empty)),
            mock.patch.object(torch, "Generator", _Generator),
            mock.patch.object(torch.accelerator, "synchronize", torch.get_device_module(NAME).synchronize),
            torch.autograd.set_multithreading_enabled(False),
            _Mode(),
        ):
            yield DEVICE
    finally:
        _current.pop()
