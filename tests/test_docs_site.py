"""The site has every page, and docstrings become Markdown."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]


def pages(nav: Any) -> set[str]:
    """Files that a table of contents names."""
    if isinstance(nav, str):
        return {nav}
    parts = nav.values() if isinstance(nav, dict) else nav
    return {page for part in parts for page in pages(part)}


def test_each_page_stands_in_the_table_of_contents_and_each_entry_is_there():
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    named = {name for name in pages(yaml.safe_load(text)["nav"]) if name.endswith(".md")}
    assert named == {path.name for path in (ROOT / "docs").glob("*.md")}


@pytest.fixture
def docstrings(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module that rewrites docstrings, without the packages of the site."""
    griffe, converter = ModuleType("griffe"), ModuleType("latex2mathml.converter")
    griffe.Extension = griffe.Object = object  # type: ignore[attr-defined]
    converter.convert = lambda formula, display="inline": f"<{display}:{formula}>"  # type: ignore[attr-defined]
    for module in (griffe, ModuleType("latex2mathml"), converter):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    spec = importlib.util.spec_from_file_location("docstrings", ROOT / "docs" / "_site" / "docstrings.py")
    assert spec is not None and spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def test_formulas_roles_and_doctests_become_markdown(docstrings: ModuleType):
    formula = "Sum.\n\n.. math:: a\n          + b\n\nOf :math:`a`, see :func:`~x.y.f` and :mod:`x.y`."
    text = f"{formula}\n\n>>> 1 + 1\n2\n\nArgs:\n    a: One."
    assert docstrings.as_markdown(text) == (
        "Sum.\n\n<block:a + b>\n\nOf <inline:a>, see "
        '<autoref optional identifier="x.y.f"><code>f</code></autoref> and '
        '<autoref optional identifier="x.y"><code>x.y</code></autoref>.\n\n'
        "Examples:\n    >>> 1 + 1\n    2\n\nArgs:\n    a: One."
    )
