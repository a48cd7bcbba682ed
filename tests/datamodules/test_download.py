import gc
import gzip
import hashlib
import io
import tarfile
import threading
from contextlib import contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
from torchvision import datasets

from lightning_gvae.datamodules.cifar import ARCHIVE, FOLDER, CIFAR10DataModule
from lightning_gvae.datamodules.cifar import FILES as BATCHES
from lightning_gvae.datamodules.download import download, fetch_whole
from lightning_gvae.datamodules.mnist import FILES, FashionMNISTDataModule, MNISTDataModule
from lightning_gvae.errors import ConfigError, DataError
from tests.datamodules.test_idx import idx
from tests.datamodules.test_safe_pickle import python2_pickle

RNG = np.random.default_rng(0)
NOWHERE = "http://127.0.0.1:9/"  # the port of `discard`, where nobody listens


class HostError(Exception):
    """An error of a host's own client, of no known family."""


def fails(error):
    raise error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            RuntimeError("Error downloading x:\nTried http://a, got:\n<urlopen error>\n"),
            "x: Tried http://a, got: <urlopen",
        ),
        (URLError(OSError(-2, "Name or service not known")), "Name or service not known"),
        (PermissionError(13, "Permission denied", "/data"), "Permission denied: '/data'"),
        (HostError("Too many users have viewed or downloaded this file recently."), "file recently; fetch"),
        (HostError(), "HostError; fetch"),
    ],
)
def test_any_failure_says_why_and_what_to_do_by_hand(tmp_path, error, reason):
    with pytest.raises(DataError) as caught:
        download(lambda: fails(error), "Some set", ["one.gz", "two.gz"], tmp_path)
    message = str(caught.value)
    assert message.startswith("Some set could not be downloaded: ") and reason in message and "\n" not in message
    assert message.endswith(f"; fetch one.gz, two.gz by hand, put them into {tmp_path} and start again")
    assert caught.value.__cause__ is error


def test_a_single_file_is_not_called_them_and_success_is_silent(tmp_path):
    with pytest.raises(DataError, match=f"fetch one.gz by hand, put it into {tmp_path} "):
        download(lambda: fails(OSError("gone")), "Some set", ["one.gz"], tmp_path)
    made = []
    download(lambda: made.append(1), "Some set", ["one.gz"], tmp_path)
    assert made == [1]


