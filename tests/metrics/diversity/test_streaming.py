"""The torchmetrics classes give what the functions give, however the samples come in."""

import pytest
import torch

from lightning_gvae.errors import ConfigError, DataError
from lightning_gvae.metrics.diversity.classes import class_diversity
from lightning_gvae.metrics.diversity.memory import duplicate_rate
from lightning_gvae.metrics.diversity.pure import pure_diversity
from lightning_gvae.metrics.diversity.streaming import (
    Classes,
    DuplicateRate,
    MemorisationRate,
    PureDiversity,
    VendiScore,
)
from lightning_gvae.metrics.diversity.vendi import vendi_features

FEATURES = torch.randn(300, 12, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("order", [0, 1, 2, float("inf")])
def test_vendi_batch_by_batch(order):
    metric = VendiScore(12, order)
    for part in FEATURES.split(77):
        metric.update(part)
    assert float(metric.compute()) == pytest.approx(vendi_features(FEATURES, order), rel=1e-9)
    metric.reset()
    with (
        pytest.warns(UserWarning, match="called before"),
        pytest.raises(ConfigError, match="of no sample does not exist"),
    ):
        metric.compute()


def test_sums_of_two_ranks_add_up():
    """What a process group would sum: the states of two halves."""
    whole, halves = VendiScore(12), [VendiScore(12), VendiScore(12)]
    whole.update(FEATURES)
    for metric, part in zip(halves, FEATURES.split(150), strict=True):
        metric.update(part)
    halves[0].moment += halves[1].moment
    halves[0].count += halves[1].count
    assert float(halves[0].compute()) == pytest.approx(float(whole.compute()), rel=1e-12)


def test_the_others():
    labels = torch.arange(300) % 7
    classes = Classes(10)
    repeats, pure = DuplicateRate(most=250), PureDiversity(most=100)
    memory = MemorisationRate(FEATURES[:50], 1e-6)
    doubled = torch.cat([FEATURES[:200], FEATURES[:100]])
    for part, some in zip(doubled.split(90), labels.split(90), strict=True):
        classes.update(some)
        repeats.update(part)
        pure.update(part)
        memory.update(part)
    expected = class_diversity(labels, 10)
    assert {name: float(value) for name, value in classes.compute().items()} == pytest.approx(expected._asdict())
    assert float(repeats.compute()) == pytest.approx(duplicate_rate(doubled[:250])) == pytest.approx(0.4)
    rows = doubled[:100].double()
    apart = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist").fill_diagonal_(0)
    assert float(pure.compute()) == pytest.approx(pure_diversity(apart))
    assert float(memory.compute()) == pytest.approx(100 / 300)


def test_mistakes_are_named():
    with pytest.raises(ConfigError, match="`dims` 12 columns, got 3"):
        VendiScore(12).update(torch.ones(2, 3))
    with pytest.raises(DataError, match=r"must lie in 0..4"):
        Classes(5).update(torch.tensor([5]))
    with pytest.raises(ConfigError, match="`threshold` must be a distance"):
        MemorisationRate(FEATURES, -1)
