"""Raw results published with SOLVE, 100 runs each on one trained network.

Source: the result files of the repository writingpeter/SOLVE, revision a3d39c9 (MIT licence), which belongs to Bentley,
Lim, Gaier and Tran, Evolving Through the Looking Glass: Learning Improved Search Spaces with Variational Autoencoders,
PPSN 2022; means recomputed from them. "Error" refers to the published optima, of which those of C3, and of C4 with
criterion 3 or 4, are not the optima of the problems.
"""

from typing import NamedTuple

__all__ = ["PUBLISHED", "SOURCE", "Archived", "archived"]

SOURCE = "published: means of the 100 runs in the result files of writingpeter/SOLVE, revision a3d39c9"
NAN = float("nan")


class Archived(NamedTuple):
    """Means over 100 published runs.

    Attributes:
        error: Objective error, per cent of the published optimum.
        se: Its standard error over the runs, NaN where it was not noted.
        violation: Sum of the violations over the number of variables.
        valid: Share of valid solutions.
    """

    error: float
    se: float
    violation: float
    valid: float


def _rows(problem: str, method: str, cases: list[str], rows: list[tuple[float, float, float, float]]) -> dict:
    return {(problem, case, method): Archived(*row) for case, row in zip(cases, rows, strict=True)}


DIMS = [str(number) for number in range(1, 11)]

PUBLISHED: dict[tuple[str, str, str], Archived] = {
    **_rows("c1", "solve", DIMS, [
        (1.588, 0.0, 0, 1), (0.456, 0.034, 0, 1), (0.655, 0.037, 0, 1), (0.671, 0.024, 0, 1), (0.785, 0.034, 0, 1),
        (0.838, 0.030, 0, 1), (0.995, 0.024, 0, 1), (1.042, 0.026, 0, 1), (1.163, 0.026, 0, 1), (1.147, 0.022, 0, 1),
    ]),
    **_rows("c1", "ga", DIMS, [
        (89.47, NAN, 35.30, 0.04), (83.69, NAN, 30.92, 0), (79.35, NAN, 29.17, 0), (81.09, NAN, 30.60, 0),
        (79.73, NAN, 30.02, 0), (80.16, NAN, 30.22, 0), (78.01, NAN, 28.80, 0), (77.16, NAN, 28.99, 0),
        (76.45, NAN, 29.28, 0), (76.65, NAN, 30.28, 0),
    ]),
    **_rows("c2", "solve", DIMS[1:], [
        (36.86, 1.14, 0, 1), (31.70, 1.41, 0, 1), (26.06, 0.34, 0, 1), (24.94, 0.09, 0, 1), (26.12, 0.05, 0, 1),
        (25.52, 0.08, 0, 1), (26.26, 0.03, 0, 1), (25.91, 0.02, 0, 1), (16.85, 0.02, 0, 1),
    ]),
    **_rows("c2", "ga", DIMS[1:], [
        (651.7, 106.9, 1.049, 0.33), (155.8, 27.6, 2.597, 0.03), (89.1, 13.1, 4.170, 0.01), (66.4, 4.5, 5.727, 0),
        (64.7, 2.7, 6.216, 0), (61.8, 2.9, 6.902, 0), (66.3, 2.1, 7.681, 0), (65.2, 2.1, 8.566, 0),
        (66.4, 1.7, 9.935, 0),
    ]),
    **_rows("c3", "solve", DIMS[1:], [
        (92.21, NAN, 0, 1), (85.43, NAN, 6.00, 0.54), (80.00, NAN, 12.67, 0.28), (77.48, NAN, 28.72, 0.07),
        (85.16, NAN, 5.64, 0.38), (87.58, NAN, 9.34, 0.11), (89.00, NAN, 9.49, 0.14), (88.40, NAN, 13.22, 0.08),
        (84.72, NAN, 22.95, 0.06),
    ]),
    **_rows("c3", "ga", DIMS[1:], [
        (138.3, NAN, 4.93e3, 0.04), (168.3, NAN, 5.37e4, 0), (145.5, NAN, 1.04e5, 0), (209.2, NAN, 2.65e5, 0),
        (281.1, NAN, 3.50e5, 0), (327.5, NAN, 9.91e5, 0), (317.2, NAN, 8.19e5, 0), (457.0, NAN, 1.60e6, 0),
        (570.6, NAN, 2.18e6, 0),
    ]),
    **_rows("c4", "ga", ["12", "123", "1234", "124", "1243"], [
        (21.50, NAN, 5.47, 0.22), (16.45, NAN, 5.01, 0.26), (22.22, NAN, 7.23, 0.06), (57.89, NAN, 15.49, 0),
        (22.32, NAN, 9.03, 0.06),
    ]),
    **_rows("c4", "solve", ["12", "123", "1234", "124", "1243"], [
        (34.21, NAN, 11.39, 0.01), (20.55, NAN, 9.18, 0), (14.08, NAN, 3.28, 0.47), (30.54, NAN, 8.65, 0.19),
        (15.67, NAN, 4.86, 0.29),
    ]),
    **_rows("c4", "layered", ["12", "123", "1234", "124", "1243"], [
        (6.52, NAN, 0, 1), (4.918, 0.001, 4.4375, 0), (1.508, 0.0, 1.4407, 0), (1.124, 0.0, 0.818, 0),
        (14.510, 0.0, 0.0296, 0),
    ]),
    **_rows("c5", "ga", ["2"], [(322.5, 31.6, 0.535, 0.95)]),
    **_rows("c5", "solve", ["2"], [(360.4, 58.9, 0.657, 0.95)]),
    **_rows("c5", "solvefm", ["2"], [(93.7, 8.4, 0, 1)]),
}  # fmt: skip


def archived(problem: str, case: str, method: str) -> Archived | None:
    """Published figures, or None where there are none.

    Args:
        problem: ``"c1"`` ... ``"c5"``.
        case: Number of variables, or for C4 the order of its criteria, such as ``"123"``.
        method: ``"solve"``, ``"ga"``, ``"layered"`` or ``"solvefm"``.

    >>> archived("c1", "3", "solve").error
    0.655
    """
    return PUBLISHED.get((problem, case, method))
