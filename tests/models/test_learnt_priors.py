"""VAEs with a learnt prior keep the contract of the others: they train, resume, sample and are told apart."""

import lightning as L
import pytest
import torch

from lightning_gvae.callbacks.checkpoints import LastCheckpoint
from lightning_gvae.callbacks.exact_resume import ExactResume
from lightning_gvae.datamodules.digits import DigitsDataModule
from lightning_gvae.errors import CheckpointError, ConfigError
from lightning_gvae.metrics.likelihood import iwae_nll
from lightning_gvae.models import VAE, ControlVAE
from lightning_gvae.rng import torch_stream

SHAPE = (1, 8, 8)
SETTINGS = {"normal": {}, "realnvp": {"layers": 3, "hidden": 16}, "gmm": {"components": 5}}
LEARNT = pytest.mark.parametrize("prior", ["realnvp", "gmm"])


def build(prior, cls=VAE, **kwargs):
    torch.manual_seed(0)
    return cls(SHAPE, latent_dim=4, prior=prior, prior_settings=SETTINGS[prior], **kwargs)


def images(n=16):
    return torch.rand(n, *SHAPE, generator=torch_stream(0, "images"))


def fit(model, folder, steps, ckpt=None):
    trainer = L.Trainer(
        accelerator="cpu",
        callbacks=[ExactResume(), LastCheckpoint(folder)],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        num_sanity_val_steps=0,
        log_every_n_steps=7,
        max_steps=steps,
        max_epochs=-1,
        val_check_interval=15,
        check_val_every_n_epoch=None,
    )
    trainer.fit(model, datamodule=DigitsDataModule(batch_size=64), ckpt_path=ckpt, weights_only=True)
    return model, trainer


@LEARNT
def test_it_trains_and_its_prior_learns_with_it(prior, tmp_path):
    model = build(prior)
    before = {name: value.clone() for name, value in model.prior.named_parameters()}
    datamodule = DigitsDataModule()
    datamodule.setup()
    x = model.prepare(datamodule.val_set.batch(range(100)))
    score = lambda: sum(model.elbo_terms(x, torch_stream(0, "n"))[:2]).item()
    start = score()
    state = torch.get_rng_state()
    _, trainer = fit(model, tmp_path, 60)
    assert torch.equal(torch.get_rng_state(), state)
    assert score() < 0.9 * start
    for name, value in model.prior.named_parameters():
        assert not torch.equal(value, before[name]), name
    metrics = trainer.callback_metrics
    assert float(metrics["train/elbo"]) == pytest.approx(-float(metrics["train/recon"] + metrics["train/kl"]))
    assert not any(name.startswith("kl/") for name in trainer.logged_metrics)


@LEARNT
@pytest.mark.parametrize("stop", [10, 18], ids=["mid-epoch", "end-of-epoch"])
def test_resume_equals_the_uninterrupted_run_bit_for_bit(prior, stop, tmp_path):
    straight, _ = fit(build(prior), tmp_path, 35)
    fit(build(prior), tmp_path, stop)
    resumed, _ = fit(build(prior), tmp_path, 35, tmp_path / "last.ckpt")
    for label, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[label]), label


@pytest.mark.parametrize("prior", SETTINGS)
def test_samples_are_decoded_from_the_prior(prior):
    model = build(prior)
    with torch.no_grad():
        for parameter in model.prior.parameters():
            parameter += 0.3
    sample = model.sample(5, torch_stream(1, "s"))
    latents = model.prior.sample(5, torch_stream(1, "s"), model.device)
    assert sample.shape == (5, *SHAPE)
    torch.testing.assert_close(sample, model.decode(latents), rtol=0, atol=0)
    if prior != "gmm":
        noise = torch.randn(5, 4, generator=torch_stream(2, "z"))
        torch.testing.assert_close(model.decode_noise(noise), model.decode(model.prior.from_noise(noise)))


