"""SolveVAE as a LightningModule: trains, chooses, resumes, decodes in problem units."""

import lightning as L
import pytest
import torch

from lightning_gvae.callbacks.checkpoints import LastCheckpoint
from lightning_gvae.callbacks.exact_resume import ExactResume
from lightning_gvae.datamodules.criterion import CriterionDataModule
from lightning_gvae.errors import CheckpointError, ConfigError
from lightning_gvae.models.solve_vae import SolveVAE
from lightning_gvae.rng import torch_stream

D = 3
MODELS = {
    "best_of_3": {"candidates": 3},
    "realnvp": {"candidates": 1, "prior": "realnvp", "prior_settings": {"hidden": 8}, "log_var_bounds": (-6.0, 1.0)},
    "gmm": {"candidates": 1, "prior": "gmm", "hidden": (8, 8)},
}
NAMES = pytest.mark.parametrize("name", MODELS)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("points")


def data(cache, **kwargs):
    settings = {"problem": "c2", "dims": D, "n": 300, "val_size": 40, "test_size": 40, "batch_size": 30} | kwargs
    return CriterionDataModule(**settings, cache_dir=cache)


def fit(model, datamodule, folder, ckpt=None, **kwargs):
    trainer = L.Trainer(
        accelerator="cpu",
        callbacks=[ExactResume(), LastCheckpoint(folder)],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        num_sanity_val_steps=0,
        log_every_n_steps=5,
        **kwargs,
    )
    trainer.fit(model, datamodule=datamodule, ckpt_path=ckpt, weights_only=True)
    return trainer


@NAMES
def test_it_trains_and_decodes_within_the_range_of_its_training_points(name, cache, tmp_path):
    model, datamodule = SolveVAE((D,), **MODELS[name]), data(cache)
    datamodule.setup()
    x = model.prepare(datamodule.val_set.batch(range(40)))
    score = lambda: model.elbo_terms(x, torch_stream(0, "n")).recon.item()
    before = score()
    state = torch.get_rng_state()
    trainer = fit(model, datamodule, tmp_path, max_epochs=15)
    assert torch.equal(torch.get_rng_state(), state)
    assert score() < 0.9 * before
    low, high = datamodule.data_range
    assert torch.equal(model.low, low) and torch.equal(model.high, high)
    decoded = model.decode(4 * torch.randn(2000, D, generator=torch_stream(0, "z")))
    assert ((decoded >= low) & (decoded <= high)).all()
    metrics = trainer.callback_metrics
    assert float(metrics["train/beta"]) == 1 / 64
    assert float(metrics["train/loss"]) == pytest.approx(
        float(metrics["train/recon"]) + float(metrics["train/kl"]) / 64, rel=1e-5
    )
    assert {"val/elbo", "val/recon", "val/kl"} <= set(metrics)


def test_the_network_with_the_smallest_error_of_the_last_epoch_is_the_model(cache, tmp_path):
    """Recomputed by hand from what the training steps saw."""
    seen: list[torch.Tensor] = []

    class Watched(SolveVAE):
        def stacked_terms(self, points, generators):
            terms = super().stacked_terms(points, generators)
            if self.training:
                seen.append(terms.error)
            return terms

    model = Watched((D,), candidates=4)
    fit(model, data(cache), tmp_path, max_epochs=3)
    last = torch.stack(seen[-10:]).mean(0)
    assert len(seen) == 30
    torch.testing.assert_close(model.last_errors, last)
    assert int(model.best) == int(last.argmin())
    z = torch.randn(4, D, generator=torch_stream(0, "z"))
    for index in range(4):
        same = torch.equal(model.net.decode(z, index), model.net.decode(z, model.best))
        assert same == (index == int(model.best))
    # the last checkpoint has chosen already
    stored = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    assert int(stored["best"]) == int(model.best)


@NAMES
@pytest.mark.parametrize("stop", [17, 21], ids=["mid-epoch", "end-of-epoch"])
def test_resume_equals_the_uninterrupted_run_bit_for_bit(name, stop, cache, tmp_path):
    def run(steps, ckpt=None):
        model = SolveVAE((D,), **MODELS[name])
        settings = {"max_steps": steps, "max_epochs": -1, "val_check_interval": 10, "check_val_every_n_epoch": None}
        fit(model, data(cache), tmp_path, ckpt, **settings)
        return model

    straight = run(33)
    run(stop)
    resumed = run(33, tmp_path / "last.ckpt")
    for label, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[label]), label
    assert not torch.equal(run(34).errors, straight.errors)


