"""SAP: the golden figure of dSprites, thresholds as a second classifier, invariances."""

import numpy as np
import pytest

from lightning_gvae.errors import ConfigError, DataError
from lightning_gvae.metrics.disentanglement.sap import sap
from lightning_gvae.rng import numpy_stream
from tests.metrics.factor_codes import axis_aligned, factors, rotation


def halves(codes, classes):
    middle = len(codes) // 2
    return codes[:middle], classes[:middle], codes[middle:], classes[middle:]


def test_a_nearly_perfect_code_of_dsprites():
    classes = factors(15_000)
    codes = axis_aligned(classes, 0.03, latents=6)
    assert sap(codes[:10_000], classes[:10_000], codes[10_000:], classes[10_000:]).score == pytest.approx(
        0.238, abs=0.01
    )


def test_two_separate_classes_a_factor_score_the_distance_to_chance():
    classes = numpy_stream(0, "classes").integers(0, 2, size=(4000, 2))
    result = sap(*halves(4.0 * classes - 2, classes))
    np.testing.assert_allclose(result.accuracies, [[1, 0.5], [0.5, 1]], atol=0.03)
    assert result.score == pytest.approx(0.5, abs=0.03)


def test_one_latent_and_two_classes_are_a_threshold():
    """A balanced linear classifier of one latent cuts between the class means; accuracies as of that cut."""
    generator = numpy_stream(0, "threshold")
    classes = generator.integers(0, 2, size=(6000, 1))
    codes = generator.normal(size=(6000, 2)) + classes * [2.0, 0.5]
    train, labels, test, answers = halves(codes, classes)
    cut = (train[labels[:, 0] == 0].mean(0) + train[labels[:, 0] == 1].mean(0)) / 2
    expected = ((test > cut) == answers).mean(0)
    result = sap(train, labels, test, answers)
    np.testing.assert_allclose(result.accuracies[:, 0], expected, atol=0.01)
    assert result.score == pytest.approx(expected[0] - expected[1], abs=0.02)


def test_random_constant_and_doubled_codes_score_almost_nothing():
    classes = factors(2000)
    codes = axis_aligned(classes, 0.03)
    assert sap(*halves(numpy_stream(0, "random").normal(size=(2000, 5)), classes)).score < 0.04
    assert sap(*halves(np.zeros((2000, 3)), classes)).score == 0
    assert sap(*halves(np.repeat(codes[:, :3], 2, axis=1), classes)).score == 0


def test_order_and_sign_do_not_matter_and_rotation_does():
    classes = factors(2000)
    codes = axis_aligned(classes, 0.03)
    score = sap(*halves(codes, classes)).score
    assert sap(*halves(-codes[:, [3, 1, 4, 0, 2]], classes)).score == pytest.approx(score, abs=0.01)
    assert sap(*halves(codes @ rotation(5), classes)).score < 0.6 * score


def test_errors_name_the_value():
    classes = factors(100)
    with pytest.raises(ConfigError, match="at least 2, got 1"):
        sap(*halves(np.zeros((100, 1)), classes))
    with pytest.raises(DataError, match="factor 0 has the value 2 in all 50 samples"):
        sap(*halves(np.zeros((100, 2)), np.full((100, 1), 2)))
    with pytest.raises(DataError, match="got 2 and 3 latents"):
        sap(np.zeros((100, 2)), classes, np.zeros((100, 3)), classes)
