"""The typical set: shares by construction, the shell of a Gaussian, and invariance."""

import pytest
import torch
from scipy import stats

from lightning_gvae.errors import ConfigError
from lightning_gvae.evolution.archive.typical_set import TypicalSet
from lightning_gvae.rng import torch_stream


def normal(count: int, dims: int, tag: str = "draws") -> torch.Tensor:
    return torch.randn(count, dims, generator=torch_stream(0, tag), dtype=torch.float64)


@pytest.mark.parametrize("quantiles", [(0.005, 0.995), (0.1, 0.6), (0.0, 0.9)])
@pytest.mark.parametrize("distance", ["mahalanobis", "norm"])
def test_as_much_of_the_data_is_typical_as_the_quantiles_say(quantiles: tuple[float, float], distance: str) -> None:
    draws = normal(2001, 6)
    inside = TypicalSet(draws, quantiles, distance)(draws)  # type: ignore[arg-type]
    assert float(inside.double().mean()) == pytest.approx(quantiles[1] - quantiles[0], abs=2 / 2001)


def test_lengths_follow_the_chi_square_law() -> None:
    dims = 10
    found = TypicalSet(normal(40_000, dims), (0.05, 0.95), "norm")
    expected = [float((stats.chi2.ppf(q, dims) / dims) ** 0.5) for q in (0.05, 0.95)]
    assert [found.low, found.high] == pytest.approx(expected, abs=0.01)


def test_the_centre_is_untypical_unless_allowed_and_so_is_what_lies_far_out() -> None:
    draws, places = normal(5000, 12), torch.stack([torch.zeros(12), torch.full((12,), 3.0)])
    assert TypicalSet(draws)(places).tolist() == [False, False]
    assert TypicalSet(draws, (0.0, 0.995))(places).tolist() == [True, False]


def test_the_mahalanobis_distance_does_not_care_for_scales_shifts_and_correlations() -> None:
    draws, others = normal(3000, 4), normal(500, 4, "others")
    turn = normal(4, 4, "turn")
    first = TypicalSet(draws)(others)
    second = TypicalSet(draws @ turn + 5)(others @ turn + 5)
    assert (first == second).double().mean() > 0.998
    assert TypicalSet(10 * draws, distance="norm")(others).double().mean() < 0.01


@pytest.mark.parametrize(
    ("latents", "options", "message"),
    [
        (torch.zeros(1, 3), {}, "one row a data point"),
        (torch.full((5, 3), torch.nan), {}, "finite"),
        (torch.zeros(5, 3), {"quantiles": (0.9, 0.1)}, "`quantiles`"),
        (torch.zeros(5, 3), {"distance": "cosine"}, "`distance`"),
    ],
)
def test_bad_input_is_refused(latents: torch.Tensor, options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TypicalSet(latents, **options)  # type: ignore[arg-type]
