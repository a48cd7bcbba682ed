"""VAEs whose loss has several weights: gradients, what is logged, ranks, and bad settings."""

import pytest
import torch
from torch.distributions import Normal
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from lightning_gvae.datamodules.digits import DigitsDataModule
from lightning_gvae.errors import ConfigError
from lightning_gvae.loading.load import load
from lightning_gvae.models import DIPVAE, TCVAE, FactorVAE, InfoVAE
from lightning_gvae.rng import torch_stream
from tests.models.adversaries import SHAPE, Z, nets, quiet_trainer
from tests.models.test_adversarial_ranks import on_ranks

SMALL = {"hidden": 16, "layers": 2}
MODELS = {
    "tc_vae": (TCVAE, {"alpha": 0.5, "beta": 3.0, "gamma": 2.0}),
    "factor_vae": (FactorVAE, {"discriminator": SMALL}),
    "info_vae": (InfoVAE, {"kernel": "imq"}),
    "dip_vae": (DIPVAE, {"kind": "I"}),
}
NAMES = pytest.mark.parametrize("name", MODELS)


def built(name, **settings):
    torch.manual_seed(0)
    kind, own = MODELS[name]
    return kind(SHAPE, latent_dim=Z, network=nets(), **(own | settings))


def images(n=16):
    return torch.rand(n, *SHAPE, generator=torch_stream(0, "images"))


def fit(model, folder, *callbacks, steps=7, **settings):
    trainer = quiet_trainer(folder, steps, *callbacks, log_every_n_steps=steps, **settings)
    trainer.fit(model, datamodule=DigitsDataModule(batch_size=32))
    return trainer


@NAMES
def test_weights_and_penalties_are_logged_and_validated(name, tmp_path):
    model = built(name)
    logged = fit(model, tmp_path, steps=15).callback_metrics
    for weight in model.loss_weights:
        assert float(logged[f"train/{weight}"]) == float(model.get_buffer(weight))
    for stage in ("train", "val"):
        assert {f"{stage}/{penalty}" for penalty in model.penalised.values()} <= logged.keys()
    assert sum(float(logged[f"kl/{index}"]) for index in range(Z)) == pytest.approx(float(logged["train/kl"]))
    weighted = sum(float(logged[f"train/{p}"]) * float(model.get_buffer(w)) for w, p in model.penalised.items())
    rate = logged["train/total_correlation"] if name == "tc_vae" else logged["train/kl"]
    expected = float(logged["train/recon"]) + weighted + float(model.beta) * float(rate)
    assert float(logged["train/loss"]) == pytest.approx(expected, rel=1e-4)


def test_with_all_weights_1_the_tc_vae_has_the_loss_of_a_vae_by_one_draw():
    model = built("tc_vae", alpha=1.0, beta=1.0, gamma=1.0, data_size=500)
    mean, log_var = model.encode(images())
    scale = torch.exp(0.5 * log_var)
    latents = mean + scale * torch.randn(mean.shape, generator=torch_stream(0, "n"))
    terms = model.elbo_terms(images(), torch_stream(0, "n"))
    ratio = (Normal(mean, scale).log_prob(latents) - Normal(0.0, 1.0).log_prob(latents)).sum(1).mean()
    torch.testing.assert_close(model.loss(terms), terms.recon + ratio, rtol=1e-5, atol=1e-4)


def test_the_number_of_training_images_comes_from_the_data_and_is_kept(tmp_path):
    model = built("tc_vae")
    with pytest.raises(ConfigError, match="TCVAE needs the number of training images: give `data_size`"):
        model.elbo_terms(images())
    data = DigitsDataModule(batch_size=32)
    trainer = quiet_trainer(tmp_path, 2)
    trainer.fit(model, datamodule=data)
    assert model.data_size == len(data.train_set)
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    loaded = TCVAE.load_from_checkpoint(tmp_path / "model.ckpt", network=nets(), weights_only=True)
    assert loaded.data_size == len(data.train_set)
    plain = built("tc_vae")
    loader = DataLoader(TensorDataset(images(40)), batch_size=8)
    quiet_trainer(tmp_path, 2).fit(plain, loader, loader)
    assert plain.data_size == 40


@NAMES
def test_an_exported_model_comes_back_with_its_weights(name, tmp_path):
    kind, own = MODELS[name]
    model = kind(SHAPE, latent_dim=Z, **own).eval()
    for weight in model.loss_weights:
        model.get_buffer(weight).fill_(0.7)
    again = load(model.save_pretrained(tmp_path / "export"))
    assert type(again) is kind
    for label, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[label]), label
    torch.testing.assert_close(again.reconstruct(images()), model.reconstruct(images()), rtol=0, atol=0)


class Recorder(FactorVAE):
    """Keeps the gradients of a step, and the networks as they were before."""

    def _descend_together(self, steps):
        super()._descend_together(steps)
        self.gradients = {name: parameter.grad.clone() for name, parameter in self.named_parameters()}

    def training_step(self, batch, batch_idx):
        self.images, self.before = self.prepare(batch), {k: v.clone() for k, v in self.state_dict().items()}
        return super().training_step(batch, batch_idx)


