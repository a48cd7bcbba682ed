"""The shape of the package: imports run one way, ``callbacks/`` holds callbacks, all of it is installed."""

import ast
import importlib
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import lightning as L
import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {"callbacks": ROOT / "callbacks", "datamodules": ROOT / "datamodules", "conf": ROOT / "conf"}
# Parts that know neither Lightning nor Hydra nor W&B.
GROUND = (
    *(
        "rng",
        "devices",
        "errors",
        "process_group",
        "renames",
        "io",
        "text",
        "losses",
        "schedules",
        "nets",
        "evolution",
        "problems",
    ),
    *("collapse", "divergence", "metrics", "plots", "samplers"),
)

# part of the package -> parts it may import, besides itself, `devices`, `errors`, `renames` and `rng`
ALLOWED = {
    "devices": set(),
    "rng": set(),
    "errors": set(),
    "process_group": set(),
    "renames": set(),
    "io": set(),
    "interfaces": {"text"},
    "runtime": set(),
    "stopping": set(),
    "lightning_compat": set(),
    "text": {"io"},
    "losses": set(),
    "schedules": set(),
    "collapse": set(),
    "divergence": {"interfaces"},
    "evolution": {"io"},
    "nets": {"evolution", "io", "text"},  # a genome says what is built
    "samplers": {"nets"},
    "plots": {"io"},
    "problems": {"evolution", "interfaces", "io"},
    "metrics": {"io", "text"},
    "evaluation": {"interfaces", "io", "metrics", "samplers", "text", "training"},
    "models": {
        *("evolution", "export", "interfaces", "io", "lightning_compat", "loading", "losses", "nets", "samplers"),
        *("schedules", "text"),
    },
    "datamodules": {"interfaces", "io", "lightning_compat", "metrics", "problems", "text"},
    "training": {"interfaces", "evolution", "io", "lightning_compat"},
    "report": {"interfaces", "io", "lightning_compat", "loggers", "plots", "stopping", "training"},
    "loggers": {"interfaces", "io", "lightning_compat", "plots"},
    "callbacks": {
        *("interfaces", "evaluation", "evolution", "io", "lightning_compat", "loggers", "metrics", "plots", "problems"),
        *("report", "runtime", "samplers", "stopping", "training"),
    },
    "studies": {
        *(
            "interfaces",
            "callbacks",
            "collapse",
            "datamodules",
            "evaluation",
            "evolution",
            "io",
            "loggers",
            "metrics",
            "models",
        ),
        *("plots", "problems", "report", "stopping", "training"),
    },
    "app": {
        *(
            "interfaces",
            "collapse",
            "datamodules",
            "divergence",
            "evaluation",
            "evolution",
            "io",
            "loading",
            "metrics",
            "plots",
            "samplers",
        ),
    },
    "cli": {
        "interfaces",
        "app",
        "callbacks",
        "datamodules",
        "evaluation",
        "export",
        "io",
        "loading",
        "loggers",
        "plots",
        "report",
        "runtime",
        "stopping",
    },
    "inspect": {"cli"},
    "__main__": {"cli", "io"},
    "loading": {"datamodules", "interfaces", "io", "text"},
    "export": {"interfaces", "io", "loading", "nets"},
}


def modules():
    for path in sorted((ROOT / "lightning_gvae").glob("*.py")):
        yield path.stem, path
    for folder in sorted((ROOT / "lightning_gvae").iterdir()):
        if folder.is_dir() and not folder.is_symlink():
            yield from ((folder.name, path) for path in sorted(folder.rglob("*.py")))
    for name, folder in FOLDERS.items():
        yield from ((name, path) for path in sorted(folder.rglob("*.py")))


def imported(path, everywhere=True):
    """Names of the modules that a file imports; without ``everywhere`` only those imported when it is loaded itself."""
    tree = ast.parse(path.read_text())
    nodes = ast.walk(tree) if everywhere else iter(tree.body)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            yield node.module or ""


