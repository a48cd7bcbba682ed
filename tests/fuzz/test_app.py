"""Anything a visitor may send to the web lab: a handler answers, or refuses with an error of this package.

The handlers are the service functions; what calls them only shows their results and the errors of this package. The
browser's own controls would send less: a hostile visitor talks to the server without a browser.
"""

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lightning_gvae import cli
from lightning_gvae.app.service.breeding import Variety, breed, first_population
from lightning_gvae.app.service.downloads import file_name, write_downloads
from lightning_gvae.app.service.gaussian_lab import ESTIMATORS, POLICIES, gaussian_lab
from lightning_gvae.app.service.generations import read_chain, read_generation
from lightning_gvae.app.service.latents import PATHS, STARTS, interpolate, move, start, useful_dims
from lightning_gvae.app.service.library import Library
from lightning_gvae.app.service.reconstruction import real_images, reconstruct
from lightning_gvae.app.service.sampling import sample
from lightning_gvae.app.service.sheets import cell_at
from lightning_gvae.app.service.uploads import FORMATS, MOST_PIXELS, read_upload, shown_name
from lightning_gvae.app.session import Lab, Session
from lightning_gvae.app.settings import AppSettings
from lightning_gvae.errors import CheckpointError, ConfigError, DataError, GvaeError
from tests.app.conftest import trained, write_chain
from tests.datamodules.pictures import encoded, photo
from tests.fuzz.damage import Damage, damages

EXAMPLES = 120
SHAPE = (1, 8, 8)

numbers = st.one_of(
    st.integers(-3, 40), st.integers(), st.floats(), st.none(), st.booleans(), st.text(max_size=4),
    st.sampled_from([2**63 - 1, 2**63, 10**400, -(10**400), 1e308, -0.0, "7", [1], {}]),
)  # fmt: skip
words = st.one_of(
    st.text(max_size=30), st.sampled_from(["", "prior", "random", "arc", "replace", "\0", "\ud800", "x" * 5000])
)


def names(known) -> st.SearchStrategy[str]:
    """Mostly names that exist."""
    return st.one_of(st.sampled_from(list(known)), st.sampled_from(list(known)), words)


class Counts:
    """How often a handler answered, and how often it refused."""

    def __init__(self) -> None:
        self.answered = self.refused = 0

    def ask(self, handler, *arguments, **options):
        """What the handler says; None if it refuses. Anything but an error of this package comes through."""
        try:
            answer = handler(*arguments, **options)
        except GvaeError as error:
            assert isinstance(error, ConfigError | DataError | CheckpointError) and str(error).strip()
            self.refused += 1
            return None
        self.answered += 1
        return answer

    def check(self, examples: int = EXAMPLES) -> None:
        """Both happened, or nothing was tried."""
        assert self.answered + self.refused >= examples, vars(self)
        assert self.answered and self.refused, vars(self)


def fingerprint(folder: Path) -> str:
    digest = hashlib.blake2b()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path}\0{path.stat().st_mtime_ns}\0".encode() + path.read_bytes())
    return digest.hexdigest()


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """A run folder and a chain of generations, which must stay as they are."""
    root = tmp_path_factory.mktemp("fuzzed") / "logs"
    trained(root / "run", "model=vae", "trainer.max_steps=2", "data.batch_size=64")
    write_chain(root / "chain", 2)
    before = fingerprint(root)
    yield root
    assert fingerprint(root) == before, "a handler changed a file that it was only to read"


@pytest.fixture(scope="module")
def library(logs):
    return Library(AppSettings(root=logs, any_folder=False, kept_models=1), cli.restore)


@pytest.fixture(scope="module")
def opened(library):
    return library.open(library.find("run"))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data", "ignore:Truncated File Read", "ignore:.*EXIF.*")
