"""Identification of each kind of object: tensors, functions, classes, networks, and what else shows its state."""

import contextlib
import enum
import functools
import io
import logging
import types
from collections import defaultdict
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_gvae.io.code import (
    attributes,
    class_parts,
    code_parts,
    global_names,
    is_found_by_name,
    is_installed,
    origin,
    reduced,
    source_hash,
    version,
)
from lightning_gvae.io.content import tensor_pieces
from lightning_gvae.io.walker import Handler, Unidentifiable, Walker

__all__ = ["HANDLERS"]

MODULE_INTERNALS = frozenset(vars(torch.nn.Module()))
EMPTY = object()
CACHED = type(functools.lru_cache(len))
PLAIN = (int, float, complex, str, bytes, tuple, list, dict, set, frozenset)
NAMED = (type, types.FunctionType, types.BuiltinFunctionType, np.ufunc)
NO_CONTENT: tuple[tuple[Any, str], ...] = (
    (io.IOBase, "an open file"),
    (types.GeneratorType, "a generator"),
    ((Coroutine, AsyncIterator), "a coroutine"),
    (types.FrameType, "a frame"),
    (torch.jit.ScriptFunction, "a compiled function"),
)


def _tensor(walker: Walker, value: Any, path: str) -> bool:
    if isinstance(value, torch.Generator):
        walker.put("generator", str(value.device))
        walker.visit(value.get_state(), path)
        return True
    if not isinstance(value, Tensor):
        return False
    if value.layout != torch.strided:
        walker.put("sparse", str(value.layout), str(tuple(value.shape)))
        dense = value.detach().to_dense()
        return _tensor(walker, dense, path)
    if value.device.type == "meta" or value.is_quantized:
        raise Unidentifiable(path, "a tensor without plain content (quantized, or of the device meta)")
    kind = "tensor" if type(value) in (Tensor, torch.nn.Parameter) else type(value).__qualname__
    walker.put(kind, str(value.dtype), str(tuple(value.shape)))
    try:
        for piece in tensor_pieces(value):
            walker.digest.update(piece)
    except (RuntimeError, TypeError, NotImplementedError) as error:
        raise Unidentifiable(path, f"a {type(value).__qualname__} whose bytes cannot be read ({error})") from error
    return True


def _named(walker: Walker, value: Any, path: str) -> bool:
    """Modules, enumerations' members, and what is found again by its name in an installed package."""
    if isinstance(value, types.ModuleType):
        walker.put("module", value.__name__, version(value.__name__), source_hash(value))
    elif isinstance(value, enum.Enum):
        walker.put("enum", value.name if isinstance(value.name, str) else "")
        walker.visit(type(value), f"{path}.class")
        walker.visit(value.value, f"{path}.value")
    elif isinstance(value, NAMED) and is_found_by_name(value):
        module, name = origin(value)
        walker.put("named", module, name, version(module))
        if isinstance(value, types.FunctionType):  # this package may have been edited
            _code(walker, value.__code__, path)
    elif isinstance(value, logging.Logger):
        walker.put("logger", value.name)
    elif isinstance(value, np.ufunc):
        raise Unidentifiable(path, f"a function of C, {value.__name__}, that no module holds")
    else:
        return False
    return True


def _function(walker: Walker, value: Any, path: str) -> bool:
    if isinstance(value, types.CodeType):
        _code(walker, value, path)
        return True
    if isinstance(value, types.CellType):
        content: Any = EMPTY
        with contextlib.suppress(ValueError):  # not assigned yet
            content = value.cell_contents
        walker.put("cell")
        walker.visit(content, path)
        return True
    if not isinstance(value, types.FunctionType):
        return False
    walker.put("function", value.__qualname__)
    _code(walker, value.__code__, path)
    for name, default in zip(_defaulted(value), value.__defaults__ or (), strict=True):
        walker.visit(default, f"{path}.default.{name}")
    for name, default in (value.__kwdefaults__ or {}).items():
        walker.put("keyword", name)
        walker.visit(default, f"{path}.default.{name}")
    for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
        _function(walker, cell, f"{path}.closure.{name}")
    _attributes(walker, vars(value), path)
    if not is_installed(origin(value)[0]):
        for name in global_names(value.__code__):
            if name in value.__globals__:
                walker.put("global", name)
                walker.visit_later(value.__globals__[name], f"{path}.globals.{name}")
    return True


def _defaulted(function: types.FunctionType) -> tuple[str, ...]:
    code = function.__code__
    names = code.co_varnames[: code.co_argcount]
    return names[len(names) - len(function.__defaults__ or ()) :]


def _code(walker: Walker, code: types.CodeType, path: str) -> None:
    walker.put("code", *code_parts(code))
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            _code(walker, constant, path)
        else:
            walker.visit(constant, path)


