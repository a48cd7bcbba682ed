"""Extreme log-variances and reduced precision: finite values, finite gradients, close to exact arithmetic."""

import math
import warnings

import lightning as L
import pytest
import torch
from torch import nn

from lightning_gvae.callbacks.beta_evolution.callback import BetaEvolution
from lightning_gvae.datamodules.digits import DigitsDataModule
from lightning_gvae.errors import ConfigError
from lightning_gvae.evolution.beta.search import BetaSearch
from lightning_gvae.losses.elbo import LIKELIHOODS, build_likelihood, gaussian_kl, gaussian_log_prob, reparameterise
from lightning_gvae.models import (
    EVAE,
    GAN,
    VAE,
    VAEGAN,
    BetaVAE,
    CapacityVAE,
    ControlVAE,
    ConvAutoencoder,
    ConvVAE,
    MultiRateVAE,
    SolveVAE,
    TextEVAE,
    TextVAE,
)
from lightning_gvae.rng import torch_stream

SHAPE = (1, 8, 8)
EXTREMES = [-80.0, -30.0, -1e-6, 0.0, 1e-6, 30.0, 80.0]


@pytest.mark.parametrize("mean", [0.0, 1e-4, 3.0, -50.0])
def test_the_kl_is_that_of_exact_arithmetic(mean):
    log_var = torch.tensor([EXTREMES], requires_grad=True)
    means = torch.full_like(log_var, mean, requires_grad=True)
    found = gaussian_kl(means, log_var)
    with torch.no_grad():
        expected = [
            0.5 * (float(means[0, 0]) ** 2 + math.expm1(value) - value) for value in log_var[0].double().tolist()
        ]
    assert torch.allclose(found[0].double(), torch.tensor(expected, dtype=torch.float64), rtol=2e-6, atol=1e-12)
    assert (found >= 0).all()
    found.sum().backward()
    assert log_var.grad is not None and means.grad is not None
    slope = 0.5 * torch.expm1(log_var.detach().double())
    assert torch.allclose(log_var.grad.double(), slope, rtol=2e-6, atol=1e-7)  # exp - 1 of fp32 near the prior
    assert torch.equal(means.grad, means.detach())


def test_log_densities_and_samples_stay_finite():
    log_var = torch.tensor([EXTREMES], requires_grad=True)
    mean = torch.full_like(log_var, 0.5)
    sampled = reparameterise(mean, log_var, torch_stream(0, "draw"))
    density = gaussian_log_prob(sampled, mean, log_var)
    assert sampled.isfinite().all() and density.isfinite().all()
    density.sum().backward()
    assert log_var.grad is not None and log_var.grad.isfinite().all()


class Extreme(nn.Module):
    """An encoder that says the same log-variance for everything."""

    def __init__(self, log_var):
        super().__init__()
        self.layer = nn.Linear(64, 3)
        self.log_var = nn.Parameter(torch.full((3,), log_var))

    def forward(self, images):
        mean = self.layer(images.flatten(1))
        return torch.cat([mean, self.log_var.expand_as(mean)], 1)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("log_var", [-80.0, 80.0])
def test_a_step_from_an_extreme_posterior_is_finite(likelihood, log_var):
    torch.manual_seed(0)
    decoder = nn.Sequential(nn.Linear(3, 64), nn.Unflatten(1, SHAPE))
    model = VAE(SHAPE, 3, network=(Extreme(log_var), decoder), likelihood=likelihood)
    images = torch.rand(16, *SHAPE, generator=torch_stream(0, "images"))
    loss = model.loss(model.elbo_terms(images, torch_stream(0, "noise")))
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_likelihoods_take_extreme_outputs(likelihood):
    module = build_likelihood(likelihood)
    output = torch.tensor([-1e4, -80.0, 0.0, 80.0, 1e4]).expand(2, 1, 1, 5).clone().requires_grad_()
    for image in (0.0, 0.5, 1.0):
        value = module(output, torch.full((2, 1, 1, 5), image))
        assert value.isfinite().all()
        (slope,) = torch.autograd.grad(value.sum(), output)
        assert slope.isfinite().all()


