import numpy as np
import pytest

from lightning_gvae.errors import ConfigError
from lightning_gvae.plots.tradeoff import tradeoff


def test_means_and_reaches_are_drawn_in_the_order_of_the_settings():
    across = np.array([[1.0, 3.0], [4.0, 6.0]])
    cost = np.array([[10.0, 20.0], [5.0, 5.0]])
    figure = tradeoff(across, {"fid": cost, "other": cost + 1}, ["none", "full"], "Title", ("Vendi", "FID"))
    (axes,) = figure.axes
    points = axes.containers[0].lines[0].get_xydata()
    assert points.tolist() == [[2.0, 15.0], [5.0, 5.0]]
    assert [text.get_text() for text in axes.texts] == ["none", "full"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["fid", "other"]
    with pytest.raises(ConfigError, match=r"must be \(K, S\) with K names, got \(2, 2\) and 1"):
        tradeoff(across, {"fid": cost}, ["none"], "", ("", ""))