def test_uploads(tmp_path):
    whole = {kind: encoded(photo(3, 12, 9), kind) for kind in FORMATS}
    counts, number = Counts(), iter(range(10**6))

    @settings(max_examples=2 * EXAMPLES)
    @example("PNG", Damage(), "a.png", (3, 8, 8), True, True)
    @given(
        st.sampled_from(FORMATS),
        damages,
        words,
        st.sampled_from([SHAPE, (3, 8, 8), (1, 5, 30)]),
        st.booleans(),
        st.booleans(),
    )
    def check(kind, damage, name, shape, invert, crop):
        path = tmp_path / str(next(number)) / (re.sub(r"[\0/\ud800]", "_", name)[:60].strip(".") or "x")
        path.parent.mkdir()
        content = damage(whole[kind])
        path.write_bytes(content)
        upload = counts.ask(read_upload, path, shape, invert, crop, most_mb=1)
        if upload is not None:
            assert upload.image.shape == shape and upload.image.dtype == np.uint8
        assert path.read_bytes() == content, "the upload was changed"
        path.unlink()

    check()
    counts.check(2 * EXAMPLES)
    assert MOST_PIXELS < 10**8


@settings(max_examples=EXAMPLES)
@example("<b>" * 50)
@given(st.text())
def test_names_of_files(text):
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}\.png", file_name(text, suffix=".png"))
    shown = shown_name(text)
    assert shown and len(shown) <= 80 and not set(shown) & set("<>&\"'`/\\\n\r\x1b\0")


@settings(max_examples=EXAMPLES)
@given(words, st.integers(0, 3))
def test_downloads_stay_in_their_folder(tmp_path_factory, name, count):
    place = tmp_path_factory.mktemp("downloads")
    counts = Counts()
    images, latents = np.zeros((count, *SHAPE), np.uint8), np.zeros((count, 2), np.float32)
    paths = counts.ask(
        write_downloads, place / "own", name, images, latents, {"name": name.encode(errors="replace").hex()}
    )
    found = sorted(path for path in place.rglob("*") if path.is_file())
    assert (paths is None) == (count == 0) and found == sorted(paths or ())
    assert all(path.parent == place / "own" for path in found)


@pytest.mark.slow
def test_checkpoints_by_name(library, logs):
    counts = Counts()
    known = ["run", "run/checkpoints", "run/checkpoints/last.ckpt", "run/run.json", "chain", str(logs / "run"), " run "]
    hostile = [
        "..",
        "../..",
        "/etc/passwd",
        "~",
        "~root",
        "~nobody-has-this-name/x",
        "run/../..",
        "a" * 300,
        "a/" * 2000,
        "\0",
        "\ud800",
        "run\0",
        "*",
        "run/checkpoints/last.ckpt/x",
        "C:\\",
    ]

    @settings(max_examples=EXAMPLES)
    @given(st.one_of(st.sampled_from(known), st.sampled_from(hostile), words))
    def check(text):
        path = counts.ask(library.find, text)
        if path is not None:
            assert path.is_file() and path.is_relative_to(logs.resolve()), "a file outside the lab's folder"
            counts.ask(library.open, path)

    check()
    for text in hostile:
        assert counts.ask(library.find, text) is None, text
    counts.check()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_damaged_checkpoints(library, logs, tmp_path):
    whole = (logs / "run/checkpoints/last.ckpt").read_bytes()
    counts, path = Counts(), tmp_path / "last.ckpt"

    @settings(max_examples=EXAMPLES)
    @example(Damage())
    @given(damages)
    def check(damage):
        content = damage(whole)
        path.write_bytes(content)
        counts.ask(library.open, path)
        assert path.read_bytes() == content

    check()
    counts.check()


@pytest.mark.slow
def test_sampling_and_reconstruction(opened):
    counts = Counts()

    @settings(max_examples=EXAMPLES)
    @given(numbers, numbers, numbers, names(["prior", "gmm"]))
    def check(n, seed, temperature, sampler):
        found = counts.ask(sample, opened, n, seed, temperature, sampler, most=50)
        assert found is None or (found.images.shape == (int(n), *SHAPE) and np.isfinite(found.latents).all())
        images = counts.ask(real_images, opened, n, seed)
        assert images is None or len(counts.ask(reconstruct, opened, images).errors) == len(images)

    check()
    counts.ask(reconstruct, opened, np.zeros((2, 3, 9, 9), np.uint8))
    counts.check()


