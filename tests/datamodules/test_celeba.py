import csv
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision import transforms
from torchvision.datasets import CelebA

from lightning_gvae.datamodules.celeba import FILES, CelebADataModule
from lightning_gvae.errors import ConfigError, DataError
from tests.datamodules.pictures import photo, write

COUNT = 10
PARTS = [0, 0, 1, 0, 2, 0, 1, 0, 2, 0]
ATTRIBUTES = ["Bald", "Bangs", "Smiling"]


def rows(values) -> str:
    return "".join(f"{number + 1:06}.jpg {'  '.join(map(str, row))}\n" for number, row in enumerate(values))


def attribute(number: int) -> list[int]:
    return [1 if number >> bit & 1 else -1 for bit in range(3)]


@pytest.fixture
def root(tmp_path):
    """Ten images in the official layout."""
    folder = tmp_path / "in"
    for number in range(COUNT):
        write(folder / "img_align_celeba" / f"{number + 1:06}.jpg", number, height=218, width=178)
    (folder / "list_eval_partition.txt").write_text(rows([part] for part in PARTS))
    (folder / "identity_CelebA.txt").write_text(rows([10 * number] for number in range(COUNT)))
    header = f"{COUNT}\n{' '.join(ATTRIBUTES)} \n"
    (folder / "list_attr_celeba.txt").write_text(header + rows(attribute(number) for number in range(COUNT)))
    landmarks = (
        "lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y rightmouth_x rightmouth_y"
    )
    points = rows(range(number, number + 10) for number in range(COUNT))
    (folder / "list_landmarks_align_celeba.txt").write_text(f"{COUNT}\n{landmarks} \n{points}")
    return folder


def module(root: Path, **settings: Any) -> CelebADataModule:
    defaults: dict[str, Any] = {"image_size": 32, "cache_dir": root.parent / "cache"}
    made = CelebADataModule(root, **defaults | settings)
    made.prepare_data()
    made.setup()
    return made


def parts(made: CelebADataModule) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [part.batch(np.arange(len(part))) for part in (made.train_set, made.val_set, made.test_set)]


def test_parts_images_and_attributes_are_those_of_the_files(root):
    made = module(root, image_size=148)
    assert made.spec.image_shape == (3, 148, 148)
    assert made.spec.factor_names == tuple(ATTRIBUTES) and made.spec.factor_sizes == (2, 2, 2)
    for number, (images, targets) in enumerate(parts(made)):
        numbers = [n for n in range(COUNT) if PARTS[n] == number]
        assert targets.tolist() == [[n & 1, n >> 1 & 1, n >> 2 & 1] for n in numbers]
        crops = [photo(n, 218, 178)[35:183, 15:163].transpose(2, 0, 1) for n in numbers]
        assert np.array_equal(images, crops)  # the test's files hold PNG, which loses nothing


def test_other_targets(root):
    made = module(root, targets="identity")
    assert parts(made)[2][1].tolist() == [40, 80] and made.spec.num_classes == 91
    made = module(root, targets="landmarks")
    assert parts(made)[1][1].tolist() == [list(range(2, 12)), list(range(6, 16))]
    made = module(root, targets="none")
    assert parts(made)[1][1].tolist() == [0, 0] and made.spec.num_classes is None and not made.spec.factor_names


@pytest.mark.parametrize("prefix", ["img_align_celeba/", ""])
def test_the_archive_is_read_in_place_and_torchvisions_folder_is_found(root, prefix):
    unpacked = parts(module(root))
    with zipfile.ZipFile(root / "img_align_celeba.zip", "w") as archive:
        for path in (root / "img_align_celeba").iterdir():
            archive.write(path, prefix + path.name)
    shutil.rmtree(root / "img_align_celeba")
    root.rename(root.parent / "celeba")
    packed = parts(module(root.parent))
    for mine, theirs in zip(packed, unpacked, strict=True):
        assert torch.equal(mine[0], theirs[0]) and torch.equal(mine[1], theirs[1])
    assert not (root.parent / "celeba" / "img_align_celeba").exists()


def test_parts_by_the_names(root):
    made = module(root, partition="random", val_size=2, test_size=3)
    assert [len(images) for images, _ in parts(made)] == [5, 2, 3]
    assert all(module(root, partition="random").part_sizes.values())
    with pytest.raises(
        ConfigError, match="are those of data.partition=random; list_eval_partition.txt has parts of its"
    ):
        module(root, val_size=2)


