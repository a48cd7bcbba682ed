"""Studies compare runs that are evaluated on the same images, by the same draws, in the same feature space."""

import numpy as np
import pytest
from hydra import compose, initialize_config_module
from hydra.utils import instantiate

from lightning_gvae.studies import betas
from tests.studies.test_betas import result, study

SHIPPED = [
    "betas",
    "rate_distortion",
    "information_plane",
    "faces",
    "kl_vanishing",
    "vaegan",
    "diversity_weights",
    "moncae",
]


@pytest.mark.parametrize("name", SHIPPED)
def test_runs_with_different_seeds_share_evaluation_and_parts(name, tmp_path, monkeypatch):
    monkeypatch.setenv("GVAE_DATA_DIR", str(tmp_path / "data"))
    with initialize_config_module("lightning_gvae.conf", version_base="1.3"):
        cells = instantiate(compose("study", [f"study={name}", f"paths.output_dir={tmp_path}"]).study).cells()
        pair = [next(cell for cell in cells if cell.arm == cells[0].arm and cell.seed == seed) for seed in (0, 1)]
        runs = [compose("train", [*cell.overrides, f"seed={cell.seed}", "paths.output_dir=run"]) for cell in pair]
    assert [run.seed for run in runs] == [0, 1] == [run.data.seed for run in runs]
    assert runs[0].evaluation == runs[1].evaluation and runs[0].evaluation.seed == 0
    assert not any(str(tmp_path) in text for cell in pair for text in cell.overrides)  # commands for any machine
    assert name == "kl_vanishing" or runs[0].data.split_seed == runs[1].data.split_seed == 0  # that corpus has parts


def test_a_curve_of_validations_is_compared_with_points_of_the_same_images(tmp_path, monkeypatch):
    drawn = {}

    def seen(ends, target, curves):
        drawn.update(ends=ends, curves=curves)
        return figure(ends, target, curves)

    figure = betas.end_points
    monkeypatch.setattr(betas, "end_points", seen)
    runs = []
    for seed in range(3):
        for arm, kl in (("vae", 12.0), ("evae", 9.0)):
            run = result(arm, seed, kl, 30.0, 1.0)
            for name, values in (("val/kl", [kl - 1, kl + 1]), ("val/recon", [50.0, 40.0])):
                run["curves"] = {**run["curves"], name: {"steps": [9, 29], "values": values}}
            runs.append(run)
    settings = {"arms": {"vae": [], "evae": []}, "holding": [], "questions": []}
    study(**settings, sweep=["vae"], traced=["evae"]).report(runs, tmp_path)
    np.testing.assert_allclose(drawn["ends"]["vae"], [[13.0, 40.0]] * 3)
    np.testing.assert_allclose(drawn["curves"]["evae, one run"], [[8.0, 50.0], [10.0, 40.0]])
    np.testing.assert_allclose(drawn["curves"]["fixed"], [[13.0, 40.0]])
    assert "One point a run, validation images" in (tmp_path / "report.html").read_text()
    study(**settings).report(runs, tmp_path)
    np.testing.assert_allclose(drawn["ends"]["vae"], [[12.0, 30.0]] * 3)
