"""Constituents of functions, classes and objects, as far as Python shows them; used by the fingerprint."""

import copyreg
import dis
import functools
import struct
import sys
import sysconfig
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lightning_gvae.io.content import file_hash

__all__ = [
    "attributes",
    "class_parts",
    "code_parts",
    "global_names",
    "is_found_by_name",
    "is_installed",
    "origin",
    "reduced",
    "source_hash",
    "version",
]

OWN = __name__.partition(".")[0]
OF_C = ("numpy", "scipy.special", "torch", "torch.nn.functional")  # not all of their functions say where they are from
INSTALLED = ("site-packages", "dist-packages")
# Of a class body: what Python and the standard library add, which says nothing that the rest does not.
ADDED = frozenset(
    [
        "_abc_impl",
        "_is_protocol",
        "_is_runtime_protocol",
        "__abstractmethods__",
        "__annotate__",
        "__annotate_func__",
        "__annotations__",
        "__annotations_cache__",
        "__classdictcell__",
        "__conditional_annotations__",
        "__dataclass_fields__",
        "__dataclass_params__",
        "__dict__",
        "__doc__",
        "__firstlineno__",
        "__match_args__",
        "__module__",
        "__non_callable_proto_members__",
        "__orig_bases__",
        "__parameters__",
        "__protocol_attrs__",
        "__qualname__",
        "__slots__",
        "__static_attributes__",
        "__type_params__",
        "__weakref__",
    ]
)
POINTER = struct.calcsize("P")
PLAIN = type("Plain", (), {}).__basicsize__ - object.__basicsize__  # bytes for attributes and weak references


def origin(value: Any) -> tuple[str, str]:
    """Module and qualified name of a class or function."""
    module = getattr(value, "__module__", None)
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None) or type(value).__qualname__
    return module if isinstance(module, str) else "", str(name)


@functools.lru_cache(maxsize=1024)
def is_installed(module: str) -> bool:
    """Whether a module is of Python, an installed package, or this package: its version says what it does."""
    top = module.partition(".")[0]
    if top in (OWN, *sys.builtin_module_names) or top in sys.stdlib_module_names:
        return True
    found = sys.modules.get(module)
    file = getattr(found, "__file__", None)
    if file is None:
        return False
    parts = Path(file).parts
    return any(name in parts for name in INSTALLED) or file.startswith(sysconfig.get_path("stdlib") + "/")


def version(module: str) -> str:
    """Version of the package that a module of an installed package belongs to; empty if there is none."""
    if not is_installed(module):
        return ""
    found = getattr(sys.modules.get(module.partition(".")[0]), "__version__", None)
    return found if isinstance(found, str) else "installed"


def source_hash(module: types.ModuleType) -> str:
    """Hash of the file of a module outside of installed packages; empty for others, and if there is no file."""
    file = getattr(module, "__file__", None)
    if is_installed(module.__name__) or not file or not Path(file).is_file():
        return ""
    return file_hash(Path(file), 16)


def is_found_by_name(value: Any) -> bool:
    """Whether a class or function of an installed package is what its module holds under its name."""
    module, name = origin(value)
    if isinstance(value, types.BuiltinFunctionType | np.ufunc):
        return any(getattr(sys.modules.get(place), value.__name__, None) is value for place in (module, *OF_C))
    if not is_installed(module):
        return False
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found is value


def code_parts(code: types.CodeType) -> list[bytes | str]:
    """Instructions and names of a code object, without its constants, its file and its lines."""
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    return [code.co_code, code.co_exceptiontable, repr(counts), repr(names)]


def global_names(code: types.CodeType) -> list[str]:
    """Names of globals that a code object and those inside it read, sorted."""
    found = {item.argval for item in dis.get_instructions(code) if item.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found.update(global_names(constant))
    return sorted(found)


def class_parts(kind: type) -> Iterator[tuple[str, Any]]:
    """Methods and attributes of a class body by name, sorted, without what Python adds by itself."""
    for name, part in sorted(vars(kind).items()):
        if name in ADDED or isinstance(part, types.MemberDescriptorType | types.GetSetDescriptorType):
            continue
        yield name, part


def attributes(value: Any) -> dict[str, Any]:
    """Attributes of an object by name, those in slots too; what a cached property keeps is left out."""
    kind = type(value)
    found = dict(getattr(value, "__dict__", {}))
    for base in kind.__mro__:
        for name, part in vars(base).items():
            if isinstance(part, types.MemberDescriptorType) and is_python_class(base) and hasattr(value, name):
                found.setdefault(name, getattr(value, name))
            if isinstance(part, functools.cached_property):
                found.pop(name, None)
    return found


def reduced(value: Any) -> tuple[Any, ...] | str | None:
    """State of an object as pickling sees it.

    Returns:
        None if its attributes are all of its state, a tuple of parts if it is partly made of C, or a text that says why
        it has none.
    """
    kind = type(value)
    if all(is_python_class(base) for base in kind.__mro__ if base is not object):
        return None
    reduce = copyreg.dispatch_table.get(kind)
    try:
        found = reduce(value) if reduce is not None else value.__reduce_ex__(4)
    except Exception as error:  # noqa: BLE001 - whatever a foreign class raises here says that it has no state to show
        return f"a {kind.__module__}.{kind.__qualname__}, which does not show its state ({error})"
    if isinstance(found, str):
        return (found,)
    made_by, arguments, state, items, pairs = (*found, None, None, None)[:5]
    return (made_by, arguments, state, None if items is None else list(items), None if pairs is None else list(pairs))


def is_python_class(kind: type) -> bool:
    """Whether all state of a class's objects lies in their attributes and slots."""
    if kind is object:
        return True
    if kind.__itemsize__ or kind.__basicsize__ < 0 or not kind.__flags__ & 1 << 9:  # made by C, not while running
        return False
    slots = sum(
        isinstance(part, types.MemberDescriptorType)
        for base in kind.__mro__
        if base is not object
        for part in vars(base).values()
    )
    extra = PLAIN if kind.__weakrefoffset__ or kind.__dictoffset__ else 0
    return kind.__basicsize__ <= object.__basicsize__ + extra + POINTER * slots
