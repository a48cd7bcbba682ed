import math

import pytest
import torch

from lightning_gvae.errors import ConfigError
from lightning_gvae.metrics.fidelity.class_balance import class_balance
from lightning_gvae.metrics.fidelity.features import Features, SpaceId


def features(labels, logit=10.0, classes=4):
    logits = torch.nn.functional.one_hot(torch.tensor(labels), classes).float() * logit
    return Features(torch.zeros(len(labels), 2), logits, SpaceId("toy", 2, classes, "f00d"))


def values(made):
    return {score.name: score.value for score in class_balance(made)}


def test_balanced_classes_are_all_there():
    found = values(features([0, 1, 2, 3] * 5))
    assert found == pytest.approx(
        {
            "classes/toy": 4,
            "class_entropy/toy": math.log(4),
            "class_tv/toy": 0,
            "class_confidence/toy": math.exp(10) / (math.exp(10) + 3),
        }
    )


def test_a_generator_of_one_class_is_found_out():
    found = values(features([2] * 7, logit=0.0001))
    assert found["classes/toy"] == 1 and found["class_entropy/toy"] == 0
    assert found["class_tv/toy"] == pytest.approx(3 / 4)
    assert found["class_confidence/toy"] == pytest.approx(1 / 4, abs=1e-3)


def test_shares_of_one_half_and_a_class_at_the_threshold():
    # 1 of 100 is not above 1 %: two classes. Entropy and distance by hand.
    found = values(features([0] * 50 + [1] * 49 + [2]))
    assert found["classes/toy"] == 2
    assert found["class_tv/toy"] == pytest.approx((0.25 + 0.24 + 0.24 + 0.25) / 2)
    assert found["class_entropy/toy"] == pytest.approx(
        -(0.5 * math.log(0.5) + 0.49 * math.log(0.49) + 0.01 * math.log(0.01))
    )


def test_a_space_without_logits_has_no_classes():
    with pytest.raises(ConfigError, match="classes need a space with logits, plain has none"):
        class_balance(Features(torch.zeros(3, 2), None, SpaceId("plain", 2, None, "f00d")))
