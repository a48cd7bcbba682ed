import io
import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest

from lightning_gvae.datamodules.cifar import ARCHIVE, CLASS_NAMES, FILES, FOLDER, CIFAR10DataModule, read_batch
from lightning_gvae.datamodules.safe_pickle import read_pickle
from lightning_gvae.errors import ConfigError, DataError
from tests.datamodules.test_safe_pickle import PROTOCOLS, Call, python2_pickle

RNG = np.random.default_rng(0)
SIZES = (8, 8, 8, 8, 3, 5)  # images a file; the last is the test file
IMAGES = RNG.integers(0, 256, (sum(SIZES), 3, 32, 32), dtype=np.uint8)
LABELS = RNG.integers(0, 10, len(IMAGES)).tolist()
TRAIN = sum(SIZES[:-1])


def contents(dump) -> dict[str, bytes]:
    """Content of each file; ``dump`` pickles its data ``(N, 3072)`` and labels."""
    ends = np.cumsum(SIZES)
    parts = [slice(end - size, end) for end, size in zip(ends, SIZES, strict=True)]
    return {name: dump(IMAGES[part].reshape(-1, 3072), LABELS[part]) for name, part in zip(FILES, parts, strict=True)}


def python3(protocol: int, key=str):
    return lambda data, labels: pickle.dumps({key("data"): data, key("labels"): labels, key("x"): [key("y")]}, protocol)