def test_the_estimated_kl_has_the_closed_form_for_its_mean():
    """A new flow is the standard normal: 400 draws of the estimate against the formula, four standard errors wide."""
    normal, flow = build("normal"), build("realnvp")
    x = images()
    exact = normal.elbo_terms(x, torch_stream(0, "n")).kl
    draws = torch.stack([flow.elbo_terms(x, torch_stream(0, "n", number)).kl.detach() for number in range(400)])
    assert abs(draws.mean() - exact.detach()) < 4 * draws.std() / 20
    terms = flow.elbo_terms(x, torch_stream(0, "n"))
    assert terms.kl_dims.shape == (0,)
    torch.testing.assert_close(terms.recon, normal.elbo_terms(x, torch_stream(0, "n")).recon, rtol=0, atol=0)


def test_the_likelihood_accounts_for_the_prior():
    """log p(x) of a linear Gaussian model with a Gaussian prior of another width, against the exact value."""
    model = build("gmm", likelihood="gaussian", sigma=0.5)
    with torch.no_grad():
        model.prior.means.zero_()
        model.prior.log_sigmas.fill_(0.4)
    x, mean, log_var = images(4), torch.zeros(4, 4), torch.full((4, 4), 0.8)
    corrected = lambda pictures, z: model.log_likelihood(pictures, z) + model.log_prior_ratio(z)
    wide = iwae_nll(x, mean, log_var, corrected, 4000, torch_stream(0, "k"), chunk=500)
    # The posterior given is the prior itself, so the importance weights are the likelihoods of its draws.
    draws = model.prior.sample(4000, torch_stream(1, "k"), model.device)
    with torch.no_grad():
        plain = [
            -torch.logsumexp(model.log_likelihood(x[row].expand(4000, *SHAPE), draws).double(), 0) for row in range(4)
        ]
    expected = torch.stack(plain) + torch.log(torch.tensor(4000.0, dtype=torch.float64))
    torch.testing.assert_close(wide, expected, rtol=0, atol=0.15)
    assert torch.equal(build("normal").log_prior_ratio(mean), torch.zeros(4))


def test_a_checkpoint_carries_its_prior_and_another_prior_refuses_it(tmp_path):
    model, trainer = fit(build("realnvp"), tmp_path, 5)
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    loaded = VAE.load_from_checkpoint(tmp_path / "model.ckpt", weights_only=True)
    z = torch.randn(3, 4, generator=torch_stream(0, "z"))
    torch.testing.assert_close(loaded.prior.log_prob(z), model.prior.log_prob(z), rtol=0, atol=0)
    with pytest.raises(CheckpointError, match="prior: stored 'RealNVPPrior', now 'NormalPrior'"):
        fit(build("normal"), tmp_path, 9, tmp_path / "model.ckpt")


def test_checkpoints_from_before_there_were_priors_still_load(tmp_path):
    _, trainer = fit(build("normal"), tmp_path, 5)
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    old = torch.load(tmp_path / "model.ckpt", weights_only=True)
    del old["gvae_model"]["prior"]
    torch.save(old, tmp_path / "old.ckpt")
    fit(build("normal"), tmp_path, 9, tmp_path / "old.ckpt")
    assert not any(name.startswith("prior") for name in old["state_dict"])


def test_a_controller_steers_the_estimated_kl(tmp_path):
    model, trainer = fit(build("realnvp", ControlVAE, target_kl=6.0), tmp_path, 21)
    assert float(trainer.callback_metrics["train/target_kl"]) == 6
    assert model.beta != 1


def test_free_bits_need_dimensions():
    with pytest.raises(ConfigError, match="`free_bits` needs a KL per latent dimension, which `prior=gmm` has not"):
        build("gmm", free_bits=0.5)
    with pytest.raises(ConfigError, match="`prior` must be one of normal, realnvp, gmm, got 'vamp'"):
        VAE(SHAPE, prior="vamp")
