"""The running lab by its programming interface: what every button does, and two visitors at once."""

import threading
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

client = pytest.importorskip("gradio_client")

VAE = "train/runs/vae"


@pytest.fixture
def visitor(server):
    """Makes visitors, who have loaded the VAE."""
    made = []

    def come(load=VAE):
        one = client.Client(server, verbose=False)
        made.append(one)
        if load:
            one.predict(load, "", api_name="/load")
        return one

    yield come
    for one in made:
        one.close()


def sampled(visitor, n=16, seed=0, temperature=1.0, sampler="prior"):
    """PNG, NPZ as files and the picture shown."""
    picture, png, npz = visitor.predict(n, seed, temperature, sampler, api_name="/sample")
    return Path(_path(picture)).read_bytes(), _path(png), _path(npz)


def _path(value):
    if isinstance(value, dict):
        value = value.get("value", value)
        return value["path"] if isinstance(value, dict) else value
    return value


def test_a_seed_gives_the_same_picture_and_another_seed_another(visitor):
    one = visitor()
    first, again, other = (sampled(one, seed=seed)[0] for seed in (1, 1, 2))
    assert first == again != other


def test_downloads_are_what_was_made(visitor):
    _, png, npz = sampled(visitor(), n=5, seed=3)
    with np.load(npz, allow_pickle=False) as arrays:
        assert arrays["images"].shape == (5, 1, 8, 8) and arrays["latents"].shape == (5, 8)
    with Image.open(png) as image:
        assert image.format == "PNG" and image.width > 100


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (("/sample", 10_000, 0, 1.0, "prior"), "number of images must be from 1 to 1,000, got 10,000"),
        (("/load", "nowhere", ""), "no folder or checkpoint &#x27;nowhere&#x27;"),
        (("/load", "", "<b>bold</b>"), "&lt;b&gt;bold"),
        (("/load", "train/runs/vae/metrics.csv", ""), "not a checkpoint|damaged"),
        (("/open_generations", ""), "no collapse study"),
        (("/open_generations", "train"), "no generations in"),
        (("/gaussian", "replace", 1, 5, 5, "mle", 0.2, 0), "points a generation must be from 2"),
        (("/breed_next", 5, 0.1, 0.5, True), "no population yet"),
        (("/move", *[0.0] * 10), "no start yet"),
        (("/generation", 0), "no chain of generations is open"),
    ],
)
def test_what_goes_wrong_is_said_and_the_lab_goes_on(visitor, call, expected):
    one = visitor()
    name, *arguments = call
    with pytest.raises(Exception, match=f"(?i){expected}"):
        one.predict(*arguments, api_name=name)
    assert sampled(one)[0]


def test_without_a_model_nothing_is_sampled(visitor):
    with pytest.raises(Exception, match="No model is loaded"):
        sampled(visitor(load=None))


def test_a_gan_samples_but_does_not_reconstruct(visitor):
    one = visitor("train/runs/gan")
    assert sampled(one)[0]
    with pytest.raises(Exception, match="a GAN has no encoder|A GAN has no encoder"):
        one.predict(0, api_name="/reconstruct_test_images")


def test_uploads_are_read_or_refused(visitor, tmp_path):
    one = visitor()
    Image.new("RGB", (30, 20), "white").save(tmp_path / "white.png")
    (tmp_path / "<i>text.png").write_text("hello")
    seen, made, note = one.predict(client.handle_file(tmp_path / "white.png"), False, True, api_name="/reconstruct")
    assert "read PNG of 30×20 pixels" in note and Path(_path(seen)).exists() and Path(_path(made)).exists()
    with pytest.raises(Exception, match="is not an image that can be read") as caught:
        one.predict(client.handle_file(tmp_path / "<i>text.png"), False, True, api_name="/reconstruct")
    assert "<i>" not in str(caught.value)
    (tmp_path / "large.png").write_bytes(bytes(3 * 2**20))
    with pytest.raises(Exception, match="(?i)413|size|large"):
        one.predict(client.handle_file(tmp_path / "large.png"), False, True, api_name="/reconstruct")
    assert sampled(one)[0]


def test_a_run_that_vanishes_is_said(visitor, settings):
    one = visitor("train/runs/vanishing")
    assert sampled(one)[0]
    folder = Path(settings.root) / "train/runs/vanishing"
    folder.rename(folder.with_name("elsewhere"))
    try:
        with pytest.raises(Exception, match="is no longer there"):
            sampled(one)
    finally:
        folder.with_name("elsewhere").rename(folder)
    assert sampled(one)[0]


def test_every_tab_answers(visitor):
    one = visitor()
    start = one.predict("random", 0, api_name="/start_traversal")
    moved = one.predict(*[1.0] * 10, api_name="/move")
    assert Path(_path(start[0])).read_bytes() != Path(_path(moved)).read_bytes()
    assert one.predict("test image", 0, 1, 7, "arc", api_name="/interpolate")
    assert len(one.predict(api_name="/latent_space")) == 2
    assert "real test images" in one.predict(200, 0, "prior", api_name="/classes")[1]
    opened = one.predict("study/collapse/vae-replace-0", api_name="/open_generations")
    walked = one.predict(2, api_name="/generation")
    assert "Generation 0 of 2" in str(opened) and "Generation 2 of 2" in walked[2]
    assert "halves about every" in one.predict("replace", 20, 5, 5, "mle", 0.2, 0, api_name="/gaussian")[0]
    assert one.predict(0, api_name="/reconstruct_test_images")


def test_two_visitors_at_once_do_not_see_each_other(visitor):
    one, other = visitor(), visitor("train/runs/gan")
    alone = sampled(one, seed=5)[0], sampled(other, seed=5)[0]
    assert alone[0] != alone[1]
    found: dict[str, list[bytes]] = {"one": [], "other": []}

    def ask(name, who):
        found[name] += [sampled(who, seed=5)[0] for _ in range(4)]

    threads = [threading.Thread(target=ask, args=pair) for pair in (("one", one), ("other", other))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {"one": [alone[0]] * 4, "other": [alone[1]] * 4}

    one.predict(4, 0, api_name="/breed_start")
    one.predict(["1", "2"], api_name="/breed_pick")
    assert "Generation 1" in str(one.predict(5, 0.1, 0.5, True, api_name="/breed_next"))
    with pytest.raises(Exception, match="(?i)no population yet"):
        other.predict(5, 0.1, 0.5, True, api_name="/breed_next")


def test_two_generations_are_bred_and_favourites_taken_home(visitor):
    one = visitor()
    first = one.predict(8, 1, api_name="/breed_start")
    pictures = [Path(_path(first[0])).read_bytes()]
    for _ in range(2):
        one.predict(["2", "5"], api_name="/breed_pick")
        pictures.append(Path(_path(one.predict(5, 0.1, 0.5, True, api_name="/breed_next")[0])).read_bytes())
    assert len(set(pictures)) == 3
    one.predict(["1", "3"], api_name="/breed_pick")
    _, _, npz = one.predict(api_name="/breed_favourites")
    with np.load(_path(npz), allow_pickle=False) as arrays:
        assert arrays["images"].shape == (2, 1, 8, 8) and arrays["latents"].shape == (2, 8)


def test_files_of_the_machine_are_not_served(server):
    for path in ("/gradio_api/file=/etc/passwd", "/gradio_api/file=../../pyproject.toml", "/file=/etc/passwd"):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(server + path, timeout=10)
        caught.value.close()
        assert caught.value.code in (403, 404)
