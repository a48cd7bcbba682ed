"""Images in NumPy's files: every layout and type, packed and unpacked, and files that are refused."""

import pickle
import zipfile

import numpy as np
import pytest
import torch

from lightning_gvae.datamodules import arrays
from lightning_gvae.datamodules.array_files import open_array
from lightning_gvae.datamodules.arrays import ArraysDataModule
from lightning_gvae.datamodules.pixels import as_image
from lightning_gvae.errors import ConfigError, DataError

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 3, 6, 5), dtype=np.uint8)
LABELS = np.arange(20) % 4


def module(path, folder, **options):
    data = ArraysDataModule(path, cache_dir=folder / "cache", **options)
    data.setup()
    return data


def whole(data):
    """All images and labels in the order of the file."""
    return data.train_set.source.batch(np.arange(20))


def save(folder, kind):
    path = folder / f"images.{kind[:3]}"
    if kind == "npy":
        np.save(path, PIXELS)
    elif kind == "npy in Fortran's order":
        np.save(path, np.asfortranarray(PIXELS))
    elif kind == "npz":
        np.savez(path, labels=LABELS, images=PIXELS)
    elif kind == "npz packed":
        np.savez_compressed(path, labels=LABELS, images=PIXELS)
    else:
        np.savez_compressed(path, images=np.asfortranarray(PIXELS))
    return path


@pytest.mark.parametrize("kind", ["npy", "npy in Fortran's order", "npz", "npz packed", "npz packed, Fortran"])
def test_every_kind_of_file_gives_its_images(kind, tmp_path):
    path = save(tmp_path, kind)
    data = module(path, tmp_path)
    images, labels = whole(data)
    assert torch.equal(images, torch.from_numpy(PIXELS))
    assert data.spec.image_shape == (3, 6, 5)
    assert data.part_sizes == {"train": 16, "val": 2, "test": 2}
    labelled = kind in ("npz", "npz packed")
    assert labels.tolist() == (LABELS if labelled else 0 * LABELS).tolist()
    assert data.spec.num_classes == (4 if labelled else None)
    assert isinstance(data.train_set.source.images, np.memmap)
    made = list((tmp_path / "cache").glob("*.npy"))
    assert bool(made) == ("packed" in kind)
    stamps = [path.stat().st_mtime_ns for path in made]
    module(path, tmp_path)  # from the cache
    assert [path.stat().st_mtime_ns for path in made] == stamps


@pytest.mark.parametrize(
    ("array", "layout", "expected"),
    [
        (PIXELS[:, 0], "auto", PIXELS[:, :1]),
        (PIXELS.transpose(0, 2, 3, 1), "auto", PIXELS),
        (PIXELS.transpose(0, 2, 3, 1), "hwc", PIXELS),
        (PIXELS[:, :, :3, :4], "hwc", PIXELS[:, :, :3, :4].transpose(0, 3, 1, 2)),
        (PIXELS / np.float32(255), "auto", PIXELS),
        (PIXELS.astype(np.float64) / 255, "chw", PIXELS),
        (PIXELS > 99, "auto", (PIXELS > 99) * np.uint8(255)),
    ],
    ids=["grey", "channels last", "said to be last", "ambiguous, said", "float32", "float64", "booleans"],
)
def test_layouts_and_types_become_bytes_with_the_channels_first(array, layout, expected, tmp_path):
    np.save(tmp_path / "x.npy", array)
    data = module(tmp_path / "x.npy", tmp_path, layout=layout)
    images, _ = whole(data)
    assert images.dtype == torch.uint8
    assert np.array_equal(images.numpy(), expected)
    assert data.spec.binary == (array.dtype == np.bool_)


def test_zeros_and_ones_of_bytes_are_said_to_be_nearly_black(tmp_path, capsys):
    np.save(tmp_path / "x.npy", (PIXELS > 99).astype(np.uint8))
    module(tmp_path / "x.npy", tmp_path)
    assert "nothing above 1 of 255; if they are black and white, save them as booleans" in capsys.readouterr().err
    np.save(tmp_path / "x.npy", PIXELS)
    module(tmp_path / "x.npy", tmp_path)
    assert not capsys.readouterr().err


def test_labels_and_a_test_part_from_files_of_their_own(tmp_path):
    for name, count in (("train", 20), ("test", 7)):
        np.save(tmp_path / f"{name}.npy", PIXELS[:count])
        np.save(tmp_path / f"{name}_labels.npy", LABELS[:count].astype(np.uint8))
    paths = {name: tmp_path / f"{name}.npy" for name in ("test", "train_labels", "test_labels")}
    names = ("test_path", "labels", "test_labels")
    given = dict(zip(names, (paths["test"], paths["train_labels"], paths["test_labels"]), strict=True))
    data = module(tmp_path / "train.npy", tmp_path, val_size=4, class_names=["a", "b", "c", "d"], **given)
    assert data.part_sizes == {"train": 16, "val": 4, "test": 7}
    assert data.spec.num_classes == 4
    images, labels = data.test_set.batch(np.arange(7))
    assert np.array_equal(images.numpy(), PIXELS[:7])
    assert labels.tolist() == LABELS[:7].tolist()
    with pytest.raises(ConfigError, match=r"must name the classes 0..3, got 2 names"):
        module(tmp_path / "train.npy", tmp_path, class_names=["a", "b"], labels=paths["train_labels"])


