"""Tiny trained models, a lab around them, and a running server; all made once."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_module

from lightning_gvae import cli
from lightning_gvae.app.service.library import Library
from lightning_gvae.app.session import Lab
from lightning_gvae.app.settings import AppSettings

ROOT = Path(__file__).resolve().parents[2]
QUICK = ["data=digits", "trainer=cpu", "test=false", "~callbacks.figures", "~callbacks.history", "logger=csv"]


def trained(folder, *overrides):
    """Run folder of a model trained on the digits for a moment."""
    with initialize_config_module("lightning_gvae.conf", version_base="1.3"):
        cfg = compose("train", [f"paths.output_dir={folder}", *QUICK, *overrides])
    cli.train(cfg)
    return folder


@pytest.fixture(scope="session")
def logs(tmp_path_factory):
    """Folder of runs: a VAE and a GAN of 8x8 digits, and a chain of generations."""
    root = tmp_path_factory.mktemp("lab") / "logs"
    trained(root / "train/runs/gan", "model=gan", "trainer.max_steps=2")
    trained(root / "train/runs/vae", "model=vae", "trainer.max_steps=400")
    write_chain(root / "study/collapse/vae-replace-0", 3)
    return root


def write_chain(folder, count):
    """A chain of generations as the collapse study leaves it; images get darker."""
    for number in range(count):
        place = folder / "generations" / f"{number:03d}"
        place.mkdir(parents=True)
        np.savez(place / "samples.npz", images=np.full((5, 1, 8, 8), 200 - 50 * number, np.uint8))
        facts = {"seed": 0, "generation": number, "fid": number + 0.5, "classes": {"entropy": 2.0}, "policy": "replace"}
        (place / "metrics.json").write_text(json.dumps(facts))


@pytest.fixture(scope="session")
def settings(logs, tmp_path_factory):
    return AppSettings(root=logs, cache_dir=tmp_path_factory.mktemp("cache"), max_upload_mb=1, kept_models=2)


@pytest.fixture(scope="session")
def library(settings):
    return Library(settings, cli.restore)


@pytest.fixture(scope="session")
def vae(library):
    return library.open(library.find("train/runs/vae"))


@pytest.fixture(scope="session")
def gan(library):
    return library.open(library.find("train/runs/gan"))


@pytest.fixture
def lab(library):
    made = Lab(library)
    yield made
    made.close()


@pytest.fixture(scope="session")
def server(logs, tmp_path_factory):
    """Address of the lab, started as a user would."""
    pytest.importorskip("gradio")
    folder = tmp_path_factory.mktemp("server")
    shutil.copytree(logs / "train/runs/vae", logs / "train/runs/vanishing")
    command = [sys.executable, "-u", str(ROOT / "app.py"), f"paths.log_dir={logs}", "app.port=0", "app.max_upload_mb=1"]
    output = (folder / "output.txt").open("w+")
    process = subprocess.Popen(
        [*command, f"app.cache_dir={folder}"], cwd=folder, stdout=output, stderr=subprocess.STDOUT, env=dict(os.environ)
    )
    try:
        yield _address(process, Path(output.name))
        assert process.poll() is None, "the server died: " + Path(output.name).read_text()
    finally:
        process.terminate()
        process.wait(30)
        output.close()


def _address(process, output, seconds=120):
    waiting = threading.Event()
    for _ in range(seconds * 5):
        if found := re.search(r"http://127\.0\.0\.1:\d+", output.read_text()):
            return found[0]
        if process.poll() is not None:
            break
        waiting.wait(0.2)
    pytest.fail("the lab did not start: " + output.read_text())
