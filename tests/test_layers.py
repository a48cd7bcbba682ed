"""Imports run one way, and the installed package is the whole package."""

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {"callbacks": ROOT / "callbacks", "datamodules": ROOT / "datamodules", "conf": ROOT / "conf"}
GROUND = (
    "nets",
    "adversarial",
    "collapse",
    "divergence",
    "objectives",
    "schedules",
    "samplers",
    "evolution",
    "io",
    "metrics",
    "plots",
    "problems",
    "rng",
    "errors",
    "text",
)

# part of the package -> parts it may import, besides itself and io, on which all stand
ALLOWED = {
    "io": set(),
    "rng": set(),
    "errors": set(),
    "lightning_compat": set(),
    "runtime": set(),
    "text": {"errors"},
    "targets": {"errors"},
    "csv_log": set(),
    "nets": {"evolution", "text", "errors"},  # a genome says what is built
    "adversarial": {"errors"},
    "collapse": {"errors", "rng"},
    "objectives": {"errors"},
    "schedules": {"errors"},
    "evolution": {"errors", "rng"},
    "metrics": {"text", "errors", "rng"},
    "samplers": {"nets", "errors", "rng"},
    "plots": {"errors"},
    "problems": {"evolution", "errors", "rng"},
    "report": {"errors"},
    "models": {
        *(
            "adversarial",
            "evolution",
            "lightning_compat",
            "nets",
            "objectives",
            "schedules",
            "samplers",
            "text",
        ),
        *("errors", "rng"),
    },
    "divergence": {"errors", "rng"},
    "datamodules": {"lightning_compat", "metrics", "problems", "text", "errors", "rng"},
    "callbacks": {
        *(
            "evaluation",
            "evolution",
            "lightning_compat",
            "metrics",
            "plots",
            "problems",
            "report",
            "runtime",
            "samplers",
            "errors",
            "rng",
        ),
    },
    "run": {"report", "errors"},
    "evaluation": {"metrics", "samplers", "text", "errors", "rng"},
    "studies": {
        *("callbacks", "collapse", "datamodules", "evaluation", "evolution", "metrics", "models", "plots", "problems"),
        *("report", "run", "errors", "rng"),
    },
    "app": {
        "collapse",
        "datamodules",
        "divergence",
        "evaluation",
        "evolution",
        "metrics",
        "plots",
        "samplers",
        "errors",
        "rng",
    },
    "cli": {
        "app",
        "run",
        "runtime",
        "targets",
        "callbacks",
        "datamodules",
        "evaluation",
        "plots",
        "errors",
    },
    "inspect": {"cli"},
}


def modules():
    for path in sorted((ROOT / "lightning_gvae").glob("*.py")):
        yield path.stem, path
    for folder in sorted((ROOT / "lightning_gvae").iterdir()):
        if folder.is_dir() and not folder.is_symlink():
            yield from ((folder.name, path) for path in sorted(folder.rglob("*.py")))
    for name, folder in FOLDERS.items():
        yield from ((name, path) for path in sorted(folder.rglob("*.py")))


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            yield node.module or ""


CASES = [pytest.param(part, path, id=str(path.relative_to(ROOT))) for part, path in modules()]


@pytest.mark.parametrize(("part", "path"), CASES)
def test_a_module_imports_only_what_lies_below_it(part, path):
    if part == "__init__":
        return
    for name in imported(path):
        root, _, rest = name.partition(".")
        if root == "lightning_gvae":
            assert part != "io" or name.startswith("lightning_gvae.io"), f"io must not import {name}"
            below = rest.partition(".")[0]
            assert below in {part, "io", *ALLOWED[part]}, f"{part} must not import {name}"
        if part in GROUND:
            assert root not in ("lightning", "pytorch_lightning", "hydra", "omegaconf", "wandb"), name
        if root in ("hydra", "omegaconf"):
            assert part in ("cli", "run"), f"only cli imports {name}"


def test_the_walk_sees_the_code():
    parts = {case.values[0] for case in CASES}
    assert parts - {"__init__", "conf"} == set(ALLOWED)


def test_packages_are_listed_completely():
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    found = {"lightning_gvae"} | {f"lightning_gvae.{name}" for name in FOLDERS}
    for folder in (ROOT / "lightning_gvae").rglob("__init__.py"):
        if not any(parent.is_symlink() for parent in folder.parents):
            found.add(".".join(folder.parent.relative_to(ROOT).parts))
    for name, folder in FOLDERS.items():
        for init in folder.glob("*/__init__.py"):
            found.add(f"lightning_gvae.{name}.{init.parent.name}")
    assert listed == found


@pytest.mark.parametrize("name", FOLDERS)
def test_links_are_relative_and_point_to_the_folders(name):
    link = ROOT / "lightning_gvae" / name
    assert link.is_symlink()
    assert str(link.readlink()) == f"../{name}"
