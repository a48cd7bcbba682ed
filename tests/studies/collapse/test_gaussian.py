"""The study in one dimension: its own checks of the closed forms, and what it writes."""

import csv

import numpy as np
import pytest

from lightning_gvae.collapse.gaussian import simulate
from lightning_gvae.collapse.policies import Policy, policies_of
from lightning_gvae.errors import ConfigError
from lightning_gvae.studies.collapse import gaussian as collapse_gaussian
from lightning_gvae.studies.collapse.gaussian import GaussianSettings, checks, run_gaussian

ALL = policies_of(["replace", "accumulate", "accumulate_subsample", "augment", "fresh"], 0.1)
SMALL = {"points": (20, 100), "generations": 20, "chains": 2000, "at": (20,)}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gaussian")
    return run_gaussian(folder, ALL, GaussianSettings(**SMALL), 1, "toy").parent


def test_every_closed_form_is_met_within_four_standard_errors(written):
    with (written / "checks.csv").open() as file:
        rows = list(csv.DictReader(file))
    # replace: 6 moments unbiased and 7 under mle; accumulate, augment, fresh: 3; a subsample only the sum; two M.
    assert len(rows) == 2 * (6 + 7 + 3 * 3 + 1)
    assert all(float(row["worst"]) < 4 for row in rows)
    page = (written / "report.html").read_text()
    assert f"All {len(rows)} moments agree with their closed forms within 4 standard errors" in page
    assert page.count("data:image/png;base64,") == 2 * (1 + 1)
    assert "13 (M = 20), 68 (M = 100)" in page  # half-lives


def test_a_wrong_simulation_is_found_out():
    chains = simulate("replace", 20, 20, 2000, 1, estimator="mle")
    assert max(check.worst for check in checks(Policy("replace"), "mle", 20, chains)) < 4
    biased = type(chains)(chains.means, np.concatenate([chains.variances[:1], chains.variances[1:] * 1.05]))
    assert max(check.worst for check in checks(Policy("replace"), "mle", 20, biased)) > 4
    # Another estimator's closed form is another one, too.
    assert max(check.worst for check in checks(Policy("replace"), "unbiased", 20, chains)) > 20


def test_means_that_no_number_of_chains_finds_are_not_judged():
    """E v stays at 1 under the unbiased estimator by chains that are too rare to be seen: the sample mean falls."""
    chains = simulate("replace", 10, 200, 2000, 0)
    assert chains.variance().value[-1] < 0.1
    (found,) = (check for check in checks(Policy("replace"), "unbiased", 10, chains) if check.moment == "variance")
    assert found.generation < 20 and found.worst < 4
    (logs,) = (check for check in checks(Policy("replace"), "unbiased", 10, chains) if check.moment == "log_variance")
    assert logs.generation == 200 and logs.worst < 4


def test_only_the_policy_that_keeps_points_takes_fewer_chains():
    settings = GaussianSettings(points=(10_000,))
    counts = {policy.name: collapse_gaussian._chains(policy, 10_000, settings) for policy in ALL}
    assert counts == dict.fromkeys(counts, 10_000) | {"accumulate_subsample": 8}


def test_the_skewness_of_a_mean_is_that_of_scipy():
    from scipy import stats

    chains = simulate("replace", 20, 3, 500, 4)
    expected = stats.skew(chains.variances[1:], axis=1) / np.sqrt(500)
    found = chains.variance().skewness
    np.testing.assert_allclose(found[1:], expected, rtol=0.01)  # by the unbiased deviation instead of the biased one
    assert found[0] == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"points": ()}, "`points` must be at least one number of points"),
        ({"points": (20, 20)}, "all different"),
        ({"points": (1,)}, "`points` must be an integer of at least 2 .points a generation., got 1"),
        ({"generations": 0}, "`generations` must be an integer of at least 1"),
        ({"chains": 1}, "`chains` must be an integer of at least 2"),
        ({"at": (5, 21)}, r"`at` must be generations in 1..20, got \[5, 21\]"),
    ],
)
def test_bad_settings_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        GaussianSettings(**{**SMALL, **change})


def test_a_share_that_makes_no_whole_number_of_points_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="`fresh` times `samples` must be a whole number of points"):
        run_gaussian(tmp_path, policies_of("fresh", 0.33), GaussianSettings(**SMALL), 0, "toy")
