"""Files that would do harm if anything in them were executed: each would make a folder, the canary."""

import io
import os
import pickle
import tarfile
import zipfile
from pathlib import Path

import torch

from tests.datamodules.pictures import encoded, photo


class Hostile:
    """Makes the canary when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return os.mkdir, (str(self.canary),)


def checkpoint(path: Path, canary: Path, *, where: str = "payload") -> Path:
    """A checkpoint with a pickled call in it."""
    content: dict = {"state_dict": {}, "callbacks": {}, "gvae_random": []}
    content[where] = Hostile(canary)
    torch.save(content, path)
    return path


def legacy_checkpoint(path: Path, canary: Path) -> Path:
    """The same as a bare pickle, as old versions of torch wrote it."""
    path.write_bytes(pickle.dumps({"state_dict": {}, "payload": Hostile(canary)}, protocol=2))
    return path


def cifar_folder(folder: Path, canary: Path) -> Path:
    """Six batches, one of which makes the canary."""
    folder.mkdir(parents=True)
    for name in [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]:
        (folder / name).write_bytes(pickle.dumps({"data": Hostile(canary), "labels": []}, protocol=2))
    return folder


def escaping_zip(path: Path, name: str) -> Path:
    """An archive with an image that would be unpacked elsewhere."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/good.png", encoded(photo(0)))
        archive.writestr(name, encoded(photo(1)))
    return path


def escaping_tar(path: Path, canary: Path) -> Path:
    """CIFAR's archive with members that would be unpacked elsewhere, among them a link."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name in (f"../../{canary.name}", str(canary), "cifar-10-batches-py/../../../evil"):
            info = tarfile.TarInfo(name)
            info.size = 4
            archive.addfile(info, io.BytesIO(b"evil"))
        link = tarfile.TarInfo("cifar-10-batches-py/data_batch_1")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return path
