"""Images outside [0, 1] are found at the first batch, and looked at no more."""

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from lightning_gvae.errors import ConfigError
from lightning_gvae.models import GAN, VAE, VAEGAN, ConvVAE
from lightning_gvae.models.conv_autoencoder import ConvAutoencoder
from lightning_gvae.models.image_batch import PixelRange

SHAPE = (1, 8, 8)
UNIT = torch.rand(32, *SHAPE, generator=torch.Generator().manual_seed(0))
INSIDE = {
    "uint8": (255 * UNIT).to(torch.uint8),
    "floats": UNIT,
    "half": UNIT.half(),
    "zeros and ones": (UNIT > 0.5).long(),
    "truths": UNIT > 0.5,
    "overshooting by rounding": UNIT.clone().index_fill_(0, torch.tensor([0]), 1 + 1e-6),
}
OUTSIDE = {
    "[-1, 1]": 2 * UNIT - 1,
    "floats up to 255": 255 * UNIT,
    "integers up to 255": (255 * UNIT).long(),
    "standardised": (UNIT - 0.13) / 0.1,
    "infinite": UNIT.clone().index_fill_(0, torch.tensor([0]), float("inf")),
}
MODELS = {
    "bernoulli": lambda: VAE(SHAPE, 4),
    "gaussian": lambda: VAE(SHAPE, 4, likelihood="gaussian"),
    "optimal_sigma": lambda: VAE(SHAPE, 4, likelihood="optimal_sigma"),
}


def fit(model, images, val=None, **options) -> None:
    trainer = L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        max_steps=3,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        **options,
    )
    loader = lambda tensor: DataLoader(TensorDataset(tensor), batch_size=8)
    trainer.fit(model, loader(images), None if val is None else loader(val))


pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:.*no `val_dataloader`", "ignore:.*defined a `validation_step`"
)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("kind", INSIDE)
def test_images_in_the_range_are_trained_on(model, kind):
    fit(MODELS[model](), INSIDE[kind])


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("kind", OUTSIDE)
def test_other_images_are_refused_before_the_first_step(model, kind):
    made = MODELS[model]()
    before = [weight.clone() for weight in made.parameters()]
    images = OUTSIDE[kind]
    least, most = float(images[:8].min()), float(images[:8].max())
    with pytest.raises(
        ConfigError, match=f"the first batch holds pixels from {least:g} to {most:g}, but .* takes images"
    ):
        fit(made, images)
    assert all(torch.equal(one, other) for one, other in zip(before, made.parameters(), strict=True))


def test_a_gaussian_bears_noise_and_a_bernoulli_does_not():
    noisy = UNIT + 0.1 * torch.randn(UNIT.shape, generator=torch.Generator().manual_seed(1))
    fit(MODELS["gaussian"](), noisy)
    with pytest.raises(ConfigError, match="`likelihood=bernoulli` takes images in .0, 1."):
        fit(MODELS["bernoulli"](), noisy)


def test_the_images_of_validation_are_looked_at_too_and_a_second_fit_looks_again():
    model = MODELS["bernoulli"]()
    with pytest.raises(ConfigError, match="the first batch holds pixels"):
        fit(model, UNIT, OUTSIDE["[-1, 1]"], val_check_interval=1)
    model.train()
    fit(model, UNIT)
    with pytest.raises(ConfigError, match="the first batch holds pixels"):
        fit(model, OUTSIDE["[-1, 1]"])


def test_later_batches_are_not_looked_at(monkeypatch):
    looked = []
    check = PixelRange.check
    monkeypatch.setattr(PixelRange, "check", lambda self, images: looked.append(len(images)) or check(self, images))
    fit(MODELS["bernoulli"](), UNIT, UNIT, val_check_interval=1)
    assert looked == [8, 8]  # the first of training and the first of validation


@pytest.mark.parametrize(
    "build",
    [
        lambda: GAN((1, 32, 32), 4),
        lambda: VAEGAN((1, 32, 32), 4),
        lambda: ConvVAE((1, 32, 32)),
        lambda: ConvAutoencoder((1, 32, 32)),
    ],
)
def test_all_models_of_images_look(build):
    images = torch.rand(4, 1, 32, 32)
    assert torch.equal(build().prepare(images), images)
    with pytest.raises(ConfigError, match="the first batch holds pixels from"):
        build().prepare(2 * images - 1)


def test_what_is_no_number_is_left_to_the_guard():
    images = UNIT.clone()
    images[0] = float("nan")
    assert MODELS["bernoulli"]().prepare(images).isnan().any()
