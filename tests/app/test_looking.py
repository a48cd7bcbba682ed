"""Uploads, reconstructions, walks, the aggregate posterior and class counts."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial import geometric_slerp
from sklearn.decomposition import PCA
from torch.distributions import Normal, kl_divergence

from lightning_gvae.app.service.classes import ClassCounts, class_counts
from lightning_gvae.app.service.latents import interpolate, move, slerp, start, traverse, useful_dims
from lightning_gvae.app.service.posterior import posterior_view, principal_plane
from lightning_gvae.app.service.reconstruction import real_images, reconstruct
from lightning_gvae.app.service.sampling import Samples
from lightning_gvae.app.service.uploads import read_upload, shown_name
from lightning_gvae.errors import ConfigError, DataError
from lightning_gvae.rng import numpy_stream

GREY = (1, 8, 8)


def saved(tmp_path, image, name="picture.png", **options):
    path = tmp_path / name
    image.save(path, **options)
    return path


def test_an_image_of_the_right_kind_is_taken_as_it_is(tmp_path):
    pixels = numpy_stream(0, "test").integers(0, 256, (8, 8)).astype(np.uint8)
    upload = read_upload(saved(tmp_path, Image.fromarray(pixels)), GREY)
    assert (upload.image[0] == pixels).all() and upload.note == "picture.png: read PNG of 8×8 pixels."
    assert (read_upload(tmp_path / "picture.png", GREY, invert=True).image[0] == 255 - pixels).all()


def test_other_sizes_and_colours_are_made_to_fit_with_a_note(tmp_path):
    path = saved(tmp_path, Image.new("RGB", (40, 20), (255, 0, 0)), "red.jpg", quality=95)
    upload = read_upload(path, GREY)
    assert upload.image.shape == GREY and np.abs(upload.image.astype(int) - 76).max() <= 1  # ITU-R 601 grey of red
    assert upload.note == "red.jpg: read JPEG of 40×20 pixels, cut from the middle and resized to 8×8, made grey."
    squeezed = read_upload(path, (3, 8, 8), crop=False)
    assert squeezed.image.shape == (3, 8, 8) and "cut" not in squeezed.note and "made" not in squeezed.note


def test_what_is_no_image_is_refused(tmp_path):
    (tmp_path / "text.png").write_text("I am no image")
    (tmp_path / "empty.png").write_bytes(b"")
    whole = saved(tmp_path, Image.effect_noise((64, 64), 50)).read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "large.png").write_bytes(whole + bytes(2**21))
    (tmp_path / "shape.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    saved(tmp_path, Image.new("1", (6000, 6000)), "wide.png")
    for name, expected in {
        "text.png": "text.png is not an image that can be read; upload one of PNG, JPEG",
        "empty.png": "is not an image",
        "shape.svg": "is not an image",
        "cut.png": "cut.png is damaged",
        "large.png": "large.png is larger than 1 MB",
        "wide.png": "6,000×6,000 pixels; at most 20,000,000",
        "gone.png": "gone.png is no longer there",
    }.items():
        with pytest.raises(DataError, match=expected):
            read_upload(tmp_path / name, GREY, most_mb=1)
    with pytest.raises(DataError, match="no image was given"):
        read_upload(None, GREY)


def test_names_are_harmless_when_shown():
    assert shown_name("<img src=x onerror=alert(1)>.png").startswith("_img src_x") and "<" not in shown_name("<a>")
    assert len(shown_name("x" * 300 + ".png")) <= 62 and shown_name("../\n\x1b[2J") == "___2J"


def test_reconstructions_are_the_models_own(vae):
    images = real_images(vae, 6, 3)
    assert (images == real_images(vae, 6, 3)).all() and (images != real_images(vae, 6, 4)).any()
    found = reconstruct(vae, images)
    with torch.no_grad():
        prepared = vae.model.prepare(torch.from_numpy(images))
        expected = vae.model.reconstruct(prepared).mul(255).round().numpy()
        mean, log_var = vae.model.encode(prepared)
    assert np.abs(found.images - expected).max() <= 1
    assert found.errors == pytest.approx(np.sqrt(((found.images - images.astype(float)) ** 2).mean((1, 2, 3))))
    kl = kl_divergence(Normal(mean, (0.5 * log_var).exp()), Normal(0.0, 1.0)).sum(1)
    assert found.kl == pytest.approx(kl.numpy(), rel=1e-4)


def test_a_trained_model_reconstructs_better_than_another_image(vae):
    images = real_images(vae, 32, 0)
    found = reconstruct(vae, images)
    shuffled = np.sqrt(((np.roll(found.images, 1, axis=0) - images.astype(float)) ** 2).mean((1, 2, 3)))
    assert found.errors.mean() < 0.7 * shuffled.mean()


def test_a_gan_looks_at_no_images(gan):
    with pytest.raises(ConfigError, match="a GAN has no encoder"):
        reconstruct(gan, np.zeros((1, *GREY), np.uint8))
    with pytest.raises(ConfigError, match="a GAN has no encoder"):
        start(gan, "test image", 0)
    with pytest.raises(ConfigError, match="a GAN has no encoder"):
        posterior_view(gan)
    dims = useful_dims(gan, 3)
    assert [dim for dim, _ in dims] == [0, 1, 2] and all(math.isnan(kl) for _, kl in dims)


def test_images_of_another_shape_are_named(vae):
    with pytest.raises(ConfigError, match="images of shape"):
        reconstruct(vae, np.zeros((1, 1, 9, 9), np.uint8))


def test_the_most_useful_latent_comes_first(vae):
    found = vae.posteriors()
    kl = kl_divergence(Normal(found.means, (0.5 * found.log_vars).exp()), Normal(0.0, 1.0)).mean(0).numpy()
    dims = useful_dims(vae, 4)
    assert [dim for dim, _ in dims] == list(np.argsort(-kl)[:4])
    assert [value for _, value in dims] == pytest.approx(np.sort(kl)[::-1][:4], rel=1e-4)


def test_sliders_and_the_table_decode_the_same_points(vae):
    base = start(vae, "random", 5)
    frames = traverse(vae, base, [2, 0], [-1.0, 0.0, 2.0])
    assert frames.shape == (2, 3, *GREY)
    for row, dim in enumerate([2, 0]):
        for column, value in enumerate([-1.0, 0.0, 2.0]):
            alone = move(vae, base, {dim: value})
            assert np.abs(frames[row, column].astype(int) - alone).max() <= 1
    assert (move(vae, base, {}) == vae.decode(base[None])[0]).all()
    for values, expected in (({8: 0.0}, "z0 to z7, got z8"), ({0: 9.0}, "z0 must be a number from -3 to 3")):
        with pytest.raises(ConfigError, match=expected):
            move(vae, base, values)


def test_starts_are_seeds_and_test_images(vae):
    assert (start(vae, "random", 1) == start(vae, "random", 1)).all()
    assert (start(vae, "random", 1) != start(vae, "random", 2)).all()
    assert start(vae, "test image", 1) == pytest.approx(vae.encode(real_images(vae, 1, 1))[0][0])
    with pytest.raises(ConfigError, match="one of random, test image, got 'middle'"):
        start(vae, "middle", 0)


def test_the_arc_is_scipys_for_unit_vectors_and_keeps_lengths():
    rng = numpy_stream(0, "test/slerp")
    for _ in range(5):
        a, b = rng.standard_normal((2, 6))
        a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
        weights = np.linspace(0, 1, 9)
        assert slerp(a, b, weights[:, None]) == pytest.approx(geometric_slerp(a, b, weights), abs=1e-12)
        assert np.linalg.norm(slerp(7 * a, 7 * b, weights[:, None]), axis=1) == pytest.approx(np.full(9, 7.0))


@pytest.mark.parametrize("b", [[1.0, 0.0], [2.0, 0.0], [-1.0, 0.0], [0.0, 0.0]])
def test_without_an_arc_the_way_is_straight(b):
    assert slerp([1.0, 0.0], b, np.array([[0.0], [0.5], [1.0]])).tolist() == [
        [1.0, 0.0],
        [0.5 + b[0] / 2, 0.0],
        [b[0], 0.0],
    ]


@pytest.mark.parametrize("path", ["arc", "straight"])
def test_a_way_has_both_its_ends(vae, path):
    first, last = start(vae, "random", 0), start(vae, "random", 1)
    way = interpolate(vae, first, last, 7, path)
    ends = vae.decode(np.stack([first, last]))
    assert len(way) == 7 and np.abs(way[[0, -1]].astype(int) - ends).max() <= 1
    back = interpolate(vae, last, first, 7, path)
    assert np.abs(back[::-1].astype(int) - way).max() <= 1


def test_bad_ways_are_named(vae):
    point = start(vae, "random", 0)
    with pytest.raises(ConfigError, match="from 2 to 30, got 1"):
        interpolate(vae, point, point, 1)
    with pytest.raises(ConfigError, match="one of straight, arc, got 'bent'"):
        interpolate(vae, point, point, 3, "bent")


def test_the_plane_is_that_of_principal_components():
    points = numpy_stream(0, "test/plane").standard_normal((200, 5)) * [3, 2, 1, 0.5, 0.1] + [1, 0, 0, 0, 2]
    plane, share = principal_plane(points)
    pca = PCA(2).fit(points)
    expected = pca.transform(points)
    for axis in (0, 1):
        moved = plane[:, axis] - plane[:, axis].mean()
        assert np.abs(moved) == pytest.approx(np.abs(expected[:, axis]), abs=1e-9)
    assert share == pytest.approx(pca.explained_variance_ratio_)
    flat, alone = principal_plane(points[:, :1])
    assert np.abs(flat[:, 0]) == pytest.approx(np.abs(points[:, 0])) and (flat[:, 1] == 0).all() and alone[0] == 1


def test_the_view_shows_draws_of_the_aggregate_posterior(vae):
    view, found = posterior_view(vae, dims=8), vae.posteriors()
    order = [dim for dim, _ in view.dims]
    variance = (found.means.var(0) + found.log_vars.exp().mean(0)).numpy()[order]
    assert view.draws.var(0) == pytest.approx(variance, rel=0.2)
    assert view.plane.shape == (len(found.means), 2) and set(view.labels) == set(range(10))
    assert view.class_names == tuple("0123456789") and (view.draws == posterior_view(vae, dims=8).draws).all()


def test_class_counts_of_real_images_are_right_but_for_the_classifiers_errors(vae):
    part = vae.subject.data.test_set
    images, labels = part.batch(np.arange(len(part)))
    counts = class_counts(vae, Samples(images.numpy(), np.zeros((len(part), 8), np.float32), {}))
    assert (counts.real == np.bincount(labels.numpy(), minlength=10)).all() and counts.made.sum() == len(part)
    assert counts.accuracy > 0.5
    assert counts.distance <= 1 - counts.accuracy + 1e-9  # each wrong image moves one unit of mass at most


def test_shares_distances_and_missing_classes():
    counts = ClassCounts(("a", "b", "c"), np.array([150, 49, 1]), np.array([10, 5, 5]), 1.0)
    assert counts.distance == pytest.approx(0.25) and counts.missing == ("c",)  # 0.75 - 0.5 too many of a
    same = ClassCounts(("a", "b"), np.array([2, 2]), np.array([7, 7]), 1.0)
    assert same.distance == 0 and same.missing == ()