def write(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def write_archive(path: Path, files: dict[str, bytes], prefix: str = f"{FOLDER}/", mode: str = "w:gz") -> None:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in {"readme.html": b"<html>", **dict(reversed(files.items()))}.items():
            member = tarfile.TarInfo(prefix + name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def assert_is_the_set(module: CIFAR10DataModule) -> None:
    module.setup()
    images, labels = module.test_set.batch(range(SIZES[-1]))
    assert np.array_equal(images, IMAGES[TRAIN:]) and labels.tolist() == LABELS[TRAIN:]
    source = module.train_set.source
    images, labels = source.batch(np.arange(len(source)))
    assert np.array_equal(images, IMAGES[:TRAIN]) and labels.tolist() == LABELS[:TRAIN]
    both = np.concatenate([module.train_set.indices, module.val_set.indices])
    assert len(module.val_set) == 8 and sorted(both) == list(range(TRAIN))


DUMPS = {"python 2": python2_pickle, "keys of bytes": python3(4, str.encode)}
DUMPS |= {f"protocol {protocol}": python3(protocol) for protocol in PROTOCOLS}


@pytest.mark.parametrize("folder", ["", FOLDER])
@pytest.mark.parametrize("dump", DUMPS.values(), ids=DUMPS)
def test_files_are_found_and_read(tmp_path, folder, dump):
    write(tmp_path / folder, contents(dump))
    assert_is_the_set(CIFAR10DataModule(str(tmp_path), val_size=8))


@pytest.mark.parametrize("prefix", [f"{FOLDER}/", f"./{FOLDER}/"])
@pytest.mark.parametrize("mode", ["w:gz", "w"])
def test_the_archive_is_read_and_nothing_is_unpacked(tmp_path, prefix, mode):
    write_archive(tmp_path / ARCHIVE, contents(python2_pickle), prefix, mode)
    assert_is_the_set(CIFAR10DataModule(tmp_path, val_size=8))
    assert [path.name for path in tmp_path.rglob("*")] == [ARCHIVE]


def test_files_of_two_copies_are_never_mixed(tmp_path):
    write(tmp_path, {"test_batch": b"of another copy"})
    write(tmp_path / FOLDER, dict.fromkeys(FILES[:-1], b"of another copy"))
    write_archive(tmp_path / ARCHIVE, contents(python2_pickle))
    assert_is_the_set(CIFAR10DataModule(tmp_path, val_size=8))


def test_the_spec_is_known_before_the_files(tmp_path):
    spec = CIFAR10DataModule(tmp_path).spec
    assert (spec.name, spec.image_shape, spec.num_classes, spec.class_names) == (
        "cifar10",
        (3, 32, 32),
        10,
        CLASS_NAMES,
    )


def test_some_images_must_be_left_to_train_on(tmp_path):
    write(tmp_path, contents(python2_pickle))
    with pytest.raises(ConfigError, match=f"`val_size` 5000 leave no training image of the {TRAIN} in cifar10"):
        CIFAR10DataModule(tmp_path).setup()


@pytest.mark.parametrize("folder", ["", FOLDER])
def test_a_missing_file_is_named_with_its_folder_and_the_remedy(tmp_path, folder):
    (write(tmp_path / folder, contents(python2_pickle)) / "data_batch_3").unlink()
    with pytest.raises(DataError) as error:
        CIFAR10DataModule(tmp_path).setup()
    message = str(error.value)
    assert message.startswith(f"data_batch_3 was not found in {tmp_path / folder};")
    assert all(name in message for name in (*FILES, ARCHIVE)) and f"`root` ({tmp_path})" in message
    assert message.endswith("or set data.download=true")


def test_a_member_that_the_archive_lacks_or_only_links_to_is_named(tmp_path):
    files = contents(python2_pickle)
    del files["data_batch_3"]
    write_archive(tmp_path / ARCHIVE, files, mode="w")
    with tarfile.open(tmp_path / ARCHIVE, "a") as archive:
        link = tarfile.TarInfo(f"{FOLDER}/data_batch_3")
        link.type, link.linkname = tarfile.SYMTYPE, "data_batch_1"
        archive.addfile(link)
    with pytest.raises(DataError, match=f"{ARCHIVE} must hold {FOLDER}/data_batch_3, which is not in it"):
        CIFAR10DataModule(tmp_path).setup()


def test_a_damaged_archive_is_refused(tmp_path):
    path = tmp_path / ARCHIVE
    write_archive(path, contents(python2_pickle))
    content = path.read_bytes()
    flipped = content[:5000] + bytes(byte ^ 255 for byte in content[5000:5100]) + content[5100:]
    for damaged in (
        content[: len(content) // 2],
        content[:40],
        content[:-4000],
        flipped,
        b"",
        b"<html>not found</html>",
    ):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=f"{ARCHIVE}.*fetch it again"):
            CIFAR10DataModule(tmp_path).setup()


DATA = np.zeros((3, 3072), np.uint8)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ([DATA, [0, 1, 2]], "must be a pickled dict, found list"),
        ({"data": DATA, "fine_labels": [0, 1, 2]}, "must have the keys data and labels, found data, fine_labels;"),
        ({b"labels": [0, 1, 2]}, "must have the keys data and labels, found labels;"),
        ({}, "must have the keys data and labels, found none;"),
        ({1: DATA, (2, "a"): [0], None: 1, "x": 2}, "must have the keys data and labels, found x;"),
        ({"data": [0] * 3, "labels": [0, 1, 2]}, r"`data` in some/file must be an array of .* \(N, 3072\), found list"),
        ({"data": DATA[:, :784].copy(), "labels": [0, 1, 2]}, r"shape \(N, 3072\), found shape \(3, 784\)"),
        ({"data": DATA[0], "labels": [0]}, r"shape \(N, 3072\), found shape \(3072,\)"),
        ({"data": DATA.astype(float), "labels": [0, 1, 2]}, "holds an array of type 'f8' instead of 'u1'"),
        ({"data": DATA, "labels": [0, 1]}, "`labels` in some/file must be a list of 3, one an image, found 2"),
        ({"data": DATA, "labels": "012"}, "must be a list of 3, one an image, found str"),
        ({"data": DATA, "labels": [0, 10, 2]}, "must be integers 0..9, found 10 at position 1"),
        ({"data": DATA, "labels": [0, 1, -1]}, "must be integers 0..9, found -1 at position 2"),
        ({"data": DATA, "labels": [0, 1, 1 << 90_000]}, "must be integers 0..9, found int at position 2"),
        ({"data": DATA, "labels": [0, True, 2]}, "must be integers 0..9, found bool at position 1"),
        ({"data": DATA, "labels": ["0", 1, 2]}, "must be integers 0..9, found str at position 0"),
        ({"data": DATA, "labels": np.zeros((3, 1), np.uint8)}, "must be integers 0..9, found list at position 0"),
    ],
)
def test_a_file_of_something_else_is_refused(batch, message):
    with pytest.raises(DataError, match=message) as error:
        read_batch(pickle.dumps(batch, 4), "some/file")
    assert "some/file" in str(error.value)


