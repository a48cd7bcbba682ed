"""The contract that every model keeps: one table, the same tests for all."""

import math

import lightning as L
import pytest
import torch

from lightning_gvae.callbacks.checkpoints import LastCheckpoint
from lightning_gvae.callbacks.exact_resume import ExactResume
from lightning_gvae.callbacks.run_config import RunConfig
from lightning_gvae.datamodules.digits import DigitsDataModule
from lightning_gvae.errors import CheckpointError, ConfigError
from lightning_gvae.models import (
    DIPVAE,
    EVAE,
    TCVAE,
    VAE,
    BetaVAE,
    CapacityVAE,
    ControlVAE,
    FactorVAE,
    InfoVAE,
    MultiRateVAE,
)
from lightning_gvae.rng import torch_stream
from lightning_gvae.schedules import Annealing, Cyclical, DynamicController

SHAPE = (1, 8, 8)


class SetBeta(L.Callback):
    """Stands in for evolution."""

    def setup(self, trainer, pl_module, stage):
        pl_module.claim_beta("SetBeta")


MODELS = {
    "vae": lambda **kw: VAE(SHAPE, latent_dim=4, **kw),
    "vae_gaussian": lambda **kw: VAE(SHAPE, latent_dim=4, likelihood="gaussian", sigma=0.2, **kw),
    "vae_learnt_sigma": lambda **kw: VAE(SHAPE, latent_dim=4, likelihood="learnt_sigma", **kw),
    "vae_optimal_sigma": lambda **kw: VAE(SHAPE, latent_dim=4, likelihood="optimal_sigma", **kw),
    "vae_free_bits": lambda **kw: VAE(SHAPE, latent_dim=4, free_bits=0.5, **kw),
    "vae_annealed": lambda **kw: VAE(SHAPE, latent_dim=4, beta=0.0, schedule=Annealing(40), **kw),
    "vae_cyclical": lambda **kw: VAE(SHAPE, latent_dim=4, beta=0.0, schedule=Cyclical(40), **kw),
    "dynamic_vae": lambda **kw: VAE(SHAPE, latent_dim=4, beta=50.0, schedule=DynamicController(6.0), **kw),
    "beta_vae": lambda **kw: BetaVAE(SHAPE, beta=4.0, latent_dim=4, **kw),
    "capacity_vae": lambda **kw: CapacityVAE(SHAPE, capacity=5.0, capacity_steps=40, latent_dim=4, **kw),
    "control_vae": lambda **kw: ControlVAE(SHAPE, target_kl=6.0, latent_dim=4, **kw),
    "evae": lambda **kw: EVAE(SHAPE, latent_dim=4, **kw),
    "multi_rate_vae": lambda **kw: MultiRateVAE(SHAPE, beta=2.0, latent_dim=4, **kw),
    "tc_vae": lambda **kw: TCVAE(SHAPE, latent_dim=4, data_size=1400, **kw),
    "factor_vae": lambda **kw: FactorVAE(SHAPE, latent_dim=4, discriminator={"hidden": 16, "layers": 2}, **kw),
    "info_vae": lambda **kw: InfoVAE(SHAPE, latent_dim=4, **kw),
    "dip_vae": lambda **kw: DIPVAE(SHAPE, latent_dim=4, **kw),
}
NAMES = pytest.mark.parametrize("name", MODELS)
# further weights of the loss -> the terms that they multiply
PENALISED = {
    "tc_vae": {"alpha": "information", "gamma": "dimension_wise_kl"},
    "factor_vae": {"gamma": "total_correlation"},
    "info_vae": {"mmd_weight": "mmd"},
    "dip_vae": {"off_diagonal": "off_diagonal_penalty", "diagonal": "diagonal_penalty"},
}


def trainer_for(name, tmp_path, steps, **kwargs):
    callbacks = [ExactResume(), LastCheckpoint(tmp_path), *([SetBeta()] if name == "evae" else [])]
    kwargs = {
        "log_every_n_steps": 7,
        "max_steps": steps,
        "max_epochs": -1,
        "val_check_interval": 15,
        "check_val_every_n_epoch": None,
    } | kwargs
    return L.Trainer(
        accelerator="cpu",
        callbacks=callbacks,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        num_sanity_val_steps=0,
        **kwargs,
    )


