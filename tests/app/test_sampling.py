"""Images from seeds, and what a person may ask for."""

import numpy as np
import pytest
import torch

from lightning_gvae.app.service.downloads import file_name, npz_bytes, png_bytes, write_downloads
from lightning_gvae.app.service.sampling import sample
from lightning_gvae.app.service.sheets import cell_at, picking_sheet, sheet
from lightning_gvae.errors import ConfigError


def test_a_seed_gives_the_same_images_and_another_seed_others(vae, gan):
    for model in (vae, gan):
        first, again, other = (sample(model, 16, seed) for seed in (3, 3, 4))
        assert first.images.dtype == np.uint8 and first.images.shape == (16, 1, 8, 8)
        assert (first.images == again.images).all() and (first.images != other.images).any(axis=(1, 2, 3)).all()


def test_sixteen_are_the_first_of_sixty_four(vae):
    few, many = sample(vae, 16, 3), sample(vae, 64, 3)
    assert (few.latents == many.latents[:16]).all() and (few.images == many.images[:16]).all()


def test_images_are_the_decoded_latents(vae):
    made = sample(vae, 300, 0)  # more than are decoded at once
    with torch.no_grad():
        expected = vae.model.decode(torch.from_numpy(made.latents)).mul(255).round().to(torch.uint8).numpy()
    assert np.abs(made.images.astype(int) - expected).max() <= 1  # batches may round differently


def test_latents_follow_the_prior(vae):
    latents = sample(vae, 1000, 0, temperature=0.5).latents / 0.5
    assert abs(latents.mean()) < 4 / np.sqrt(latents.size)
    assert latents.var() == pytest.approx(1, abs=4 * np.sqrt(2 / latents.size))


def test_temperature_zero_is_the_centre(vae):
    made = sample(vae, 3, 0, temperature=0)
    assert (made.latents == 0).all() and (made.images == made.images[0]).all()


@pytest.mark.parametrize("sampler", ["gmm", pytest.param("flow", marks=pytest.mark.slow)])
def test_fitted_samplers_follow_the_posteriors(vae, sampler):
    made, again = sample(vae, 1000, 1, sampler=sampler), sample(vae, 1000, 1, sampler=sampler)
    assert (made.images == again.images).all()
    found = vae.posteriors()
    variance = found.means.var(0) + found.log_vars.exp().mean(0)
    assert np.abs(made.latents.mean(0) - found.means.mean(0).numpy()).max() < 0.3
    assert np.abs(np.log(made.latents.var(0) / variance.numpy())).max() < 0.4
    still = sample(vae, 2, 1, temperature=0, sampler=sampler).latents
    assert np.abs(still - found.means.mean(0).numpy()).max() < 1e-5


def test_a_gan_has_nothing_to_fit_a_sampler_to(gan):
    with pytest.raises(ConfigError, match="has no encoder"):
        sample(gan, 4, 0, sampler="gmm")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((10_000, 0), "The number of images must be from 1 to 1,000, got 10,000"),
        ((0, 0), "from 1 to 1,000, got 0"),
        ((2.5, 0), "must be a whole number from 1 to 1,000, got 2.5"),
        ((None, 0), "must be a whole number.*None"),
        ((float("nan"), 0), "whole number"),
        ((True, 0), "whole number"),
        ((4, -1), "The seed must be from 0"),
        ((4, 0, 9.0), "The temperature must be a number from 0 to 3, got 9.0"),
        ((4, 0, float("nan")), "The temperature"),
        ((4, 0, 1.0, "dice"), "the sampler must be one of prior, gmm, flow, got 'dice'"),
    ],
)
def test_what_cannot_be_done_is_said(vae, arguments, expected):
    with pytest.raises(ConfigError, match=expected):
        sample(vae, *arguments)


def test_a_sheet_holds_every_image_enlarged(vae):
    images = sample(vae, 5, 0).images
    board = sheet(images, columns=3)
    factor = (board.shape[1] - 2 * 2 - 3 * 2) // 24
    for position, image in enumerate(images):
        top, left = (1 + index * (8 * factor + 4) for index in divmod(position, 3))
        tile = board[top : top + 8 * factor : factor, left : left + 8 * factor : factor]
        assert (tile == image[0][..., None]).all()
    assert (board[-8 * factor :, -8 * factor :] == 255).all()  # the sixth place is empty
    assert sheet(np.zeros((1000, 3, 64, 64), np.uint8)).shape[1] < 2400


def test_a_click_finds_the_image_that_was_drawn_there(vae):
    images = sample(vae, 10, 0).images
    board = picking_sheet(images, {6}, columns=4)
    height, width, _ = board.shape
    orange = np.argwhere((board == (213, 94, 0)).all(2)).mean(0)
    assert cell_at(orange[1], orange[0], (height, width), 10, 4) == 6
    middles = [((column + 0.5) * width / 4, (row + 0.5) * height / 3) for row in range(3) for column in range(4)]
    assert [cell_at(x, y, (height, width), 10, 4) for x, y in middles[:10]] == list(range(10))
    for x, y in (*middles[10:], (-5, 5), (5, height + 400), (width + 400, 5)):
        with pytest.raises(ConfigError, match="no image where you clicked"):
            cell_at(x, y, (height, width), 10, 4)


def test_downloads_hold_what_was_seen(vae, tmp_path):
    made = sample(vae, 5, 0)
    png, npz = write_downloads(tmp_path / "own", "a/../b c", made.images, made.latents, made.facts)
    assert (png.name, npz.name) == ("a-b-c.png", "a-b-c.npz") and png.read_bytes() == png_bytes(made.images)
    with np.load(npz, allow_pickle=False) as arrays:
        assert (arrays["images"] == made.images).all() and (arrays["latents"] == made.latents).all()
        assert '"seed": 0' in str(arrays["facts"])
    assert npz_bytes(made.images, made.latents, made.facts) == npz.read_bytes()
    with pytest.raises(ConfigError, match="nothing to download"):
        write_downloads(tmp_path, "x", made.images[:0], made.latents[:0], {})


@pytest.mark.parametrize("name", ["../../etc/passwd", ".hidden", "a\0b", "Ä" * 300, "", "con:$(x)`y`|<z>", "x" * 500])
def test_file_names_are_names_and_nothing_else(name):
    made = file_name(name, suffix=".png")
    assert made.endswith(".png") and len(made) <= 84
    assert (
        set(made[:-4]) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")
        and made[0] not in "-."
    )
