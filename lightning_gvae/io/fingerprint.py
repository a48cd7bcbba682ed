"""Fingerprint of anything that decides a result: by content, never by description.

A stored result is taken only where everything that it depends on has the fingerprint it had. Two values with one
fingerprint do the same; equal values may have two where Python gives no way to see that they are equal, and then a
result is computed again. What cannot be identified has no fingerprint at all.
"""

from typing import Any

from lightning_gvae.io.identify import HANDLERS
from lightning_gvae.io.walker import Unidentifiable, Walker

__all__ = ["FORMAT", "Unidentifiable", "fingerprint"]

FORMAT = "2"  # fingerprints of other formats are never equal; the first had no number


def fingerprint(value: Any, name: str = "value") -> str:
    """Hash of everything that ``value`` is made of, the same in every process.

    Tensors and arrays count by type, shape and bytes; containers, dataclasses and objects by class and content,
    recursively; functions by code, closure, default arguments, and, outside of installed packages, by the globals that
    they use; partial functions and bound methods by what is bound; networks by class, settings and weights; classes and
    functions of installed packages by name and version. An object may say itself what counts, with a method
    ``__fingerprint__(self)`` that returns another value.

    Args:
        value: Anything.
        name: How errors call it.

    Returns:
        ``2:`` (the format) and 32 hexadecimal digits.

    Raises:
        Unidentifiable: ``value`` holds something that has no content of its own, such as an open file, a generator or
            an object of C without state; the message says where.

    >>> fingerprint([1, 2.0]) == fingerprint([1, 2.0]), fingerprint([1, 2]) == fingerprint([1, 2.0])
    (True, False)
    >>> fingerprint({"draw": iter([])}, "options")
    Traceback (most recent call last):
        ...
    lightning_gvae.io.walker.Unidentifiable: options['draw']: an iterator
    """
    return f"{FORMAT}:{Walker(HANDLERS).run(value, name).hex()}"