MODELS = {
    "vae": lambda: VAE(SHAPE, 4),
    "beta_vae": lambda: BetaVAE(SHAPE, 4),
    "capacity_vae": lambda: CapacityVAE(SHAPE, 4),
    "control_vae": lambda: ControlVAE(SHAPE, target_kl=5.0, latent_dim=4),
    "evae": lambda: EVAE(SHAPE, 4),
    "multi_rate_vae": lambda: MultiRateVAE(SHAPE, latent_dim=4),
    "multi_rate_vae, published gate": lambda: MultiRateVAE(SHAPE, latent_dim=4, gate="published"),
    "vae, learnt sigma": lambda: VAE(SHAPE, 4, likelihood="learnt_sigma"),
    "vae, optimal sigma": lambda: VAE(SHAPE, 4, likelihood="optimal_sigma"),
    "vae, realnvp": lambda: VAE(SHAPE, 4, prior="realnvp"),
    "vae, gmm": lambda: VAE(SHAPE, 4, prior="gmm"),
    "gan": lambda: GAN(SHAPE, 4),
    "vae_gan": lambda: VAEGAN(SHAPE, 4),
}


def evolution():
    return BetaEvolution(BetaSearch(target=5.0), interval=10, warmup=5, lookahead_steps=2, probe_size=64)


def trained(name, precision, folder, steps=30):
    torch.manual_seed(0)
    model = MODELS[name]()
    trainer = L.Trainer(
        accelerator="cpu",
        precision=precision,
        max_steps=steps,
        max_epochs=-1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        num_sanity_val_steps=0,
        log_every_n_steps=10,
        val_check_interval=steps,
        check_val_every_n_epoch=None,
        callbacks=[evolution()] if name == "evae" else [],
        default_root_dir=folder,
    )
    trainer.fit(model, datamodule=DigitsDataModule(batch_size=64))
    return model, {key: float(value) for key, value in trainer.callback_metrics.items()}


@pytest.mark.parametrize("name", MODELS)
def test_every_model_trains_in_bf16_as_in_fp32(name, tmp_path):
    _, full = trained(name, "32-true", tmp_path)
    reduced_model, reduced = trained(name, "bf16-mixed", tmp_path)
    assert all(math.isfinite(value) for value in reduced.values())
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in reduced_model.parameters())
    compared = [key for key in full if key in ("val/recon", "val/kl", "val/elbo")]
    assert compared or name == "gan"
    for key in compared:
        assert reduced[key] == pytest.approx(full[key], rel=0.05, abs=0.3), key


def test_fp16_on_a_cpu_becomes_bf16(tmp_path):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*AMP with fp16 is not supported on CPU.*")
        _, metrics = trained("vae", "16-mixed", tmp_path, steps=5)
    assert all(math.isfinite(value) for value in metrics.values())


GENOME = "8k3nrp adam 0.001 robust"
REFUSING = {
    **MODELS,
    "conv_autoencoder": lambda: ConvAutoencoder(SHAPE, genome=GENOME),
    "conv_vae": lambda: ConvVAE(SHAPE, genome=GENOME),
    "solve_vae": lambda: SolveVAE((2,)),
    "text_vae": lambda: TextVAE((6, 12), latent_dim=2, embedding=4, hidden=4),
    "text_evae": lambda: TextEVAE((6, 12), latent_dim=2, embedding=4, hidden=4),
}


@pytest.mark.parametrize("precision", ["bf16-true", "16-true", "64-true"])
def test_weights_of_another_type_than_the_data_are_refused_before_training(precision):
    for name, build in REFUSING.items():
        trainer = L.Trainer(accelerator="cpu", precision=precision, max_steps=1, logger=False, barebones=True)
        with pytest.raises(ConfigError, match=f"`trainer.precision` must be 32-true, .* got {precision}"):
            trainer.fit(build(), datamodule=DigitsDataModule(batch_size=64))
        assert trainer.global_step == 0, name