def _bound(walker: Walker, value: Any, path: str) -> bool:
    """Functions with something bound to them, and functions of C."""
    if isinstance(value, functools.partial):
        walker.put("partial")
        walker.visit(value.func, f"{path}.func")
        walker.visit(value.args, f"{path}.args")
        walker.visit(value.keywords, f"{path}.keywords")
        _attributes(walker, vars(value), path)
    elif isinstance(value, types.MethodType):
        walker.put("method")
        walker.visit(value.__func__, path)
        walker.visit(value.__self__, f"{path}.self")
    elif isinstance(value, types.BuiltinFunctionType | types.MethodWrapperType):
        if isinstance(value.__self__, types.ModuleType | None):
            raise Unidentifiable(path, f"a function of C, {value.__qualname__}, that no module holds")
        walker.put("builtin", value.__name__)
        walker.visit(value.__self__, f"{path}.self")
    elif isinstance(value, types.MethodDescriptorType | types.WrapperDescriptorType | types.ClassMethodDescriptorType):
        walker.put("descriptor", value.__name__)
        walker.visit(value.__objclass__, f"{path}.class")
    elif isinstance(value, property):
        walker.put("property")
        walker.visit((value.fget, value.fset, value.fdel), path)
    elif isinstance(value, staticmethod | classmethod | CACHED):
        walker.put(type(value).__name__)
        walker.visit(value.__wrapped__, path)
    elif isinstance(value, functools.cached_property):
        walker.put("cached_property")
        walker.visit(value.func, path)
    elif isinstance(value, slice | range):
        walker.put(type(value).__name__)
        walker.visit((value.start, value.stop, value.step), path)
    else:
        return False
    return True


def _class(walker: Walker, value: Any, path: str) -> bool:
    if not isinstance(value, type):
        return False
    walker.put("class", *origin(value))
    for name, part in class_parts(value):
        walker.put("part", name)
        walker.visit(part, f"{path}.{name}")
    for base in value.__bases__:
        walker.visit(base, f"{path}.base")
    return True


def _network(walker: Walker, value: Any, path: str) -> bool:
    if isinstance(value, torch.jit.ScriptModule):
        raise Unidentifiable(path, "a compiled module")
    if not isinstance(value, torch.nn.Module):
        return False
    found = vars(value)
    if isinstance(inner := found["_modules"].get("_orig_mod"), torch.nn.Module):  # compiled
        walker.visit(inner, path)
        return True
    walker.put("network")
    walker.visit(type(value), f"{path}.class")
    is_lightning = "_trainer" in found
    if is_lightning and (settings := getattr(value, "hparams", None)):
        # A LightningModule: what it was built with says what its attributes are, trainer and counters aside.
        walker.visit(dict(settings), f"{path}.hparams")
        for name, weights in value.state_dict().items():
            walker.put("weights", name)
            walker.visit(weights, f"{path}.{name}")
        return True
    walker.put("training" if value.training else "evaluation")
    for name, part in {**found["_parameters"], **found["_buffers"], **found["_modules"]}.items():
        walker.put("part", name)
        walker.visit(part, f"{path}.{name}")
    for kind in ("_forward_hooks", "_forward_pre_hooks"):
        walker.visit(list(found[kind].values()), f"{path}.hooks")
    own = {name: part for name, part in found.items() if name not in MODULE_INTERNALS}
    if is_lightning:
        own = {name: part for name, part in own.items() if not name.startswith("_")}
    _attributes(walker, own, path)
    return True


def _extended(walker: Walker, value: Any, path: str) -> bool:
    """Objects of classes derived from plain types: named tuples, counters, arrays of objects."""
    kind = type(value)
    if isinstance(value, np.ma.MaskedArray):
        walker.put("masked")
        walker.visit((np.asarray(value.data), np.ma.getmaskarray(value), value.fill_value), path)
        return True
    if isinstance(value, np.ndarray):
        walker.put("array", str(value.shape))
        walker.visit(kind, f"{path}.class")
        walker.visit(value.ravel().tolist() if value.dtype.hasobject else np.array(value), path)
        return True
    plain = next((base for base in PLAIN if isinstance(value, base)), None)
    if plain is None:
        return False
    walker.put("extended")
    walker.visit(kind, f"{path}.class")
    if isinstance(value, defaultdict):
        walker.visit(value.default_factory, f"{path}.default_factory")
    walker.visit(plain(value), path)
    _attributes(walker, attributes(value), path)
    return True


def _object(walker: Walker, value: Any, path: str) -> bool:
    for kinds, reason in NO_CONTENT:
        if isinstance(value, kinds):
            raise Unidentifiable(path, reason)
    if isinstance(value, Iterator) and origin(type(value))[0] in ("builtins", "itertools", "collections"):
        raise Unidentifiable(path, "an iterator")
    found = reduced(value)
    if isinstance(found, str):
        raise Unidentifiable(path, found)
    walker.put("object")
    walker.visit(type(value), f"{path}.class")
    if found is None:
        _attributes(walker, attributes(value), path)
    else:
        for part in found:
            walker.visit(part, f"{path}.state")
    return True


def _attributes(walker: Walker, found: Mapping[str, Any], path: str) -> None:
    walker.put("attributes", str(len(found)))
    for name in sorted(found, key=str):
        walker.put("attribute", str(name))
        walker.visit(found[name], f"{path}.{name}")


HANDLERS: tuple[Handler, ...] = (_tensor, _named, _function, _bound, _class, _network, _extended, _object)
