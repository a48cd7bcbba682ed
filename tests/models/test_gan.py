"""GAN: its gradients as written, a ring of Gaussians, resume, and what it has not."""

import copy
import math

import lightning as L
import pytest
import torch
from lightning.pytorch.strategies import DDPStrategy, FSDPStrategy
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from lightning_gvae.callbacks.beta_evolution.callback import BetaEvolution
from lightning_gvae.callbacks.beta_override import BetaOverride
from lightning_gvae.callbacks.checkpoints import LastCheckpoint
from lightning_gvae.callbacks.evaluation import Evaluation
from lightning_gvae.callbacks.exact_resume import ExactResume
from lightning_gvae.callbacks.finite_guard import FiniteGuard
from lightning_gvae.datamodules.digits import DigitsDataModule
from lightning_gvae.errors import ConfigError
from lightning_gvae.evaluation.suite import Suite
from lightning_gvae.evolution.beta.search import BetaSearch
from lightning_gvae.models import GAN
from lightning_gvae.models.adversary import Adversary
from lightning_gvae.rng import torch_stream
from tests.models.adversaries import SHAPE, FixedGAN, Z, gan, noise_of, quiet_trainer, vae_gan


def digits():
    return DigitsDataModule(batch_size=32)


class Recorder(FixedGAN):
    """Notes every step: which network, as it was before, with which gradient."""

    def training_step(self, batch, batch_idx):
        self.images, self.blocks = self.prepare(batch), []
        self.start = copy.deepcopy({"decoder": self.decoder, "discriminator": self.discriminator})
        return super().training_step(batch, batch_idx)

    def _descend(self, optimizer, loss):
        nets = copy.deepcopy({"decoder": self.decoder, "discriminator": self.discriminator})
        super()._descend(optimizer, loss)
        moved = {
            name: [p.grad.clone() for p in getattr(self, name).parameters()]
            for name, net in nets.items()
            if any(
                not torch.equal(a, b) for a, b in zip(net.parameters(), getattr(self, name).parameters(), strict=True)
            )
        }
        self.blocks.append((nets, moved))

    def _descend_together(self, steps):
        super()._descend_together(steps)
        names = ("decoder", "discriminator")
        moved = {name: [p.grad.clone() for p in getattr(self, name).parameters()] for name in names}
        self.blocks += [(self.start, {name: moved[name]}) for name in ("discriminator", "decoder")]


@pytest.mark.parametrize("order", ["sequential", "larsen_simultaneous"])
@pytest.mark.parametrize("loss", ["non_saturating", "minimax"])
def test_each_block_takes_the_gradient_of_the_written_loss(order, loss, tmp_path):
    model = gan(Recorder, update_order=order, loss=loss, norm="none")
    quiet_trainer(tmp_path, 1).fit(model, datamodule=digits())
    x = model.images
    one, zero = torch.ones(len(x)), torch.zeros(len(x))
    bce = F.binary_cross_entropy_with_logits
    assert [set(moved) for _, moved in model.blocks] == [{"discriminator"}, {"decoder"}]
    for nets, moved in model.blocks:
        real = nets["discriminator"](x)
        fake = nets["discriminator"](torch.sigmoid(nets["decoder"](noise_of(x, "prior"))))
        losses = {
            "discriminator": 0.5 * bce(real, one) + 0.5 * bce(fake, zero),
            "decoder": bce(fake, one) if loss == "non_saturating" else -bce(fake, zero),
        }
        for name, gradients in moved.items():
            expected = torch.autograd.grad(losses[name], list(nets[name].parameters()), retain_graph=True)
            for ours, theirs in zip(gradients, expected, strict=True):
                torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-7)


def ring(n):
    """Points around eight places on a circle inside the unit square, as images of 1x1 pixel with two channels."""
    stream = torch_stream(0, "ring")
    angle = torch.randint(8, (n,), generator=stream) * (2 * math.pi / 8)
    places = 0.5 + 0.35 * torch.stack([angle.cos(), angle.sin()], 1)
    return (places + 0.01 * torch.randn(n, 2, generator=stream)).view(n, 2, 1, 1)


