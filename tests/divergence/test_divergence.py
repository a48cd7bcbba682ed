"""The tools of active divergence against closed forms and on tiny models."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from lightning_gvae.divergence.blending import blend_states, blended
from lightning_gvae.divergence.chaining import chain
from lightning_gvae.divergence.fine_tuning import between_classes, fine_tuned, novelty, unreal
from lightning_gvae.divergence.latents import amplified, analogy, direction, path, truncated_normal
from lightning_gvae.errors import CheckpointError, ConfigError, NonFiniteError
from lightning_gvae.models import VAE


def tiny(seed=0, latent_dim=3):
    torch.manual_seed(seed)
    return VAE((1, 4, 4), latent_dim=latent_dim, network="mlp")


@pytest.mark.parametrize("bound", [0.3, 1.0, 2.5])
def test_truncated_latents_follow_the_truncated_law(bound):
    latents = truncated_normal(4000, 5, bound).double().numpy().ravel()
    assert np.abs(latents).max() <= bound
    assert stats.kstest(latents, stats.truncnorm(-bound, bound).cdf).pvalue > 0.01
    assert bound > 2 or stats.kstest(latents, "norm").pvalue < 1e-3


def test_without_a_bound_it_is_the_prior_and_the_seed_counts():
    assert stats.kstest(truncated_normal(4000, 5, math.inf).double().numpy().ravel(), "norm").pvalue > 0.01
    assert torch.equal(truncated_normal(3, 2, 1.0, seed=4), truncated_normal(3, 2, 1.0, seed=4))
    near = truncated_normal(500, 2, 1.0) - truncated_normal(500, 2, 1.01)
    assert near.abs().max() < 0.02, "a sample moves continuously with the bound"
    with pytest.raises(ConfigError, match="`bound` must be above 0"):
        truncated_normal(2, 2, 0)


def test_amplification_directions_and_analogies():
    latents = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    centre = torch.tensor([1.0, 2.0, 3.0])
    assert torch.equal(amplified(latents, 1.0), latents)
    assert torch.equal(amplified(latents, 0.0, centre), centre.expand(6, 3))
    assert torch.allclose(amplified(latents, 2.0).std(0), 2 * latents.std(0))
    shift = torch.tensor([0.0, 5.0, 0.0])
    assert torch.allclose(direction(latents, latents + shift), shift, atol=1e-6)
    assert torch.allclose(analogy(latents, latents + shift, centre), centre + shift, atol=1e-6)
    with pytest.raises(ConfigError, match="`factor` must be 0 or more, got -1"):
        amplified(latents, -1)
    with pytest.raises(ConfigError, match="must be latents"):
        direction(latents, latents[:0])


def test_paths_meet_their_ends_and_keep_their_length_on_a_sphere():
    start, end = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 3.0])
    arc = path(start, end, 7)
    assert torch.allclose(arc[0], start, atol=1e-6) and torch.allclose(arc[-1], end, atol=1e-6)
    assert torch.allclose(arc.norm(dim=1), torch.full((7,), 3.0))
    assert torch.allclose(arc[3], torch.full((2,), 3 / math.sqrt(2)))
    straight = path(start, end, 3, spherical=False)
    assert torch.allclose(straight[1], torch.tensor([1.5, 1.5]))
    further = path(start, end, 4, beyond=0.5, spherical=False)
    assert torch.allclose(further[-1], end + 0.5 * (end - start))
    assert torch.allclose(path(start, 2 * start, 3)[1], 1.5 * start), "the same direction: straight"
    with pytest.raises(ConfigError, match="`steps` must be an integer of at least 2"):
        path(start, end, 1)


def test_blending_reaches_both_models_and_the_mean_between():
    first, second = tiny(0), tiny(1)
    images = torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    before = first.reconstruct(images)
    assert torch.equal(blended(first, second, 0.0).reconstruct(images), before)
    assert torch.equal(blended(first, second, 1.0).reconstruct(images), second.reconstruct(images))
    mean = blend_states(first.state_dict(), second.state_dict(), 0.5)
    for name, value in mean.items():
        assert torch.allclose(value, (first.state_dict()[name] + second.state_dict()[name]) / 2, atol=1e-6)
    swapped = blended(first, second, {"decoder": 1.0, "decoder.head": 0.0})
    for name, value in swapped.state_dict().items():
        source = second if name.startswith("decoder") and not name.startswith("decoder.head") else first
        assert torch.equal(value, source.state_dict()[name]), name
    by_name = blend_states(first.state_dict(), second.state_dict(), lambda name: float("encoder" in name))
    assert torch.equal(by_name["encoder.head.weight"], second.state_dict()["encoder.head.weight"])
    assert torch.equal(first.reconstruct(images), before), "the models stay as they are"


def test_blending_refuses_other_networks():
    with pytest.raises(CheckpointError, match=r"decoder.layers.0.weight \(400x3 and 400x5\), encoder.head.bias"):
        blended(tiny(), tiny(latent_dim=5), 0.5)
    with pytest.raises(ConfigError, match="`share` names generator, with which no weight"):
        blended(tiny(), tiny(1), {"generator": 1.0})
    with pytest.raises(ConfigError, match="`share` must be finite, got nan"):
        blended(tiny(), tiny(1), math.nan)


class Halver:
    """Encodes an image as itself and decodes half of it."""

    training = True

    def eval(self):
        return self.train(False)

    def train(self, mode):
        self.training = mode
        return self

    def encode(self, images):
        return images.flatten(1), None

    def decode(self, latents):
        return latents.unflatten(1, (1, 2, 2)) / 2


def test_a_chain_has_a_closed_form():
    images, model = torch.ones(3, 1, 2, 2), Halver()
    links = chain([model], images, 4)
    assert torch.allclose(links.images[:, 0, 0, 0, 0], torch.tensor([1, 0.5, 0.25, 0.125, 0.0625]))
    assert torch.allclose(links.moved, torch.tensor([1.0, 0.5, 0.25, 0.125]))
    assert model.training, "left as it was"
    assert torch.allclose(chain([model], images, 3, gain=2.0).images, images.expand(4, 3, 1, 2, 2))
    with pytest.raises(ConfigError, match="at least one model"):
        chain([], images, 2)


def test_models_of_a_chain_take_turns_and_must_share_a_shape():
    first, second = tiny(0), tiny(1)
    images = torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    links = chain([first, second], images, 2)
    with torch.no_grad():
        assert torch.equal(links.images[2], second.reconstruct(first.reconstruct(images)))
    wrong = Halver()
    wrong.decode = lambda latents: latents.unflatten(1, (4, 1, 1))
    with pytest.raises(ConfigError, match=r"share one image shape: \(1, 2, 2\) went in, \(4, 1, 1\) came out"):
        chain([wrong], torch.ones(1, 1, 2, 2), 1)


def test_fine_tuning_raises_the_objective_and_leaves_the_model_alone():
    model = tiny()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    brightness = lambda images: images.flatten(1).mean(1)
    found = fine_tuned(model, brightness, steps=40, learning_rate=3e-3)
    assert found.objective[-1] > found.objective[0] + 0.1 and len(found.objective) == 41
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    moved = {n for n, v in found.model.state_dict().items() if not torch.equal(v, state[n])}
    assert moved and all(name.startswith("decoder") for name in moved)
    held = fine_tuned(model, brightness, steps=40, learning_rate=3e-3, leash=10.0)
    assert 0 < held.moved < found.moved and held.objective[-1] < found.objective[-1]
    early = fine_tuned(model, brightness, steps=40, learning_rate=3e-3, stop_at=found.objective[0] + 0.05)
    assert len(early.objective) < 41 and early.objective[-1] >= found.objective[0] + 0.05
    assert fine_tuned(model, brightness, steps=5).objective == fine_tuned(model, brightness, steps=5).objective


def test_objectives_are_what_they_say():
    classifier = nn.Sequential(nn.Flatten(1), nn.Linear(16, 4))
    with torch.no_grad():
        classifier[1].weight.zero_()
        classifier[1].bias.zero_()
    images = torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(between_classes(classifier)(images), torch.full((6,), math.log(4)))
    assert torch.allclose(novelty(images)(images), torch.zeros(6), atol=1e-3)
    assert torch.allclose(novelty(torch.zeros(1, 1, 4, 4))(images), images.flatten(1).norm(dim=1), atol=1e-5)
    assert torch.equal(unreal(lambda x: x.flatten(1).sum(1, keepdim=True))(images), -images.flatten(1).sum(1))
    tuned = fine_tuned(tiny(), novelty(tiny().sample(50).detach()), steps=30, learning_rate=1e-3)
    assert tuned.objective[-1] > 1.5 * tuned.objective[0]


def test_fine_tuning_names_mistakes():
    with pytest.raises(ConfigError, match=r"must give one number a sample, \(64,\), got \(\)"):
        fine_tuned(tiny(), lambda images: images.mean())
    with pytest.raises(NonFiniteError, match="the objective is nan at step 0"):
        fine_tuned(tiny(), lambda images: images.flatten(1).mean(1) * math.nan)
    with pytest.raises(ConfigError, match="`learning_rate` must be above 0"):
        fine_tuned(tiny(), lambda images: images.flatten(1).mean(1), learning_rate=0)
