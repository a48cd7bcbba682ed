"""Rows, tables, figures and the words of the SOLVE study, measured beside published."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lightning_gvae.io.files import write_csv, write_text
from lightning_gvae.plots.error_curves import Curve, error_curves
from lightning_gvae.plots.style import save
from lightning_gvae.report.page import Table, format_number, write_report
from lightning_gvae.studies.solve.published import SOURCE, archived

__all__ = ["METHODS", "write_solve_report"]

METHODS = {
    "solve": "SOLVE",
    "solve_deb": "SOLVE, Deb's rules",
    "layered": "LayeredSOLVE",
    "layered_deb": "LayeredSOLVE, Deb's rules",
    "solvefm": "SOLVEfm",
    "solvefm_deb": "SOLVEfm, Deb's rules",
    "ga": "GA",
    "ga_deb": "GA, Deb's rules",
}
COLUMNS = ("f", "violation", "valid", "paper_error_pct", "true_gap_pct")
Cells = Sequence[dict[str, Any]]


def write_solve_report(cells: Cells, folder: Path, facts: Mapping[str, Any]) -> Path:
    """Write ``results.csv`` (one row a search), ``seeds.csv`` (one a search space), ``tables.md`` and the report.

    Args:
        cells: Finished cells, see :func:`~lightning_gvae.studies.solve.cells.run_piece`.
        folder: Where to.
        facts: Circumstances, for the end of the report.

    Returns:
        Path of the report.
    """
    _write_rows(folder / "results.csv", cells)
    _write_means(folder / "seeds.csv", cells)
    problems = list(dict.fromkeys(cell["piece"]["problem"] for cell in cells))
    groups = {name: [cell for cell in cells if cell["piece"]["problem"] == name] for name in problems}
    tables = [_table(name, group) for name, group in groups.items()] + [_facts_table(cells)]
    write_text(folder / "tables.md", "\n".join(table.markdown() for table in tables))
    figures = [figure for name, group in groups.items() for figure in _figures(name, group, folder / "figures")]
    title = f"SOLVE: {', '.join(name.upper() for name in problems)}"
    summary = "\n\n".join(_sentences(groups))
    return write_report(folder / "report.html", title, summary, {}, figures, "", facts, tables)


def _cases(cells: Cells) -> dict[str, list[dict[str, Any]]]:
    cases: dict[str, list[dict[str, Any]]] = {}
    for cell in cells:
        cases.setdefault(cell["piece"]["case"], []).append(cell)
    return cases


def _means(cells: Cells, method: str, column: str) -> np.ndarray:
    """Mean over the runs of each seed that has the method."""
    return np.array([np.mean(cell["methods"][method][column]) for cell in cells if method in cell["methods"]])


def _spread(cells: Cells, method: str, column: str) -> tuple[float, float, float]:
    """Mean over all seeds; its standard error over the seeds; and over the runs of one seed, as published."""
    means = _means(cells, method, column)
    runs = [np.asarray(cell["methods"][method][column], float) for cell in cells if method in cell["methods"]]
    within = float(np.mean([values.std() / np.sqrt(len(values)) for values in runs]))
    over = float(means.std(ddof=1) / np.sqrt(len(means))) if len(means) > 1 else float("nan")
    return float(means.mean()), over, within


def _table(problem: str, cells: Cells) -> Table:
    rows = []
    for case, group in _cases(cells).items():
        for method, label in METHODS.items():
            if not any(method in cell["methods"] for cell in group):
                continue
            error, gap = _spread(group, method, "paper_error_pct"), _spread(group, method, "true_gap_pct")
            known = archived(problem, case, method)
            published = (
                ["", "", ""]
                if known is None
                else [_pm(known.error, known.se), format_number(known.violation), format_number(known.valid)]
            )
            violation, valid = (float(_means(group, method, name).mean()) for name in ("violation", "valid"))
            rows.append(
                [f"{case} {label}", _pm(error[0], error[1]), f"{error[2]:.2g}", published[0], _pm(gap[0], gap[1])]
                + [format_number(violation), published[1], f"{valid:.3g}", published[2]]
            )
    header = ["case, method", "paper error (%)", "SE of runs", "published", "true gap (%)"]
    header += ["violation", "published", "valid", "published"]
    caption = (
        "Mean over the seeds, ± its standard error over the seeds; SE of runs: that over the runs on one search "
        "space, as "
        "published. Paper error: absolute difference from the published optimum; true gap: from the true one. "
        f"{SOURCE}."
    )
    return Table(
        f"{problem.upper()}: {'orders of criteria' if problem == 'c4' else 'variables'}", caption, header, rows
    )


def _facts_table(cells: Cells) -> Table:
    rows = []
    for cell in cells:
        facts = cell["facts"]
        layered = facts.get("layered", {})
        note = "collapsed" if "collapsed" in layered else ", ".join(f"{std:.2g}" for std in layered.get("stds", []))
        islands = facts.get("solvefm", {}).get("islands", [])
        rows.append(
            [
                f"{cell['piece']['problem']}-{cell['piece']['case']}, seed {cell['seed']}",
                f"{facts['points']['at_bounds']:.3f}",
                f"{facts['solve']['valid']:.3f}",
                f"{facts['solve']['spacing']:.2f}" if "spacing" in facts["solve"] else "",
                note,
                f"{facts['solvefm']['valid']:.3f}, {sum(share >= 0.02 for share in islands)} islands"
                if islands
                else "",
                f"{sum(cell['seconds'].values()):.0f}",
            ]
        )
    header = ["cell", "coordinates at bounds", "latent box valid", "C2 spacing", "layered: stds", "SOLVEfm valid", "s"]
    caption = (
        "Share of the training points' coordinates on the faces of the box; share of the latent box that decodes "
        "to valid "
        "points; mean difference of neighbouring variables of such points; processor seconds."
    )
    return Table("Search spaces", caption, header, rows)


def _figures(problem: str, cells: Cells, folder: Path) -> list[tuple[str, str, Path]]:
    cases = _cases(cells)
    sizes = {case: float(number) if problem == "c4" else float(case) for number, case in enumerate(cases)}
    ticks = {number: case for case, number in sizes.items()} if problem == "c4" else None
    xlabel = "Order of the criteria" if problem == "c4" else "Variables D"
    drawn = []
    for column, label, title in (
        ("paper_error_pct", "Objective error (% of the published optimum)", "Paper error"),
        ("violation", "Violation per variable", "Criterion error"),
        ("valid", "Share of runs that end valid", "Valid solutions"),
    ):
        measured: dict[str, Curve] = {}
        published: dict[str, Curve] = {}
        for method, name in METHODS.items():
            rows = [
                (sizes[case], *_spread(group, method, column)[:2])
                for case, group in cases.items()
                if any(method in cell["methods"] for cell in group)
            ]
            if rows:
                measured[name] = _curve(rows)
            attribute = {"paper_error_pct": "error", "violation": "violation", "valid": "valid"}[column]
            known = [(sizes[case], archived(problem, case, method)) for case in cases]
            if found := [(size, getattr(row, attribute), np.nan) for size, row in known if row is not None]:
                published[name] = _curve(found)
        log = column == "paper_error_pct"
        figure = error_curves(measured, published, f"{problem.upper()}: {title}", label, xlabel, log, ticks)
        path = folder / f"{problem}_{column}.png"
        save(figure, path)
        caption = "Mean over the seeds with its standard error; dashed: published. Runs that end invalid count too."
        drawn.append((f"{problem.upper()}: {title}", caption, path))
    return drawn


def _curve(rows: Sequence[tuple[float, float, float]]) -> Curve:
    columns = np.array(rows, dtype=float).T
    return columns[0], columns[1], columns[2]


def _sentences(groups: Mapping[str, Cells]) -> list[str]:
    texts = []
    for problem, cells in groups.items():
        ours, plain, deb = (
            (float(_means(cells, method, "paper_error_pct").mean()), float(_means(cells, method, "valid").mean()))
            for method in ("solve", "ga", "ga_deb")
        )
        texts.append(
            f"{problem.upper()}, over all cases: SOLVE {ours[0]:.3g} % error and {100 * ours[1]:.0f} % of runs "
            "valid; the "
            f"plain genetic algorithm with the published fitness {plain[0]:.3g} % and {100 * plain[1]:.0f} %, "
            "with Deb's "
            f"rules {deb[0]:.3g} % and {100 * deb[1]:.0f} %."
        )
    if "c2" in groups:
        spacings = [cell["facts"]["solve"]["spacing"] for cell in groups["c2"]]
        texts.append(
            f"C2: the search spaces are lines with a spacing of {np.mean(spacings):.3g} between variables, the "
            "middle of "
            "the allowed 8 to 10; the best point of such a line has an error of (9/8)^2 - 1 = "
            f"{100 * (81 / 64 - 1):.2f} %."
        )
    return texts


def _pm(mean: float, error: float) -> str:
    return format_number(mean) if np.isnan(error) else f"{format_number(mean)} \u00b1 {error:.2g}"


def _write_rows(path: Path, cells: Cells) -> None:
    rows = []
    for cell in cells:
        piece = cell["piece"]
        start = [cell["seed"], piece["problem"], piece["case"], piece["dims"]]
        for method, columns in cell["methods"].items():
            for run, values in enumerate(zip(*(columns[name] for name in COLUMNS), strict=True)):
                rows.append([run, *start, method, *values])
    write_csv(path, ["run", "vae_seed", "problem", "case", "D", "method", *COLUMNS], rows)


def _write_means(path: Path, cells: Cells) -> None:
    """One row a search space and method: the means over its searches, and how many there were."""
    rows = []
    for cell in cells:
        piece = cell["piece"]
        start = [cell["seed"], piece["problem"], piece["case"], piece["dims"]]
        for method, columns in cell["methods"].items():
            means = [float(np.mean(columns[name])) for name in COLUMNS]
            rows.append([*start, method, len(columns[COLUMNS[0]]), *means])
    write_csv(path, ["vae_seed", "problem", "case", "D", "method", "runs", *COLUMNS], rows)