def test_an_interrupt_is_not_taken_for_a_failure(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        download(lambda: fails(KeyboardInterrupt()), "Some set", ["one.gz"], tmp_path)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_fetched_files_appear_at_their_places_and_replace_older_ones(tmp_path):
    place = tmp_path / "new" / "set"

    def fetch(folder, content):
        assert list(folder.iterdir()) == [] and folder.parent == place
        (folder / "MNIST" / "raw").mkdir(parents=True)
        (folder / "MNIST" / "raw" / "a").write_bytes(content)
        (folder / "b").write_bytes(content)

    for content in (b"old", b"new"):
        fetch_whole(partial(fetch, content=content), place)
        assert tree(place) == {"MNIST/raw/a": content, "b": content}
    assert sorted(path.name for path in place.iterdir()) == ["MNIST", "b"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_fetch_that_breaks_off_leaves_everything_as_it_was(tmp_path, error):
    (tmp_path / "a").write_bytes(b"mine")

    def fetch(folder):
        (folder / "a").write_bytes(b"half of")
        raise error

    with pytest.raises(error):
        fetch_whole(fetch, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a"] and tree(tmp_path) == {"a": b"mine"}


class Host(SimpleHTTPRequestHandler):
    """A server of a folder; it breaks off in the middle of files whose name is in ``cut``."""

    def __init__(self, *arguments, cut=(), **keywords):
        self.cut = cut
        super().__init__(*arguments, **keywords)

    def log_message(self, *arguments):
        pass

    def copyfile(self, source, outputfile):
        content = source.read()
        with suppress(ConnectionError):  # torchvision asks for a file once just to see where it is
            outputfile.write(content[: len(content) // 2] if Path(self.path).name in self.cut else content)


@contextmanager
def served(folder, cut=()):
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Host, directory=str(folder), cut=cut))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def small_mnist(folder: Path) -> None:
    for name, count in zip(FILES, (20, 20, 5, 5), strict=True):
        array = RNG.integers(0, 10, (count, 28, 28) if "images" in name else count).astype(np.uint8)
        (folder / f"{name}.gz").write_bytes(gzip.compress(idx(array)))


def small_cifar(folder: Path) -> None:
    with tarfile.open(folder / ARCHIVE, "w:gz") as archive:
        for name in BATCHES:
            content = python2_pickle(RNG.integers(0, 256, (5, 3072), dtype=np.uint8), [1, 2, 3, 4, 9])
            member = tarfile.TarInfo(f"{FOLDER}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


# module, torchvision's class, what makes the files, where they land, the file that is served last
SETS = {
    "mnist": (MNISTDataModule, datasets.MNIST, small_mnist, "MNIST/raw", f"{FILES[3]}.gz"),
    "fashion_mnist": (FashionMNISTDataModule, datasets.FashionMNIST, small_mnist, "FashionMNIST/raw", f"{FILES[3]}.gz"),
    "cifar10": (CIFAR10DataModule, datasets.CIFAR10, small_cifar, "", ARCHIVE),
}


class Place:
    """A host of small files for one data set, the sums torchvision expects of them, and the folder to fill."""

    def __init__(self, name, tmp_path, monkeypatch):
        self.module, self.theirs, make, folder, self.last = SETS[name]
        self.host, self.root = tmp_path / "host", tmp_path / "root"
        self.files = self.root / folder
        self.monkeypatch = monkeypatch
        self.host.mkdir()
        make(self.host)
        sums = {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in self.host.iterdir()}
        monkeypatch.setenv("no_proxy", "*")
        monkeypatch.setattr(self.theirs, "resources", [(f"{file}.gz", sums.get(f"{file}.gz")) for file in FILES], False)
        monkeypatch.setattr(self.theirs, "tgz_md5", sums.get(ARCHIVE), raising=False)

    def prepare(self, address, **options):
        self.monkeypatch.setattr(self.theirs, "mirrors", [address], raising=False)
        self.monkeypatch.setattr(self.theirs, "url", address + ARCHIVE, raising=False)
        module = self.module(self.root, val_size=4, download=True, **options)
        module.prepare_data()
        return module


@pytest.fixture(params=SETS)
def place(request, tmp_path, monkeypatch):
    return Place(request.param, tmp_path, monkeypatch)


def test_files_are_fetched_once(place):
    with served(place.host) as address:
        place.prepare(address).setup()
    assert (place.files / place.last).read_bytes() == (place.host / place.last).read_bytes()
    assert not [path for path in place.root.iterdir() if path.name.startswith(".")]
    fetched = tree(place.root)
    place.prepare(NOWHERE).setup()  # there already
    assert tree(place.root) == fetched


def test_nothing_is_fetched_unless_it_is_asked_for(place):
    module = place.module(place.root)
    module.prepare_data()
    assert not place.root.exists()
    with pytest.raises(DataError, match=r"or set data\.download=true$"):
        module.setup()


def test_without_a_network_the_files_to_fetch_by_hand_are_named(place):
    with pytest.raises(DataError, match="refused|urlopen error") as error:
        place.prepare(NOWHERE)
    message = str(error.value)
    assert message.endswith(f" into {place.files} and start again")
    assert all(path.name in message for path in place.host.iterdir())
    assert tree(place.root) == {}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # torchvision leaves a 404 page open
@pytest.mark.parametrize(
    ("trouble", "reason"), [("other content", "corrupted"), ("cut off", "corrupted"), ("not there", "HTTP Error 404")]
)
def test_a_broken_file_is_not_accepted_and_the_next_start_fetches_it_again(place, trouble, reason):
    path = place.host / place.last
    content = path.read_bytes()
    if trouble == "other content":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif trouble == "not there":
        path.unlink()
    with served(place.host, cut=[path.name] if trouble == "cut off" else []) as address:
        with pytest.raises(DataError, match=f"could not be downloaded: .*{reason}"):
            place.prepare(address)
        assert tree(place.root) == {}
    gc.collect()  # the page left open is found now, not in another test
    path.write_bytes(content)
    with served(place.host) as address:
        place.prepare(address).setup()


def test_a_folder_that_cannot_be_made_is_a_data_error(place):
    place.root.write_bytes(b"a file")
    with pytest.raises(DataError, match="could not be downloaded: .*File exists"):
        place.prepare(NOWHERE)


def test_one_set_is_not_fetched_under_the_name_of_another(tmp_path):
    with pytest.raises(ConfigError, match="`download` fetches MNIST, but `name` is 'kmnist'; set `name` to 'mnist'"):
        MNISTDataModule(tmp_path, name="kmnist", download=True)


def test_the_real_files_pass_the_official_sums(data_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with served(data_dir / "fashion_mnist") as address:
        monkeypatch.setattr(datasets.FashionMNIST, "mirrors", [address])
        module = FashionMNISTDataModule(tmp_path, download=True)
        module.prepare_data()
    module.setup()
    assert len(module.test_set) == 10_000