def images(n=16):
    return torch.rand(n, *SHAPE, generator=torch_stream(0, "images"))


def build(name, **kwargs):
    torch.manual_seed(0)
    return MODELS[name](**kwargs)


@NAMES
def test_terms_have_their_meaning(name):
    model, x = build(name), images()
    terms = model.elbo_terms(x, torch_stream(0, "n"))
    assert terms.recon.shape == terms.kl.shape == ()
    torch.testing.assert_close(terms.kl_dims.sum(), terms.kl)
    assert (terms.kl_dims >= 0).all()
    # twice the batch gives the same means; the same stream gives the same noise
    torch.testing.assert_close(model.elbo_terms(x, torch_stream(0, "n")).recon, terms.recon)
    rest = model.loss(terms, beta=0.0)
    weighted = [getattr(model, weight) * terms.penalties[label] for weight, label in PENALISED.get(name, {}).items()]
    torch.testing.assert_close(rest, terms.recon + sum(weighted), check_dtype=False)
    torch.testing.assert_close(model.loss(terms, 2.0) - rest, 2 * model.rate(terms), rtol=1e-4, atol=1e-3)
    assert model.decode(torch.randn(3, 4)).shape == (3, *SHAPE)
    sample = model.sample(5, torch_stream(1, "s"))
    assert sample.shape == (5, *SHAPE)
    assert 0 <= sample.min() <= sample.max() <= 1
    torch.testing.assert_close(sample, model.sample(5, torch_stream(1, "s")), rtol=0, atol=0)


@NAMES
def test_every_parameter_gets_a_gradient(name):
    model = build(name)
    model.loss(model.elbo_terms(images(), torch_stream(0, "n")), 1.0).backward()
    for label, parameter in model.named_parameters():
        assert parameter.grad is not None, label
        assert parameter.grad.abs().sum() > 0, label


@NAMES
def test_training_lowers_the_negative_elbo_and_leaves_the_global_generator_alone(name, tmp_path):
    model, datamodule = build(name), DigitsDataModule(batch_size=64)
    datamodule.setup("fit")
    x = model.prepare(datamodule.val_set.batch(range(100)))
    # KL and reconstruction at weight 1, but for the capacity model that trains on another objective
    score = lambda: sum(model.elbo_terms(x, torch_stream(0, "n"))[:2]).item()
    before = score()
    state = torch.get_rng_state()
    trainer_for(name, tmp_path, 60).fit(model, datamodule=datamodule)
    assert torch.equal(torch.get_rng_state(), state)
    assert score() < 0.9 * before if before > 0 else score() < before


@NAMES
@pytest.mark.parametrize("stop", [10, 18], ids=["mid-epoch", "end-of-epoch"])
def test_resume_equals_the_uninterrupted_run_bit_for_bit(name, stop, tmp_path):
    def fit(steps, ckpt=None):
        model = build(name)
        trainer = trainer_for(name, tmp_path, steps)
        trainer.fit(model, datamodule=DigitsDataModule(batch_size=64), ckpt_path=ckpt, weights_only=True)
        return model, trainer

    # validation at step 30, so that the last metrics of both runs come from the same steps
    straight, straight_trainer = fit(35)
    fit(stop)
    resumed, resumed_trainer = fit(35, tmp_path / "last.ckpt")
    for label, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[label]), label
    ours, theirs = straight_trainer.callback_metrics, resumed_trainer.callback_metrics
    assert {key: float(value) for key, value in ours.items()} == {key: float(value) for key, value in theirs.items()}
    # the control: one step more is not the same
    other, _ = fit(36)
    assert not torch.equal(straight.encoder.head.weight, other.encoder.head.weight)


