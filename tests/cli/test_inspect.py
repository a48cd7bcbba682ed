"""The command that shows a data set: what it prints, what it leaves, and wrong input."""

import json
import subprocess
import sys

import pytest
from PIL import Image

from lightning_gvae.cli.inspect import main as inspect_main
from tests.cli.test_conf import CHOICES, GIVEN, composed
from tests.cli.test_train import failure


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Run folder and output of one inspection of the digits, by the command a user would give."""
    folder = tmp_path_factory.mktemp("digits")
    command = [sys.executable, "-m", "lightning_gvae.inspect", "data=digits", "data.batch_size=32"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    (run,) = (folder / "logs/inspect/runs").iterdir()
    return run, result.stdout


def test_the_figures_are_kept(digits):
    figures = json.loads((digits[0] / "data.json").read_text())
    assert (figures["name"], figures["image_shape"]) == ("digits", [1, 8, 8])
    assert figures["sizes"] == {"train": 1197, "val": 200, "test": 400}
    assert {part: sum(counts.values()) for part, counts in figures["labels"].items()} == figures["sizes"]
    assert figures["pixels"]["mean"] == pytest.approx([0.3053], abs=1e-4)
    assert (figures["pixels"]["grey_values"], figures["pixels"]["binary"]) == (17, False)
    assert figures["reading"]["batch_size"] == 32 and figures["reading"]["images_per_second"] > 0
    assert figures["config"]["seed"] == 0


def test_the_picture_shows_ten_images_of_each_class(digits):
    with Image.open(digits[0] / "images.png") as file:
        file.load()
        board = 10 * (15 * 8 + 2 + 2) - 2  # ten images of 8 pixels, 15 times enlarged, framed, two dots apart
        assert board < file.width < board + 100 and board < file.height < board + 100


def test_the_table_and_the_paths_are_printed(digits):
    run, output = digits
    for text in ("1 x 8 x 8 (grey)", "train 1,197, val 200, test 400", "10 classes (train / val / test)", "images/s"):
        assert text in output
    assert f"images:  {run / 'images.png'}" in output and f"figures: {run / 'data.json'}" in output


@pytest.mark.parametrize("choice", [choice for group, choice in CHOICES if group == "data"])
def test_every_data_set_can_be_asked_for(choice):
    given = GIVEN.get(("data", choice), ())
    assert composed(f"data={choice}", *given, name="inspect").data._target_.startswith("lightning_gvae.datamodules.")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["data=nope"], "Could not find 'data/nope' Available options in 'data':"),
        (["data=digits", "data.batch_size=5000"], "`batch_size` 5000 on 1 process(es) needs 5000 images a step"),
    ],
)
def test_wrong_input_ends_in_one_paragraph(monkeypatch, capsys, tmp_path, arguments, expected):
    assert expected in failure(monkeypatch, capsys, tmp_path, *arguments, main=inspect_main)