@pytest.mark.parametrize("official", [[0], [0, 1], [0, 2]])
def test_parts_that_the_official_list_leaves_empty_are_cut_from_its_training_part(root, capsys, official):
    listed = [official[number % len(official)] for number in range(COUNT)]
    (root / "list_eval_partition.txt").write_text(rows([part] for part in listed))
    made = module(root, targets="identity", val_size=2)
    found = [{number // 10 for number in targets.tolist()} for _, targets in parts(made)]
    for part, numbers in enumerate(found):
        assert numbers and (part not in official[1:] or numbers == {n for n in range(COUNT) if listed[n] == part})
    assert set.union(*found) == set(range(COUNT)) and sum(map(len, found)) == COUNT
    assert len(official) > 1 or len(found[1]) == 2
    empty = " and ".join(name for number, name in enumerate(["train", "val", "test"]) if number not in official)
    assert f"celeba: list_eval_partition.txt leaves no image for {empty}; of its" in capsys.readouterr().err
    (root / "list_eval_partition.txt").write_text(rows([1] for _ in range(COUNT)))
    with pytest.raises(DataError, match="leaves no image to train on; data.partition=random cuts the parts itself"):
        module(root)


def test_files_that_the_partition_does_not_list_are_left_alone(root):
    write(root / "img_align_celeba" / "999999.jpg", 1)
    assert [len(images) for images, _ in parts(module(root))] == [6, 2, 2]


def test_missing_images_are_an_error_or_skipped_with_their_rows(root, capsys):
    for name in ("000002.jpg", "000009.jpg"):
        (root / "img_align_celeba" / name).unlink()
    (root / "img_align_celeba" / "000004.jpg").write_bytes(b"")
    lacking = "2 of 10 images that list_eval_partition.txt lists are missing in .*img_align_celeba .first: 000002.jpg"
    with pytest.raises(
        DataError, match=lacking + ".; complete them, or leave them out with data.decoding.on_error=skip"
    ):
        module(root)
    capsys.readouterr()
    made = module(root, decoding={"on_error": "skip"}, targets="identity")
    assert [targets.tolist() for _, targets in parts(made)] == [[0, 50, 70, 90], [20, 60], [40]]
    said = capsys.readouterr().err
    assert "celeba: 2 of 10 images" in said and "celeba: 1 of 8 images are left out (first: 000004.jpg" in said


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        (
            "list_eval_partition.txt",
            None,
            "list_eval_partition.txt was not found in .*in or its folder celeba; put img_a",
        ),
        ("list_eval_partition.txt", "", "list_eval_partition.txt must have some rows, found 0"),
        ("list_eval_partition.txt", "000001.jpg 3\n", "must give 0, 1 or 2 for 000001.jpg, found 3"),
        ("list_eval_partition.txt", "000001.jpg one\n", "must be a name and integers, equally many each: .*'one'"),
        (
            "list_eval_partition.txt",
            "000001.jpg 0\n000001.jpg 1\n",
            "one row an image, found 000001.jpg more than once",
        ),
        ("list_eval_partition.txt", "000001.jpg\n", "must have some columns after the name, found 0"),
        ("list_attr_celeba.txt", None, "list_attr_celeba.txt cannot be read: .*No such file"),
        (
            "list_attr_celeba.txt",
            "Bald\n",
            "must start with a line that counts its rows and one that names its columns",
        ),
        ("list_attr_celeba.txt", "3\nBald\n000001.jpg 1\n000002.jpg 1\n", "must have 3 rows, found 2; it is cut off"),
        ("list_attr_celeba.txt", "1\nBald Bangs\n000001.jpg 1\n", "must have 2 columns after the name, found 1"),
        ("list_attr_celeba.txt", "2\nA B\n000001.jpg 1 1\n000002.jpg 1\n", "equally many each: .*columns"),
        (
            "list_attr_celeba.txt",
            "1\nBald\n000001.jpg 1\n",
            "has no row for 000002.jpg and 8 others; complete it, or set",
        ),
        (
            "list_attr_celeba.txt",
            f"{COUNT}\nBald\n" + rows([number] for number in range(COUNT)),
            r"must hold -1 and 1, found \[0, 2, 3, 4, 5\]",
        ),
    ],
)
def test_files_that_do_not_fit_are_refused(root, file, text, message):
    if text is None:
        (root / file).unlink()
    else:
        (root / file).write_text(text)
    with pytest.raises(DataError, match=message):
        module(root)