def test_images_are_known_by_their_content_and_large_sets_by_their_ends(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", PIXELS)
    other = PIXELS.copy()
    other[19] += 1
    np.save(tmp_path / "b.npy", other)
    for most in (2**32, 0):
        monkeypatch.setattr(arrays, "HASHED", most)
        a, again, b = (module(tmp_path / f"{name}.npy", tmp_path) for name in "aab")
        items = [data.train_set.source.items().contents for data in (a, again, b)]
        assert len(set(items[0].tolist())) == 20
        assert np.array_equal(items[0], items[1])
        assert not np.array_equal(items[0], items[2])


class Harm:
    def __reduce__(self):
        import os

        return os.mkdir, ("harmed",)


def pickled(path):
    np.save(path, np.array([Harm()], dtype=object), allow_pickle=True)


def a_pickle(path):
    path.write_bytes(pickle.dumps([1, 2]))


def cut_off(path):
    np.save(path, PIXELS)
    path.write_bytes(path.read_bytes()[:-100])


def cut_zip(path):
    np.savez_compressed(path, images=PIXELS)
    path.write_bytes(path.read_bytes()[:-30])


def changed_zip(path):
    np.savez_compressed(path, images=PIXELS)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(bytes(content))


def two_arrays(path):
    np.savez(path, first=PIXELS, second=PIXELS)


def empty_zip(path):
    zipfile.ZipFile(path, "w").close()


def of_integers(path):
    np.save(path, PIXELS.astype(np.int32))


def outside(path):
    np.save(path, PIXELS.astype(np.float32))


def five_dimensions(path):
    np.save(path, PIXELS[None])


WRONG = {
    pickled: "holds Python objects, which would be a pickle",
    a_pickle: "is no array in NumPy's format",
    cut_off: "damaged or cut off",
    cut_zip: "damaged|no array in NumPy's format",
    changed_zip: "damaged|cut off",
    two_arrays: "has the arrays first, second; say with data.images_key=",
    empty_zip: r"has the arrays \(none\)",
    of_integers: "must be uint8, booleans, or floats in",
    outside: r"must be in \[0, 1\] if they are floats, found 0 to 255",
    five_dimensions: r"must be of shape \(N, H, W\)",
}


@pytest.mark.parametrize("make", WRONG, ids=lambda make: make.__name__)
def test_a_file_that_is_something_else_is_refused(make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / ("x.npz" if "zip" in make.__name__ or make is two_arrays else "x.npy")
    make(path)
    with pytest.raises(DataError, match=WRONG[make]) as caught:
        whole(module(path, tmp_path))
    assert str(path) in str(caught.value)
    assert not (tmp_path / "harmed").exists()
    assert not list((tmp_path / "cache").glob("*.partial"))


def test_missing_files_and_arrays_are_named(tmp_path):
    with pytest.raises(DataError, match=r"nope.npy was not found; give the path of an .npy or .npz file"):
        ArraysDataModule(tmp_path / "nope.npy")
    np.savez(tmp_path / "x.npz", images=PIXELS, labels=LABELS[:3])
    with pytest.raises(DataError, match="has no array 'label'; it has the arrays images, labels"):
        ArraysDataModule(tmp_path / "x.npz", labels_key="label")
    with pytest.raises(DataError, match=r"must be 20 integers, one a row of .*, found int64 of shape \(3,\)"):
        module(tmp_path / "x.npz", tmp_path)
    np.save(tmp_path / "y.npy", PIXELS)
    with pytest.raises(DataError, match="has no array 'images'; it has a single array without a name"):
        open_array(tmp_path / "y.npy", "images")


def test_a_single_image_of_any_library():
    from PIL import Image

    grey, colour = PIXELS[0, 0], PIXELS[0]
    last = np.ascontiguousarray(colour.transpose(1, 2, 0))
    for value, expected in (
        (Image.fromarray(grey), grey[None]),
        (Image.fromarray(last), colour),
        (Image.fromarray(last).convert("RGBA"), colour),
        (torch.from_numpy(colour) / 255, colour),
        (last, colour),
        (grey, grey[None]),
    ):
        assert np.array_equal(as_image(value, "x"), expected)
    for wrong in ("text", np.zeros(3), torch.zeros(2, 2, 2, 2)):
        with pytest.raises(DataError, match="x must be an image"):
            as_image(wrong, "x")
