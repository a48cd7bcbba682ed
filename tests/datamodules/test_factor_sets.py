"""3D Shapes, MPI3D, Cars3D and Small NORB from small files in the official formats."""

import gzip
import hashlib
import shutil
import struct
import tarfile

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from lightning_gvae.datamodules import cars3d, mpi3d, shapes3d
from lightning_gvae.datamodules.cars3d import Cars3DDataModule
from lightning_gvae.datamodules.factors import RemoteFile, grid_targets
from lightning_gvae.datamodules.mpi3d import MPI3DDataModule
from lightning_gvae.datamodules.shapes3d import Shapes3DDataModule
from lightning_gvae.datamodules.smallnorb import NAMES, SmallNORBDataModule, read_matrix
from lightning_gvae.errors import ConfigError, DataError

SIZES = {"val_size": 3, "test_size": 4}
STREAM = np.random.default_rng(0)


def picture(*shape):
    return STREAM.integers(0, 256, shape, dtype=np.uint8)


def write_shapes(folder, sizes=(2, 1, 3, 2, 2, 1), keep=slice(None)):
    """As the official file: labels are values, not classes."""
    h5py = pytest.importorskip("h5py", reason="needs the extra h5")
    classes = grid_targets(sizes)[keep]
    values = np.array([0.1, 0.1, 0.1, 1 / 14, 1, 30 / 7])
    images = picture(len(classes), 64, 64, 3)
    with h5py.File(folder / "3dshapes.h5", "w") as file:
        file.create_dataset("images", data=images, chunks=(1, 64, 64, 3), compression="gzip")
        file.create_dataset("labels", data=classes * values - np.array([0, 0, 0, -0.75, 0, 30]))
    return images.transpose(0, 3, 1, 2), classes


def write_mpi(folder, save=np.savez):
    sizes = (2, 2, 1, 1, 2, 3, 2)
    images = picture(int(np.prod(sizes)), 64, 64, 3)
    save(folder / "mpi3d_toy.npz", images=images)
    return images.transpose(0, 3, 1, 2), grid_targets(sizes)


def write_cars(folder, names=("car_002_mesh", "car_001_mesh", "car_010_mesh")):
    """Models listed in another order than that of their names."""
    (folder / "data" / "cars").mkdir(parents=True)
    elevations, azimuths = 2, 3
    expected = np.empty((elevations, azimuths, len(names), 3, 64, 64), np.uint8)
    for car, name in enumerate(names):
        mesh = picture(128, 128, 3, azimuths, elevations)
        savemat(folder / "data" / "cars" / f"{name}.mat", {"im": mesh, "mask": mesh[:, :, 0]}, do_compression=True)
        for elevation, azimuth in np.ndindex(elevations, azimuths):
            small = Image.fromarray(np.ascontiguousarray(mesh[:, :, :, azimuth, elevation]))
            small.thumbnail((64, 64), Image.Resampling.LANCZOS)  # as disentanglement_lib does it
            expected[elevation, azimuth, car] = np.asarray(small).transpose(2, 0, 1)
    (folder / "data" / "cars" / "list.txt").write_text("\n".join(names) + "\n")
    return expected.reshape(-1, 3, 64, 64), grid_targets((elevations, azimuths, len(names)))


MAGIC = {"u1": 0x1E3D4C55, "i4": 0x1E3D4C54}


def matrix(array):
    """A file of NORB's format: little-endian, at least three sizes."""
    sizes = [*array.shape, 1, 1][: max(3, array.ndim)]
    head = struct.pack("<ii", MAGIC[array.dtype.str[1:]], array.ndim) + struct.pack(f"<{len(sizes)}i", *sizes)
    return head + array.tobytes()


def write_norb(folder, packed=True):
    """Two files of each kind, whose instances differ, in no order."""
    classes = grid_targets((5, 4, 2, 3, 2))  # category, instance, elevation, azimuth, lighting
    pictures = {tuple(row): picture(2, 96, 96) for row in classes.tolist()}
    for part, instances in enumerate(((1, 3), (0, 2))):
        rows = classes[np.isin(classes[:, 1], instances)]
        rows = rows[STREAM.permutation(len(rows))]
        info = rows[:, 1:] * np.array([1, 1, 2, 1])  # azimuths are 0, 2, 4, ...
        contents = (
            np.stack([pictures[tuple(row)] for row in rows.tolist()]),
            rows[:, 0].astype("<i4"),
            info.astype("<i4"),
        )
        for name, array in zip(NAMES[3 * part : 3 * part + 3], contents, strict=True):
            content = matrix(array)
            path = folder / (f"{name}.gz" if packed else name)
            path.write_bytes(gzip.compress(content, 1) if packed else content)
    left = [
        np.asarray(Image.fromarray(pair[0]).resize((64, 64), Image.Resampling.LANCZOS)) for pair in pictures.values()
    ]
    return np.stack(left)[:, None], classes


