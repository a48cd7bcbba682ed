"""Makes the journals and study cells of this release that later ones must go on with.

    python -m tests.compat.make_journals FOLDER

Runs are small and real. Files of ``torch.save`` are kept as text and plain tensors, see :mod:`tests.compat.files`.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from lightning_gvae import cli
from tests.compat.files import pack, restore_checkpoint
from tests.compat.make_fixtures import thin
from tests.compat.runs import (
    ARCHITECTURE,
    ARCHIVE,
    BETAS,
    COLLAPSE,
    EXPRESSIVITY,
    FAMILIES,
    LATENT,
    SEARCHED,
    SOLVE,
    compose_run,
    overrides_of,
)

CHECKPOINTS = Path(__file__).parent.parent / "data/checkpoints_0_1"
TRAIN = [sys.executable, "-c", "from lightning_gvae.cli import train_main; train_main()"]


def main() -> None:
    """Make all."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("journal", nargs="*")
    given = parser.parse_args()
    given.folder = given.folder.resolve()
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    for name, make in JOURNALS.items():
        if given.journal and name not in given.journal:
            continue
        root = Path(tempfile.mkdtemp(prefix="fixture"))
        try:
            os.chdir(root)
            place = given.folder / name
            shutil.rmtree(place, ignore_errors=True)
            make(root, place)
            (place / "overrides.json").write_text(json.dumps(OVERRIDES[name]) + "\n", encoding="utf-8")
            size = sum(file.stat().st_size for file in place.rglob("*") if file.is_file())
            print(f"{name}: {size:,} bytes", flush=True)
        finally:
            shutil.rmtree(root)


def architecture(root: Path, place: Path) -> None:
    """A finished search, its front and its shared candidates."""
    overrides = overrides_of(ARCHITECTURE, root)
    cli.train(compose_run(root / "run", *overrides))
    for name in ("search", "front.json", "front.csv"):
        _copy(root / "run" / name, place / name)
    _copy(root / "store", place / "store")


def latent_search(root: Path, place: Path) -> None:
    """State and result of a search in a model's latent space."""
    _latent(root, place, LATENT, "latent_search", "state.pt")


def latent_archive(root: Path, place: Path) -> None:
    """The same of a quality-diversity search."""
    _latent(root, place, ARCHIVE, "latent_archive", "state.npz")


def _latent(root: Path, place: Path, search: list[str], name: str, state: str) -> None:
    checkpoint = restore_checkpoint(CHECKPOINTS / SEARCHED, root)
    overrides = [*overrides_of(FAMILIES[SEARCHED], root), *search, f"ckpt_path={checkpoint}"]
    killed = subprocess.Popen([*TRAIN, *overrides, f"hydra.run.dir={root}/killed", f"paths.log_dir={root}"])
    _until((root / "killed" / name / state).is_file, killed)
    shutil.copy(root / "killed" / name / state, root / state)  # whole: it is renamed when it is
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    cli.train(compose_run(root / "run", *overrides))
    for file in [root / state, *(root / "run" / name).iterdir()]:
        if file.suffix == ".pt":
            pack(torch.load(file, weights_only=True), place, root, name=file.stem)
        else:
            _copy(file, place / file.name)


def _until(holds: Callable[[], bool], process: "subprocess.Popen[bytes]") -> None:
    while not holds():
        if process.poll() is not None:
            raise RuntimeError("the search ended before it could be killed")
        time.sleep(0.001)


def betas(root: Path, place: Path) -> None:
    """Two finished cells; one of them also as it was before its result was collected."""
    study = cli.study(compose_run(root / "study", *BETAS, name="study")).parent
    for cell in sorted(path for path in (study / "cells").iterdir() if path.is_dir()):
        _copy(cell / "cell.json", place / "cells" / cell.name / "cell.json")
        run = cell / "attempt-0"
        if cell.name.startswith("beta_vae-seed1"):
            _copy(run / "run.json", place / "attempt/run.json")
            checkpoint = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
            pack(checkpoint, place / "attempt", root, thin(checkpoint))
    _clean(place, root)


def collapse(root: Path, place: Path) -> None:
    """A finished chain without its weights, which nothing reads any more."""
    study = cli.study(compose_run(root / "study", *COLLAPSE, name="study")).parent
    for file in (study / "cells").rglob("*"):
        if file.name in ("settings.json", "metrics.json", "samples.npz"):
            _copy(file, place / "cells" / file.relative_to(study / "cells"))


def solve(root: Path, place: Path) -> None:
    """Finished cells of the SOLVE study."""
    study = cli.study(compose_run(root / "study", *SOLVE, name="study")).parent
    _copy(study / "cells", place / "cells")


def expressivity(root: Path, place: Path) -> None:
    """Finished cells of the study of expressivity."""
    study = cli.study(compose_run(root / "study", *EXPRESSIVITY, name="study")).parent
    _copy(study / "cells", place / "cells")


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copy(source, target)


def _clean(place: Path, root: Path) -> None:
    for file in place.rglob("*.json"):
        file.write_text(file.read_text(encoding="utf-8").replace(str(root), "$ROOT"), encoding="utf-8")


JOURNALS: dict[str, Callable[[Path, Path], None]] = {
    made.__name__: made for made in (architecture, latent_search, latent_archive, betas, collapse, solve, expressivity)
}
OVERRIDES = {
    "architecture": ARCHITECTURE,
    "latent_search": [*FAMILIES[SEARCHED], *LATENT],
    "latent_archive": [*FAMILIES[SEARCHED], *ARCHIVE],
    "betas": BETAS,
    "collapse": COLLAPSE,
    "solve": SOLVE,
    "expressivity": EXPRESSIVITY,
}

if __name__ == "__main__":
    main()
