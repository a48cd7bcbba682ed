"""Makes the checkpoints of this release that later ones must open.

    python -m tests.compat.make_fixtures FOLDER [FAMILY ...]

Every family is trained for six steps. Large tensors, which would be most of the repository, are replaced by noise that
can be made again, before anything is computed from them. What is expected of them, ``expected.json``, comes from the
same release: the overrides of the run, outputs of the model, what ``eval.py`` says, and the metrics after two further
steps.
"""

import argparse
import json
import os
import shutil
import tempfile
import zlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightning_gvae import cli
from lightning_gvae.cli.restore import restore_run
from tests.compat.files import Noise, pack, restore_checkpoint
from tests.compat.runs import FAMILIES, compose_run, outputs, overrides_of, write_data

MOST = 64  # numbers of a tensor that is kept
WHOLE = ("vae_custom", "text_vae")  # families that are kept as they are
FURTHER = 2  # steps


def main() -> None:
    """Make the fixtures that are named, or all."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("family", nargs="*")
    given = parser.parse_args()
    given.folder = given.folder.resolve()
    torch.set_num_threads(1)
    for family in given.family or FAMILIES:
        root = Path(tempfile.mkdtemp(prefix="fixture"))
        try:
            make(family, given.folder / family, root)
            size = sum(file.stat().st_size for file in (given.folder / family).iterdir())
            print(f"{family}: {size:,} bytes", flush=True)
        finally:
            shutil.rmtree(root)


def make(family: str, folder: Path, root: Path) -> None:
    """One fixture."""
    write_data(root)
    os.chdir(root)
    overrides = overrides_of(FAMILIES[family], root)
    cli.train(compose_run(root / "run", *overrides, "test=false"))
    path = root / "run/checkpoints/last.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    noise = {} if family in WHOLE else thin(checkpoint)
    if noise:
        settle(checkpoint, path, noise)
    pack(checkpoint, folder, root, noise)
    if (journal := root / "run/evolution.csv").is_file():
        shutil.copy(journal, folder)
    # From here on with what the repository keeps.
    path = restore_checkpoint(folder, root)
    opened = restore_run(compose_run(root / "opened", f"ckpt_path={path}", name="eval"))
    evaluated = cli.evaluate(
        compose_run(root / "eval", f"ckpt_path={path}", "trainer=cpu", f"paths.cache_dir={root}/cache", name="eval")
    )
    further = [f"ckpt_path={path}", f"trainer.max_steps={6 + FURTHER}"]
    resumed = cli.train(compose_run(root / "resumed", *overrides, *further))
    expected = {
        "overrides": FAMILIES[family],
        "outputs": outputs(opened[2], opened[1]),
        "evaluate": evaluated,
        "resumed": {name: value for name, value in resumed.items() if not any(w in name for w in ("wall", "second"))},
    }
    text = json.dumps(rounded(expected), separators=(",", ":"))
    (folder / "expected.json").write_text(text + "\n", encoding="utf-8")


def rounded(value: Any) -> Any:
    """Floats with eight digits."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return float(f"{value:.8g}") if isinstance(value, float) else value


def thin(checkpoint: dict[str, Any]) -> dict[str, Noise]:
    """Replace large tensors of a checkpoint by noise of the same shape and size, in place."""
    noise: dict[str, Noise] = {}

    def visit(value: Any, path: str) -> None:
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, item in list(items):
            name = f"{path}/{key}" if path else str(key)
            settled = name.endswith(("._u", "._v"))  # of spectral norms
            if isinstance(item, Tensor) and item.is_floating_point() and item.numel() > MOST and not settled:
                # Two moments of one optimiser, or a weight and its mean, have different seeds.
                seed = zlib.crc32(name.encode())
                scale = float(2.0 ** torch.log2(item.abs().mean() + 1e-30).ceil() * 2)
                noise[name] = Noise(tuple(item.shape), seed, scale, positive=bool((item >= 0).all()))
                value[key] = noise[name].tensor()
            else:
                visit(item, name)

    visit({name: part for name, part in checkpoint.items() if name != "gvae_random"}, "")
    return noise


def settle(checkpoint: dict[str, Any], path: Path, noise: dict[str, Noise]) -> None:
    """Let the power iterations of spectral norms find the new weights' singular vectors."""
    torch.save(checkpoint, path)
    model = cli.restore(path).model
    discriminator = getattr(model, "discriminator", None)
    if discriminator is None:
        return
    discriminator.train()
    with torch.no_grad():
        for _ in range(50):
            discriminator(torch.rand(4, *model.image_shape, generator=torch.Generator().manual_seed(0)))
    for name, value in model.state_dict().items():
        if f"state_dict/{name}" not in noise:
            checkpoint["state_dict"][name] = value.clone()


if __name__ == "__main__":
    main()