def test_no_images_or_a_page_instead_of_the_archive(root):
    shutil.rmtree(root / "img_align_celeba")
    with pytest.raises(DataError, match="neither img_align_celeba nor img_align_celeba.zip was found in .*in; put one"):
        module(root)
    (root / "img_align_celeba.zip").write_text("<html><title>Google Drive - Quota exceeded</title></html>")
    with pytest.raises(
        DataError, match="img_align_celeba.zip is not a zip archive .* but a web page, such as hosts send"
    ):
        module(root)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"targets": "names"}, "`targets` must be one of attributes, identity, landmarks, none, got 'names'"),
        ({"partition": "seeded"}, "`partition` must be official or random, got 'seeded'"),
        ({"val_size": 1.5}, "`val_size` must be an integer of at least 1, or a share such as 0.1, below 1, got 1.5"),
        ({"crop": 0}, "`crop` must be an integer of at least 1"),
    ],
)
def test_settings_that_mean_nothing_are_refused_at_once(settings, message):
    with pytest.raises(ConfigError, match=message):
        CelebADataModule("anywhere", **settings)


def test_without_a_network_the_files_to_fetch_are_named(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("Too many users have viewed or downloaded this file recently")

    monkeypatch.setattr("torchvision.datasets.utils.download_file_from_google_drive", fail)
    made = CelebADataModule(tmp_path / "in", download=True, cache_dir=tmp_path / "cache")
    with pytest.raises(DataError) as error:
        made.prepare_data()
    message = str(error.value)
    assert "Too many users" in message and str(tmp_path / "in" / "celeba") in message
    assert all(file in message for file in FILES)


def test_what_is_there_is_not_fetched_again(root, monkeypatch):
    monkeypatch.setattr("lightning_gvae.datamodules.celeba._fetch", lambda place: pytest.fail("fetched"))
    assert len(module(root, download=True).train_set) == 6


def theirs(root: Path, tmp_path: Path, split: str, size: int) -> CelebA:
    """Torchvision's reader, its check of the official files' sums left out."""
    if not (tmp_path / "celeba").exists():
        (tmp_path / "celeba").symlink_to(root)

    class Unchecked(CelebA):
        def _check_integrity(self):
            return True

    transform = transforms.Compose([transforms.CenterCrop(148), transforms.Resize(size)])
    return Unchecked(str(tmp_path), split, ["attr", "identity", "landmarks"], transform)


def test_the_faces_in_celebas_layout_are_those_that_torchvision_reads(data_dir, tmp_path):
    root = data_dir / "faces_ytf_celeba_layout"
    made = {kind: module(root, image_size=64, targets=kind, cache_dir=tmp_path / "cache") for kind in KINDS}
    assert [len(part[0]) for part in parts(made["identity"])] == [1916, 238, 229]
    for split, position in (("train", 0), ("valid", 1), ("test", 2)):
        oracle = theirs(root, tmp_path, split, 64)
        images = parts(made["attributes"])[position][0].numpy()
        assert np.array_equal(images, [np.asarray(oracle[n][0]).transpose(2, 0, 1) for n in range(len(oracle))])
        assert torch.equal(parts(made["attributes"])[position][1], oracle.attr)
        assert torch.equal(parts(made["identity"])[position][1], oracle.identity[:, 0])
        assert torch.equal(parts(made["landmarks"])[position][1], oracle.landmarks_align)


KINDS = ("attributes", "identity", "landmarks")


def test_the_whole_faces_have_the_published_mean(data_dir, tmp_path):
    with (data_dir / "faces_ytf_celeba_layout" / "source.csv").open() as file:
        assert len(list(csv.reader(file))) == 2383 + 1
    from lightning_gvae.datamodules.image_folder import ImageFolderDataModule

    root = data_dir / "faces_ytf_celeba_layout" / "img_align_celeba"
    made = ImageFolderDataModule(root, image_size=[218, 178], cache_dir=tmp_path)
    made.setup()
    pixels = made.train_set.source.batch(np.arange(2383))[0]
    means = pixels.double().mean(dim=(0, 2, 3)) / 255
    assert means.tolist() == pytest.approx([0.4097, 0.3372, 0.2994], abs=5e-5)


def test_the_first_images_of_celeba_itself(data_dir, tmp_path):
    root = data_dir / "celeba_real_32"
    made = module(root, partition="random", val_size=4, test_size=4, cache_dir=tmp_path / "cache")
    assert [len(images) for images, _ in parts(made)] == [24, 4, 4]
    assert len(made.spec.factor_names) == 40
    present = made.train_set.source.batch(np.array([0]))[1][0].nonzero()[:, 0]
    assert [made.spec.factor_names[index] for index in present] == [
        *("Arched_Eyebrows", "Attractive", "Brown_Hair", "Heavy_Makeup", "High_Cheekbones", "Mouth_Slightly_Open"),
        *("No_Beard", "Pointy_Nose", "Smiling", "Straight_Hair", "Wearing_Earrings", "Wearing_Lipstick", "Young"),
    ]
    assert all(module(root, cache_dir=tmp_path / "cache").part_sizes.values())