@pytest.mark.parametrize("order", ["sequential", pytest.param("larsen_simultaneous", marks=pytest.mark.slow)])
def test_a_ring_of_eight_gaussians(order, tmp_path):
    torch.manual_seed(0)
    decoder = nn.Sequential(
        nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2), nn.Unflatten(1, (2, 1, 1))
    )
    model = GAN(
        (2, 1, 1),
        latent_dim=2,
        network=decoder,
        adversary=Adversary(update_order=order, norm="none"),
        optimizer=lambda group: torch.optim.Adam(group, lr=1e-3, betas=(0.5, 0.999), fused=True),
    )
    points = ring(4096)
    loader = DataLoader(TensorDataset(points, torch.zeros(4096)), batch_size=128)
    quiet_trainer(tmp_path, 400, FiniteGuard(), val_check_interval=400).fit(model, loader, loader)
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())
    samples = model.sample(2000, torch_stream(0, "s")).detach().view(-1, 2)
    radius = (samples - 0.5).norm(dim=1)
    # the untrained generator sits in the middle: radius below 0.1
    assert (radius - 0.35).abs().median() < 0.1
    angles = torch.atan2(*(samples - 0.5)[radius > 0.2].T.flip(0)).remainder(2 * math.pi)
    hit = torch.bincount((angles / (2 * math.pi / 8)).round().long() % 8, minlength=8)
    assert (hit > 20).sum() >= 3, hit


@pytest.mark.parametrize("order", ["sequential", pytest.param("larsen_simultaneous", marks=pytest.mark.slow)])
@pytest.mark.parametrize("stop", [10, 37], ids=["mid-epoch", "end-of-epoch"])
def test_resume_equals_the_uninterrupted_run_bit_for_bit(order, stop, tmp_path):
    def fit(steps, ckpt=None):
        torch.manual_seed(0)
        model = GAN(SHAPE, Z, adversary={"update_order": order, "instance_noise": 0.05, "margin": 0.3})
        trainer = quiet_trainer(tmp_path, steps, ExactResume(), LastCheckpoint(str(tmp_path)))
        trainer.fit(model, datamodule=digits(), ckpt_path=ckpt, weights_only=True)
        return model, trainer

    straight, straight_trainer = fit(45)
    fit(stop)
    resumed, resumed_trainer = fit(45, tmp_path / "last.ckpt")
    for label, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[label]), label
    ours, theirs = straight_trainer.callback_metrics, resumed_trainer.callback_metrics
    assert {key: float(value) for key, value in ours.items()} == {key: float(value) for key, value in theirs.items()}
    other, _ = fit(46)
    assert not torch.equal(straight.decoder.head.weight, other.decoder.head.weight)


def test_logs_samples_and_steps(tmp_path):
    model = gan()
    state = torch.get_rng_state()
    trainer = quiet_trainer(tmp_path, 14, Evaluation())
    trainer.fit(model, datamodule=digits())
    assert torch.equal(torch.get_rng_state(), state)
    assert trainer.global_step == 14
    for name in ("discriminator_loss", "generator_loss", "d_real", "d_prior", "skip_discriminator", "skip_generator"):
        assert torch.isfinite(trainer.callback_metrics[f"train/{name}"]), name
    trainer.validate(model, datamodule=digits(), verbose=False)
    assert {"val/d_real", "val/d_prior"} <= set(trainer.callback_metrics)
    assert "val/active_units" not in trainer.callback_metrics
    sample = model.sample(5, torch_stream(1, "s"))
    assert sample.shape == (5, *SHAPE)
    assert 0 <= sample.min() <= sample.max() <= 1
    torch.testing.assert_close(sample, model.sample(5, torch_stream(1, "s")), rtol=0, atol=0)


