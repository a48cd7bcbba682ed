"""Figure of genes over the steps of a run."""

import numpy as np
import pytest

from lightning_gvae.errors import ConfigError
from lightning_gvae.plots.genes import gene_paths

STEPS = np.repeat([10, 20, 30], 4)
CHOSEN = np.tile([False, True, False, False], 3)


def test_every_gene_has_a_panel_with_its_candidates_and_the_values_in_force():
    values = np.exp(np.random.default_rng(0).normal(size=(12, 2)))
    figure = gene_paths(["beta", "optimizer.lr"], STEPS, values, CHOSEN, ["log", "linear"])
    panels = figure.axes
    assert [axes.get_ylabel() for axes in panels] == ["beta", "optimizer.lr"]
    assert [axes.get_yscale() for axes in panels] == ["log", "linear"]
    for number, axes in enumerate(panels):
        candidates, in_force = axes.get_lines()
        np.testing.assert_array_equal(candidates.get_ydata(), values[:, number])
        np.testing.assert_array_equal(in_force.get_xdata(), [10, 20, 30])
        np.testing.assert_array_equal(in_force.get_ydata(), values[CHOSEN, number])


def test_a_single_gene_and_no_candidates_are_drawn_and_other_shapes_are_refused():
    assert len(gene_paths(["beta"], np.zeros(0), np.zeros((0, 1)), np.zeros(0, bool), ["linear"]).axes) == 1
    with pytest.raises(ConfigError, match="`values` must have a row for each of 12 candidates"):
        gene_paths(["beta"], STEPS, np.zeros((12, 2)), CHOSEN, ["log"])
