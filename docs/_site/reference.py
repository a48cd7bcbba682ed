"""One page of the reference for each public module: what `__all__` names, from the docstrings."""

import ast
from pathlib import Path

import mkdocs_gen_files

ROOT = Path(__file__).resolve().parents[2]
# Folders of the repository and what they are called when imported.
PARTS = {
    "Models": ["lightning_gvae/models"],
    "Callbacks": ["callbacks"],
    "Data": ["datamodules"],
    "Evolution": ["lightning_gvae/evolution"],
    "Networks": ["lightning_gvae/nets"],
    "Losses and schedules": ["lightning_gvae/losses", "lightning_gvae/schedules.py"],
    "Scores": ["lightning_gvae/metrics", "lightning_gvae/evaluation"],
    "Samplers": ["lightning_gvae/samplers"],
    "Latent problems": ["lightning_gvae/problems"],
    "Studies": ["lightning_gvae/studies", "lightning_gvae/collapse", "lightning_gvae/divergence"],
    "Interfaces and files": ["lightning_gvae/interfaces", "lightning_gvae/io", "lightning_gvae/errors.py"],
}


def public_names(path: Path) -> list[str]:
    """Names in ``__all__``, or the public classes and functions that the module defines."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    for node in body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            return [str(name) for name in ast.literal_eval(node.value)]
    kinds = (ast.ClassDef, ast.FunctionDef)
    return [node.name for node in body if isinstance(node, kinds) and not node.name.startswith("_")]


def module_name(path: Path) -> str:
    """Dotted name under which the module is imported."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts if parts[0] == "lightning_gvae" else ("lightning_gvae", *parts))


def main() -> None:
    """Write the pages and their table of contents."""
    summary = []
    for title, places in PARTS.items():
        summary.append(f"* {title}\n")
        for place in places:
            for path in [ROOT / place] if place.endswith(".py") else sorted((ROOT / place).rglob("*.py")):
                if path.name.startswith("_") or not public_names(path):
                    continue
                name = module_name(path)
                page = f"{name.removeprefix('lightning_gvae.')}.md"
                with mkdocs_gen_files.open(f"reference/{page}", "w") as out:
                    out.write(f"# {name.removeprefix('lightning_gvae.')}\n\n::: {name}\n")
                summary.append(f"    * [{name.removeprefix('lightning_gvae.')}]({page})\n")
    with mkdocs_gen_files.open("reference/SUMMARY.md", "w") as out:
        out.writelines(summary)


main()
