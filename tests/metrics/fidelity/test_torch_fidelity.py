"""Our path from images to scores gives the numbers of torch-fidelity's own command line on the same folders."""

import json
import os
import subprocess
import sys
from io import BytesIO

import lightning as L
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from lightning_gvae.datamodules.digits import DigitsDataModule
from lightning_gvae.datamodules.mnist import MNISTDataModule
from lightning_gvae.evaluation.feature_cache import space_of
from lightning_gvae.evaluation.real_data import RealData
from lightning_gvae.evaluation.subject import Subject
from lightning_gvae.evaluation.suite import Suite
from lightning_gvae.metrics.fidelity.domain import Classifier, DomainSpace
from lightning_gvae.metrics.fidelity.features import extract_features
from lightning_gvae.metrics.fidelity.fid import fid
from lightning_gvae.metrics.fidelity.images import as_uint8
from lightning_gvae.metrics.fidelity.inception import InceptionSpace
from lightning_gvae.metrics.fidelity.inception_score import inception_score
from lightning_gvae.metrics.fidelity.kid import kid
from lightning_gvae.metrics.fidelity.precision_recall import precision_recall
from lightning_gvae.metrics.fidelity.statistics import moments_of_images
from lightning_gvae.models import GAN
from lightning_gvae.rng import numpy_stream, torch_stream


def folder(path, count, seed, channels, size=32):
    """Smooth random images; the seed also sets how bright and how rough they are."""
    stream = numpy_stream(seed, "test/images")
    coarse = stream.normal(size=(count, channels, 4 + 4 * seed, 4 + 4 * seed)).astype(np.float32)
    smooth = torch.nn.functional.interpolate(torch.from_numpy(coarse), (size, size), mode="bilinear")
    images = (110 + 30 * seed + 50 * smooth).clamp(0, 255).round().to(torch.uint8)
    write(path, images)
    return images


def write(path, images):
    """PNG files of uint8 ``(N, C, H, W)``, in their order."""
    path.mkdir()
    for index, image in enumerate(images.permute(0, 2, 3, 1).numpy()):
        Image.fromarray(image[..., 0] if images.shape[1] == 1 else image).save(path / f"{index:05}.png")


def command_line(generated, real, extractor, weights, *options):
    module = "tests.metrics.fidelity.torch_fidelity_cli"
    command = [sys.executable, "-m", module, "--cpu", "--json", "--silent", "--save-cpu-ram"]
    command += ["--input1", str(generated), "--input2", str(real), "--feature-extractor", extractor]
    command += ["--feature-extractor-weights-path", str(weights), *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("channels", [1, 3])
def test_all_scores_equal_the_command_line(tmp_path, channels):
    net = Classifier((channels, 32, 32), classes=10, dims=64, seed=1)
    save_file(net.state_dict(), tmp_path / "net.safetensors", {"size": "32", "channels": str(channels)})
    generated = folder(tmp_path / "generated", 300, 1, channels)
    real = folder(tmp_path / "real", 300, 2, channels)
    theirs = command_line(
        *(tmp_path / "generated", tmp_path / "real", "domain", tmp_path / "net.safetensors"),
        *("--fid", "--kid", "--isc", "--prc", "--kid-subset-size", "100", "--kid-subsets", "20"),
    )
    space = DomainSpace(net, (channels, 32, 32), "test", 0.1)
    first, second = extract_features(space, generated), extract_features(space, real)
    assert fid(first, second).value == pytest.approx(theirs["frechet_inception_distance"], rel=1e-6)
    streamed = fid(moments_of_images(space, generated), moments_of_images(space, real))
    assert streamed.value == pytest.approx(theirs["frechet_inception_distance"], rel=1e-6)
    score = kid(first, second, subsets=20, size=100)
    assert score.value == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-6)
    assert score.sd == pytest.approx(theirs["kernel_inception_distance_std"], rel=1e-5)
    score = inception_score(first)
    assert score.value == pytest.approx(theirs["inception_score_mean"], rel=1e-6)
    assert score.sd == pytest.approx(theirs["inception_score_std"], rel=1e-5)
    precision, recall = precision_recall(first, second)
    assert precision.value == pytest.approx(theirs["precision"], rel=1e-6)
    assert recall.value == pytest.approx(theirs["recall"], rel=1e-6)
    assert 0 < precision.value < 1


def compare_with_folders(folder, model, datamodule, count):
    """Scores that ``metrics=[...]`` gives a trained model, and those of folders of samples and test images."""
    suite = Suite(samples=count, resamples=1, cache_dir=folder / "cache")
    ours = suite.run(["fid", "kid", "is", "precision_recall"], model, datamodule)
    subject = Subject(model, datamodule, suite.seed)
    write(folder / "generated", as_uint8(torch.cat(list(subject.samples(count, "prior")))))
    write(folder / "real", torch.from_numpy(subject.images(datamodule.test_set, count, "real")[0]))
    channels, size, _ = datamodule.spec.image_shape
    about = {"size": str(size), "channels": str(channels)}
    save_file(space_of(subject, suite, "domain").net.state_dict(), folder / "net.safetensors", about)
    theirs = command_line(
        *(folder / "generated", folder / "real", "domain", folder / "net.safetensors"),
        *("--fid", "--kid", "--isc", "--prc", "--kid-subset-size", str(min(1000, count))),
    )
    names = {
        "fid": "frechet_inception_distance",
        "kid": "kernel_inception_distance_mean",
        "is": "inception_score_mean",
        "precision": "precision",
        "recall": "recall",
    }
    for name, their_name in names.items():
        assert ours[f"score/{name}/domain/prior"] == pytest.approx(theirs[their_name], rel=2e-6), name
    return ours


