"""FID of reconstructions against closed forms, in a feature space that can be seen through."""

import pickle

import numpy as np
import pytest
import torch
from torch import nn

from lightning_gvae.callbacks.architecture_evolution.fid import ReconstructionFid, shared_space
from lightning_gvae.callbacks.architecture_evolution.training import CandidateData, CandidateImages
from lightning_gvae.datamodules.digits import DigitsDataModule
from lightning_gvae.errors import ConfigError
from lightning_gvae.evolution.architecture.group import SearchGroup
from lightning_gvae.metrics.fidelity.features import FeatureSpace, SpaceId
from lightning_gvae.rng import numpy_stream


class Quadrants(FeatureSpace):
    """Mean grey value of each quadrant, 0..255."""

    def __init__(self) -> None:
        super().__init__(SpaceId("quadrants", 4, None, "0" * 16))

    def _run(self, images):
        return nn.functional.adaptive_avg_pool2d(images.float(), 2).flatten(1), None


class Stub(nn.Module):
    """Reconstructs every image as itself with other grey values."""

    device = torch.device("cpu")

    def __init__(self, shift: float = 0.0, scale: float = 1.0) -> None:
        super().__init__()
        self.shift, self.scale = shift, scale

    def prepare(self, images):
        return images.float() / 255

    def reconstruct(self, images):
        return images * self.scale + self.shift / 255


def data(count: int = 600) -> CandidateData:
    # Even numbers up to 100: doubling, halving and shifting keep them whole and inside.
    images = 2 * numpy_stream(0, "pixels").integers(0, 51, (count, 1, 8, 8)).astype(np.uint8)
    part = CandidateImages(images, np.zeros(count, np.int64))
    return CandidateData(part, part, part, part.first(count // 2))


def test_a_perfect_reconstruction_has_none_and_a_shift_its_square():
    measure = ReconstructionFid(Quadrants())
    assert measure(Stub(), data(), 0)["fid"] == pytest.approx(0, abs=1e-6)
    # Equal covariances: the squared distance of the means, 20 grey values in each of 4 features.
    assert measure(Stub(shift=20), data(), 0)["fid"] == pytest.approx(4 * 20**2, rel=1e-4)


def test_other_contrast_has_the_distance_of_two_normal_distributions():
    """With f' = 2 f: |mean|^2 + tr(C + 4 C - 2 (4 C C)^(1/2)) = |mean|^2 + tr(C)."""
    parts = data()
    features = Quadrants()(torch.from_numpy(parts.test.images)).double().numpy()
    expected = (features.mean(0) ** 2).sum() + np.trace(np.cov(features.T))
    found = ReconstructionFid(Quadrants(), on="test", name="test_fid")(Stub(scale=2.0), parts, 0)
    assert found == {"test_fid": pytest.approx(expected, rel=1e-4)}


def test_too_few_images_are_named():
    measure = ReconstructionFid(Quadrants())
    measure.check(data(5))
    with pytest.raises(
        ConfigError, match="needs at least 5 images in the space quadrants, got 4; raise `training.score_images`"
    ):
        measure.check(data(4))


def test_the_space_is_learnt_once_travels_to_processes_and_needs_labels(tmp_path):
    module = DigitsDataModule()
    module.setup()
    device = torch.device("cpu")
    space = shared_space(SearchGroup(), module, tmp_path, device, 1)
    (file,) = tmp_path.rglob("domain-digits-*.safetensors")
    written = file.stat().st_mtime_ns
    again = shared_space(SearchGroup(), module, tmp_path, device, 1)
    assert again.space == space.space and file.stat().st_mtime_ns == written
    images = torch.from_numpy(module.test_set.batch(range(8))[0].numpy())
    sent = pickle.loads(pickle.dumps(ReconstructionFid(space)))  # noqa: S301
    assert torch.equal(sent.space(images), space(images)) and space.space.accuracy > 0.8
    module.spec = module.spec.__class__("digits", (1, 8, 8))
    with pytest.raises(ConfigError, match="has no labels"):
        shared_space(SearchGroup(), module, tmp_path, device, 1)
