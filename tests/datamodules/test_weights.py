"""Weighted training sets: how often images come, files of weights, resumed loaders, thinned classes."""

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from scipy.stats import chisquare

from lightning_gvae.datamodules.base import DataSpec, ImageArrays, ImageDataModule
from lightning_gvae.datamodules.batches import BatchLoader, SampleWeights, Split
from lightning_gvae.datamodules.digits import DigitsDataModule
from lightning_gvae.datamodules.weights import WeightOptions
from lightning_gvae.errors import CheckpointError, ConfigError, DataError
from lightning_gvae.metrics.diversity.weights import WeightObjective, diversity_weights
from tests.datamodules.test_resume import Witness, batches_done, every_step, fit


def split(count: int) -> Split:
    numbers = np.arange(count)
    return Split("numbers/train", ImageArrays(numbers.astype(np.uint8).reshape(-1, 1, 1, 1), numbers), numbers)


def weights(*values: float) -> SampleWeights:
    array = np.array(values, dtype=np.float64)
    return SampleWeights(array / array.sum(), "made up")


def seen(loader: BatchLoader, epoch: int = 0) -> np.ndarray:
    loader.set_epoch(epoch)
    return np.concatenate([batch[1].numpy() for batch in loader])


def test_an_image_comes_as_often_as_its_weight_says_rounded_up_or_down():
    p = weights(*np.random.default_rng(0).dirichlet(np.ones(200)))
    loader = BatchLoader(split(200), 1, training=True, weights=p)
    expected = 200 * p.values
    total = np.zeros(200)
    for epoch in range(60):
        counts = np.bincount(seen(loader, epoch), minlength=200)
        assert (counts >= np.floor(expected - 1e-9)).all() and (counts <= np.ceil(expected + 1e-9)).all()
        total += counts
    # Every image as often as its weight says; counts vary less than independent draws would.
    assert chisquare(total, 60 * expected).pvalue > 0.99
    assert np.abs(total / 60 - expected).max() < 0.25


def test_equal_weights_show_every_image_once_in_a_new_order():
    loader = BatchLoader(split(64), 8, training=True, weights=weights(*np.ones(64)))
    first, second = seen(loader, 0), seen(loader, 1)
    assert sorted(first) == sorted(second) == list(range(64)) and (first != second).any()
    assert (first == seen(BatchLoader(split(64), 8, training=True, weights=weights(*np.ones(64))))).all()


def test_ranks_share_one_weighted_epoch():
    p = weights(*range(1, 41))
    whole = seen(BatchLoader(split(40), 8, training=True, weights=p))
    ranks = [seen(BatchLoader(split(40), 4, training=True, weights=p, rank=r, world_size=2)) for r in (0, 1)]
    assert np.stack([part.reshape(-1, 4) for part in ranks], 1).reshape(-1).tolist() == whole.tolist()


def test_a_checkpoint_of_other_weights_is_refused():
    weighted = BatchLoader(split(20), 4, training=True, weights=weights(*range(1, 21)))
    plain = BatchLoader(split(20), 4, training=True)
    for loader, state, found in ((plain, weighted, "made up"), (weighted, plain, None)):
        with pytest.raises(CheckpointError, match=f"`weights` of the checkpoint's data loader is {found!r}"):
            loader.load_state_dict(state.state_dict())
    with pytest.raises(ConfigError, match="`weights` must be as many as the 20 images"):
        BatchLoader(split(20), 4, training=True, weights=weights(1, 1))


class TwoKinds(ImageDataModule):
    """80 dark and 8 bright noisy images, 2 classes, and 12 images to validate and test."""

    def __init__(self, **options):
        super().__init__(DataSpec("two", (1, 4, 4), num_classes=2), 6, 6, **{"batch_size": 8, **options})

    def load(self):
        noise = np.random.default_rng(0).integers(0, 40, (100, 1, 4, 4))
        labels = np.arange(100) % 11 == 0
        noise[labels, :, :, :2] += 200
        noise[~labels, :, :, 2:] += 200
        return ImageArrays(noise.astype(np.uint8), labels.astype(np.int64)), None


def ready(**options):
    module = TwoKinds(**options)
    module.setup()
    return module


def test_diversity_weights_from_pixels_balance_two_kinds_and_are_cached(tmp_path, capsys):
    setting = {"features": "pixels", "strength": 1.0, "cache_dir": tmp_path}
    module = ready(weights=setting)
    loader = module.train_dataloader()
    targets = np.concatenate([seen(loader, epoch) for epoch in range(20)])
    plain = ready().train_set.batch(np.arange(88))[1].double().mean()
    assert plain < 0.11 and 0.4 < targets.mean() < 0.6
    assert "Vendi score" in capsys.readouterr().err
    again = ready(weights=setting).train_dataloader()
    assert "Vendi score" not in capsys.readouterr().err
    assert np.array_equal(again.weights.values, loader.weights.values)
    (path,) = (tmp_path / "weights").glob("*.safetensors")
    with safe_open(path, "pt") as file:
        facts = file.metadata()
    assert facts["data"] == "two/train" and float(facts["vendi"]) > float(facts["uniform_vendi"])
    images = module.train_set.batch(np.arange(88))[0].float().flatten(1) / 255 + 1e-3
    expected = diversity_weights(images, WeightObjective(strength=1.0)).weights.numpy()
    assert np.allclose(loader.weights.values, expected, atol=1e-8)
    other = ready(weights=setting, seed=1).train_dataloader()
    assert len(list((tmp_path / "weights").glob("*.safetensors"))) == 2 and other.weights.name != loader.weights.name
    # The file itself can be given, to the set that it is of.
    given = ready(weights=str(path)).train_dataloader()
    assert np.array_equal(given.weights.values, loader.weights.values)
    with pytest.raises(
        DataError, match="holds the weights of another set: fingerprint: stored '.{32}', now '.{32}'. The order"
    ):
        ready(weights=str(path), seed=1).train_dataloader()


