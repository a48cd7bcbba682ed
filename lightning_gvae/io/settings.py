"""Comparison of the settings that a stored result was made with and those of now."""

import math
from collections.abc import Collection, Mapping
from typing import Any

__all__ = ["differences"]


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
