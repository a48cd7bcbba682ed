"""The lab in a browser, as visitors use it: Chromium without a window, on a desk and on a phone."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_gvae.app.service.sampling import sample

playwright_api = pytest.importorskip("playwright.sync_api")
pytest.importorskip("gradio")

CHROMIUM = shutil.which("chromium")
TABS = (
    "Sample",
    "Reconstruct",
    "Traverse",
    "Interpolate",
    "Latent space",
    "Classes",
    "Generations",
    "Gaussian lab",
    "Breed",
    "Diverge",
)
LONG = 60_000  # milliseconds

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs the program `chromium` (Debian's package) on the PATH"),
]


@pytest.fixture(scope="module")
def browser():
    with playwright_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def visit(browser, server):
    """Opens the lab for one more visitor, who loads a model; nothing may be fetched from elsewhere."""
    contexts, outside, broken = [], [], []

    def come(checkpoint="train/runs/vae", width=1280):
        context = browser.new_context(viewport={"width": width, "height": 844})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(LONG)
        page.on("request", lambda request: elsewhere(request.url))
        page.on("pageerror", lambda error: broken.append(str(error)))
        page.goto(server)
        if checkpoint:
            load(page, checkpoint)
            picture(page, "#sample-picture")
        return page

    def elsewhere(url):
        if not url.startswith((server, "data:", "blob:")):
            outside.append(url)

    yield come
    for context in contexts:
        context.close()
    assert not outside and not broken


def load(page, checkpoint):
    page.locator("#folder textarea").fill(checkpoint)
    page.locator("#load").click()


def source(page, place):
    """Address of a picture, which Gradio makes of its contents, or None."""
    image = page.locator(f"{place} img").first
    return image.get_attribute("src") if image.count() else None


def picture(page, place, after=None):
    """Address of a picture once it is another one than ``after``."""
    page.wait_for_function(
        "([place, after]) => { const image = document.querySelector(place + ' img');"
        " return image && image.src && image.src !== after }",
        arg=[place, after],
    )
    return page.locator(f"{place} img").first.evaluate("image => image.src")


def message(page, text):
    """Wait for a message in the page."""
    page.locator(".toast-body", has_text=text).first.wait_for()


def tab(page, name):
    """Open a tab, on a phone from the menu of those that have no room."""
    button = page.locator(f"button[role=tab]:visible:text-is('{name}')")
    if not button.count():
        page.locator(".overflow-menu > button").first.click()
        button = page.locator(".overflow-dropdown button", has_text=name)
    button.first.click()


def generate(page, seed, n=16):
    before = source(page, "#sample-picture")
    page.locator("#sample-n input").fill(str(n))
    page.locator("#sample-seed input").fill(str(seed))
    page.locator("#sample-go").click()
    return picture(page, "#sample-picture", page.evaluate("source => new URL(source, location).href", before))


def test_a_seed_gives_the_same_picture_and_downloads_hold_it(visit, vae, tmp_path):
    page = visit()
    first, other, again = (generate(page, seed) for seed in (1, 2, 1))
    assert first == again != other
    expected = sample(vae, 16, 1)
    for kind in ("png", "npz"):
        with page.expect_download() as waiting:
            page.locator(f"#sample-{kind}").click()
        waiting.value.save_as(tmp_path / f"samples.{kind}")
        assert waiting.value.suggested_filename == f"samples-VAE-seed-1.{kind}"
    with np.load(tmp_path / "samples.npz", allow_pickle=False) as arrays:
        assert (arrays["latents"] == expected.latents).all()
        assert np.abs(arrays["images"].astype(int) - expected.images).max() <= 1
    with Image.open(tmp_path / "samples.png") as image:
        assert image.format == "PNG" and image.size[0] == image.size[1] > 8 * 16


def test_uploads_are_reconstructed_or_refused(visit, tmp_path):
    page = visit()
    tab(page, "Reconstruct")
    Image.new("RGB", (30, 20), "white").save(tmp_path / "white.png")
    page.locator("#upload input[type=file]").set_input_files(tmp_path / "white.png")
    page.locator("#upload").get_by_text("white").wait_for()
    page.locator("#reconstruct-go").click()
    seen, made = picture(page, "#reconstruct-seen"), picture(page, "#reconstruct-made")
    assert seen != made
    page.locator(
        "#reconstruct-note", has_text="read PNG of 30×20 pixels, cut from the middle and resized to 8×8"
    ).wait_for()
    (tmp_path / "words.png").write_text("I am no image")
    page.locator("#upload button[aria-label]").first.click()
    page.locator("#upload input[type=file]").set_input_files(tmp_path / "words.png")
    page.locator("#upload").get_by_text("words").wait_for()
    page.locator("#reconstruct-go").click()
    message(page, "Words.png is not an image that can be read")


def test_a_slider_changes_the_image(visit):
    page = visit()
    tab(page, "Traverse")
    page.locator("#walk-go").click()
    picture(page, "#walk-table")
    before = picture(page, "#walk-picture")
    page.locator("#walk-0 input[type=range]").focus()
    page.keyboard.press("Home")
    low = picture(page, "#walk-picture", before)
    page.keyboard.press("End")
    assert picture(page, "#walk-picture", low) != before


def test_two_generations_are_bred_by_clicking(visit, tmp_path):
    page = visit()
    tab(page, "Breed")
    page.locator("#breed-start").click()
    shown = [picture(page, "#breed-picture")]
    for generation in (1, 2):
        board = page.locator("#breed-picture img").first
        box = board.bounding_box()
        for column, row in ((1, 0), (2, 1)):
            before = picture(page, "#breed-picture")
            board.click(position={"x": box["width"] * (column + 0.5) / 4, "y": box["height"] * (row + 0.5) / 3})
            picture(page, "#breed-picture", before)
        page.locator("#breed-status", has_text="2 picked").wait_for()
        assert page.locator("#breed-parents input:checked").count() == 2
        before = picture(page, "#breed-picture")
        page.locator("#breed-next").click()
        shown.append(picture(page, "#breed-picture", before))
        page.locator("#breed-status", has_text=f"Generation {generation}").wait_for()
    assert len(set(shown)) == 3
    page.locator("#breed-parents label").nth(3).click()
    page.locator("#breed-status", has_text="1 picked").wait_for()
    page.locator("#breed-like").click()
    picture(page, "#breed-favourites")
    with page.expect_download() as waiting:
        page.locator("#breed-npz").click()
    waiting.value.save_as(tmp_path / "favourites.npz")
    with np.load(tmp_path / "favourites.npz", allow_pickle=False) as arrays:
        assert arrays["images"].shape == (1, 1, 8, 8) and arrays["latents"].shape == (1, 8)


def test_two_visitors_have_a_state_each(visit):
    one, other = visit(), visit("train/runs/gan")
    assert "VAE" in one.locator("#facts").inner_text() and "GAN" in other.locator("#facts").inner_text()
    first, second = generate(one, 4), generate(other, 4)
    assert first != second
    for page, words in ((one, "Generation 0"), (other, "Press Start anew")):
        tab(page, "Breed")
        if page is one:
            page.locator("#breed-start").click()
        page.locator("#breed-status", has_text=words).wait_for()
    tab(one, "Sample")
    assert generate(one, 5) != first and generate(one, 4) == first


def test_what_goes_wrong_is_said_in_the_page_and_the_lab_goes_on(visit, settings):
    page = visit(checkpoint=None)
    page.locator("#sample-go").click()
    message(page, "No model is loaded; choose a checkpoint")
    root = Path(settings.root)
    folder = root / "unknown"
    folder.mkdir()
    checkpoint = torch.load(root / "train/runs/vae/checkpoints/last.ckpt", weights_only=True)
    checkpoint["gvae_config"]["model"]["_target_"] = "lightning_gvae.models.vae.NoSuchModel"
    torch.save(checkpoint, folder / "odd.ckpt")
    load(page, "unknown")
    message(page, "Odd.ckpt is not of a model that this version knows")
    load(page, "no/such/<b>folder</b>")
    message(page, "There is no folder or checkpoint 'no/such/<b>folder</b>'")  # as text, not as markup
    shutil.copytree(root / "train/runs/vae", root / "leaving")
    load(page, "leaving")
    before = picture(page, "#sample-picture")
    shutil.rmtree(root / "leaving")
    page.locator("#sample-go").click()
    message(page, "is no longer there; load another one")
    load(page, "train/runs/vae")
    page.locator("#facts", has_text="train/runs/vae").wait_for()
    page.locator("#sample-n input").fill("10000")
    page.locator("#sample-go").click()
    message(page, "The number of images must be from 1 to 1,000, got 10,000")
    assert generate(page, 9) != before


def test_nothing_is_wider_than_a_phone(visit):
    page = visit(width=390)
    for name in TABS:
        tab(page, name)
        if name == "Gaussian lab":
            page.locator("#gauss-go").click()
            picture(page, "#gauss-densities")
        if name == "Generations":
            page.locator("#chain-go").click()
            picture(page, "#generation-lines")
        if name == "Breed":
            page.locator("#breed-start").click()
            picture(page, "#breed-picture")
        page.locator(f"button[role=tab][aria-selected=true]:text-is('{name}')").first.wait_for(state="attached")
        widths = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        assert widths[0] <= widths[1] == 390, name
