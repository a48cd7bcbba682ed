"""Active divergence in the lab: bounded inputs, and images that are what the tools make."""

import copy

import numpy as np
import pytest
import torch

from lightning_gvae.app.service.diverging import attribute, blend, further_trained, iterated, stretched
from lightning_gvae.app.service.latents import start
from lightning_gvae.app.service.opened import Opened
from lightning_gvae.divergence.blending import blended
from lightning_gvae.divergence.latents import truncated_normal
from lightning_gvae.errors import CheckpointError, ConfigError


def state(opened):
    return {name: values.clone() for name, values in opened.model.state_dict().items()}


def test_a_tight_bound_or_a_factor_of_zero_leaves_the_centre_alone(vae):
    free, tight = stretched(vae, 0, 4.0, 1.0), stretched(vae, 0, 0.1, 1.0)
    assert free.shape == (16, 1, 8, 8)
    assert tight.std(0).mean() < 0.2 * free.std(0).mean()
    centre = vae.decode(np.zeros((1, vae.latent_dim), np.float32))
    assert (stretched(vae, 3, 2.0, 0.0) == centre).all()
    assert (stretched(vae, 1, 4.0, 1.0) == vae.decode(truncated_normal(16, vae.latent_dim, 4.0, 1).numpy())).all()


def test_a_walk_starts_at_the_image_and_reaches_the_other_class(vae):
    subject, net = vae.subject, vae.classifier().net
    images, labels = subject.images(subject.data.test_set, None, "all")
    zero = vae.decode(vae.encode(images[labels == 0])[0])
    verdicts = []
    for seed in range(8):
        walk = attribute(vae, "0", "1", seed, 1.5)
        assert walk.shape == (8, 1, 8, 8) and any((walk[0] == image).all() for image in zero)
        with torch.no_grad():
            verdicts.append(net(torch.from_numpy(walk[[0, -1]]).float())[1].argmax(1).tolist())
    first, last = zip(*verdicts, strict=True)
    assert first.count(0) >= 6 and last.count(0) <= 2


def test_a_blend_goes_from_one_model_to_the_other(vae):
    other = Opened(vae.label, vae.config, _moved(vae.model), vae._datamodule)
    rows = blend(vae, other, 0.5, 0)
    assert rows.shape == (3, 8, 1, 8, 8) and not (rows[0] == rows[2]).all()
    latents = truncated_normal(8, vae.latent_dim, 4.0, 0)
    with torch.no_grad():
        expected = blended(vae.model, other.model, 0.5).decode(latents).mul(255).round().to(torch.uint8).numpy()
    assert (rows[1] == expected).all()
    assert (blend(vae, other, 0, 0)[1] == rows[0]).all() and (blend(vae, other, 1, 0)[1] == rows[2]).all()


def _moved(model):
    other = copy.deepcopy(model)
    other.load_state_dict({k: v * 1.1 if v.is_floating_point() else v for k, v in model.state_dict().items()})
    return other


def test_models_of_other_shapes_are_not_blended(vae, gan):
    with pytest.raises(CheckpointError, match=r"cannot be blended|choose two models with the same settings"):
        blend(vae, gan, 0.5, 0)


def test_a_chain_is_one_reconstruction_after_the_other(vae):
    links = iterated(vae, "random", 5, 3, 1.0)
    assert links.shape == (4, 1, 8, 8)
    assert (links[0] == vae.decode(start(vae, "random", 5)[None])[0]).all()
    once = vae.decode(vae.encode(links[:1])[0])[0]
    assert np.abs(links[1].astype(int) - once).max() <= 1
    assert (iterated(vae, "test image", 5, 2, 0.0)[1] == vae.decode(np.zeros((1, vae.latent_dim), np.float32))[0]).all()


@pytest.mark.parametrize("objective", ["between classes", "novelty"])
def test_training_away_raises_the_objective_and_leaves_the_model_alone(vae, objective):
    before = state(vae)
    images, course, moved = further_trained(vae, objective, 40, 0.0, 0)
    assert images.shape == (2, 8, 1, 8, 8) and len(course) == 41
    assert course[-1] > 1.05 * course[0] and 0 < moved < 1
    assert not (images[0] == images[1]).all()
    assert all(torch.equal(before[name], values) for name, values in vae.model.state_dict().items())
    held = further_trained(vae, objective, 40, 1.0, 0)[2]
    assert held < moved


def test_a_gan_can_be_trained_away_but_not_iterated(gan):
    assert further_trained(gan, "between classes", 2, 0.0, 0)[0].shape == (2, 8, 1, 8, 8)
    for refused in (lambda: iterated(gan, "random", 0, 1, 1.0), lambda: attribute(gan, "0", "1", 0, 1.0)):
        with pytest.raises(ConfigError, match="a GAN has no encoder"):
            refused()


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda m: stretched(m, -1, 1, 1), "The seed must be from 0"),
        (lambda m: stretched(m, 0, 0, 1), "The bound must be a number from 0.1 to 4"),
        (lambda m: stretched(m, 0, 1, float("nan")), "The factor must be a number from 0 to 4"),
        (lambda m: attribute(m, "0", "ten", 0, 1), "the classes are 0, 1, 2"),
        (lambda m: attribute(m, None, "1", 0, 1), "the classes are 0, 1, 2"),
        (lambda m: blend(m, m, 2.0, 0), "The share must be a number from -0.5 to 1.5"),
        (lambda m: iterated(m, "random", 0, 13, 1), "The number of links must be from 1 to 12"),
        (lambda m: further_trained(m, "beauty", 1, 0, 0), "the objective must be one of between classes, novelty"),
        (lambda m: further_trained(m, "novelty", 201, 0, 0), "The number of steps must be from 1 to 200"),
    ],
)
def test_wrong_input_is_named(vae, ask, message):
    with pytest.raises(ConfigError, match=message):
        ask(vae)