SETS = {
    "shapes3d": (Shapes3DDataModule, write_shapes, {}),
    "mpi3d": (MPI3DDataModule, write_mpi, {"factor_sizes": (2, 2, 1, 1, 2, 3, 2)}),
    "cars3d": (Cars3DDataModule, write_cars, {}),
    "smallnorb": (SmallNORBDataModule, write_norb, {}),
}


def loaded(kind, folder, **options):
    _, _, needed = SETS[kind]
    data = SETS[kind][0](folder, cache_dir=folder / "cache", **SIZES, **needed, **options)
    data.prepare_data()
    data.setup()
    return data


@pytest.mark.parametrize("kind", SETS)
def test_images_and_factors_are_those_of_the_files(kind, tmp_path):
    expected, classes = SETS[kind][1](tmp_path)
    data = loaded(kind, tmp_path)
    images, factors = data.train_set.source.batch(np.arange(len(expected)))
    assert np.array_equal(images.numpy(), expected)
    assert np.array_equal(factors.numpy(), classes)
    assert data.spec.is_grid
    assert data.spec.factor_sizes == tuple(classes.max(0) + 1)
    assert len(data.spec.factor_names) == classes.shape[1]
    assert data.part_sizes == {"train": len(expected) - 7, "val": 3, "test": 4}
    prepared = list((tmp_path / "cache").glob("*.npy"))
    assert len(prepared) == (kind != "mpi3d")  # which is used as it lies in the file
    stamps = [path.stat().st_mtime_ns for path in prepared]
    again = loaded(kind, tmp_path)
    assert [path.stat().st_mtime_ns for path in prepared] == stamps
    assert np.array_equal(again.train_set.batch([0, 1])[0].numpy(), data.train_set.batch([0, 1])[0].numpy())
    small = loaded(kind, tmp_path, image_size=8)
    images, _ = small.train_set.source.batch(np.arange(len(expected)))
    assert images.shape == (len(expected), expected.shape[1], 8, 8)
    means = expected.reshape(*expected.shape[:2], 8, 8, 8, 8).mean((3, 5))
    assert np.abs(images.numpy() - means).max() < (1 if kind in ("shapes3d", "mpi3d") else 40)  # others: Lanczos
    assert small.identity.name == data.identity.name
    assert set(small.part_items()["train"].contents.tolist()).isdisjoint(data.part_items()["train"].contents.tolist())


def test_a_subset_of_3d_shapes_has_factors_and_is_no_grid(tmp_path):
    expected, classes = write_shapes(tmp_path, keep=slice(0, 23))
    data = loaded("shapes3d", tmp_path)
    assert not data.spec.is_grid
    images, factors = data.train_set.source.batch(np.arange(23))
    assert np.array_equal(images.numpy(), expected)
    assert np.array_equal(factors.numpy(), classes)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_mpi3d_packed_or_not_and_which_grid_it_is(save, tmp_path, monkeypatch):
    expected, classes = write_mpi(tmp_path, save)
    data = loaded("mpi3d", tmp_path)
    assert np.array_equal(data.train_set.source.batch(np.arange(48))[0].numpy(), expected)
    monkeypatch.setattr(mpi3d, "GRIDS", ((2, 3, 1, 1, 2, 3, 2), (2, 2, 1, 1, 2, 3, 2)))
    told = MPI3DDataModule(tmp_path, cache_dir=tmp_path / "cache", **SIZES)
    told.setup()
    assert told.spec.factor_sizes == (2, 2, 1, 1, 2, 3, 2)
    assert np.array_equal(told.train_set.source.batch(np.arange(48))[1].numpy(), classes)


def test_norb_unpacked_and_its_format(tmp_path):
    expected, _ = write_norb(tmp_path, packed=False)
    data = loaded("smallnorb", tmp_path)
    assert np.array_equal(data.train_set.source.batch(np.arange(len(expected)))[0].numpy(), expected)
    array = np.arange(24, dtype="<i4").reshape(2, 3, 4)
    (tmp_path / "x.mat").write_bytes(matrix(array))
    assert np.array_equal(read_matrix(tmp_path / "x.mat"), array)
    for content, said in (
        (matrix(array)[:-1], "cut off"),
        (matrix(array) + b"x", "longer than its sizes"),
        (gzip.compress(matrix(array))[:-9], "cut off"),
        (b"MATLAB 5.0 MAT-file", "no matrix of NORB's format"),
        (struct.pack("<5i", MAGIC["u1"], 3, 2**30, 2**30, 2**30), "which no file of NORB has"),
        (b"", "cut off"),
    ):
        (tmp_path / "x.mat").write_bytes(content)
        with pytest.raises(DataError, match=said):
            read_matrix(tmp_path / "x.mat")


@pytest.mark.parametrize("kind", SETS)
def test_missing_files_are_named_with_what_to_do(kind, tmp_path):
    if kind == "shapes3d":
        pytest.importorskip("h5py", reason="needs the extra h5")
    with pytest.raises(DataError, match=r"not found in .*; put the official files? there \(from http.*download=true"):
        loaded(kind, tmp_path)


class Offline(OSError):
    pass


