"""Plots: narrow enough for a phone, the same for everybody who draws at the same time."""

import threading

import numpy as np
import pytest

from lightning_gvae.app.service import figures
from lightning_gvae.app.service.classes import ClassCounts
from lightning_gvae.app.service.gaussian_lab import gaussian_lab
from lightning_gvae.app.service.generations import read_chain
from lightning_gvae.app.service.latents import start, traverse, useful_dims
from lightning_gvae.app.service.posterior import posterior_view
from lightning_gvae.app.service.reconstruction import real_images, reconstruct
from tests.app.conftest import write_chain


@pytest.fixture(scope="module")
def drawings(vae, gan, tmp_path_factory):
    write_chain(folder := tmp_path_factory.mktemp("chain"), 3)
    lab, view, values = gaussian_lab("replace", 20, 10, 20), posterior_view(vae), (-2.5, 0.0, 2.5)
    found = reconstruct(vae, real_images(vae, 6, 0))
    tables = [
        (traverse(model, start(model, "random", 0), [dim for dim, _ in dims], values), dims)
        for model, dims in ((vae, useful_dims(vae, 4)), (gan, useful_dims(gan, 4)))
    ]
    counts = ClassCounts(tuple("abc"), np.array([1, 2, 3]), np.array([2, 2, 2]), 0.9)
    return {
        "pairs": lambda: figures.pairs(found.originals, found.images),
        "table of a VAE": lambda: figures.traversal_table(*tables[0], values),
        "table of a GAN": lambda: figures.traversal_table(*tables[1], values),
        "plane": lambda: figures.latent_plane(view),
        "histograms": lambda: figures.latent_histograms(view),
        "classes": lambda: figures.class_bars(counts),
        "metrics": lambda: figures.metric_lines(read_chain(folder), 1),
        "variances": lambda: figures.variance_lines(lab),
        "densities": lambda: figures.fitted_densities(lab),
    }


def test_plots_are_pictures_narrow_enough_for_a_phone(drawings):
    for name, draw in drawings.items():
        picture = draw()
        assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3, name
        assert picture.shape[1] <= 1000 and picture.std() > 5, name


def test_plots_drawn_at_the_same_time_do_not_disturb_each_other(drawings):
    some = {name: drawings[name] for name in ("pairs", "classes", "variances")}
    alone = {name: draw() for name, draw in some.items()}
    together: dict[str, np.ndarray] = {}
    threads = [
        threading.Thread(target=lambda name=name, draw=draw: together.update({name: draw()}))
        for name, draw in some.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together.keys() == alone.keys() and all((together[name] == alone[name]).all() for name in alone)


def test_the_current_generation_is_marked(tmp_path):
    write_chain(tmp_path, 3)
    chain = read_chain(tmp_path)
    assert (figures.metric_lines(chain, 0) != figures.metric_lines(chain, 2)).any()
