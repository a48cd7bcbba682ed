"""Numbers that documentation quotes, and the results files that they must stand in.

A comment before a table, list or paragraph says where its numbers come from, relative to ``docs``::

    <!-- numbers: results/betas-small/tables.md -->            every row's numbers stand in one row of the file
    <!-- numbers: results/a/tables.md results/b/tables.md -->  of one of the files
    <!-- numbers anywhere: results/a/tables.md -->             each number for itself, wherever it stands
    <!-- numbers: none, ranges -->                             no measurement, with the reason

Of tables every number counts, but those of the first column; of text those with a decimal point. A quoted number
matches one of the file that rounds to it, also as a percentage.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

NUMBER = re.compile(r"(?<![\w.])[+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?", re.IGNORECASE)
MARK = re.compile(r"<!-- numbers( anywhere)?: (.*?) -->")
# What asks for a mark: a decimal number in a table; an interval or a spread in a text.
MEASURED_TABLE = re.compile(r"\d\.\d")
MEASURED_TEXT = re.compile(r"\d \u00b1 \d|\d \([+-]?\d[\d.]* to [+-]?\d[\d.]*\)|\[[+-]?\d+\.\d+, [+-]?\d+\.\d+\]")


@dataclass(frozen=True)
class Block:
    """A table, list or paragraph of a page.

    Args:
        page: Its page.
        line: Number of its first line, from 1.
        lines: Its lines.
        mark: Content of the comment before it, without "numbers"; None without one.
        anywhere: Whether numbers may be scattered over the file.
    """

    page: Path
    line: int
    lines: tuple[str, ...]
    mark: str | None
    anywhere: bool

    @property
    def is_table(self) -> bool:
        return self.lines[0].startswith("|")

    @property
    def needs_mark(self) -> bool:
        if self.is_table and ("| default |" in self.lines[0] or self.lines[0].startswith("| setting")):
            return False
        text = "\n".join(self.lines[2:] if self.is_table else self.lines)
        return bool((MEASURED_TABLE if self.is_table else MEASURED_TEXT).search(plain(text)))

    @property
    def files(self) -> list[Path]:
        """Files that the mark names; none if it says that there is no measurement."""
        if self.mark is None or self.mark.startswith("none"):
            return []
        return [self.page.parent / name for name in self.mark.split()]

    def rows(self) -> Iterator[list[str]]:
        """Quoted numbers, row by row; a text is one row a sentence or item."""
        if self.is_table:
            for line in self.lines[2:]:
                cells = line.strip().strip("|").split("|")[1:]
                yield NUMBER.findall(plain(" ".join(cells)))
        else:
            yield [number for number in NUMBER.findall(plain(" ".join(self.lines))) if "." in number]


def plain(text: str) -> str:
    """Text with ordinary minus signs and without what is no number: commas of thousands, code, links."""
    text = text.replace("\u2212", "-")
    text = re.sub(r"`[^`]*`|\]\([^)]*\)", " ", text)
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)
    return re.sub(r"(?<=[\d%])-(?=\d)", " ", text)  # a range, no minus


def blocks(page: Path) -> Iterator[Block]:
    """Blocks of a page, code left out."""
    mark: re.Match[str] | None = None
    held: list[str] = []
    start, code = 0, False
    for number, line in enumerate([*page.read_text(encoding="utf-8").splitlines(), ""], 1):
        if line.startswith("```"):
            code = not code
        found = MARK.match(line)
        splits = not line.strip() or found is not None or (held and line.startswith("|") != held[0].startswith("|"))
        if splits and held:
            yield Block(page, start, tuple(held), mark and mark[2], bool(mark and mark[1]))
            mark, held = None, []
        if found is not None:
            mark = found
        elif line.strip() and not code and not line.startswith(("    ", "```", "![", "#")):
            if not held:
                start = number
            held.append(line)


def missing(block: Block) -> list[str]:
    """Rows of a marked block that no row of its files has, as texts for a message; none if it quotes no file."""
    if not block.files:
        return []
    sources = [plain(path.read_text(encoding="utf-8")) for path in block.files]
    lines = [[Decimal(n) for n in NUMBER.findall(line)] for text in sources for line in text.splitlines()]
    whole = [number for line in lines for number in line]
    wrong = []
    for row in block.rows():
        if block.anywhere or not block.is_table:
            wrong += [number for number in row if not quoted(number, whole)]
        elif not any(all(quoted(number, line) for number in row) for line in lines):
            wrong.append(", ".join(row))
    return wrong


def quoted(number: str, source: list[Decimal]) -> bool:
    """Whether some number of the source, or a hundred times it, rounds to the quoted one; signs do not count."""
    value = abs(Decimal(number))
    half = Decimal(5).scaleb(int(value.as_tuple().exponent) - 1) * Decimal("1.0001")
    return any(abs(abs(given) * factor - value) <= half for given in source for factor in (1, 100))
