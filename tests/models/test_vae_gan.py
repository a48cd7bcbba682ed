"""VAE-GAN: which gradient reaches which network, against the losses as written; and the contract of a VAE."""

import copy
import csv
from typing import ClassVar

import lightning as L
import pytest
import torch
from torch.nn import functional as F

from lightning_gvae.callbacks.beta_evolution.callback import BetaEvolution
from lightning_gvae.callbacks.checkpoints import LastCheckpoint
from lightning_gvae.callbacks.evaluation import Evaluation
from lightning_gvae.callbacks.exact_resume import ExactResume
from lightning_gvae.callbacks.finite_guard import FiniteGuard
from lightning_gvae.datamodules.digits import DigitsDataModule
from lightning_gvae.errors import CheckpointError, ConfigError, NonFiniteError
from lightning_gvae.evolution.beta.search import BetaSearch
from lightning_gvae.models import GAN, VAE, VAEGAN
from lightning_gvae.models.adversary import VAEGANAdversary
from lightning_gvae.rng import torch_stream
from lightning_gvae.schedules import Annealing, PIController
from tests.models.adversaries import SHAPE, FixedVAEGAN, Z, gan, nets, noise_of, quiet_trainer, vae_gan

NETWORKS = ("encoder", "decoder", "discriminator")


def digits(**settings):
    return DigitsDataModule(**({"batch_size": 32} | settings))


def images(n=16):
    return torch.rand(n, *SHAPE, generator=torch_stream(0, "images"))


def weights(model):
    return {name: [p.detach().clone() for p in getattr(model, name).parameters()] for name in NETWORKS}


def changed(before, after):
    return {
        name for name in before if any(not torch.equal(a, b) for a, b in zip(before[name], after[name], strict=True))
    }


class Recorder(FixedVAEGAN):
    """Notes before every step which networks it changed and the gradients it used."""

    def training_step(self, batch, batch_idx):
        self.blocks, self.start = [], copy.deepcopy({name: getattr(self, name) for name in NETWORKS})
        self.images = self.prepare(batch)
        return super().training_step(batch, batch_idx)

    def _descend(self, optimizer, loss):
        before, nets = weights(self), copy.deepcopy({name: getattr(self, name) for name in NETWORKS})
        super()._descend(optimizer, loss)
        moved = changed(before, weights(self))
        gradients = {name: [p.grad.clone() for p in getattr(self, name).parameters()] for name in moved}
        self.blocks.append((moved, nets, gradients))

    def _descend_together(self, steps):
        super()._descend_together(steps)
        self.gradients = {name: [p.grad.clone() for p in getattr(self, name).parameters()] for name in NETWORKS}


def written_losses(nets, x, latents_from, model):
    """Larsen's three losses, term by term, from nothing but the networks; latents of the encoder ``latents_from``."""
    mean, log_var = latents_from(x).chunk(2, 1)
    z = mean + torch.exp(log_var / 2) * noise_of(x, "posterior")
    fake, sample = (torch.sigmoid(nets["decoder"](latents)) for latents in (z, noise_of(x, "prior")))
    features_real, real = nets["discriminator"].features(x)
    features_fake, recon = nets["discriminator"].features(fake)
    _, prior = nets["discriminator"].features(sample)
    kl = 0.5 * (mean**2 + log_var.exp() - 1 - log_var).sum(1).mean()
    llike = 0.5 * ((features_fake - features_real) ** 2).flatten(1).sum(1).mean()
    one, zero = torch.ones(len(x)), torch.zeros(len(x))
    bce = F.binary_cross_entropy_with_logits
    discriminator = 0.5 * bce(real, one) + 0.25 * bce(recon, zero) + 0.25 * bce(prior, zero)
    adversarial = 0.5 * bce(recon, one) + 0.5 * bce(prior, one)
    return {
        "encoder": float(model.beta) * kl + llike,
        "decoder": model.gamma * llike + adversarial,
        "discriminator": discriminator,
    }