def test_a_checkpoint_opens_in_plain_python_with_range_and_choice(cache, tmp_path):
    model = SolveVAE((D,), candidates=3)
    trainer = fit(model, data(cache), tmp_path, max_epochs=2)
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    loaded = SolveVAE.load_from_checkpoint(tmp_path / "model.ckpt", weights_only=True)
    z = torch.randn(9, D, generator=torch_stream(0, "z"))
    torch.testing.assert_close(loaded.decode(z), model.decode(z), rtol=0, atol=0)
    assert loaded.decode(z).abs().max() > 1  # problem units
    for wrong in ({"latent_dim": 2}, {"hidden": (7,)}, {"candidates": 2}):
        other = SolveVAE((D,), **{"candidates": 3} | wrong)
        with pytest.raises(CheckpointError, match="latent_dim: stored 3, now 2|network: stored '3 x 6', now"):
            fit(other, data(cache), tmp_path, tmp_path / "model.ckpt", max_epochs=3)


def test_every_parameter_of_every_network_gets_its_own_gradient():
    model = SolveVAE((D,), candidates=3)
    x = torch.rand(8, D, generator=torch_stream(0, "x")) * 2 - 1
    generators = lambda: [torch_stream(0, "n", number) for number in range(3)]
    terms = model.stacked_terms(x, generators())
    terms.loss(0.1).backward()
    for label, parameter in model.named_parameters():
        assert (parameter.grad.flatten(1).abs().sum(1) > 0).all(), label
    whole = model.encoder.layers[0].weight.grad.clone()
    model.zero_grad()
    terms = model.stacked_terms(x, generators())
    (terms.recon[1] + 0.1 * terms.kl[1]).backward()
    alone = model.encoder.layers[0].weight.grad
    torch.testing.assert_close(alone[1], whole[1])
    assert not alone[0].any() and not alone[2].any()


def test_without_a_data_module_points_are_in_unit_range():
    model = SolveVAE((2,), candidates=1)
    assert model.decode(5 * torch.randn(100, 2, generator=torch_stream(0, "z"))).abs().max() <= 1
    sample = model.sample(6, torch_stream(1, "s"))
    assert sample.shape == (6, 2)
    torch.testing.assert_close(sample, model.sample(6, torch_stream(1, "s")), rtol=0, atol=0)
    mean, log_var = model.encode(torch.zeros(5, 2))
    assert mean.shape == log_var.shape == (5, 2)


def test_what_does_not_fit_is_refused():
    model = SolveVAE((D,), candidates=1)
    with pytest.raises(ConfigError, match=r"`latents` must be \(n, 3\), the latent size of the decoder"):
        model.decode(torch.zeros(2, 5))
    with pytest.raises(ConfigError, match=r"points of shape \(4,\), the model was built for `image_shape` \(3,\)"):
        model.prepare(torch.zeros(2, 4))


@pytest.mark.parametrize(
    ("shape", "kwargs", "message"),
    [
        ((1, 8, 8), {}, r"`image_shape` of SolveVAE must be \(D,\), the size of a point, got \(1, 8, 8\)"),
        ((3,), {"kl_scale": -1.0}, "`kl_scale` must be a weight of 0 or more, got -1.0"),
        ((3,), {"beta": 4.0}, "the weight of the KL is `kl_scale` here; give it instead of `beta`"),
        ((3,), {"candidates": 0}, "`candidates` must be an integer of at least 1, got 0"),
        ((3,), {"prior": "realnvp"}, "`prior=realnvp` needs `candidates=1`"),
        ((3,), {"log_var_bounds": (1.0, -6.0)}, r"`log_var_bounds` must be \(smallest, largest\)"),
    ],
)
def test_bad_settings_are_refused(shape, kwargs, message):
    with pytest.raises(ConfigError, match=message):
        SolveVAE(shape, **kwargs)
