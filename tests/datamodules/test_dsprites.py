import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_gvae.datamodules import dsprites, sprites
from lightning_gvae.datamodules.dsprites import FILE, DSpritesDataModule, PackedSprites, RenderedSprites, read_packed
from lightning_gvae.errors import ConfigError, DataError

CLASSES = np.pad(sprites.factors_of(np.arange(sprites.COUNT)), ((0, 0), (1, 0)))
VALUES = np.pad(sprites.factor_values(CLASSES[:, 1:]), ((0, 0), (1, 0)), constant_values=1)


class Zeros:
    """Stands in for an array of the given shape whose bytes are all ``value``, without holding it."""

    def __init__(self, shape: tuple[int, ...], dtype: str = "|u1", value: bytes = b"\0", rows: int | None = None):
        self.shape, self.dtype, self.value = shape, dtype, value
        self.rows = shape[0] if rows is None else rows

    def write(self, stream) -> None:
        header = {"descr": self.dtype, "fortran_order": False, "shape": self.shape}
        np.lib.format.write_array_header_1_0(stream, header)
        row = self.value * int(np.prod(self.shape[1:]) * np.dtype(self.dtype).itemsize)
        for start in range(0, self.rows, 4096):
            stream.write(row * min(4096, self.rows - start))


def archive(path: Path, **arrays) -> Path:
    whole = {"imgs": Zeros((sprites.COUNT, 64, 64)), "latents_classes": CLASSES, "latents_values": VALUES, **arrays}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for key, array in whole.items():
            if array is not None:
                with file.open(f"{key}.npy", "w", force_zip64=True) as stream:
                    if isinstance(array, Zeros):
                        array.write(stream)
                    elif isinstance(array, bytes):
                        stream.write(array)
                    else:
                        np.lib.format.write_array(stream, array)
    return path


def test_rendered_batches_are_images_of_their_factors():
    module = DSpritesDataModule(batch_size=64)
    module.setup()
    assert [len(part) for part in (module.train_set, module.val_set, module.test_set)] == [722_280, 5_000, 10_000]
    images, factors = next(iter(module.train_dataloader()))
    assert images.shape == (64, 1, 64, 64) and images.dtype == torch.uint8 and images.is_contiguous()
    assert images.unique().tolist() == [0, 255]
    assert factors.shape == (64, 5) and factors.dtype == torch.int64
    assert np.array_equal(images[:, 0] // 255, sprites.render(sprites.index_of(factors.numpy())))
    assert len({tuple(row) for row in factors.tolist()}) == 64


def test_parts_share_no_index():
    module = DSpritesDataModule()
    module.setup()
    parts = [part.indices for part in (module.train_set, module.val_set, module.test_set)]
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(sprites.COUNT))


def test_the_spec_names_the_factors():
    spec = DSpritesDataModule().spec
    assert (spec.name, spec.image_shape, spec.num_classes) == ("dsprites", (1, 64, 64), None)
    assert dict(zip(spec.factor_names, spec.factor_sizes, strict=True)) == {
        "shape": 3,
        "scale": 6,
        "orientation": 40,
        "posX": 32,
        "posY": 32,
    }


def test_packed_images_are_handed_out_like_rendered_ones():
    words = np.zeros((sprites.COUNT, 64), dtype=np.uint64)
    indices = np.random.default_rng(0).integers(0, sprites.COUNT, 500)
    words[indices] = sprites.render_packed(indices)
    packed, rendered = PackedSprites(words).batch(indices), dsprites.RenderedSprites().batch(indices)
    assert torch.equal(packed[0], rendered[0]) and torch.equal(packed[1], rendered[1])


@pytest.mark.slow
def test_the_file_is_read_by_path_and_by_folder_without_its_metadata(tmp_path):
    path = archive(tmp_path / FILE, imgs=Zeros((sprites.COUNT, 64, 64), value=b"\1"), metadata=b"never opened")
    for place in (path, tmp_path):
        module = DSpritesDataModule(place)
        module.setup()
        assert bool((module.val_set.batch(range(300))[0] == 255).all())


