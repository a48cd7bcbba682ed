"""Links of the documentation to files outside docs/, which follow the copies of these files in the site."""

import re
from typing import Any

OUTSIDE = re.compile(r"\]\((?:\.\./)+(benchmarks/results/|CONTRIBUTING\.md|README\.md|CHANGELOG\.md)")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Points links that leave docs/ at the copies, or at the first page."""
    up = "../" * page.file.src_uri.count("/")
    return OUTSIDE.sub(lambda link: f"]({up}{'benchmarks/' if 'results' in link[1] else 'index.md'}", markdown)
