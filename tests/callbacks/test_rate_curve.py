"""The rate-distortion curve of one network in a run: what is measured, what is left, plain models of it."""

import csv
import json

import lightning as L
import pytest
import torch

from lightning_gvae import cli, load
from lightning_gvae.callbacks.rate_curve import RateCurve
from lightning_gvae.callbacks.rate_export import RateExport
from lightning_gvae.cli.export import export
from lightning_gvae.cli.restore import restore
from lightning_gvae.errors import ConfigError
from lightning_gvae.evaluation.rate_curve import log_spaced, rate_curve
from lightning_gvae.export.folder import export_folder
from lightning_gvae.io.checkpoint import read_checkpoint
from lightning_gvae.models import VAE, MultiRateVAE
from lightning_gvae.rng import torch_stream
from tests.cli.test_train import config

SHAPE = (1, 8, 8)
SMALL = ["data=digits", "trainer=cpu", "trainer.max_steps=40", "trainer.log_every_n_steps=5", "callbacks.figures=null"]
ONE = ["model=multi_rate_vae", "model.beta_range=[0.2,5]", "latent_dim=4", "callbacks.rate_curve.points=4"]
EXPORT = ["+callbacks.rate_export._target_=lightning_gvae.callbacks.rate_export.RateExport"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    metrics = cli.train(config(folder, *SMALL, *ONE, *EXPORT, "+callbacks.rate_export.betas=[0.5,null]"))
    return folder, metrics


def test_a_run_leaves_its_curve_as_csv_figure_and_table(run):
    folder, metrics = run
    with (folder / "rate_curve.csv").open(newline="") as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    assert [row["beta"] for row in rows] == pytest.approx(log_spaced(0.2, 5.0, 4))
    assert all(row["nelbo"] == pytest.approx(row["kl"] + row["recon"]) for row in rows)
    assert all(row["loss"] == pytest.approx(row["beta"] * row["kl"] + row["recon"]) for row in rows)
    index = json.loads((folder / "figures" / "rate_curve.index.json").read_text())
    assert [item["file"] for item in index["figures"]] == ["rate_curve.png"]
    assert len(index["tables"][0]["rows"]) == 5  # the model's own beta beside the four
    page = (folder / "report.html").read_text()
    assert "Rate-distortion curve of the network" in page
    assert "Rate and distortion by KL weight" in page
    assert metrics["val/kl"] == pytest.approx(float(index["tables"][0]["rows"][2][1]), rel=0.1)  # other noise


def test_plain_models_of_a_run_are_checkpoints_like_any_other(run):
    folder, metrics = run
    exported = folder / "checkpoints" / "beta_1.ckpt"
    restored = restore(exported)
    assert type(restored.model) is VAE
    assert not (folder / "checkpoints" / ".multi_rate.ckpt").exists()
    found = cli.evaluate(config(folder / "eval", f"ckpt_path='{exported}'", name="eval"))
    for name in ("test/kl", "test/recon"):
        assert found[name] == pytest.approx(metrics[name], rel=1e-4)
    half = VAE.load_from_checkpoint(folder / "checkpoints" / "beta_0.5.ckpt", weights_only=True)
    assert float(half.beta) == 0.5
    assert "optimizer_states" not in read_checkpoint(exported)


def test_a_loaded_model_at_one_rate_is_exported_as_a_plain_one(run, tmp_path):
    folder, _ = run
    model = load(folder / "checkpoints" / "last.ckpt")
    assert type(model) is MultiRateVAE
    plain = model.at(0.5)
    half = ["beta=0.5", f"ckpt_path={folder}", f"folder={tmp_path}/half"]
    again = load(export(config(tmp_path / "command", *half, name="export")))
    assert type(again) is VAE
    assert again.data_facts is not None
    assert again.data_facts == model.data_facts
    x = torch.rand(3, *SHAPE, generator=torch_stream(0, "x"))
    assert torch.equal(again.encode(x)[0], plain.encode(x)[0])
    torch.testing.assert_close(again.encode(x)[0], model.encode(x, beta=0.5)[0], rtol=1e-4, atol=1e-5)
    whole = load(export_folder(model, tmp_path / "whole"))
    assert torch.equal(whole.encode(x, beta=3)[0], model.encode(x, beta=3)[0])


def test_points_are_means_over_all_images_whatever_the_batches():
    torch.manual_seed(0)
    model = MultiRateVAE(SHAPE, latent_dim=4)
    with torch.no_grad():
        for parameter in model.gates.parameters():
            parameter.normal_(0, 0.3, generator=torch_stream(0, "shake"))
    x = torch.rand(10, *SHAPE, generator=torch_stream(0, "x"))
    found = rate_curve(model, x.split(4), [0.3, 2.0], seed=3)
    assert model.training
    for point in found:
        plain = model.at(point.beta).eval()
        sums = torch.zeros(2)
        for number, batch in enumerate(x.split(4)):
            terms = plain.elbo_terms(batch, torch_stream(3, "rate-curve", number))
            sums += len(batch) * torch.stack([terms.kl, terms.recon]).detach() / 10
        assert (point.rate, point.distortion) == pytest.approx(tuple(sums.tolist()), rel=1e-4)
    assert found[0].rate != found[1].rate
    with pytest.raises(ConfigError, match="`batches` must hold at least one image"):
        rate_curve(model, [], [1.0])


@pytest.mark.parametrize(
    ("callback", "model", "message"),
    [
        (lambda: RateCurve(), lambda: VAE(SHAPE), "RateCurve needs what fits ConditionedModel; VAE lacks"),
        (lambda: RateExport(), lambda: VAE(SHAPE), "RateExport needs what fits ConditionedModel; VAE lacks"),
        (lambda: RateCurve([1.0, 20.0]), lambda: MultiRateVAE(SHAPE), "must lie in `model.beta_range`"),
        (lambda: RateExport([20.0]), lambda: MultiRateVAE(SHAPE), "must lie in `model.beta_range`"),
        (lambda: RateCurve(points=1), lambda: None, "`points` must be"),
        (lambda: RateCurve(n_images=0), lambda: None, "`n_images` must be"),
        (lambda: RateExport([]), lambda: None, "`betas` must be at least one KL weight"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_training(callback, model, message):
    with pytest.raises(ConfigError, match=message):
        callback().setup(L.Trainer(accelerator="cpu", logger=False), model(), "fit")