def fitted(model, datamodule, steps):
    options = {"enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = L.Trainer(
        accelerator="cpu", devices=1, max_steps=steps, logger=False, limit_val_batches=0, log_every_n_steps=0, **options
    )
    trainer.fit(model, datamodule)
    return model


def test_a_gans_samples_get_the_scores_of_the_folder_that_they_are_written_to(tmp_path):
    """From the model to the score, rounding to 256 levels included, with the space learnt from the data."""
    digits = DigitsDataModule()
    model = fitted(GAN((1, 8, 8), latent_dim=8), digits, 60)
    scores = compare_with_folders(tmp_path, model, digits, 300)
    assert 0 < scores["score/fid/domain/prior"] < 100


@pytest.mark.slow
def test_a_gans_samples_and_mnists_test_images_get_the_scores_of_their_folders(tmp_path, data_dir):
    mnist = MNISTDataModule(data_dir / "mnist", batch_size=64)
    model = fitted(GAN((1, 28, 28)), mnist, 200)
    scores = compare_with_folders(tmp_path, model, mnist, 2000)
    assert 0 < scores["score/fid/domain/prior"] < 300
    assert 1 < scores["score/is/domain/prior"] < 10
    # The floor through the same folders: real images against themselves.
    write(tmp_path / "again", torch.from_numpy(RealData(mnist).images(mnist.test_set, 2000, "real")[0]))
    theirs = command_line(
        tmp_path / "again", tmp_path / "real", "domain", tmp_path / "net.safetensors", "--fid", "--prc"
    )
    assert theirs["frechet_inception_distance"] == pytest.approx(0, abs=1e-3)
    assert theirs["precision"] == theirs["recall"] == 1


class Untrained(FeatureExtractorInceptionV3):
    """The network as it comes, to learn the names and shapes of its weights."""

    def load_state_dict(self, *args, **options):
        pass


def inception_weights(path):
    """Random weights that keep activations of the order of one through all layers."""
    empty = BytesIO()
    torch.save({}, empty)
    empty.seek(0)
    stream, weights = torch_stream(0, "test/inception"), {}
    with torch.random.fork_rng(devices=[]):
        state = Untrained("inception-v3-compat", ["2048"], empty).state_dict()
    for name, value in state.items():
        noise = torch.randn(value.shape, generator=stream)
        if name.endswith("num_batches_tracked"):
            weights[name] = value
        elif value.ndim > 1:
            weights[name] = noise * (2 / value[0].numel()) ** 0.5
        else:
            weights[name] = noise * 0.1 + (1 if name.endswith(("running_var", "bn.weight")) else 0)
    torch.save(weights, path)
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return inception_weights(tmp_path_factory.mktemp("inception") / "random.pth")


def test_inception_runs_as_torch_fidelity_runs_it(weights):
    space = InceptionSpace(weights, "64")
    assert (space.name, space.dims, space.space.classes) == ("inception-custom-64", 64, None)
    grey = torch.randint(0, 256, (2, 1, 28, 28), generator=torch_stream(0, "test/grey"), dtype=torch.uint8)
    expected = FeatureExtractorInceptionV3("inception-v3-compat", ["64"], str(weights))(grey.repeat(1, 3, 1, 1))[0]
    torch.testing.assert_close(space(grey), expected, rtol=0, atol=0)
    assert space.extract(grey)[1] is None


@pytest.mark.slow
def test_inception_scores_equal_the_command_line(tmp_path, weights):
    generated, real = folder(tmp_path / "generated", 100, 1, 3), folder(tmp_path / "real", 100, 2, 3)
    theirs = command_line(
        *(tmp_path / "generated", tmp_path / "real", "inception-v3-compat", weights),
        *("--fid", "--kid", "--isc", "--kid-subset-size", "50", "--kid-subsets", "20"),
        *("--feature-layer-fid", "64", "--feature-layer-kid", "2048"),
    )
    space = InceptionSpace(weights)
    first, second = extract_features(space, generated), extract_features(space, real)
    score = kid(first, second, subsets=20, size=50)
    assert score.name == "kid/inception-custom"
    assert score.value == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-6)
    assert inception_score(first).value == pytest.approx(theirs["inception_score_mean"], rel=1e-6)
    early = InceptionSpace(weights, "64")
    score = fid(moments_of_images(early, generated), moments_of_images(early, real))
    assert score.name == "fid/inception-custom-64"
    assert score.value == pytest.approx(theirs["frechet_inception_distance"], rel=1e-6)
