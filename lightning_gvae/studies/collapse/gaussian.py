"""The collapse study in one dimension: many chains at once, against the number of points, beside the closed forms."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lightning_gvae.collapse.gaussian import ESTIMATORS, Chains, Estimate, simulate
from lightning_gvae.collapse.policies import Policy
from lightning_gvae.collapse.theory import half_life, known_moments
from lightning_gvae.errors import ConfigError, checked_count
from lightning_gvae.io.files import write_csv, write_text
from lightning_gvae.report.circumstances import circumstances
from lightning_gvae.report.page import Table, format_number, write_report
from lightning_gvae.report.provenance import write_provenance
from lightning_gvae.studies.collapse.gaussian_figures import BAND, Simulated, draw_gaussian

__all__ = ["Check", "GaussianSettings", "checks", "run_gaussian"]

MOMENTS = {
    "variance": "E v",
    "squared_mean": "E mu²",
    "log_variance": "E ln v",
    "log_variance_spread": "Var ln v",
    "deviation": "E sd",
    "wasserstein": "E W2²",
    "second_moment": "E v + E mu²",
}
SKEW = (
    0.1  # above it, the mean of the chains is not near enough to a normal variable for its standard error to say much
)
POINTS_KEPT = 4_000_000  # numbers that `accumulate_subsample` may hold: it alone draws the points themselves
LIMIT = 4  # standard errors


@dataclass(frozen=True)
class GaussianSettings:
    """Settings of a simulation.

    Args:
        points: Numbers of points M, each at least 2, no two the same.
        generations: n, number of fits.
        chains: C, independent repetitions.
        at: Generations at which the figures against M are drawn.

    Raises:
        ConfigError: A number is out of range.
    """

    points: Sequence[int] = (20, 100, 500, 1000, 10_000)
    generations: int = 50
    chains: int = 10_000
    at: Sequence[int] = (10, 50)

    def __post_init__(self) -> None:
        if not self.points or len(set(self.points)) != len(self.points):
            raise ConfigError(f"`points` must be at least one number of points, all different, got {list(self.points)}")
        for count in self.points:
            checked_count("points", count, least=2, unit="points a generation")
        checked_count("generations", self.generations)
        checked_count("chains", self.chains, least=2)
        if not self.at or any(not 1 <= number <= self.generations for number in self.at):
            raise ConfigError(f"`at` must be generations in 1..{self.generations}, got {list(self.at)}")


class Check(NamedTuple):
    """A moment against its closed form.

    Attributes:
        policy: Label of the policy.
        estimator: Of the variance.
        points: M.
        chains: C.
        moment: Name of the moment.
        generation: The last one at which the chains' mean can be judged.
        measured: Mean over the chains there.
        error: Its standard error.
        expected: The closed form there.
        worst: Largest deviation up to there, in standard errors.
    """

    policy: str
    estimator: str
    points: int
    chains: int
    moment: str
    generation: int
    measured: float
    error: float
    expected: float
    worst: float


def run_gaussian(folder: Path, policies: Sequence[Policy], settings: GaussianSettings, seed: int, scale: str) -> Path:
    """Simulate, compare and write ``report.html``, ``tables.md``, ``checks.csv`` and figures.

    Returns:
        Path of the report.

    Raises:
        ConfigError: ``fresh`` times a number of points is no whole number.
    """
    started = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    found: Simulated = {
        (policy, estimator, points): simulate(
            policy.name,
            points,
            settings.generations,
            _chains(policy, points, settings),
            seed,
            estimator=estimator,
            fresh=policy.fresh,
        )
        for policy in policies
        for estimator in ESTIMATORS
        for points in settings.points
    }
    made = [check for key, chains in found.items() for check in checks(*key, chains)]
    write_csv(folder / "checks.csv", Check._fields, made)
    tables = [_checked(made), _ends(found, settings)]
    write_text(folder / "tables.md", "\n".join(table.markdown() for table in tables))
    run = circumstances() | {"wall_seconds": time.monotonic() - started}
    write_provenance(folder, "collapse of a normal distribution", scale, [seed], [run])
    figures = draw_gaussian(found, settings.points, settings.at, folder / "figures")
    facts = {
        "scale": scale,
        "chains": f"{settings.chains:,}, fewer where the points themselves are drawn (accumulate_subsample)",
        "seed": seed,
    }
    title = f"Model collapse in one dimension ({scale} scale)"
    return write_report(folder / "report.html", title, _summary(made, settings), {}, figures, "", facts, tables)


def checks(policy: Policy, estimator: str, points: int, chains: Chains) -> list[Check]:
    """Every moment with a closed form, up to the last generation at which the chains' mean can be judged.

    The unbiased variance has a mean that stays at 1 because ever fewer chains explode: no number of chains finds it in
    the end, and the standard error does not know. A moment is judged as long as the skewness of its mean is small.
    """
    generations = len(chains.variances) - 1
    known = known_moments(policy.name, points, generations, estimator=estimator, fresh=policy.fresh)
    made = []
    for moment in (name for name in MOMENTS if name in known):
        expected = known[moment]
        estimate: Estimate = getattr(chains, moment)()
        skewed = np.abs(estimate.skewness[1:]) > SKEW
        last = int(np.argmax(skewed)) if skewed.any() else len(skewed)
        if last == 0:
            continue
        apart = np.abs(estimate.value - expected)[1 : last + 1] / estimate.error[1 : last + 1]
        measured, error, closed = (float(values[last]) for values in (estimate.value, estimate.error, expected))
        count, worst = chains.variances.shape[1], float(apart.max())
        made.append(Check(policy.label, estimator, points, count, moment, last, measured, error, closed, worst))
    return made


def _chains(policy: Policy, points: int, settings: GaussianSettings) -> int:
    if policy.name != "accumulate_subsample":
        return settings.chains
    return max(2, min(settings.chains, POINTS_KEPT // (points * settings.generations)))


def _summary(made: Sequence[Check], settings: GaussianSettings) -> str:
    worst = max((check.worst for check in made), default=float("nan"))
    beyond = [check for check in made if check.worst > LIMIT]
    if not made:
        return "No moment of these policies has a closed form that so few chains can be compared with."
    verdict = (
        f"All {len(made)} moments agree with their closed forms within {LIMIT} standard errors at every "
        "generation judged; "
        f"the largest deviation is {worst:.2f}."
        if not beyond
        else f"{len(beyond)} of {len(made)} moments deviate by more than {LIMIT} standard errors from their closed "
        f"form, the largest by {worst:.2f}: "
        + ", ".join(f"{c.moment} of {c.policy} with M = {c.points}" for c in beyond)
        + "."
    )
    lives = ", ".join(f"{half_life(points):,.0f} (M = {points:,})" for points in settings.points)
    return (
        f"{verdict}\n\nUnder replace the variance is lost: half of its geometric mean goes in this many "
        f"generations: {lives}. "
        "Under accumulate it stays above sin(x)/x, x = pi/sqrt(M), for ever."
    )


def _checked(made: Sequence[Check]) -> Table:
    rows = [
        [
            f"{check.policy}, {check.estimator}",
            f"{check.points:,}",
            MOMENTS[check.moment],
            str(check.generation),
            f"{format_number(check.measured)} ± {check.error:.2g}",
            format_number(check.expected),
            f"{(check.measured - check.expected) / check.error:.2f}".replace("-", "\N{MINUS SIGN}"),
            f"{check.worst:.2f}",
        ]
        for check in made
    ]
    caption = (
        "Mean over the chains and its standard error at the last generation judged, the closed form, the deviation in "
        "standard errors there and the largest at any generation up to there. A moment is judged while the skewness of "
        f"its mean over the chains is at most {SKEW}."
    )
    header = ["policy, estimator", "M", "moment", "generation", "measured", "closed form", "deviation", "largest"]
    return Table("Measured against closed forms", caption, header, rows)


def _ends(found: Simulated, settings: GaussianSettings) -> Table:
    rows = []
    for (policy, estimator, points), chains in found.items():
        deviation, mean = np.sqrt(chains.variances[-1]), np.abs(chains.means[-1])
        low, middle, high = np.quantile(deviation, [BAND[0], 0.5, BAND[1]])
        rows.append(
            [
                f"{policy.label}, {estimator}",
                f"{points:,}",
                f"{deviation.mean():.3f}",
                f"{low:.3f}, {middle:.3f}, {high:.3f}",
                f"{np.sqrt(np.mean(mean**2)):.3f}",
                f"{np.quantile(mean, BAND[1]):.3f}",
            ]
        )
    caption = "Fitted standard deviation and mean of the last fit; the real distribution has 1 and 0."
    header = ["policy, estimator", "M", "sd, mean", "sd at 5, 50, 95 %", "mean, root mean square", "abs(mean) at 95 %"]
    return Table(f"After {settings.generations} generations", caption, header, rows)
