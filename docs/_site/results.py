"""Contents of the two folders of tables: those of studies and those of benchmarks."""

from pathlib import Path

import mkdocs_gen_files

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Copy the tables of benchmarks into the site, and write both tables of contents."""
    with mkdocs_gen_files.open("results/SUMMARY.md", "w") as out:
        out.write("* [What was measured](index.md)\n")
        for path in sorted((ROOT / "docs" / "results").glob("*/tables.md")):
            out.write(f"* [{path.parent.name}]({path.parent.name}/tables.md)\n")
    with mkdocs_gen_files.open("benchmarks/SUMMARY.md", "w") as out:
        for path in sorted((ROOT / "benchmarks" / "results").glob("*.md")):
            out.write(f"* [{path.stem}]({path.name})\n")
            with mkdocs_gen_files.open(f"benchmarks/{path.name}", "w") as page:
                page.write(f"# {path.stem}\n\n{path.read_text(encoding='utf-8')}")


main()