@pytest.mark.slow
def test_walks_through_latent_space(opened):
    counts = Counts()

    @settings(max_examples=EXAMPLES)
    @given(names(STARTS), numbers, numbers, names(PATHS), st.dictionaries(st.integers(-2, 20), numbers, max_size=3))
    def check(kind, number, steps, path, values):
        first = counts.ask(start, opened, kind, number)
        base = start(opened, "random", 0) if first is None else first
        way = counts.ask(interpolate, opened, base, start(opened, "random", 1), steps, path)
        assert way is None or way.shape == (int(steps), *SHAPE)
        moved = counts.ask(move, opened, base, values)
        assert moved is None or moved.shape == SHAPE

    check()
    assert len(useful_dims(opened, 3)) == 3
    counts.check()


@pytest.mark.slow
def test_breeding(opened, library):
    counts, lab = Counts(), Lab(library)

    @settings(max_examples=EXAMPLES)
    @given(
        numbers,
        numbers,
        numbers,
        numbers,
        numbers,
        st.booleans(),
        st.lists(st.integers(-2, 60), max_size=5),
        st.floats(),
        st.floats(),
    )
    def check(size, seed, eta, mutation, jump, keep, parents, x, y):
        population = counts.ask(first_population, opened, size, seed) or first_population(opened, 5, 0)
        variety = counts.ask(Variety, eta, mutation, jump, keep) or Variety()
        following = counts.ask(breed, population, parents, variety)
        if following is not None:
            assert following.genes.shape == population.genes.shape and np.abs(following.genes).max() <= 3
        session = Session(population=population)
        counts.ask(session.pick, set(parents))
        counts.ask(session.add_favourites, opened)
        counts.ask(lab.opened, session)
        position = counts.ask(cell_at, x, y, (100, 200), 7, 4)
        assert position is None or 0 <= position < 7

    check()
    lab.close()
    counts.check()


def test_the_gaussian_lab():
    counts = Counts()
    right = {
        "policy": st.sampled_from(POLICIES), "samples": st.integers(2, 12), "generations": st.integers(1, 12),
        "chains": st.integers(2, 12), "estimator": st.sampled_from(ESTIMATORS), "fresh": st.floats(0, 1),
        "seed": st.integers(0, 2**63 - 1),
    }  # fmt: skip
    # What is in range would be computed, for minutes at its ends.
    hostile = st.one_of(numbers, words).filter(
        lambda value: not (isinstance(value, int | float) and 40 < value < 10_001)
    )

    @settings(max_examples=EXAMPLES)
    @given(st.fixed_dictionaries(right), st.dictionaries(st.sampled_from(list(right)), hostile, max_size=2))
    def check(arguments, wrong):
        text = {name: value for name, value in wrong.items() if isinstance(value, str)}
        others = {name: value for name, value in wrong.items() if name not in ("policy", "estimator")}
        counts.ask(gaussian_lab, **{**arguments, **text, **others})

    check()
    counts.check()


@pytest.mark.parametrize("name", ["samples.npz", "metrics.json"])
def test_generations(name, tmp_path):
    counts, number = Counts(), iter(range(10**6))
    write_chain(tmp_path / "whole", 1)
    place = tmp_path / "whole/generations/000"
    whole = {path.name: path.read_bytes() for path in place.iterdir()}

    @settings(max_examples=EXAMPLES)
    @example(Damage(), 0, "1")
    @example(Damage(bare=b"[" * 100_000), 0, "²")
    @given(damages, st.integers(-2, 3), st.sampled_from(["1", "²", "1 ", "x", "٣"]))
    def check(damage, which, other):
        chain = tmp_path / str(next(number))
        folder = chain / "generations/000"
        folder.mkdir(parents=True)
        (chain / "generations" / other).mkdir()
        contents = {**whole, name: damage(whole[name])}
        for file, content in contents.items():
            (folder / file).write_bytes(content)
        found = counts.ask(read_chain, chain)
        assert found is None or 0 in found.numbers
        for generation in {0, which}:
            one = counts.ask(read_generation, chain, generation, 3)
            assert one is None or (one.images.dtype == np.uint8 and one.images.ndim == 4)
        assert all((folder / file).read_bytes() == content for file, content in contents.items())

    check()
    counts.check()


@settings(max_examples=EXAMPLES)
@given(st.lists(st.sampled_from(["max_images", "port", "concurrency", "kept_models"]), unique=True), numbers)
def test_settings_of_the_lab(chosen, value):
    counts = Counts()
    made = counts.ask(AppSettings, **dict.fromkeys(chosen, value))
    assert made is None or all(getattr(made, name) == value for name in chosen)