@pytest.mark.parametrize("kind", SETS)
def test_a_download_that_fails_says_how_to_do_without(kind, tmp_path, monkeypatch):
    if kind == "shapes3d":
        pytest.importorskip("h5py", reason="needs the extra h5")

    def offline(*arguments):
        raise Offline("no route to host")

    monkeypatch.setattr("torchvision.datasets.utils.download_url", offline)
    with pytest.raises(DataError, match="could not be downloaded: no route to host; fetch http.* by hand, put"):
        loaded(kind, tmp_path, download=True)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_download_is_checked_and_only_then_used(tmp_path, monkeypatch):
    source, root = tmp_path / "source", tmp_path / "root"
    source.mkdir()
    expected, _ = write_cars(source)
    archive = source / "nips2015-analogy-data.tar.gz"
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(source / "data", "data")
    monkeypatch.setattr("torchvision.datasets.utils._urlretrieve", lambda url, filename: shutil.copy(archive, filename))
    remote = RemoteFile(archive.as_uri(), hashlib.md5(archive.read_bytes()).hexdigest())
    monkeypatch.setattr(Cars3DDataModule, "FILES", (remote._replace(md5="0" * 32),))
    with pytest.raises(DataError, match="cars3d could not be downloaded: File not found or corrupted"):
        Cars3DDataModule(root, download=True, cache_dir=root / "cache", **SIZES).prepare_data()
    assert [path for path in root.rglob("*") if path.is_file()] == []
    monkeypatch.setattr(Cars3DDataModule, "FILES", (remote,))
    monkeypatch.setattr(cars3d, "ARCHIVE", remote)
    data = Cars3DDataModule(root, download=True, cache_dir=root / "cache", **SIZES)
    data.prepare_data()
    data.setup()
    assert np.array_equal(data.train_set.source.batch(np.arange(len(expected)))[0].numpy(), expected)
    assert sorted(path.name for path in root.iterdir()) == ["cache", "cars"]


def test_published_sums_and_names():
    """They are written down twice: here as the data sets' pages and readers have them."""
    assert shapes3d.FILE == ("https://storage.googleapis.com/3d-shapes/3dshapes.h5", "099a2078d58cec4daad0702c55d06868")
    assert [file.name for file in SmallNORBDataModule.FILES] == [f"{name}.gz" for name in NAMES]
    assert SmallNORBDataModule.FILES[3].url.endswith("small/smallnorb-5x01235x9x18x6x2x96x96-testing-dat.mat.gz")
    assert len({file.md5 for file in (*SmallNORBDataModule.FILES, *mpi3d.VARIANTS.values(), cars3d.ARCHIVE)}) == 10
    assert np.prod(mpi3d.GRIDS, axis=1).tolist() == [1_036_800, 460_800]


def test_files_that_are_something_else_are_refused(tmp_path):
    h5py = pytest.importorskip("h5py", reason="needs the extra h5")
    path = tmp_path / "3dshapes.h5"
    path.write_bytes(b"no HDF5")
    with pytest.raises(DataError, match="is no HDF5 file, damaged or cut off"):
        loaded("shapes3d", tmp_path)
    with h5py.File(path, "w") as file:
        file.create_dataset("pictures", data=picture(2, 4, 4, 3))
    with pytest.raises(DataError, match="must hold an array `images`, found pictures"):
        loaded("shapes3d", tmp_path)
    with h5py.File(path, "w") as file:
        file.create_dataset("images", data=picture(2, 64, 64, 3))
        file.create_dataset("labels", data=np.zeros((2, 5)))
    with pytest.raises(DataError, match=r"`labels` in .* must be \(2, 6\), found float64 of shape \(2, 5\)"):
        loaded("shapes3d", tmp_path)


def test_wrong_cars_grids_and_settings_are_refused(tmp_path):
    np.savez(tmp_path / "mpi3d_toy.npz", images=picture(5, 64, 64, 3))
    with pytest.raises(DataError, match=r"48 images of 2x2x1x1x2x3x2 classes, found 5; set data.factor_sizes"):
        loaded("mpi3d", tmp_path)
    write_cars(tmp_path)
    cars = tmp_path / "data" / "cars"
    savemat(cars / "car_001_mesh.mat", {"im": picture(128, 128, 3, 3, 1)})
    with pytest.raises(DataError, match=r"car_001_mesh.mat must be of shape \(128, 128, 3, 3, 2\)"):
        loaded("cars3d", tmp_path)
    (cars / "car_001_mesh.mat").write_bytes(b"x" * 200)
    with pytest.raises(DataError, match=r"car_001_mesh.mat is no MATLAB file"):
        loaded("cars3d", tmp_path)
    (cars / "car_001_mesh.mat").unlink()
    with pytest.raises(DataError, match=r"list.txt names 3 cars, but .* holds 2 other files"):
        loaded("cars3d", tmp_path)
    with pytest.raises(ConfigError, match="`image_size` must be one of 64, 32, 16, 8, got 48"):
        loaded("cars3d", tmp_path, image_size=48)
    with pytest.raises(ConfigError, match="`variant` must be one of toy, realistic, real"):
        loaded("mpi3d", tmp_path, variant="complex")
