import numpy as np
import pytest
from PIL import Image

from lightning_gvae.errors import ConfigError
from lightning_gvae.plots.adversarial import score_dots
from lightning_gvae.plots.animation import generations_gif
from lightning_gvae.plots.collapse import Band, band_panels

X = np.arange(4)


def band(label, offset=0.0, theory=None):
    return Band(label, X, X + offset, X + offset - 1, X + offset + 1, theory)


def test_a_name_has_one_colour_in_all_panels_and_theory_lies_over_the_curves():
    panels = {"one": [band("a"), band("b", 2, X * 2.0)], "two": [band("b"), band("a")]}
    figure = band_panels(panels, "Title", "Generation")
    one, two = figure.axes
    colours = [[line.get_color() for line in axes.lines] for axes in (one, two)]
    assert colours[0][:2] == colours[1][::-1]
    np.testing.assert_array_equal(one.lines[2].get_ydata(), X * 2.0)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b", "closed form"]
    low, high = one.collections[0].get_paths()[0].get_extents().intervaly
    assert (low, high) == (-1, 4)
    assert one.get_xlabel() == two.get_xlabel() == "Generation"


def test_a_logarithmic_axis_needs_positive_values():
    positive = Band("a", X + 1, X + 1.0, X + 0.5, X + 2.0)
    figure = band_panels({"up": [positive], "down": [band("a")]}, "", "Points", log_x=True, log_y=["up", "down"])
    assert [axes.get_yscale() for axes in figure.axes] == ["log", "linear"]
    assert {axes.get_xscale() for axes in figure.axes} == {"log"}


def test_bad_panels_are_refused():
    for panels in ({}, {"one": []}):
        with pytest.raises(ConfigError, match="`panels` must hold at least one panel"):
            band_panels(panels, "", "")
    with pytest.raises(ConfigError, match="the curve a of one must have arrays of one length"):
        band_panels({"one": [band("a")._replace(low=X[:2])]}, "", "")


def test_scores_are_dots_with_a_bar_at_their_mean():
    figure = score_dots(
        {"FID": {"VAE": [1.0, 3.0], "GAN": [10.0]}, "IS": {"VAE": [2.0], "GAN": [3.0]}}, "T", log=("FID",)
    )
    fid, score = figure.axes
    assert fid.get_xscale() == "log" and score.get_xscale() == "linear"
    assert [label.get_text() for label in fid.get_yticklabels()] == ["VAE", "GAN"]
    np.testing.assert_array_equal(fid.collections[0].get_offsets(), [[1, 0], [3, 0]])
    assert fid.lines[0].get_xdata()[0] == 2
    with pytest.raises(ConfigError, match="all scores the same models"):
        score_dots({"FID": {"VAE": [1.0]}, "IS": {"GAN": [1.0]}}, "")


@pytest.mark.parametrize("channels", [1, 3])
def test_the_animation_shows_every_generation_once_and_rests_on_the_last(tmp_path, channels):
    stream = np.random.default_rng(0)
    frames = stream.integers(0, 256, (3, 5, channels, 8, 8), dtype=np.uint8)
    generations_gif(tmp_path / "g.gif", frames, ["first", "second", "third"], milliseconds=200)
    with Image.open(tmp_path / "g.gif") as gif:
        assert gif.n_frames == 3 and gif.info["loop"] == 0
        durations = []
        for number in range(3):
            gif.seek(number)
            durations.append(gif.info["duration"])
        assert durations == [200, 200, 600]
        gif.seek(1)
        board = np.asarray(gif.convert("RGB"))
    # The pixel in the middle of the first tile; its frame is one dot, the tile 8 x 8 pixels of 8 dots.
    shown, wanted = board[12 + 22 + 1 + 4, 12 + 1 + 4].astype(int), frames[1, 0, :, 0, 0].astype(int)
    assert np.abs(shown - wanted).max() <= (0 if channels == 1 else 40)


def test_a_bad_animation_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"`frames` must have shape \(G, N, C, H, W\)"):
        generations_gif(tmp_path / "g.gif", np.zeros((3, 1, 8, 8)), ["a"] * 3)
    with pytest.raises(ConfigError, match="`captions` must name each of the 2 generations, got 1"):
        generations_gif(tmp_path / "g.gif", np.zeros((2, 1, 1, 8, 8)), ["a"])