@pytest.mark.parametrize("archived", [False, True])
def test_a_file_that_is_too_large_is_refused_unread(tmp_path, archived):
    size = 2**28 + 1
    if archived:
        member = tarfile.TarInfo(f"{FOLDER}/data_batch_1")
        member.size = size  # the header says so, and nothing follows
        (tmp_path / ARCHIVE).write_bytes(member.tobuf())
    else:
        write(tmp_path, dict.fromkeys(FILES, b""))
        os.truncate(tmp_path / "data_batch_1", size)
    with pytest.raises(DataError, match=f"data_batch_1 has {size} bytes, at most {size - 1} are read"):
        CIFAR10DataModule(tmp_path).setup()


def test_what_is_read_is_a_plain_array():
    for protocol in PROTOCOLS:
        images, labels = read_batch(python3(protocol)(DATA, [0, 1, 2]), "some/file")
        assert type(images) is type(labels) is np.ndarray
        assert np.array_equal(pickle.loads(pickle.dumps(images)), images)  # noqa: S301


def test_labels_may_be_an_array_of_bytes_and_files_may_be_empty():
    _, labels = read_batch(pickle.dumps({"data": DATA, "labels": np.array([3, 1, 2], np.uint8)}, 4), "some/file")
    assert labels.dtype == np.int64 and labels.tolist() == [3, 1, 2]
    images, labels = read_batch(pickle.dumps({"data": DATA[:0], "labels": []}, 4), "some/file")
    assert images.shape == (0, 3, 32, 32) and labels.shape == (0,)


@pytest.mark.parametrize("archived", [False, True])
def test_a_file_that_wants_to_run_something_is_refused_by_name_and_does_not(tmp_path, archived):
    sentinel = tmp_path / "sentinel"
    hostile = pickle.dumps({"data": Call(os.mkdir, str(sentinel)), "labels": [1]}, 2)
    files = {**contents(python2_pickle), "data_batch_2": hostile}
    if archived:
        write_archive(tmp_path / ARCHIVE, files)
        place = f"{tmp_path / ARCHIVE}:{FOLDER}/data_batch_2"
    else:
        place = str(write(tmp_path, files) / "data_batch_2")
    with pytest.raises(DataError, match=rf"^{place} asks for \w+\.mkdir"):
        CIFAR10DataModule(tmp_path).setup()
    assert not sentinel.exists()


def test_the_real_subset_has_its_published_statistics(data_dir):
    module = CIFAR10DataModule(data_dir / "cifar10_subset", val_size=1000)
    module.setup()
    assert (len(module.train_set), len(module.val_set), len(module.test_set)) == (7000, 1000, 2000)
    pixels, labels = [], []
    for part in (module.train_set, module.val_set, module.test_set):
        images, targets = part.batch(np.arange(len(part)))
        pixels.append(images.numpy())
        labels.append(np.bincount(targets.numpy(), minlength=10))
    mean = np.concatenate(pixels[:2]).mean(axis=(0, 2, 3), dtype=float) / 255
    assert mean == pytest.approx([0.4919, 0.4817, 0.4457], abs=5e-5)
    assert (labels[0] + labels[1]).tolist() == [800] * 10 and labels[2].tolist() == [200] * 10
    meta = read_pickle((data_dir / "cifar10_subset" / FOLDER / "batches.meta").read_bytes(), "batches.meta")
    assert isinstance(meta, dict) and tuple(meta["label_names"]) == CLASS_NAMES


@pytest.mark.filterwarnings(r"ignore:dtype\(\)")  # NumPy 2.4 about flags that Python 2 pickled as 0 and 1
def test_the_real_subset_is_the_one_that_torchvision_reads(data_dir):
    from torchvision.datasets import CIFAR10

    class Subset(CIFAR10):
        """Without the checks: the sums are those of the full files."""

        def _check_integrity(self):
            return True

        def _load_meta(self):
            pass

    module = CIFAR10DataModule(data_dir / "cifar10_subset", val_size=1000)
    module.setup()
    for part, train in ((module.train_set, True), (module.val_set, True), (module.test_set, False)):
        theirs = Subset(str(data_dir / "cifar10_subset"), train=train)
        images, labels = part.batch(np.arange(len(part)))
        assert np.array_equal(images.permute(0, 2, 3, 1), theirs.data[part.indices])
        assert labels.tolist() == [theirs.targets[index] for index in part.indices]