@pytest.mark.parametrize("name", ["vae", "beta_vae", "control_vae", "capacity_vae", "evae", *PENALISED])
def test_checkpoint_loads_safely_in_plain_python(name, tmp_path):
    model = build(name)
    trainer = trainer_for(name, tmp_path, 12)
    trainer.fit(model, datamodule=DigitsDataModule(batch_size=64))
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    loaded = type(model).load_from_checkpoint(tmp_path / "model.ckpt", weights_only=True)
    for weight in ("beta", *PENALISED.get(name, {})):
        assert loaded.get_buffer(weight) == model.get_buffer(weight)
        assert loaded.get_buffer(weight).dtype == torch.float64
    torch.testing.assert_close(loaded.reconstruct(images()), model.reconstruct(images()), rtol=0, atol=0)


def test_logged_means_are_the_means_of_the_steps(tmp_path):
    model, seen, logged = build("vae"), [], []

    class Recorder(L.Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, *args):
            seen.append(outputs["loss"].item())
            if trainer.global_step % 7 == 0:
                logged.append(float(trainer.callback_metrics["train/loss"]))

    trainer = trainer_for("vae", tmp_path, 21)
    trainer.callbacks.append(Recorder())
    trainer.fit(model, datamodule=DigitsDataModule(batch_size=64))
    assert logged == pytest.approx([sum(seen[start : start + 7]) / 7 for start in (0, 7, 14)])
    metrics = trainer.callback_metrics
    assert float(metrics["train/elbo"]) == pytest.approx(-float(metrics["train/recon"] + metrics["train/kl"]))
    dims = [float(trainer.logged_metrics[f"kl/{index}"]) for index in range(4)]
    assert not any(name.startswith("kl/") for name in RunConfig({}).latest(trainer))  # the summary of the run
    assert sum(dims) == pytest.approx(float(metrics["train/kl"]))


def test_gradient_accumulation_steps_a_controller_once_per_optimiser_step(tmp_path):
    calls = []

    class Counting(DynamicController):
        def forward(self, step, kl):
            calls.append(step)
            return super().forward(step, kl)

    model = VAE(SHAPE, latent_dim=4, schedule=Counting(6.0))
    trainer_for("vae", tmp_path, 6, accumulate_grad_batches=3, val_check_interval=18).fit(
        model, datamodule=DigitsDataModule(batch_size=64)
    )
    assert calls == [0, 1, 2, 3, 4, 5]


def test_without_logging_nothing_is_collected(tmp_path):
    model = build("vae")
    trainer = trainer_for("vae", tmp_path, 9, log_every_n_steps=0)
    trainer.fit(model, datamodule=DigitsDataModule(batch_size=64))
    assert model._means.state_dict() == {"total": None, "count": 0}


def test_logged_means_under_accumulation_cover_all_batches(tmp_path):
    model, seen = build("vae"), []

    class Recorder(L.Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, *args):
            seen.append(outputs["loss"].item() * 2)  # Lightning has divided it by the number of batches

    trainer = trainer_for("vae", tmp_path, 7, accumulate_grad_batches=2, val_check_interval=14)
    trainer.callbacks.append(Recorder())
    trainer.fit(model, datamodule=DigitsDataModule(batch_size=64))
    assert float(trainer.callback_metrics["train/loss"]) == pytest.approx(sum(seen) / 14)


def test_control_vae_logs_its_set_point(tmp_path):
    model = ControlVAE(SHAPE, target_kl=6, ramp_start=1.0, ramp_increment=0.5, ramp_period=2, latent_dim=4)
    trainer = trainer_for("control_vae", tmp_path, 7)
    trainer.fit(model, datamodule=DigitsDataModule(batch_size=64))
    assert float(trainer.callback_metrics["train/target_kl"]) == 1.0 + 0.5 * 3


def test_capacity_grows_linearly_and_is_in_the_checkpoint(tmp_path):
    model = build("capacity_vae")
    trainer_for("capacity_vae", tmp_path, 21).fit(model, datamodule=DigitsDataModule(batch_size=64))
    assert model.capacity.item() == pytest.approx(5 * 20 / 40)
    assert "capacity" in model.state_dict()


