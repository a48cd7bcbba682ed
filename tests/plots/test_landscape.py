import numpy as np
import pytest
import torch
from matplotlib.collections import LineCollection

from lightning_gvae.errors import ConfigError
from lightning_gvae.plots.landscape import folded_landscape
from lightning_gvae.plots.style import save
from lightning_gvae.problems.criteria import make_criterion
from lightning_gvae.problems.folded import fold

C1 = make_criterion("c1", 3)


def decode(latents):
    """Latent 2 moves the points most, latent 0 less, latent 1 hardly."""
    return torch.stack([20 * latents[:, 2], 5 * latents[:, 0] + latents[:, 1] / 9, 40 + 0 * latents[:, 0]], 1)


def grid(resolution=41):
    return fold(decode, C1, 3, bound=2.0, resolution=resolution)


def test_the_grid_spans_the_latents_that_matter_and_the_others_are_zero():
    found = grid()
    assert found.axes == (0, 2)
    assert found.decoded.shape == (41, 41, 3)
    np.testing.assert_allclose(found.values, np.linspace(-2, 2, 41), atol=1e-6)
    # rows are the second latent, columns the first
    np.testing.assert_allclose(found.decoded[:, 0, 0], 20 * found.values, atol=1e-5)
    np.testing.assert_allclose(found.decoded[0, :, 1], 5 * found.values, atol=1e-5)
    np.testing.assert_allclose(found.objective, (found.decoded**2).sum(-1), rtol=1e-5)
    np.testing.assert_allclose(found.violation, np.maximum(135 - found.decoded.sum(-1), 0), atol=1e-3)


def test_one_latent_makes_a_line():
    found = fold(lambda z: z.repeat(1, 3) * 50, C1, 1, bound=1.0, resolution=11)
    assert found.axes == (0,)
    assert found.decoded.shape == (1, 11, 3)


def drawn(folded, **kwargs):
    return folded_landscape(folded.axes, folded.values, folded.decoded, folded.objective, folded.violation, **kwargs)


def test_the_figure_shows_objective_and_validity(tmp_path):
    easy = fold(lambda z: 30 + 10 * z.repeat(1, 3)[:, :3], make_criterion("c1", 3), 2, resolution=21)
    figure = drawn(
        easy, data=np.full((5, 3), 40.0), found=np.full((2, 3), 45.0), found_latents=np.zeros((2, 2)), box=(-50, 50)
    )
    left, right = figure.axes[:2]
    shown = left.images[0].get_array()
    np.testing.assert_array_equal(np.ma.getmaskarray(shown), easy.violation > 0)
    np.testing.assert_allclose(shown[~shown.mask], easy.objective[easy.violation <= 0])
    share = 100 * (easy.violation <= 0).mean()
    assert f"{share:.0f} % of the grid" in right.get_title(loc="left")
    lines = [item for item in right.collections if isinstance(item, LineCollection)]
    assert len(lines[0].get_segments()) == 2 * 21 * 20
    assert (left.get_xlabel(), left.get_ylabel()) == ("z0", "z1")
    save(figure, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000


@pytest.mark.parametrize("dims", [1, 2])
def test_one_latent_and_one_variable_are_drawn_too(dims, tmp_path):
    found = fold(lambda z: 46 + z.repeat(1, dims), make_criterion("c1", dims), 1, resolution=11)
    save(drawn(found, found=np.full((2, dims), 46.0), found_latents=np.zeros((2, 1))), tmp_path / "figure.png")


def test_a_landscape_without_a_valid_point_is_drawn(tmp_path):
    found = fold(lambda z: z.repeat(1, 2)[:, :2], make_criterion("c1", 2), 2, resolution=11)
    assert (found.violation > 0).all()
    save(drawn(found), tmp_path / "figure.png")


def test_shapes_must_fit():
    found = grid(11)
    with pytest.raises(ConfigError, match=r"must be grids \(11, 11\) over 2 latents, got \(10, 11, 3\)"):
        folded_landscape(found.axes, found.values, found.decoded[1:], found.objective, found.violation)
    with pytest.raises(ConfigError, match="`resolution` must be an integer of at least 2, got 1"):
        grid(1)
