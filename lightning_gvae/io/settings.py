"""Groups of settings from plain containers, and the comparison of stored settings with those of now."""

import dataclasses
import math
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from lightning_gvae.errors import ConfigError

__all__ = ["as_settings", "differences"]

T = TypeVar("T")


def as_settings(kind: type[T], value: T | Mapping[str, Any] | None, name: str) -> T:
    """A group of settings as the dataclass that it is.

    Args:
        kind: The dataclass; it checks its values itself.
        value: An instance, or its fields by name as a configuration has them; None takes all defaults.
        name: Full name of the group, for messages.

    Raises:
        ConfigError: It is neither, names a setting that the group does not have, lacks one without a default, or a
            value is refused.

    >>> @dataclasses.dataclass(frozen=True)
    ... class Limits:
    ...     most: int = 3
    >>> as_settings(Limits, {"most": 5}, "limits")
    Limits(most=5)
    """
    if isinstance(value, kind):
        return value
    if value is not None and not isinstance(value, Mapping):
        raise ConfigError(f"`{name}` is a group of settings ({_fields(kind)}), got {value!r:.100}")
    given = dict(value or {})
    if unknown := [key for key in given if key not in _names(kind)]:
        raise ConfigError(f"`{name}.{unknown[0]}` does not exist; `{name}` has the settings {_fields(kind)}")
    try:
        return kind(**given)
    except TypeError as error:
        raise ConfigError(f"`{name}` refuses {given}: {error}") from error


def _names(kind: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(kind) if field.init]


def _fields(kind: Any) -> str:
    return ", ".join(_names(kind))


def differences(stored: Any, now: Any, *, added: Collection[str] = (), name: str = "") -> list[str]:
    """Settings that are not equal, each with its path and both values; an empty list if all are.

    Lists and tuples are equal if their items are, NaN equals NaN, and a setting that is missing counts as None: results
    of earlier versions, which did not have it, can be gone on with as long as it is not used.

    Args:
        stored: Mappings and plain values, for example from JSON.
        now: The same, of the run that wants to go on.
        added: Paths of settings that earlier versions did not store: where they are missing in ``stored`` they do not
            count.
        name: Path of the setting that both are.

    >>> differences({"seed": 1, "data": {"name": "digits"}}, {"seed": 2, "data": {"name": "mnist"}})
    ["data.name: stored 'digits', now 'mnist'", 'seed: stored 1, now 2']
    """
    if isinstance(stored, Mapping) and isinstance(now, Mapping):
        found = []
        for key in sorted({*stored, *now}, key=str):
            path = f"{name}.{key}" if name else str(key)
            if key not in stored and path in added:
                continue
            found += differences(stored.get(key), now.get(key), added=added, name=path)
        return found
    return [] if _equal(stored, now) else [f"{name or 'value'}: stored {stored!r}, now {now!r}"]


def _equal(first: Any, second: Any) -> bool:
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        return len(first) == len(second) and all(map(_equal, first, second))
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        return first.keys() == second.keys() and all(_equal(first[key], second[key]) for key in first)
    if isinstance(first, float) and isinstance(second, float) and math.isnan(first) and math.isnan(second):
        return True
    return bool(first == second)
