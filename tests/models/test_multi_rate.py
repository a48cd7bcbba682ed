"""Multi-rate VAE: the plain model at the start and at any rate, the loss of a batch, saving, refusals."""

import copy

import lightning as L
import pytest
import torch
from torch import nn

from lightning_gvae.datamodules.digits import DigitsDataModule
from lightning_gvae.errors import CheckpointError, ConfigError
from lightning_gvae.losses.elbo import gaussian_kl
from lightning_gvae.losses.multi_rate import mean_weight, stratified_rates
from lightning_gvae.models import VAE, MultiRateVAE, TextMultiRateVAE, TextVAE
from lightning_gvae.rng import torch_stream
from lightning_gvae.text import SPECIALS, Vocabulary
from lightning_gvae.text.vocabulary import EOS

SHAPE, CONV = (1, 8, 8), (1, 28, 28)


def own_networks():
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 8))
    decoder = nn.Sequential(nn.Linear(4, 12), nn.ReLU(), nn.Linear(12, 64), nn.Unflatten(1, SHAPE))
    return encoder, decoder


def text(**settings):
    small = {"latent_dim": 4, "embedding": 8, "hidden": 8, "heads": 2, "feedforward": 8, "dropout": 0.2}
    return TextMultiRateVAE((6, 20), **(small | settings))


KINDS = {
    "mlp": lambda **kw: MultiRateVAE(SHAPE, latent_dim=4, network="mlp", **kw),
    "conv": lambda **kw: MultiRateVAE(CONV, latent_dim=4, network="conv", **kw),
    "conv_norm": lambda **kw: MultiRateVAE(CONV, latent_dim=4, network="conv_norm", **kw),
    "published": lambda **kw: MultiRateVAE(SHAPE, latent_dim=4, gate="published", **kw),
    "own": lambda **kw: MultiRateVAE(SHAPE, latent_dim=4, network=own_networks(), **kw),
    "learnt sigma": lambda **kw: MultiRateVAE(SHAPE, latent_dim=4, likelihood="learnt_sigma", **kw),
    "lstm": lambda **kw: text(**kw),
    "transformer": lambda **kw: text(architecture="transformer", **kw),
}
ALL = pytest.mark.parametrize("kind", KINDS)


def build(kind, trained=True, **settings):
    """A model; its gates, which start at zero, as if it had been trained."""
    torch.manual_seed(0)
    model = KINDS[kind](**settings)
    stream = torch_stream(1, "shake")
    with torch.no_grad():
        for parameter in model.gates.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=stream) / 3 if trained else 0.0)
    return model


def inputs(model, n=12):
    if isinstance(model, TextVAE):
        tokens = torch.randint(len(SPECIALS), 20, (n, 6), generator=torch_stream(0, "words"))
        tokens[:, -1] = EOS
        return tokens
    return torch.rand(n, *model.image_shape, generator=torch_stream(0, "images"))