def grads(loss, network):
    return torch.autograd.grad(loss, list(network.parameters()), retain_graph=True)


def one_step(model, tmp_path):
    quiet_trainer(tmp_path, 1).fit(model, datamodule=digits())
    return model


def test_each_block_changes_its_network_alone_by_the_gradient_of_the_written_loss(tmp_path):
    model = one_step(vae_gan(Recorder, beta=0.7, gamma=0.3, norm="none"), tmp_path)
    assert [moved for moved, _, _ in model.blocks] == [{"discriminator"}, {"encoder"}, {"decoder"}]
    for moved, seen, gradients in model.blocks:
        (name,) = moved
        # the decoder's latents are those that the encoder's block had drawn
        losses = written_losses(seen, model.images, model.start["encoder"], model)
        if name == "encoder":
            losses = written_losses(seen, model.images, seen["encoder"], model)
        for ours, theirs in zip(gradients[name], grads(losses[name], seen[name]), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_simultaneous_update_takes_all_gradients_at_the_same_point(tmp_path):
    settings = {"beta": 0.7, "gamma": 0.3, "update_order": "larsen_simultaneous", "norm": "none"}
    model = one_step(vae_gan(Recorder, **settings), tmp_path)
    losses = written_losses(model.start, model.images, model.start["encoder"], model)
    for name in NETWORKS:
        for ours, theirs in zip(model.gradients[name], grads(losses[name], model.start[name]), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    # the control: had the adversarial loss reached the encoder, or the feature loss the discriminator, it would show
    for name, stray in (("encoder", "decoder"), ("discriminator", "encoder")):
        wrong = grads(losses[name] + losses[stray], model.start[name])[0]
        assert not torch.allclose(wrong, model.gradients[name][0], rtol=1e-2, atol=1e-5)


@pytest.mark.parametrize("order", ["sequential", "larsen_simultaneous"])
def test_without_the_feature_loss_the_decoder_is_a_gans_generator(order, tmp_path):
    ours = vae_gan(gamma=0.0, discriminate_recon=False, update_order=order)
    theirs = gan(update_order=order)
    for name in ("decoder", "discriminator"):
        getattr(theirs, name).load_state_dict(getattr(ours, name).state_dict())
    one_step(ours, tmp_path)
    one_step(theirs, tmp_path)
    for name in ("decoder", "discriminator"):
        for one, other in zip(getattr(ours, name).parameters(), getattr(theirs, name).parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-8)


def test_which_fakes_the_discriminator_sees_is_a_choice(tmp_path):
    for recon, prior, expected in (
        (True, False, {"d_recon"}),
        (False, True, {"d_prior"}),
        (True, True, {"d_recon", "d_prior"}),
    ):
        model = vae_gan(discriminate_recon=recon, discriminate_prior=prior)
        trainer = quiet_trainer(tmp_path, 7)
        trainer.fit(model, datamodule=digits())
        logged = {name.removeprefix("train/") for name in trainer.callback_metrics if name.startswith("train/d_")}
        assert logged == expected | {"d_real"}


class Steps(L.Callback):
    """Counts batches and the steps that Lightning saw."""

    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, trainer, pl_module, *args):
        self.seen.append(trainer.global_step)


@pytest.mark.parametrize("order", ["sequential", "larsen_simultaneous"])
@pytest.mark.parametrize("margin", [None, 0.05])
def test_a_batch_is_one_optimiser_step_whoever_moved(order, margin, tmp_path):
    """Lightning would count three a batch, or two where a side waits; ``max_steps`` and all intervals mean batches."""
    steps = Steps()
    trainer = quiet_trainer(tmp_path, 10, steps)
    trainer.fit(vae_gan(update_order=order, margin=margin), datamodule=digits())
    assert steps.seen == list(range(1, 11))


def test_gates_let_a_side_wait_and_the_log_says_so(tmp_path):
    class Moves(FixedVAEGAN):
        moved: ClassVar[list[set]] = []

        def training_step(self, batch, batch_idx):
            before = weights(self)
            output = super().training_step(batch, batch_idx)
            self.moved.append(changed(before, weights(self)))
            return output

    model = vae_gan(Moves, margin=0.02)
    trainer = quiet_trainer(tmp_path, 21, log_every_n_steps=21)
    trainer.fit(model, datamodule=digits())
    waited = {name: sum(name not in moved for moved in model.moved) / 21 for name in NETWORKS}
    assert waited["encoder"] == 0
    assert waited["discriminator"] + waited["decoder"] > 0
    assert float(trainer.callback_metrics["train/skip_discriminator"]) == pytest.approx(waited["discriminator"])
    assert float(trainer.callback_metrics["train/skip_generator"]) == pytest.approx(waited["decoder"])


def test_logged_terms_have_their_meaning(tmp_path):
    model = vae_gan(beta=0.5)
    trainer = quiet_trainer(tmp_path, 15, Evaluation(), FiniteGuard(), log_every_n_steps=5)
    trainer.fit(model, datamodule=digits())
    found = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert found["train/elbo"] == pytest.approx(-(found["train/recon"] + found["train/kl"]), rel=1e-5)
    assert found["train/encoder_loss"] == pytest.approx(found["train/llike"] + 0.5 * found["train/kl"], rel=1e-5)
    assert found["train/beta"] == 0.5
    assert sum(float(trainer.logged_metrics[f"kl/{index}"]) for index in range(Z)) == pytest.approx(
        found["train/kl"], rel=1e-5
    )
    assert all(0 < found[f"train/{name}"] < 1 for name in ("d_real", "d_recon", "d_prior"))
    assert {"val/elbo", "val/recon", "val/kl", "val/llike", "val/active_units"} <= set(found)
    # the pixels' terms are those of a VAE with the same networks
    x = images()
    vae = VAE(SHAPE, latent_dim=Z, network=(model.encoder, model.decoder))
    for ours, theirs in zip(
        model.elbo_terms(x, torch_stream(0, "n")), vae.elbo_terms(x, torch_stream(0, "n")), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


def test_a_schedule_steps_once_a_batch(tmp_path):
    model = vae_gan(beta=0.0, schedule=Annealing(20, end=2.0))
    quiet_trainer(tmp_path, 11).fit(model, datamodule=digits())
    assert model.beta.item() == pytest.approx(2.0 * 10 / 20)
    controlled = vae_gan(schedule=PIController(6.0))
    quiet_trainer(tmp_path, 11).fit(controlled, datamodule=digits())
    assert controlled.beta.item() != 1.0


def test_learning_rates_schedules_and_two_time_scales(tmp_path):
    settings = {"lr_scheduler": lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 5, 0.1), "lr_ratio": 4.0}
    trainer = quiet_trainer(tmp_path, 7)
    trainer.fit(vae_gan(**settings), datamodule=digits())
    assert [optimizer.param_groups[0]["lr"] for optimizer in trainer.optimizers] == pytest.approx([0.005, 0.005, 0.02])


class Watched(VAEGAN):
    copies: ClassVar[list[tuple[float, ...]]] = []

    def trained_terms(self, batch, generator=None):
        if self._trainer is None:
            total = lambda name: sum(float(p.detach().double().sum()) for p in getattr(self, name).parameters())
            Watched.copies.append(tuple(total(name) for name in NETWORKS))
        return super().trained_terms(batch, generator)


def test_beta_evolution_looks_ahead_with_the_encoder_alone(tmp_path):
    Watched.copies = []
    search = BetaSearch(target=6.0, variation={"survivors": 2, "children": 2}, seed=1)
    evolution = BetaEvolution(search, interval=10, warmup=10, lookahead_steps=2, probe_size=64)
    model = vae_gan(Watched, optimizer=lambda group: torch.optim.Adam(group, lr=1e-2))
    steps = Steps()
    quiet_trainer(tmp_path, 35, evolution, steps).fit(model, datamodule=digits())
    assert steps.seen[-1] == 35
    with (tmp_path / "evolution.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sorted({int(row["step"]) for row in rows}) == [10, 20, 30]
    assert model.beta.item() != 1.0
    encoder, decoder, discriminator = (len(set(column)) for column in zip(*Watched.copies, strict=True))
    assert (decoder, discriminator) == (3, 3)  # as they are in each of the three generations
    assert encoder > 3 * 2


def test_evolution_changes_nothing_but_beta(tmp_path):
    def fit(*callbacks):
        model = vae_gan(VAEGAN, optimizer=lambda group: torch.optim.Adam(group, lr=1e-2), norm="spectral")
        quiet_trainer(tmp_path, 20, *callbacks).fit(model, datamodule=digits())
        return model.state_dict()

    search = BetaSearch(target=6.0, variation={"survivors": 2, "children": 2}, seed=1)
    evolved = fit(BetaEvolution(search, interval=19, warmup=19, lookahead_steps=2, probe_size=64))
    plain = fit()
    assert evolved["beta"] != plain["beta"]
    same = [name for name in plain if torch.equal(plain[name], evolved[name])]
    # one step was taken under another beta: it reaches the encoder, and the decoder not before the next batch
    assert {name for name in plain if name.startswith(("discriminator", "decoder"))} <= set(same)


@pytest.mark.parametrize(
    ("order", "margin", "norm"),
    [
        ("sequential", None, "spectral"),
        pytest.param("sequential", 0.05, "group", marks=pytest.mark.slow),
        pytest.param("larsen_simultaneous", None, "spectral", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("stop", [10, 37], ids=["mid-epoch", "end-of-epoch"])
def test_resume_equals_the_uninterrupted_run_bit_for_bit(order, margin, norm, stop, tmp_path):
    def fit(steps, ckpt=None):
        model = vae_gan(
            VAEGAN,
            update_order=order,
            margin=margin,
            norm=norm,
            instance_noise=0.1,
            optimizer=lambda group: torch.optim.Adam(group, lr=1e-3, betas=(0.5, 0.999), fused=True),
            lr_scheduler=lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 12, 0.5),
        )
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
    # the control: one step more is not the same
    other, _ = fit(46)
    assert not torch.equal(straight.encoder[1].weight, other.encoder[1].weight)


def test_a_checkpoint_holds_the_three_networks_and_loads_safely(tmp_path):
    torch.manual_seed(0)
    model = VAEGAN(SHAPE, latent_dim=Z)
    trainer = quiet_trainer(tmp_path, 5)
    trainer.fit(model, datamodule=digits())
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    stored = torch.load(tmp_path / "model.ckpt", weights_only=True)
    assert {name.partition(".")[0] for name in stored["state_dict"]} == {*NETWORKS, "beta"}
    loaded = VAEGAN.load_from_checkpoint(tmp_path / "model.ckpt", weights_only=True)
    torch.testing.assert_close(loaded.reconstruct(images()), model.reconstruct(images()), rtol=0, atol=0)
    with pytest.raises(CheckpointError, match="discriminator: stored 'mlp/spectral/1', now 'mlp/group/1'"):
        quiet_trainer(tmp_path, 6).fit(
            VAEGAN(SHAPE, latent_dim=Z, adversary={"norm": "group"}),
            datamodule=digits(),
            ckpt_path=tmp_path / "model.ckpt",
            weights_only=True,
        )
    with pytest.raises(CheckpointError, match="class: stored 'VAEGAN', now 'GAN'"):
        quiet_trainer(tmp_path, 6).fit(
            GAN(SHAPE, latent_dim=Z), datamodule=digits(), ckpt_path=tmp_path / "model.ckpt", weights_only=True
        )


@pytest.mark.parametrize("order", ["sequential", pytest.param("larsen_simultaneous", marks=pytest.mark.slow)])
def test_it_learns_the_small_digits(order, tmp_path):
    torch.manual_seed(0)
    model = VAEGAN(
        SHAPE,
        latent_dim=Z,
        adversary=VAEGANAdversary(update_order=order),
        gamma=0.1,
        seed=3,
        optimizer=lambda group: torch.optim.Adam(group, lr=1e-3, betas=(0.5, 0.999)),
    )
    module = digits()
    module.setup("fit")
    x = model.prepare(module.val_set.batch(range(100)))
    error = lambda: (model.reconstruct(x) - x).square().mean().item()
    before, state = error(), torch.get_rng_state()
    trainer = quiet_trainer(tmp_path, 150, FiniteGuard())
    trainer.fit(model, datamodule=module)
    assert torch.equal(torch.get_rng_state(), state)
    assert error() < 0.6 * before
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())
    # it does not make one image of everything
    sample = model.sample(64, torch_stream(0, "s"))
    assert sample.std(0).mean() > 0.05


@pytest.mark.parametrize("order", ["sequential", "larsen_simultaneous"])
def test_a_loss_that_is_not_finite_stops_the_run(order, tmp_path):
    model = vae_gan(update_order=order, optimizer=lambda group: torch.optim.SGD(group, lr=1e20))
    with pytest.raises(NonFiniteError, match="the loss became NaN or infinite at optimiser step"):
        quiet_trainer(tmp_path, 50, FiniteGuard()).fit(model, datamodule=digits())


BAD = [
    ({"gamma": -1.0}, "`gamma` must be a weight of 0 or more, got -1.0"),
    (
        {"adversary": {"discriminate_recon": False, "discriminate_prior": False}},
        "both off: the discriminator has no fakes",
    ),
    ({"likelihood": "learnt_sigma"}, "`likelihood=learnt_sigma` is not trained by a VAE-GAN"),
    ({"adversary": {"instance_noise": -0.1}}, "`adversary.instance_noise` must be 0 or more"),
    ({"adversary": {"lr_ratio": 0.0}}, r"`adversary.lr_ratio` must be a positive number \(.*\), got 0.0"),
    (
        {"adversary": {"update_order": "alternating"}},
        "`adversary.update_order` must be one of sequential, larsen_simultaneous, got 'alternating'",
    ),
    ({"adversary": {"loss": "hinge"}}, "`adversary.loss` must be one of"),
    ({"adversary": {"label_smoothing": 0.9}}, "`adversary.label_smoothing` must be at least 0 and below 0.5, got 0.9"),
    ({"adversary": {"smoothing": 0.1}}, "`adversary.smoothing` does not exist; `adversary` has the settings"),
    ({"adversary": "hinge"}, "`adversary` is a group of settings"),
    ({"network": nets()[:1]}, "`network` must be a name .*, or both an encoder and a decoder"),
    (
        {"adversary": {"recon_layer": 9}},
        "`adversary.recon_layer` must be the number of one of the discriminator's 2 layers",
    ),
    ({"beta": -1.0}, "`beta` must be a KL weight of 0 or more"),
]


@pytest.mark.parametrize(("settings", "message"), BAD)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        VAEGAN(SHAPE, **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gradient_clip_val": 1.0}, "`trainer.gradient_clip_val` must be null for FixedVAEGAN"),
        ({"accumulate_grad_batches": 2}, "`trainer.accumulate_grad_batches` must be 1 for FixedVAEGAN"),
    ],
)
def test_what_lightning_cannot_do_for_several_optimisers_is_said_in_words(settings, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        quiet_trainer(tmp_path, 5, **settings).fit(vae_gan(), datamodule=digits())