def test_a_checkpoint_loads_safely_and_holds_two_networks(tmp_path):
    torch.manual_seed(0)
    model = GAN(SHAPE, latent_dim=Z)
    trainer = quiet_trainer(tmp_path, 5)
    trainer.fit(model, datamodule=digits())
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    loaded = GAN.load_from_checkpoint(tmp_path / "model.ckpt", weights_only=True)
    draw = lambda m: m.sample(3, torch_stream(0, "s"))
    torch.testing.assert_close(draw(loaded), draw(model), rtol=0, atol=0)
    stored = torch.load(tmp_path / "model.ckpt", weights_only=True)["state_dict"]
    assert {name.partition(".")[0] for name in stored} == {"decoder", "discriminator"}


def test_images_of_the_prior_can_be_scored_without_an_encoder(tmp_path):
    module = digits()
    module.setup()
    suite = Suite(samples=100, resamples=1, cache_dir=tmp_path)
    scores = suite.run(["precision_recall"], gan(), module)
    assert 0 <= scores["score/recall/domain/prior"] <= 1
    with pytest.raises(ConfigError, match=r"nll: it needs posteriors q\(z\|x\), and FixedGAN has none"):
        suite.run(["nll"], gan(), module)


@pytest.mark.parametrize("method", ["encode", "reconstruct", "elbo_terms"])
def test_what_needs_a_posterior_says_there_is_none(method):
    with pytest.raises(ConfigError, match=f"so there is no `{method}`; take model=vae_gan"):
        getattr(gan(), method)(torch.zeros(1, *SHAPE))


def test_there_is_no_kl_weight_to_write(tmp_path):
    with pytest.raises(ConfigError, match="a GAN has no KL weight for Somebody to write"):
        gan().claim_beta("Somebody")
    with pytest.raises(ConfigError, match="BetaEvolution needs a model with a KL weight; FixedGAN lacks beta"):
        quiet_trainer(tmp_path, 5, BetaEvolution(BetaSearch(target=3.0))).fit(gan(), datamodule=digits())
    with pytest.raises(ConfigError, match="`beta=2` needs a model with a KL weight; FixedGAN lacks beta. Leave"):
        quiet_trainer(tmp_path, 5, BetaOverride(2.0)).fit(gan(), datamodule=digits())


class Stub:
    """As much of a Trainer as the check of the strategy looks at."""

    precision = "16-mixed"
    gradient_clip_val = None
    datamodule = None

    def __init__(self, strategy, scaler=None):
        self.strategy = strategy
        self.precision_plugin = type("Plugin", (), {"scaler": scaler})()


@pytest.mark.parametrize(
    ("model", "trainer", "message"),
    [
        (
            gan,
            Stub(DDPStrategy()),
            "set trainer.strategy=ddp_find_unused_parameters_true, or model.adversary.update_order=larsen",
        ),
        (vae_gan, Stub(DDPStrategy(find_unused_parameters=False)), "for which plain DDP waits in vain"),
        (vae_gan, Stub(FSDPStrategy()), "`trainer.strategy` FSDPStrategy may shard them"),
        (
            lambda: gan(update_order="larsen_simultaneous"),
            Stub(None, scaler=object()),
            "cannot scale fp16 losses; use trainer.precision=bf16-mixed",
        ),
    ],
)
def test_strategies_that_cannot_work_are_refused(model, trainer, message):
    module = model()
    module._trainer = trainer
    with pytest.raises(ConfigError, match=message):
        module.setup("fit")


def test_strategies_that_work_are_not():
    for model, strategy in (
        (gan(), DDPStrategy(find_unused_parameters=True)),
        (gan(update_order="larsen_simultaneous"), DDPStrategy()),
        (vae_gan(), None),
    ):
        model._trainer = Stub(strategy)
        model.setup("fit")


def test_other_images_than_it_was_built_for_are_refused():
    with pytest.raises(ConfigError, match="images of shape .1, 9, 9., the model was built for `image_shape`"):
        gan().prepare(torch.zeros(2, 1, 9, 9))
    assert isinstance(gan(), L.LightningModule)