def test_a_missing_file_is_named_with_both_remedies(tmp_path):
    with pytest.raises(DataError) as error:
        DSpritesDataModule(tmp_path).setup()
    message = str(error.value)
    assert message.startswith(f"{tmp_path / FILE} was not found;") and "set `path` to null to render" in message


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"imgs": None}, "must hold an array `imgs`, found latents_classes.npy, latents_values.npy"),
        ({"latents_classes": None}, "must hold an array `latents_classes`"),
        ({"imgs": Zeros((100, 64, 64))}, r"`imgs` .* of shape \(737280, 64, 64\) .* found shape \(100, 64, 64\)"),
        ({"imgs": Zeros((sprites.COUNT, 64, 64), "<f4", rows=0)}, "`imgs` .* unsigned integers .* type float32"),
        ({"imgs": Zeros((sprites.COUNT, 64, 64), "|O", rows=0)}, "`imgs` .* unsigned integers .* type object"),
        ({"imgs": Zeros((sprites.COUNT, 64, 64), value=b"\2", rows=9000)}, "`imgs` .* must be 0 or 1, found 2"),
        ({"imgs": Zeros((sprites.COUNT, 64, 64), rows=20_000)}, "`imgs` .* ends after 20000 rows"),
        ({"imgs": b"not an array"}, "`imgs` .* is not an array in NumPy's format"),
        ({"latents_classes": CLASSES[:, 1:]}, r"`latents_classes` .* found shape \(737280, 5\)"),
        ({"latents_classes": CLASSES[::-1]}, "order: row 0 should be .* found .0, 2, 5, 39, 31, 31."),
        ({"latents_values": np.asfortranarray(VALUES)}, "`latents_values` .* in C order, .* in Fortran order"),
        ({"latents_values": VALUES * [1, 1, 2, 1, 1, 1]}, r"`latents_values` .* row 0 should be \[1.0, 1.0, 0.5"),
    ],
)
def test_files_unlike_the_official_one_are_refused(tmp_path, arrays, message):
    with pytest.raises(DataError, match=message):
        read_packed(archive(tmp_path / FILE, **{"imgs": Zeros((sprites.COUNT, 64, 64), rows=0), **arrays}))


def test_damaged_files_are_refused(tmp_path):
    content = archive(tmp_path / FILE, imgs=Zeros((sprites.COUNT, 64, 64), rows=20_000)).read_bytes()
    middle = len(content) // 2
    for damaged in (content[:-100], b"", content[:middle] + b"\xff" * 64 + content[middle + 64 :]):
        (tmp_path / FILE).write_bytes(damaged)
        with pytest.raises(DataError, match="is damaged or cut off .* fetch it again or set `path` to null"):
            read_packed(tmp_path / FILE)


@pytest.mark.slow
def test_a_real_file_gives_the_rendered_images(data_dir):
    words = read_packed(data_dir / "dsprites_reconstructed" / FILE)
    assert int(np.bitwise_count(words).sum()) == 128_328_864
    wrong = 0
    for start in range(0, sprites.COUNT, 8192):
        rendered = sprites.render_packed(np.arange(start, start + 8192))
        wrong += int(np.bitwise_count(rendered ^ words[start : start + 8192]).sum())
    # The file was made with the other rule for edges that pass exactly through a pixel's centre.
    assert wrong == 4604


@pytest.mark.parametrize("size", [32, 16, 8])
def test_smaller_images_are_means_over_squares(size):
    chosen = np.array([0, 1234, 245_760, 737_279])
    full, small = (RenderedSprites(side).batch(chosen)[0][:, 0].double() for side in (64, size))
    means = torch.nn.functional.avg_pool2d(full, 64 // size)
    assert torch.equal(small, means.floor())
    assert DSpritesDataModule(image_size=size).spec.image_shape == (1, size, size)
    assert not DSpritesDataModule(image_size=size).spec.binary


def test_another_size_is_refused():
    with pytest.raises(ConfigError, match="`image_size` must be one of 64, 32, 16, 8, got 48"):
        DSpritesDataModule(image_size=48)