def test_both_networks_of_the_factor_vae_step_down_their_written_losses(tmp_path):
    torch.manual_seed(0)
    model = Recorder(SHAPE, latent_dim=Z, network=nets(), beta=0.7, gamma=3.0, discriminator=SMALL)
    fit(model, tmp_path, steps=1)
    moved = {
        name.split(".")[0] for name, value in model.state_dict().items() if not torch.equal(value, model.before[name])
    }
    assert moved == {"encoder", "decoder", "discriminator"}
    model.load_state_dict(model.before)
    stream = torch_stream(model.seed, "train-noise", 0, 0, 0)
    mean, log_var = model.encode(model.images)
    scale = torch.exp(0.5 * log_var)
    z = mean + scale * torch.randn(mean.shape, generator=stream)
    other = (mean + scale * torch.randn(mean.shape, generator=stream)).detach()
    order = torch.rand(other.shape, generator=stream).argsort(0)
    shuffled = torch.stack([other[order[:, j], j] for j in range(Z)], dim=1)
    recon = F.binary_cross_entropy_with_logits(model.decoder(z), model.images, reduction="sum") / len(z)
    kl = 0.5 * (mean**2 + scale**2 - 1 - log_var).sum(1).mean()
    of_vae = recon + 0.7 * kl + 3.0 * model.discriminator(z).mean()
    one, zero = torch.ones(len(z)), torch.zeros(len(z))
    bce = F.binary_cross_entropy_with_logits
    judged = model.discriminator(z.detach()), model.discriminator(shuffled)
    of_discriminator = 0.5 * bce(judged[0], one) + 0.5 * bce(judged[1], zero)
    for loss, networks in ((of_vae, ("encoder", "decoder")), (of_discriminator, ("discriminator",))):
        named = [(name, p) for name, p in model.named_parameters() if name.startswith(networks)]
        expected = torch.autograd.grad(loss, [parameter for _, parameter in named], retain_graph=True)
        for (name, _), gradient in zip(named, expected, strict=True):
            torch.testing.assert_close(model.gradients[name], gradient, rtol=1e-4, atol=1e-5)


def test_a_batch_of_the_factor_vae_is_one_step_and_clipping_is_refused(tmp_path):
    assert fit(built("factor_vae"), tmp_path, steps=5).global_step == 5
    with pytest.raises(ConfigError, match="`trainer.gradient_clip_val` must be null for FactorVAE"):
        fit(built("factor_vae"), tmp_path, gradient_clip_val=1.0)


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (TCVAE, {"alpha": -1.0}, "`alpha` must be a weight of 0 or more, got -1.0"),
        (TCVAE, {"estimate": "exact"}, "`estimate` must be one of weighted, stratified, got 'exact'"),
        (TCVAE, {"data_size": 0}, "`data_size` must be an integer of at least 1"),
        (TCVAE, {"free_bits": 0.1}, "`free_bits` has no meaning for parts of the KL"),
        (TCVAE, {"prior": "gmm"}, "compares latents with the standard normal, `prior` must be normal"),
        (FactorVAE, {"gamma": float("inf")}, "`gamma` must be a weight of 0 or more, got inf"),
        (FactorVAE, {"discriminator": {"width": 3}}, "`discriminator` has the settings hidden, layers, got 'width'"),
        (FactorVAE, {"discriminator": {"hidden": 0}}, "`discriminator.hidden` must be an integer of at least 1"),
        (InfoVAE, {"kernel": "linear"}, "`kernel` must be one of rbf, imq"),
        (InfoVAE, {"bandwidth": 0.0}, "`bandwidth` must be a positive number or null, got 0.0"),
        (DIPVAE, {"kind": 2}, "`kind` must be one of I, II, got 2"),
    ],
)
def test_bad_settings_are_refused(kind, settings, message):
    with pytest.raises(ConfigError, match=message):
        kind(SHAPE, **settings)


SCRIPT = """
import sys, warnings
import lightning as L
import torch
from tests.models.test_penalised_vaes import built, fit

warnings.simplefilter("ignore")
folder, name = sys.argv[1], sys.argv[2]
torch.set_num_threads(1)

class Dump(L.Callback):
    def on_train_end(self, trainer, pl_module):
        torch.save(pl_module.state_dict(), f"{folder}/{trainer.global_rank}.pt")

if __name__ == "__main__":
    fit(built(name), folder, Dump(), devices=2, strategy="ddp")
"""


@pytest.mark.slow
@NAMES
def test_two_ranks_stay_alike(name, tmp_path):
    first, second = on_ranks(tmp_path, SCRIPT, name, world=2)
    for label, value in first.items():
        assert torch.equal(value, second[label]), label
    moved = max(float((value - built(name).state_dict()[label]).abs().max()) for label, value in first.items())
    assert moved > 1e-3, "nothing was learnt, so nothing was compared"