def test_learning_rate_schedule_steps_with_the_optimiser(tmp_path):
    model = VAE(
        SHAPE,
        optimizer=lambda group: torch.optim.SGD(group, lr=1e-4),
        lr_scheduler=lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 5, 0.1),
    )
    trainer = trainer_for("vae", tmp_path, 12)
    trainer.fit(model, datamodule=DigitsDataModule(batch_size=64))
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(1e-6)


def test_uint8_and_float_images_are_the_same():
    model = build("vae")
    pixels = torch.arange(64, dtype=torch.uint8).reshape(1, 1, 8, 8)
    torch.testing.assert_close(model.prepare((pixels, torch.zeros(1))), model.prepare(pixels.float() / 255))
    with pytest.raises(ConfigError, match="images of shape .1, 9, 9., the model was built for `image_shape`"):
        model.prepare(torch.zeros(2, 1, 9, 9))


def test_own_networks_are_used():
    encoder = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 6))
    decoder = torch.nn.Sequential(torch.nn.Linear(3, 64), torch.nn.Unflatten(1, SHAPE))
    model = VAE(SHAPE, latent_dim=3, network=(encoder, decoder))
    assert model.encode(images())[0].shape == (16, 3)
    with pytest.raises(ConfigError, match="`network` must be a name .*, or both an encoder and a decoder"):
        VAE(SHAPE, network={"encoder": encoder})
    named = VAE(SHAPE, latent_dim=3, network={"decoder": decoder, "encoder": encoder})
    assert named.decoder is decoder and "network" not in named.hparams


@pytest.mark.slow
def test_compiled_networks_compute_the_same():
    plain, compiled = build("vae"), build("vae", compile=True)
    with torch.no_grad():
        for ours, theirs in zip(
            plain.elbo_terms(images(), torch_stream(0, "n")),
            compiled.elbo_terms(images(), torch_stream(0, "n")),
            strict=True,
        ):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    assert list(plain.state_dict()) == list(compiled.state_dict())


def test_evae_refuses_to_train_without_evolution(tmp_path):
    with pytest.raises(ConfigError, match="EVAE needs something that evolves `beta`: add BetaEvolution"):
        trainer_for("vae", tmp_path, 5).fit(build("evae"), datamodule=DigitsDataModule())


def test_two_writers_of_beta_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="`beta` is written by PIController already, SetBeta cannot"):
        trainer_for("evae", tmp_path, 5).fit(build("control_vae"), datamodule=DigitsDataModule())


def test_checkpoint_of_another_model_is_refused(tmp_path):
    trainer = trainer_for("vae", tmp_path, 3)
    trainer.fit(build("vae"), datamodule=DigitsDataModule())
    trainer.save_checkpoint(tmp_path / "vae.ckpt")
    with pytest.raises(CheckpointError, match="class: stored 'VAE', now 'BetaVAE'"):
        trainer_for("beta_vae", tmp_path, 5).fit(
            build("beta_vae"), datamodule=DigitsDataModule(), ckpt_path=tmp_path / "vae.ckpt", weights_only=True
        )
    with pytest.raises(CheckpointError, match="latent_dim: stored 4, now 7"):
        trainer_for("vae", tmp_path, 5).fit(
            VAE(SHAPE, latent_dim=7), datamodule=DigitsDataModule(), ckpt_path=tmp_path / "vae.ckpt", weights_only=True
        )


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"beta": -1.0}, "`beta` must be a KL weight of 0 or more, got -1.0"),
        ({"beta": math.nan}, "got nan"),
        ({"free_bits": -0.1}, "`free_bits` must be 0 or more"),
    ],
)
def test_bad_settings_are_refused(kwargs, message):
    with pytest.raises(ConfigError, match=message):
        VAE(SHAPE, **kwargs)
    with pytest.raises(ConfigError, match="`capacity` and `capacity_steps` must be positive"):
        CapacityVAE(SHAPE, capacity=-5)
