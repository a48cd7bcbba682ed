"""Modularity by hand, explicitness against scikit-learn's areas."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler, label_binarize

from lightning_gvae.errors import ConfigError, DataError
from lightning_gvae.metrics.disentanglement.modularity import area_under_curve, explicitness, modularity, modularity_of
from lightning_gvae.rng import numpy_stream
from tests.metrics.factor_codes import axis_aligned, factors, hashed, rotation


def halves(codes, classes):
    middle = len(codes) // 2
    return codes[:middle], classes[:middle], codes[middle:], classes[middle:]


def test_modularity_by_hand():
    information = np.array([[2.0, 1.0, 0.0], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.0, 3.0, 0.0]])
    assert modularity_of(information) == pytest.approx((1 - 1 / (2 * 4) + 0 + 0 + 1) / 4)
    assert modularity_of(5 * information[::-1, [1, 2, 0]]) == pytest.approx(modularity_of(information))


def test_modularity_of_codes():
    classes = factors(5000)
    codes = axis_aligned(classes, 0.03)
    score = modularity(codes, classes)
    assert score > 0.99
    assert modularity(codes[:, [4, 0, 3, 1, 2]], classes) == pytest.approx(score)
    assert modularity(codes @ rotation(5), classes) < 0.95
    # It does not mind several latents for one factor, and counts a constant latent as 0.
    assert modularity(np.concatenate([codes, codes], 1), classes) == pytest.approx(score)
    assert modularity(np.concatenate([codes, np.zeros((5000, 5))], 1), classes) == pytest.approx(score / 2)


def test_a_perfect_code_of_a_full_grid_is_modular():
    grid = np.argwhere(np.ones((3, 4, 5)))
    assert modularity(grid, grid) == pytest.approx(1)


@pytest.mark.parametrize("ties", [False, True])
def test_areas_agree_with_scikit_learn(ties):
    generator = numpy_stream(0, "areas")
    positive = generator.integers(0, 2, size=300).astype(bool)
    scores = positive + generator.normal(size=300)
    scores = scores.round() if ties else scores
    assert area_under_curve(scores, positive) == pytest.approx(roc_auc_score(positive, scores))


def test_explicitness_agrees_with_scikit_learn():
    classes = factors(2000, sizes=(2, 3, 6))
    codes = axis_aligned(classes, 0.2, latents=4, sizes=(2, 3, 6)) * [1, 5, 0.1, 1]
    train, labels, test, answers = halves(codes, classes)
    scaler = StandardScaler().fit(train)
    areas = []
    for k, size in enumerate((2, 3, 6)):
        chances = (
            LogisticRegression(max_iter=1000)
            .fit(scaler.transform(train), labels[:, k])
            .predict_proba(scaler.transform(test))
        )
        known = np.eye(2)[answers[:, k]] if size == 2 else label_binarize(answers[:, k], classes=range(size))
        areas.append(roc_auc_score(known, chances, average="macro"))
    assert explicitness(train, labels, test, answers) == pytest.approx(np.mean(areas))


def test_explicitness_of_codes():
    classes = factors(2000)
    codes = axis_aligned(classes, 0.01)
    score = explicitness(*halves(codes, classes))
    assert score > 0.9
    assert explicitness(*halves(codes @ rotation(5), classes)) == pytest.approx(score, abs=0.01)  # linear is enough
    assert explicitness(*halves(hashed(classes, 5), classes)) == pytest.approx(0.5, abs=0.03)
    assert explicitness(*halves(np.zeros((2000, 2)), classes)) == 0.5


def test_a_class_without_test_samples_is_left_out():
    classes = factors(600, sizes=(3, 3))
    codes = axis_aligned(classes, 0.01, sizes=(3, 3))
    keep = (classes[300:] < 2).all(1)
    assert explicitness(codes[:300], classes[:300], codes[300:][keep], classes[300:][keep]) > 0.95


def test_errors_name_the_value():
    classes = factors(100)
    with pytest.raises(ConfigError, match="at least 2 factors, got 1"):
        modularity(np.zeros((100, 2)), classes[:, :1])
    with pytest.raises(DataError, match="factor 0 has the value 1 in all 100 samples"):
        modularity(np.zeros((100, 2)), np.ones((100, 2), dtype=int))
    with pytest.raises(DataError, match="factor 0 has the value 0 in all 50 samples"):
        explicitness(np.zeros((50, 2)), classes[:50], np.zeros((50, 2)), np.zeros((50, 5), dtype=int))
    with pytest.raises(DataError, match="no test sample has a value of factor 0"):
        explicitness(np.zeros((50, 2)), classes[:50], np.zeros((50, 2)), classes[50:] + 100)