@ALL
def test_at_a_rate_it_is_the_plain_model_of_that_rate(kind):
    model = build(kind).eval()
    x, z = inputs(model), torch.randn(12, 4, generator=torch_stream(0, "z"))
    seen = []
    for beta in (0.1, 1.0, 6.0):
        plain = model.at(beta)
        assert type(plain) is (TextVAE if isinstance(model, TextVAE) else VAE)
        assert float(plain.beta) == pytest.approx(beta)
        assert not any("gates" in name for name in plain.state_dict())
        for ours, theirs in zip(model.encode(x, beta=beta), plain.encode(x), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(model.decode(z, beta=beta), plain.decode(z), rtol=1e-4, atol=1e-4)
        with model.using(beta):
            terms = model.elbo_terms(x, torch_stream(0, "n"))
        for ours, theirs in zip(terms, plain.elbo_terms(x, torch_stream(0, "n")), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
        seen.append(terms.kl.item())
        model.beta.fill_(beta)  # the buffer means the same
        torch.testing.assert_close(model.elbo_terms(x, torch_stream(0, "n")).kl, terms.kl)
        torch.testing.assert_close(model.log_likelihood(x, z), plain.log_likelihood(x, z), rtol=1e-4, atol=1e-3)
        model.beta.fill_(1.0)
    assert len(set(seen)) == 3


@pytest.mark.parametrize("kind", ["mlp", "conv", "lstm"])
@pytest.mark.parametrize("settings", [{}, {"draws_per_batch": 4, "normalisation": 0.5}, {"latent_groups": [1, 3]}])
def test_terms_of_a_batch_are_those_of_its_images_one_by_one(kind, settings):
    model = build(kind, **settings).eval().requires_grad_(False)  # text without dropout
    x, groups = inputs(model), len(model.latent_groups)
    found = model.trained_terms(x, torch_stream(0, "n"))
    stream = torch_stream(0, "n")
    count = settings.get("draws_per_batch", 12)
    rates = stratified_rates(count, groups, 0.1, 10.0, stream, model.beta).repeat_interleave(12 // count, 0)
    noise = torch.randn(12, 4, generator=stream)
    losses, recons, kls = [], [], []
    for image, rate, draw in zip(x.split(1), rates, noise.split(1), strict=True):
        mean, log_var = model.encode(image, beta=rate)
        with model.using(rate):
            recon = -model.log_likelihood(image, mean + torch.exp(log_var / 2) * draw)
        kl = torch.stack([part.sum() for part in gaussian_kl(mean, log_var)[0].split(list(model.latent_groups))])
        losses.append((recon + (rate * kl).sum()) / rate.log().mean().exp() ** model.normalisation)
        recons.append(recon)
        kls.append(kl.sum())
    scale = mean_weight(0.1, 10.0, model.normalisation, groups)
    assert float(model.loss(found)) == pytest.approx(float(torch.stack(losses).mean()) / scale, rel=1e-4)
    assert float(found.recon) == pytest.approx(float(torch.stack(recons).mean()), rel=1e-4)
    assert float(found.kl) == pytest.approx(float(torch.stack(kls).mean()), rel=1e-3)
    torch.testing.assert_close(found.kl_dims.sum(), found.kl)


def test_a_learnt_prior_is_trained_and_kept(tmp_path):
    model = MultiRateVAE(SHAPE, latent_dim=4, prior="gmm")
    terms = model.trained_terms(inputs(model), torch_stream(0, "n"))
    model.loss(terms).backward()
    assert all(parameter.grad is not None for parameter in model.prior.parameters())
    plain = model.at(2.0)
    x = inputs(model)
    torch.testing.assert_close(
        plain.elbo_terms(x, torch_stream(0, "n")).kl, model.at(2).elbo_terms(x, torch_stream(0, "n")).kl
    )
    with pytest.raises(ConfigError, match="`latent_groups` need a KL for each latent"):
        MultiRateVAE(SHAPE, latent_dim=4, prior="gmm", latent_groups=[2, 2])


def test_the_plain_model_is_saved_loaded_and_trained_on(tmp_path):
    model = build("mlp")
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = L.Trainer(accelerator="cpu", max_steps=8, default_root_dir=tmp_path, **quiet)
    plain = model.at(0.5)
    trainer.fit(plain, datamodule=DigitsDataModule(batch_size=64))
    trainer.save_checkpoint(tmp_path / "plain.ckpt")
    loaded = VAE.load_from_checkpoint(tmp_path / "plain.ckpt", weights_only=True)
    x = inputs(model)
    assert torch.equal(loaded.encode(x)[0], plain.encode(x)[0])
    assert float(loaded.beta) == 0.5
    assert not torch.equal(model.at(0.5).encode(x)[0], plain.encode(x)[0])  # nothing is shared


def test_text_keeps_its_words():
    model = build("lstm")
    model.vocabulary = Vocabulary([f"w{number}" for number in range(20 - len(SPECIALS))])
    plain = model.at(2.0)
    assert isinstance(plain, TextVAE)
    assert plain.vocabulary == model.vocabulary


def test_groups_have_rates_of_their_own_times_beta():
    model = build("mlp", latent_groups=[1, 3], beta=2.0).eval()
    assert model.conditions == ["beta", "beta_0", "beta_1"]
    model.beta_0.fill_(0.5)
    model.beta_1.fill_(2.5)
    assert model.rates().tolist() == [1.0, 5.0]
    x = inputs(model)
    assert torch.equal(model.encode(x)[0], model.encode(x, beta=[1.0, 5.0])[0])
    assert not torch.equal(model.encode(x)[0], model.encode(x, beta=[5.0, 1.0])[0])
    terms = model.elbo_terms(x, torch_stream(0, "n"))
    dims = terms.kl_dims
    torch.testing.assert_close(model.loss(terms), terms.recon + dims[0] + 5 * dims[1:].sum())
    assert float(model.at().beta) == pytest.approx(5.0**0.5)
    with pytest.raises(ConfigError, match="`beta` must be one KL weight or 2, one a group"):
        model.encode(x, beta=[1.0, 1.0, 1.0])


def test_copies_stand_on_their_own():
    model = build("mlp").eval()
    other = copy.deepcopy(model)
    other.beta.fill_(5.0)
    x = inputs(model)
    assert not torch.equal(model.encode(x)[0], other.encode(x)[0])
    assert torch.equal(model.encode(x, beta=5)[0], other.encode(x)[0])
    torch.testing.assert_close(other.at().encode(x)[0], other.encode(x)[0], rtol=1e-4, atol=1e-4)


def test_another_range_is_another_model(tmp_path):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = L.Trainer(accelerator="cpu", max_steps=2, default_root_dir=tmp_path, **quiet)
    trainer.fit(build("mlp"), datamodule=DigitsDataModule(batch_size=64))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    again = L.Trainer(accelerator="cpu", max_steps=3, default_root_dir=tmp_path, **quiet)
    with pytest.raises(CheckpointError, match="beta_range: stored .0.1, 10.0., now .0.2, 10.0."):
        again.fit(
            build("mlp", beta_range=(0.2, 10.0)),
            datamodule=DigitsDataModule(batch_size=64),
            ckpt_path=tmp_path / "a.ckpt",
            weights_only=True,
        )


def test_a_rate_that_the_network_does_not_know_is_refused():
    model = build("mlp")
    with pytest.raises(ConfigError, match="must lie in `model.beta_range`, .0.1, 10., the weights .* got 20"):
        model.at(20)
    model.beta.fill_(0.01)
    with pytest.raises(ConfigError, match="got 0.01"):
        model.on_validation_start()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beta_range": (0.0, 1.0)}, "`beta_range` must be two KL weights, 0 < lowest < highest"),
        ({"beta_range": (2.0, 1.0)}, "`beta_range` must be"),
        ({"beta": 20.0}, "`beta` must lie in `model.beta_range`"),
        ({"draws_per_batch": 0}, "`draws_per_batch` must be"),
        ({"normalisation": 1.5}, r"`normalisation` must lie in \[0, 1\], got 1.5"),
        ({"gate": "open"}, "`gate` must be one of centred, published"),
        ({"latent_groups": [1, 2]}, "`latent_groups` must add up to `latent_dim` 4"),
        ({"free_bits": 0.5}, "`free_bits` must be 0 for a multi-rate VAE"),
        ({"schedule": nn.Identity()}, "`schedule` must be left out: a multi-rate VAE is trained on all KL weights"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        MultiRateVAE(SHAPE, latent_dim=4, **settings)