def test_a_file_of_another_data_set_says_what_differs(tmp_path):
    ready(weights={"features": "pixels", "cache_dir": tmp_path}).train_dataloader()
    (path,) = (tmp_path / "weights").glob("*.safetensors")
    digits = DigitsDataModule(weights=str(path))
    digits.setup()
    with pytest.raises(
        DataError, match="data: stored 'two/train', now 'digits/train'; .*samples: stored '88', now '1197'"
    ):
        digits.train_dataloader()
    (tmp_path / "other.safetensors").write_bytes(path.read_bytes()[:50])
    save_file({"w": torch.ones(3)}, tmp_path / "strange.safetensors")
    for name, message in (
        ("missing", "no file of weights at"),
        ("other", "is damaged"),
        ("strange", "is not a file of"),
    ):
        with pytest.raises(DataError, match=message):
            ready(weights=str(tmp_path / f"{name}.safetensors")).train_dataloader()


def test_the_digits_by_their_own_classifier(tmp_path):
    """Zeros thinned ten times: their share rises from 1 % towards that of the others."""
    shares = {0: 0.1}
    module = DigitsDataModule(weights={"strength": 1.0, "cache_dir": tmp_path}, class_shares=shares)
    module.setup()
    loader = module.train_dataloader()
    plain = float((module.train_set.batch(np.arange(len(module.train_set)))[1] == 0).double().mean())
    weighted = float(np.mean(np.concatenate([seen(loader, epoch) for epoch in range(5)]) == 0))
    assert plain < 0.015 and weighted > 2 * plain


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
def test_a_weighted_run_resumes_exactly(tmp_path):
    def module():
        return TwoKinds(weights={"features": "pixels", "cache_dir": tmp_path / "cache"})

    whole = fit(tmp_path, checkpoint=every_step(tmp_path), module=module(), model=Witness(), max_epochs=2)
    paths = sorted(tmp_path.glob("*.ckpt"))
    assert len(paths) == 22
    for path in (paths[3], paths[12]):
        done = batches_done(path)
        rest = fit(tmp_path, resume=path, module=module(), model=Witness(), max_epochs=2)
        assert rest.seen == whole.seen[done:] and rest.weight.item() == whole.weight.item()


def test_classes_are_thinned_the_same_way_whatever_the_seed():
    def pool(seed):
        module = DigitsDataModule(class_shares={3: 0.1, 7: 0.5}, seed=seed)
        module.setup()
        parts = (module.train_set, module.val_set, module.test_set)
        indices = np.sort(np.concatenate([part.indices for part in parts]))
        return indices, module.train_set.source.targets[indices]

    (first, labels), (second, _) = pool(0), pool(1)
    assert np.array_equal(first, second)
    counts = np.bincount(labels)
    assert counts[3] == round(0.1 * 183) and counts[7] == round(0.5 * 179) and counts[0] == 178


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_shares": {3: 0.5}}, r"must name classes 0..1, got 3"),
        ({"class_shares": {1: 0}}, r"must keep shares in \(0, 1\], got 0 of class 1"),
        ({"weights": "divers"}, "`weights` may be diversity, settings of it by name, or the path .* got 'divers'"),
        ({"weights": {"strenght": 1}}, "`weights` may set kind, features, .* got strenght"),
        ({"weights": {"features": "vgg"}}, "`weights.features` must be one of auto, domain, pixels"),
        ({"weights": {"ess": 2}}, "`ess` must lie in"),
    ],
)
def test_settings_out_of_range_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        ready(**options).train_dataloader()


def test_no_labels_no_domain(tmp_path):
    class Unlabelled(TwoKinds):
        def __init__(self, **options):
            ImageDataModule.__init__(self, DataSpec("two", (1, 4, 4)), 6, 6, batch_size=8, **options)

    module = Unlabelled(weights={"features": "domain", "cache_dir": tmp_path})
    module.setup()
    with pytest.raises(ConfigError, match="needs labels, and two/train has none; take pixels"):
        module.train_dataloader()
    with pytest.raises(ConfigError, match="`class_shares` needs data whose targets are labels"):
        Unlabelled(class_shares={0: 0.5})
    assert WeightOptions.of("diversity") == WeightOptions()


def test_a_class_that_would_vanish_is_named():
    with pytest.raises(DataError, match="leaves none of the 10 images of class 1; keep more"):
        ready(class_shares={1: 0.01})
