"""Docstrings as Markdown: formulas as MathML, roles as links, doctests under a heading."""

import re
from typing import Any

import griffe
from latex2mathml.converter import convert

DISPLAYED = re.compile(r"^( *)\.\. math::((?:.+|\n(?!\n))*)", re.MULTILINE)
INLINE = re.compile(r":math:`([^`]+)`")
ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):`(~?)([\w.]+)`")


def displayed(match: re.Match[str]) -> str:
    """A formula on a line of its own."""
    return f"{match[1]}{convert(' '.join(match[2].split()), display='block')}"


def link(match: re.Match[str]) -> str:
    """A link to the page of a name where there is one, else the name."""
    name = match[2].rsplit(".", 1)[-1] if match[1] else match[2]
    return f'<autoref optional identifier="{match[2]}"><code>{name}</code></autoref>'


def with_heading(text: str) -> str:
    """The docstring with "Examples:" above its first doctest, which is indented below it."""
    lines = text.splitlines()
    first = next((k for k, line in enumerate(lines) if line.startswith(">>> ")), None)
    if first is None:
        return text
    last = next((k for k in range(first, len(lines)) if not lines[k].strip()), len(lines))
    block = [f"    {line}" for line in lines[first:last]]
    return "\n".join([*lines[:first], "Examples:", *block, *lines[last:]])


def as_markdown(text: str) -> str:
    """The whole of a docstring."""
    text = DISPLAYED.sub(displayed, with_heading(text))
    return ROLE.sub(link, INLINE.sub(lambda match: convert(match[1]), text))


class Docstrings(griffe.Extension):
    """Rewrites the docstring of every object."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for each module, class, function and attribute as it is read."""
        if obj.docstring:
            obj.docstring.value = as_markdown(obj.docstring.value)
