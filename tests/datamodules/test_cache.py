import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lightning_gvae.datamodules import cache
from lightning_gvae.datamodules.cache import cached_images, default_cache_dir
from lightning_gvae.datamodules.decode import Recipe
from lightning_gvae.datamodules.image_files import FolderFiles
from lightning_gvae.errors import ConfigError, DataError
from tests.datamodules.pictures import photo, write

RECIPE = Recipe(40, 30)


@pytest.fixture
def place(tmp_path):
    for number in range(7):
        write(tmp_path / "in" / f"{number}.png", number)
    return tmp_path / "in"


def prepared(place: Path, recipe: Recipe = RECIPE, **options):
    files = FolderFiles(place)
    defaults: dict[str, Any] = {"title": "some", "cache_dir": place.parent / "cache", "workers": 2}
    return cached_images(files, files.names(), recipe, **defaults | options)


def entries(place: Path) -> list[str]:
    """What is in the folder of caches, besides locks."""
    return sorted(path.name for path in (place.parent / "cache").iterdir() if path.suffix != ".lock")


def test_images_come_in_the_order_of_the_names(place, monkeypatch):
    monkeypatch.setattr(cache, "CHUNK", 3)
    images, kept, skipped, contents, notes = prepared(place)
    assert images.dtype == np.uint8 and isinstance(images, np.memmap) and not images.flags.writeable
    assert np.array_equal(images, [photo(number).transpose(2, 0, 1) for number in range(7)])
    assert kept.tolist() == list(range(7)) and not skipped and not notes
    assert len(set(contents.tolist())) == 7
    (place / "again.png").write_bytes((place / "3.png").read_bytes())
    assert prepared(place).contents.tolist() == [*contents.tolist(), contents[3]]


def test_a_second_start_decodes_nothing(place, monkeypatch):
    first = prepared(place).images
    monkeypatch.setattr(Recipe, "decode", lambda *args: pytest.fail("decoded again"))
    assert np.array_equal(prepared(place).images, first)
    assert len(entries(place)) == 1


def test_other_settings_and_changed_files_make_a_cache_of_their_own(place):
    prepared(place)
    prepared(place, Recipe(8, 8))
    prepared(place, on_error="skip")
    write(place / "7.png", 7)
    assert len(prepared(place).images) == 8
    write(place / "0.png", 70)
    assert np.array_equal(prepared(place).images[0], photo(70).transpose(2, 0, 1))
    assert len(entries(place)) == 5


def test_an_unreadable_image_is_named_and_no_half_cache_is_left(place):
    (place / "3.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"3\.png cannot be decoded: no image in .*; repair or remove it, or leave"):
        prepared(place)
    assert entries(place) == []


def test_unreadable_images_are_skipped_and_counted_on_demand(place, capsys):
    (place / "3.png").write_bytes(b"no image")
    (place / "5.png").write_bytes((place / "5.png").read_bytes()[:-100])
    for _ in range(2):
        images, kept, skipped, contents, _ = prepared(place, on_error="skip")
        assert kept.tolist() == [0, 1, 2, 4, 6] and list(skipped) == ["3.png", "5.png"]
        assert len(contents) == 5
        assert np.array_equal(images[3], photo(4).transpose(2, 0, 1))
        assert "some: 2 of 7 images are left out (first: 3.png, no image in a format" in capsys.readouterr().err


def test_a_set_of_nothing_but_unreadable_images_is_refused(place):
    for path in place.iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match="none of the 7 images in .*in can be decoded .first: 0.png"):
        prepared(place, on_error="skip")
    assert entries(place) == []


def test_space_is_checked_first(place, monkeypatch):
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda path: SimpleNamespace(free=2**24))
    with pytest.raises(DataError, match=r"needs 0 MB in .*cache, where 17 MB are free; make room there, or choose"):
        prepared(place)
    assert entries(place) == []


FILL = """
import resource, signal, sys
from pathlib import Path
from tests.datamodules.test_cache import prepared
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
prepared(Path(sys.argv[1]))
"""


def run(code: str, place: Path, **options) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", code, str(place)], check=False, text=True, capture_output=True, **options
    )


