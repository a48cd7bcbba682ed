import gzip
import struct

import numpy as np
import pytest

from lightning_gvae.datamodules.idx import read_idx
from lightning_gvae.errors import DataError

IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)


def idx(array: np.ndarray, code: int = 8) -> bytes:
    return bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.mark.parametrize("name", ["images", "images.gz"])
@pytest.mark.parametrize("packed", [False, True])
def test_plain_and_gzipped_files_are_read_whatever_their_name(tmp_path, name, packed):
    path = tmp_path / name
    path.write_bytes(gzip.compress(idx(IMAGES), mtime=0) if packed else idx(IMAGES))
    assert np.array_equal(read_idx(path, 3), IMAGES)


def test_labels_and_empty_files(tmp_path):
    for array in (np.array([7, 0, 255], np.uint8), np.zeros(0, np.uint8)):
        (tmp_path / "labels").write_bytes(idx(array))
        assert np.array_equal(read_idx(tmp_path / "labels", 1), array)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must start with the IDX magic number 00 00 08 03 .* found nothing"),
        (b"<html>not found</html>", "found 3c 68 74 6d"),
        (idx(IMAGES[0]), "found 00 00 08 02"),
        (idx(IMAGES, code=0x0B), "found 00 00 0b 03"),
        (idx(IMAGES)[:9], r"ends inside its IDX header \(9 of 16 bytes\)"),
        (
            idx(IMAGES)[:-1],
            r"must hold 24 bytes after its header, as its sizes \(2, 3, 4\) say, found 23; it is cut off",
        ),
        (idx(IMAGES) + b"x", "found 25; it is too long"),
        (idx(IMAGES)[:4] + b"\xff" * 12, "found 0; it is cut off"),
        (gzip.compress(idx(IMAGES), mtime=0)[:-9], "damaged or cut off gzip file"),
        (
            gzip.compress(idx(IMAGES), mtime=0)[:20] + b"\0\0\0\0" + gzip.compress(idx(IMAGES))[24:],
            "damaged or cut off gzip",
        ),
    ],
)
def test_damaged_files_are_refused_with_what_was_found(tmp_path, content, message):
    path = tmp_path / "images"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        read_idx(path, 3)
    assert str(path) in str(error.value)


def test_a_missing_file_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match="nowhere cannot be read: No such file"):
        read_idx(tmp_path / "nowhere", 3)
