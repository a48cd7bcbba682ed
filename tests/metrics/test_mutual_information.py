"""Bins and plug-in information against scikit-learn, NumPy's histogram and closed forms."""

import math

import numpy as np
import pytest
from sklearn.metrics import mutual_info_score

from lightning_gvae.errors import ConfigError, DataError
from lightning_gvae.metrics.disentanglement.mutual_information import (
    contingency,
    discretise,
    entropies,
    information_matrix,
    plug_in_information,
)
from lightning_gvae.rng import numpy_stream


def test_bins_are_those_of_a_histogram():
    codes = numpy_stream(0, "codes").normal(size=(500, 3))
    binned = discretise(codes, 20)
    for column, bins in zip(codes.T, binned.T, strict=True):
        np.testing.assert_array_equal(np.bincount(bins, minlength=20), np.histogram(column, 20)[0])
        np.testing.assert_array_equal(bins, np.digitize(column, np.histogram(column, 20)[1][:-1]) - 1)


@pytest.mark.parametrize("shift", [0.0, 1e6])
def test_bins_do_not_depend_on_scale_and_order(shift):
    codes = numpy_stream(0, "codes").integers(0, 1000, size=(300, 2)).astype(float)
    np.testing.assert_array_equal(discretise(8 * codes + shift), discretise(codes))


def test_a_constant_latent_is_one_bin_without_information():
    codes = np.full((50, 1), 3.7)
    assert len(np.unique(discretise(codes))) == 1
    assert information_matrix(codes, np.arange(50)[:, None]).item() == 0


@pytest.mark.parametrize("seed", range(5))
def test_information_agrees_with_scikit_learn(seed):
    generator = numpy_stream(seed, "labels")
    first = generator.integers(0, 7, size=400)
    second = (first + generator.integers(0, 4, size=400)) % 5
    own = plug_in_information(contingency(first, second))
    assert own == pytest.approx(mutual_info_score(first, second), abs=1e-12)
    assert own == pytest.approx(plug_in_information(contingency(second, first)), abs=1e-12)


def test_information_with_itself_is_the_entropy():
    labels = numpy_stream(0, "labels").integers(0, 9, size=300)
    assert plug_in_information(contingency(labels, labels)) == pytest.approx(entropies(labels[:, None]).item())


def test_independent_labels_score_the_known_bias_of_the_estimate():
    labels = numpy_stream(0, "labels").integers(0, (20, 40), size=(20, 10_000, 2))
    mean = np.mean([plug_in_information(contingency(a, b)) for a, b in labels.transpose(0, 2, 1)])
    assert mean == pytest.approx(19 * 39 / 20_000, rel=0.05)


def test_entropies_of_classes_whatever_their_numbers():
    labels = np.array([[3, -1], [9, -1], [3, 5], [9, 7]])
    np.testing.assert_allclose(entropies(labels), [math.log(2), 1.5 * math.log(2)])


def test_errors_name_the_value():
    with pytest.raises(ConfigError, match="`bins`.*got 1"):
        discretise([[0.0], [1.0]], bins=1)
    with pytest.raises(DataError, match="nan in latent 1 of sample 2 and 0 more"):
        discretise([[0.0, 0.0], [1.0, 1.0], [1.0, np.nan]])
    with pytest.raises(DataError, match="integer classes.*float64"):
        information_matrix([[0.0], [1.0]], [[0.5], [1.0]])
    with pytest.raises(DataError, match="as many as the 2 codes, got 3"):
        information_matrix([[0.0], [1.0]], [[0], [1], [2]])
    with pytest.raises(DataError, match="at least 1 sample"):
        discretise(np.zeros((0, 3)))