def test_a_write_that_the_system_refuses_ends_in_one_error_and_leaves_nothing(place):
    # The limit on the size of files makes write() fail just as a full disk does, at the third image.
    result = run(FILL, place)
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert "DataError: the cache of some in" in last and "cannot be written or read: File too large; make room" in last
    assert entries(place) == []
    assert len(prepared(place).images) == 7


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_full_disk(place):
    disk = place.parent / "cache"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=12k", "none", str(disk)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("this machine does not let a disk be mounted")
    try:
        code = (
            "import sys; from pathlib import Path; from lightning_gvae.datamodules import cache;"
            "from tests.datamodules.test_cache import prepared; cache.MARGIN = -10**9; prepared(Path(sys.argv[1]))"
        )
        result = run(code, place)
        assert "cannot be written or read: No space left on device" in result.stderr.strip().splitlines()[-1]
        assert entries(place) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


SLOW = """
import sys, time
from pathlib import Path
from lightning_gvae.datamodules import cache
from lightning_gvae.datamodules.decode import Recipe
from tests.datamodules.test_cache import prepared
decode, cache.CHUNK = Recipe.decode, 1
Recipe.decode = lambda self, content: (time.sleep(0.3), decode(self, content))[1]
print(len(prepared(Path(sys.argv[1]), workers=1).images), flush=True)
"""


def wait_for(condition) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "nothing happened within a minute"
        time.sleep(0.02)


def test_a_killed_preparation_is_finished_by_the_next_start(place):
    process = subprocess.Popen([sys.executable, "-c", SLOW, str(place)], stderr=subprocess.DEVNULL)
    half = place.parent / "cache"
    wait_for(lambda: list(half.glob("*.partial/images.u8")))
    time.sleep(0.7)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert len(entries(place)) == 1 and entries(place)[0].endswith(".partial")
    assert np.array_equal(prepared(place).images, [photo(number).transpose(2, 0, 1) for number in range(7)])
    assert len(entries(place)) == 1 and not entries(place)[0].endswith(".partial")


def test_of_two_processes_one_prepares_and_the_other_waits(place):
    command = [sys.executable, "-c", SLOW, str(place)]
    first = subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for(lambda: list((place.parent / "cache").glob("*.partial")))
    second = subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    outputs = [process.communicate(timeout=60) for process in (first, second)]
    assert [out for out, _ in outputs] == ["7\n", "7\n"]
    assert "prepare some" in outputs[0][1] and "waiting" not in outputs[0][1]
    assert "Another process is preparing some-" in outputs[1][1] and "prepare some:" not in outputs[1][1]
    assert len(entries(place)) == 1


def prepare_and_sum(place: Path) -> int:
    return int(prepared(place).images.sum())


def test_many_at_once(place):
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        sums = pool.map(prepare_and_sum, [place] * 6)
    assert sums == [sum(int(photo(number).sum()) for number in range(7))] * 6
    assert len(entries(place)) == 1


def test_a_cache_that_was_cut_off_is_reported(place):
    prepared(place)
    (folder,) = [path for path in (place.parent / "cache").iterdir() if path.is_dir()]
    with (folder / "images.u8").open("r+b") as file:
        file.truncate(100)
    with pytest.raises(DataError, match=r"images.u8 must be 25200 bytes long, found 100; delete .*some-"):
        prepared(place)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on_error": "ignore"}, "`on_error` must be one of raise, skip, got 'ignore'"),
        ({"workers": 0}, "`workers` must be at least 1, got 0"),
    ],
)
def test_settings_that_mean_nothing_are_refused(place, options, message):
    with pytest.raises(ConfigError, match=message):
        prepared(place, **options)


def test_a_place_where_nothing_can_be_written_is_named(place):
    (place.parent / "file").write_text("")
    with pytest.raises(DataError, match=r"the cache of some in .*file/below cannot be written or read: Not a dir"):
        prepared(place, cache_dir=place.parent / "file" / "below")


def test_the_default_folder_follows_the_environment(monkeypatch):
    monkeypatch.setenv("GVAE_CACHE_DIR", "/a")
    assert default_cache_dir() == Path("/a")
    monkeypatch.delenv("GVAE_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert default_cache_dir() == Path("/b/lightning-gvae")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache_dir() == Path("~/.cache/lightning-gvae")