def dotted(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts[0] != "lightning_gvae":
        parts = ("lightning_gvae", *parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


CASES = [pytest.param(part, path, id=str(path.relative_to(ROOT))) for part, path in modules()]


@pytest.mark.parametrize(("part", "path"), CASES)
def test_a_module_imports_only_what_lies_below_it(part, path):
    if part == "__init__":
        return
    for name in imported(path):
        root, _, rest = name.partition(".")
        if root == "lightning_gvae":
            below = rest.partition(".")[0]
            assert below in {part, "devices", "errors", "process_group", "renames", "rng", *ALLOWED[part]}, (
                f"{part} must not import {name}"
            )
        if part in GROUND:
            assert root not in ("lightning", "pytorch_lightning", "hydra", "omegaconf", "wandb"), name
        if root in ("hydra", "omegaconf"):
            assert part == "cli", f"only cli imports {name}"


def test_the_walk_sees_the_code():
    parts = {case.values[0] for case in CASES}
    assert parts - {"__init__", "conf"} == set(ALLOWED)


def test_the_parts_have_an_order():
    tuple(TopologicalSorter(ALLOWED).static_order())  # raises CycleError for a circle


def test_no_modules_import_each_other_in_a_circle():
    known = {dotted(path): path for _, path in modules()}
    graph = {name: set(imported(path, everywhere=False)) & known.keys() - {name} for name, path in known.items()}
    # A package that re-exports a class of its own is loaded with any of its modules; that is no circle.
    for name, path in known.items():
        if path.name == "__init__.py":
            graph[name] = {other for other in graph[name] if not other.startswith(f"{name}.")}
    tuple(TopologicalSorter(graph).static_order())


def snake(name):
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")


@pytest.mark.parametrize("entry", sorted(p.stem for p in FOLDERS["callbacks"].iterdir() if p.stem[0] not in "_."))
def test_the_folder_callbacks_lists_callbacks(entry):
    module = importlib.import_module(f"lightning_gvae.callbacks.{entry}")
    classes = [getattr(module, name) for name in module.__all__]
    callbacks = [each for each in classes if isinstance(each, type) and issubclass(each, L.Callback)]
    assert callbacks, f"callbacks/{entry} offers no callback"
    if (FOLDERS["callbacks"] / entry).is_dir():
        assert entry in [snake(each.__name__) for each in callbacks], f"no callback is named after callbacks/{entry}/"


MOST_ARGUMENTS = 14  # of a constructor; what belongs together is a group of settings


def arguments(node: ast.ClassDef) -> int:
    """Arguments of a class's constructor, public fields if it is a dataclass; 0 if it has none of its own."""
    if any("dataclass" in ast.dump(decorator) for decorator in node.decorator_list):
        fields = [each.target for each in node.body if isinstance(each, ast.AnnAssign)]
        return sum(isinstance(name, ast.Name) and not name.id.startswith("_") for name in fields)
    made = [each for each in node.body if isinstance(each, ast.FunctionDef) and each.name == "__init__"]
    return sum(len(each.args.args) - 1 + len(each.args.kwonlyargs) for each in made)


def test_no_constructor_has_more_arguments_than_a_reader_can_keep_apart():
    found = {
        f"{dotted(path)}.{node.name}": arguments(node)
        for _, path in modules()
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    }
    assert found["lightning_gvae.models.vae.VAE"] > 10  # they are counted
    assert not {name: count for name, count in found.items() if count > MOST_ARGUMENTS}


def test_packages_are_listed_completely():
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    found = {"lightning_gvae"} | {f"lightning_gvae.{name}" for name in FOLDERS}
    found |= {dotted(path) for _, path in modules() if path.name == "__init__.py"}
    assert listed == found


@pytest.mark.parametrize("name", FOLDERS)
def test_links_are_relative_and_point_to_the_folders(name):
    link = ROOT / "lightning_gvae" / name
    assert link.is_symlink()
    assert str(link.readlink()) == f"../{name}"
