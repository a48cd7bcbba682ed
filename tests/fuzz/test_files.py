"""Damaged files: a reader reads them or refuses them with an error of this package; it never changes them or hangs."""

import contextlib
import gzip
import io
import json
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings

from lightning_gvae.datamodules.cifar import ARCHIVE, CIFAR10DataModule, read_batch
from lightning_gvae.datamodules.decode import Recipe, UnreadableImageError
from lightning_gvae.datamodules.dsprites import read_packed
from lightning_gvae.datamodules.idx import read_idx
from lightning_gvae.datamodules.image_files import open_files
from lightning_gvae.datamodules.image_folder import ImageFolderDataModule
from lightning_gvae.errors import CheckpointError, ConfigError, DataError, GvaeError
from lightning_gvae.evolution.architecture.journal import SearchJournal
from lightning_gvae.evolution.beta.journal import BetaJournal
from lightning_gvae.io.checkpoint import read_checkpoint
from lightning_gvae.report.run_record import read_record
from tests.datamodules.pictures import encoded, photo
from tests.fuzz.damage import Damage, damages

EXAMPLES = 120


def idx(compressed: bool) -> bytes:
    content = bytes([0, 0, 8, 3]) + np.array([5, 4, 3], ">u4").tobytes() + bytes(range(60))
    return gzip.compress(content, mtime=0) if compressed else content


def cifar_batch() -> bytes:
    return pickle.dumps({"data": np.arange(2 * 3072, dtype=np.uint8).reshape(2, 3072), "labels": [3, 9]}, protocol=2)


def cifar_archive() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name in [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]:
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            info.size = len(cifar_batch())
            archive.addfile(info, io.BytesIO(cifar_batch()))
    return stream.getvalue()


def archive() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        for number in range(4):
            file.writestr(f"class{number % 2}/{number}.png", encoded(photo(number, 8, 8)))
    return stream.getvalue()


def checkpoint() -> bytes:
    stream = io.BytesIO()
    torch.save({"state_dict": {"a": torch.arange(6.0)}, "callbacks": {"x": {"y": [1, 2]}}, "epoch": 1}, stream)
    return stream.getvalue()


def npz() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, imgs=np.zeros((2, 64, 64), np.uint8), latents_classes=np.zeros((2, 6), np.int64))
    return stream.getvalue()


def journal() -> bytes:
    lines = [{"journal": 1, "settings": {"a": 1}}]
    lines += [
        {"phase": "search", "number": n, "key": f"k{n}", "values": {"loss": 1.0}, "status": "trained"} for n in (0, 1)
    ]
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def read_zip(path: Path) -> None:
    files = open_files(path)
    for name in files.names():
        # Its caller makes a DataError of it, or leaves the file out.
        with contextlib.suppress(UnreadableImageError):
            Recipe(8, 8)(files.read(name))


def decode(path: Path) -> None:
    try:
        Recipe(8, 8)(path.read_bytes())
    except UnreadableImageError as error:
        raise DataError(str(error)) from error  # as the cache does


def cifar(path: Path) -> None:
    CIFAR10DataModule(path.parent, val_size=1).load()


def folder(path: Path) -> None:
    ImageFolderDataModule(path.parent, image_size=8, val_size=1, test_size=1, cache_dir=path.parent / "c").load()


def csv_labels(path: Path) -> None:
    (path.parent / "a.png").write_bytes(encoded(photo(0, 8, 8)))
    made = ImageFolderDataModule(
        path.parent, image_size=8, labels=path.name, val_size=1, test_size=1, cache_dir=path.parent / "c"
    )
    made.load()


# reader -> name of the file, whole content, what reads it, errors that are its own
READERS: dict[str, tuple[str, Callable[[], bytes], Callable[[Path], object], tuple[type[Exception], ...]]] = {
    "idx": ("images", lambda: idx(False), lambda path: read_idx(path, 3), (DataError,)),
    "idx, gzipped": ("images.gz", lambda: idx(True), lambda path: read_idx(path, 3), (DataError,)),
    "CIFAR batch": ("data_batch_1", cifar_batch, lambda path: read_batch(path.read_bytes(), path.name), (DataError,)),
    "CIFAR archive": (ARCHIVE, cifar_archive, cifar, (DataError,)),
    "zip of images": ("in.zip", archive, read_zip, (DataError,)),
    "PNG": ("a.png", lambda: encoded(photo(1, 9, 9)), decode, (DataError,)),
    "JPEG": ("a.jpg", lambda: encoded(photo(1, 9, 9), "JPEG"), decode, (DataError,)),
    "GIF": ("a.gif", lambda: encoded(photo(1, 9, 9, 1), "GIF"), decode, (DataError,)),
    "folder of images": ("a.png", lambda: encoded(photo(1, 9, 9)), folder, (DataError, ConfigError)),
    "labels": ("labels.csv", lambda: b"file,label\na.png,x\n", csv_labels, (DataError,)),
    "dSprites": ("d.npz", npz, read_packed, (DataError,)),
    "checkpoint": ("last.ckpt", checkpoint, read_checkpoint, (CheckpointError,)),
    "run.json": (
        "run.json",
        lambda: b'{"status": "finished"}',
        lambda path: read_record(path.parent),
        (CheckpointError,),
    ),
    "journal of a search": (
        "journal.jsonl", journal, lambda path: SearchJournal(path, {"a": 1}).open(), (DataError, ConfigError),
    ),
}  # fmt: skip
APPENDED = ("journal of a search",)  # these go on in the file that they read


@pytest.mark.timeout(120)
@pytest.mark.filterwarnings(
    "ignore:Corrupt EXIF data", "ignore:Truncated File Read", "ignore:.*EXIF.*", "ignore:Image size"
)
@pytest.mark.parametrize("reader", READERS)
def test_a_damaged_file_is_read_or_refused(reader, tmp_path_factory):
    name, make, read, own = READERS[reader]
    whole, counts = make(), {"read": 0, "refused": 0}
    place = tmp_path_factory.mktemp("fuzz")

    @settings(max_examples=EXAMPLES)
    @example(Damage())
    @example(Damage(bare=b""))
    @given(damages)
    def check(damage):
        path = place / str(sum(counts.values())) / name
        path.parent.mkdir()
        content = damage(whole)
        path.write_bytes(content)
        try:
            read(path)
            counts["read"] += 1
        except own as error:
            counts["refused"] += 1
            assert isinstance(error, GvaeError) and str(error)
        if reader not in APPENDED:
            assert path.read_bytes() == content, "the file was changed"

    check()
    assert sum(counts.values()) >= EXAMPLES and counts["refused"] > 0, counts


@settings(max_examples=60)
@given(damages)
def test_a_damaged_evolution_csv_is_gone_on_with(tmp_path_factory, damage):
    path = tmp_path_factory.mktemp("journal") / "evolution.csv"
    path.write_bytes(damage(b"generation,step,beta\r\n0,10,1.0\r\n1,20,2.0\r\n"))
    kept = BetaJournal(path, ["generation", "step", "beta"])
    kept.add([[1, 20, 2.0]])
    rows = path.read_text().splitlines()
    assert rows[0] == "generation,step,beta" and rows[-1] == "1,20,2.0"
    assert all(row.count(",") == 2 for row in rows)


def test_a_thousand_examples():
    assert len(READERS) * EXAMPLES >= 1000
