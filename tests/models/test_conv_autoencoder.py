from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lightning_gvae.datamodules.digits import DigitsDataModule
from lightning_gvae.errors import CheckpointError, ConfigError
from lightning_gvae.evolution.architecture.genome import Block, Genome
from lightning_gvae.evolution.architecture.genome_space import GenomeSpace
from lightning_gvae.models.conv_autoencoder import ConvAutoencoder, ConvVAE, clipped_bce
from lightning_gvae.rng import numpy_stream

SHAPE = (1, 8, 8)
SMALL = Genome((Block(filters=8, pool=1, batch_norm=1), Block(filters=4)), "adam", 3e-3, "robust")
REFERENCE = Genome((Block(filters=8, pool=1, activation="sigmoid"), Block(filters=4)), "adam")


def trainer(folder, **options) -> L.Trainer:
    settings: dict[str, Any] = {
        "max_epochs": 2,
        "accelerator": "cpu",
        "devices": 1,
        "enable_progress_bar": False,
        "logger": False,
    }
    return L.Trainer(default_root_dir=folder, **settings | {"enable_model_summary": False} | options)


@pytest.mark.parametrize("kind", [ConvAutoencoder, ConvVAE])
@pytest.mark.parametrize("genome", [SMALL, REFERENCE])
def test_training_lowers_the_loss_and_a_checkpoint_rebuilds_the_network(kind, genome, tmp_path):
    model = kind(SHAPE, genome.to_dict(), seed=3)
    run = trainer(tmp_path, max_epochs=5)
    data = DigitsDataModule(batch_size=32)
    data.setup()
    model.configure_model()
    run.validate(model, datamodule=data, verbose=False)
    before = float(run.callback_metrics["val/recon"])
    run.fit(model, datamodule=data)
    assert float(run.callback_metrics["val/recon"]) < 0.98 * before
    run.save_checkpoint(tmp_path / "model.ckpt", weights_only=True)
    again = kind.load_from_checkpoint(tmp_path / "model.ckpt")
    assert again.genome == genome
    images = torch.rand(3, *SHAPE)
    assert torch.equal(again.eval().features(images), model.eval().features(images))
    assert torch.equal(again.reconstruct(images), model.reconstruct(images))


@pytest.mark.parametrize("kind", [ConvAutoencoder, ConvVAE])
def test_every_parameter_gets_a_gradient(kind):
    model = kind(SHAPE, SMALL.to_dict())
    model.configure_model()
    images = torch.rand(4, *SHAPE)
    loss = model.loss(images) if kind is ConvAutoencoder else model.loss(model.elbo_terms(images))
    loss.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


def test_initial_weights_are_a_function_of_the_seed_and_no_generator_is_touched():
    before = torch.get_rng_state()
    weights = []
    for seed in (0, 0, 1):
        model = ConvAutoencoder(SHAPE, SMALL.to_dict(), seed=seed)
        model.configure_model()
        model.configure_model()
        weights.append(torch.cat([p.flatten() for p in model.parameters()]))
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    assert torch.equal(before, torch.get_rng_state())


def test_clipped_cross_entropy_is_kerass():
    pixels = torch.tensor([0.0, 1.5, 0.25])
    images = torch.tensor([0.5, 1.0, 0.75])
    expected = [
        -(0.5 * np.log(1e-7) + 0.5 * np.log(1 - 1e-7)),
        -np.log(1 - 1e-7),
        -(0.75 * np.log(0.25) + 0.25 * np.log(0.75)),
    ]
    assert clipped_bce(pixels, images).item() == pytest.approx(np.mean(expected), rel=1e-3)


def test_both_rules_give_the_same_loss_for_the_same_pixels():
    robust = ConvAutoencoder(SHAPE, SMALL.to_dict())
    robust.configure_model()
    images = torch.rand(4, *SHAPE)
    assert robust.loss(images).item() == pytest.approx(F.binary_cross_entropy(robust(images), images).item(), rel=1e-4)


def test_the_optimizer_is_the_genomes_with_kerass_constants():
    for name, key, value in [("rmsprop", "alpha", 0.9), ("adadelta", "rho", 0.95), ("adam", "eps", 1e-7)]:
        model = ConvAutoencoder(SHAPE, Genome(REFERENCE.blocks, name).to_dict())
        model.configure_model()
        optimizer = model.configure_optimizers()
        assert type(optimizer).__name__.lower() == name
        assert optimizer.param_groups[0]["lr"] == 1e-3 and optimizer.param_groups[0][key] == value
    assert ConvAutoencoder(SHAPE, SMALL.to_dict()).genome.lr == 3e-3


@pytest.mark.parametrize("preset", ["moncae_code", "moncae_paper", "robust"])
def test_random_genomes_reconstruct(preset):
    space = GenomeSpace(preset, choices={"filters": [4, 8]})
    for number in range(20):
        genome = space.sample(numpy_stream(number, "genome"))
        model = ConvAutoencoder((1, 28, 28), genome.to_dict())
        model.configure_model()
        images = torch.rand(2, 1, 28, 28)
        again = model.reconstruct(images)
        assert again.shape == images.shape and again.min() >= 0 and again.max() <= 1
        assert torch.isfinite(model.loss(images))


def test_a_genome_can_be_adopted_before_the_network_is_built_only():
    model = ConvAutoencoder(SHAPE)
    with pytest.raises(ConfigError, match="add the callback ArchitectureEvolution"):
        model.configure_model()
    donor = ConvAutoencoder(SHAPE, SMALL.to_dict(), seed=9)
    donor.configure_model()
    model.adopt(SMALL, donor.state_dict())
    assert model.hparams["genome"] == SMALL.to_dict()
    model.configure_model()
    images = torch.rand(2, *SHAPE)
    assert torch.equal(model.eval()(images), donor.eval()(images))
    with pytest.raises(ConfigError, match="built already"):
        model.adopt(SMALL)


def test_the_checkpoint_of_another_genome_is_refused(tmp_path):
    model = ConvAutoencoder(SHAPE, SMALL.to_dict())
    model.configure_model()
    stored = {"hyper_parameters": {"genome": REFERENCE.to_dict()}}
    with pytest.raises(CheckpointError, match="belongs to another genome .stored 8k3sp-4k3r"):
        model.on_load_checkpoint(stored)
    fresh = ConvAutoencoder(SHAPE)
    fresh.on_load_checkpoint(stored)
    assert fresh.genome == REFERENCE
    with pytest.raises(CheckpointError, match="holds no genome"):
        ConvAutoencoder(SHAPE).on_load_checkpoint({})


def test_the_factory_makes_candidates_like_the_module():
    import pickle

    make = pickle.loads(pickle.dumps(ConvVAE(SHAPE, upsampling="mirror", beta=0.5).candidate_factory()))  # noqa: S301
    candidate = make(genome=SMALL.to_dict(), seed=4)
    assert isinstance(candidate, ConvVAE) and candidate.upsampling == "mirror" and candidate.beta == 0.5
    assert candidate.seed == 4 and candidate.genome == SMALL
