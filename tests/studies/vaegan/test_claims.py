"""The rule by which a published claim is confirmed or refuted."""

import numpy as np
import pytest

from lightning_gvae.errors import ConfigError
from lightning_gvae.studies.intervals import Interval
from lightning_gvae.studies.vaegan.claims import CLAIMS, PUBLISHED, find, verdict

ORDER = CLAIMS[0]  # FID: VAE below VAE-GAN below GAN


def around(centre: float) -> list[float]:
    return [centre - 0.1, centre, centre + 0.12]


def test_an_order_that_is_seen_is_confirmed():
    found = find(ORDER, {"vae": around(5), "vae_gan": around(10), "gan": around(20)})
    assert found.verdict == "confirmed"
    assert [round(gap.mean) for gap in found.gaps] == [-5, -10]


def test_one_pair_the_other_way_round_refutes_the_order():
    assert find(ORDER, {"vae": around(15), "vae_gan": around(10), "gan": around(20)}).verdict == "refuted"
    assert find(ORDER, {"vae": around(5), "vae_gan": around(10), "gan": around(6)}).verdict == "refuted"


def test_seeds_that_disagree_leave_the_claim_open():
    found = find(ORDER, {"vae": [5.0, 15.0, 9.0], "vae_gan": [10.0, 9.0, 10.0], "gan": around(20)})
    assert found.verdict == "untestable" and not found.gaps[0].excludes_zero


def test_one_seed_and_a_missing_model_prove_nothing():
    assert find(ORDER, {"vae": [1.0], "vae_gan": [2.0], "gan": [3.0]}).verdict == "untestable"
    assert find(CLAIMS[2], {"vae": around(1), "gan": around(2)}) == (CLAIMS[2], (), "untestable")
    assert verdict([]) == "untestable"


def test_an_interval_that_touches_zero_decides_nothing():
    assert verdict([Interval(-1.0, -2.0, 0.0, 3)]) == verdict([Interval(1.0, 0.0, 2.0, 3)]) == "untestable"


def test_where_the_claim_is_false_by_nothing_it_is_seldom_refuted():
    """Equal models: each of the two statements errs to either side in 2.5 of 100 cases."""
    rng = np.random.default_rng(3)
    verdicts = [
        find(ORDER, {m: rng.normal(size=3).tolist() for m in ("vae", "vae_gan", "gan")}).verdict for _ in range(800)
    ]
    assert np.mean([word == "refuted" for word in verdicts]) < 0.08
    assert np.mean([word == "confirmed" for word in verdicts]) < 0.02


def test_the_published_table_confirms_its_own_orders():
    """A check of the signs in CLAIMS: (i) and (ii) are what the published numbers say."""
    for claim in CLAIMS[:2]:
        assert all(PUBLISHED[first][claim.metric] < PUBLISHED[second][claim.metric] for first, second in claim.below)


def test_seeds_must_match():
    with pytest.raises(ConfigError, match="the models must be of the same seeds to be paired"):
        find(ORDER, {"vae": [1.0, 2.0], "vae_gan": [1.0], "gan": [1.0, 2.0]})
