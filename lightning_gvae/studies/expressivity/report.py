"""Rows, tables, figures and the answer of the expressivity study."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lightning_gvae.io.files import write_csv, write_text
from lightning_gvae.plots.images import contact_sheet
from lightning_gvae.plots.ratios import paired_ratios
from lightning_gvae.plots.style import save
from lightning_gvae.report.page import Table, format_number, write_report
from lightning_gvae.studies.intervals import Interval, mean_interval, paired_difference
from lightning_gvae.studies.tables import mean_text, range_text

__all__ = ["answers", "difference", "share", "write_expressivity_report"]

METRICS = {
    "pure_diversity": "pure diversity",
    "spanning_tree": "spanning tree",
    "vendi_pixels": "Vendi, pixels",
    "vendi_codes": "Vendi, codes",
    "qd_score": "QD score",
    "fitness": "mean fitness",
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
}
ROWS = {
    "start": "shapes to learn from",
    "rebuilt": "the same, rebuilt by the network",
    "parameters": "found in the parameters",
    "latents": "found in the latents",
}
SHOWN = 12  # elites of a row of the picture
Cells = Sequence[dict[str, Any]]


def write_expressivity_report(
    cells: Cells, folder: Path, facts: Mapping[str, Any], pictures: Sequence[Path], size: int
) -> Path:
    """Write ``results.csv``, ``tables.md``, ``figures`` and ``report.html``.

    Args:
        cells: Finished cells, see :func:`~lightning_gvae.studies.expressivity.cells.run_cell`.
        folder: Where to.
        facts: Circumstances, for the end of the report.
        pictures: Files of elites of one repeat, one a setting.
        size: Pixels along an edge of a shape.

    Returns:
        Path of the report.
    """
    groups = _groups(cells)
    write_csv(
        folder / "results.csv", ["setting", "repeat", "base", "set", "count", *METRICS, "rejected"], _result_rows(cells)
    )
    by_setting = [_table(setting, group) for setting, group in groups.items()]
    tables = [_differences(groups), _shares(groups), *by_setting, _errors(groups)]
    write_text(folder / "tables.md", "\n".join(table.markdown() for table in tables))
    figures = _figures(groups, folder / "figures", pictures, size)
    facts = {**facts, "compute_seconds": sum(cell["seconds"] for cell in cells)}
    summary = "\n\n".join(answers(cells))
    title = "Expressivity: search in latents against search in parameters"
    return write_report(folder / "report.html", title, summary, {}, figures, "", facts, tables)


def answers(cells: Cells) -> list[str]:
    """Answers in words: the published conclusion first, then each setting, then the network's own limits."""
    groups = _groups(cells)
    gaps = {setting: difference(group, "pure_diversity") for setting, group in groups.items()}
    lower = [setting for setting, gap in gaps.items() if gap.high < 0]
    higher = [setting for setting, gap in gaps.items() if gap.low > 0]
    published = "Published: search in the latent space gives less diverse sets than search in the parameters."
    if len(lower) == len(gaps):
        verdict = f"That holds here, in {'all ' if len(gaps) > 1 else ''}{_count(len(gaps))}"
    elif lower:
        verdict = f"That holds here in {len(lower)} of {_count(len(gaps))} ({', '.join(lower)})"
    else:
        verdict = f"That cannot be seen here in any of {_count(len(gaps))}"
    if higher:
        verdict += f"; the opposite is found in {', '.join(higher)}"
    unclear = [setting for setting in gaps if setting not in (*lower, *higher)]
    if unclear and (lower or higher):
        verdict += f"; no difference can be told in {', '.join(unclear)}"
    sentences = [f"{published} {verdict} (pure diversity, 95 % intervals of paired differences)."]
    for setting, group in groups.items():
        ratio = share(group, "latents", "parameters")
        score = difference(group, "qd_score")
        more = "no difference of the QD score can be told"
        if score.excludes_zero:
            word = "higher" if score.mean > 0 else "lower"
            more = f"the QD score is {word} by {format_number(abs(score.mean))} ({range_text(score)})"
        sentences.append(
            f"{setting.capitalize()}: sets found in the latents have {_percent(ratio)} of the pure diversity of "
            f"those found in the parameters; {more}."
        )
    return [*sentences, *_limits(groups)]


def difference(group: Cells, metric: str) -> Interval:
    """Interval of the mean of latents less parameters, repeat by repeat."""
    latents, parameters = ([_value(cell, space, metric) for cell in group] for space in ("latents", "parameters"))
    return paired_difference(latents, parameters)


def share(group: Cells, ours: str, theirs: str) -> Interval:
    """Interval of the mean share of the pure diversity of one set that another one has, repeat by repeat."""
    return mean_interval([_value(c, ours, "pure_diversity") / _value(c, theirs, "pure_diversity") for c in group])


def _percent(interval: Interval) -> str:
    return f"{100 * interval.mean:.0f} % ({100 * interval.low:.0f} to {100 * interval.high:.0f})"


def _limits(groups: Mapping[str, Cells]) -> list[str]:
    shares = [f"{_percent(share(group, 'rebuilt', 'start'))} in {setting}" for setting, group in groups.items()]
    words = "The network alone costs diversity: of that of the shapes that it learnt from its reconstructions keep"
    sentences = [f"{words} {', '.join(shares)}."]
    if (gap := _beyond(groups)) is not None:
        word = "worse than" if gap.low > 0 else "better than" if gap.high < 0 else "about as well as"
        sentences.append(
            f"Published: a VAE interpolates better than it extrapolates. Here shapes larger than any seen are rebuilt "
            f"{word} shapes of scales in between (difference of the relative errors {format_number(gap.mean)}, "
            f"{range_text(gap)})."
        )
    return sentences


def _beyond(groups: Mapping[str, Cells]) -> Interval | None:
    """Error of shapes larger than any seen less that of scales in between, repeat by repeat; None without both."""
    if not {"interpolation", "extrapolation"} <= set(groups):
        return None
    pairs = [
        {cell["repeat"]: cell["errors"]["held out"] for cell in groups[name]}
        for name in ("extrapolation", "interpolation")
    ]
    shared = sorted(pairs[0].keys() & pairs[1].keys())
    beyond, between = ([errors[repeat] for repeat in shared] for errors in pairs)
    return paired_difference(beyond, between)


def _groups(cells: Cells) -> dict[str, list[dict[str, Any]]]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for cell in cells:
        groups.setdefault(cell["setting"], []).append(cell)
    return {setting: sorted(group, key=lambda cell: cell["repeat"]) for setting, group in groups.items()}


def _value(cell: dict[str, Any], row: str, metric: str) -> float:
    return float(cell["measured"][row][metric])


def _count(number: int) -> str:
    return f"{number} setting{'s' if number != 1 else ''}"


def _differences(groups: Mapping[str, Cells]) -> Table:
    rows = []
    for setting, group in groups.items():
        gaps = [difference(group, metric) for metric in METRICS]
        rows.append([setting, *(f"{format_number(gap.mean)} ({range_text(gap)})" for gap in gaps)])
    caption = "Latents less parameters, paired by repeat: mean and 95 % interval."
    return Table("Differences", caption, ["setting", *METRICS.values()], rows)


def _shares(groups: Mapping[str, Cells]) -> Table:
    rows = [
        [setting, _percent(share(group, "latents", "parameters")), _percent(share(group, "rebuilt", "start"))]
        for setting, group in groups.items()
    ]
    caption = (
        "Share of the pure diversity, mean over the repeats of each setting and its 95 % interval: of what is found in "
        "the parameters, found in the latents; of the shapes learnt from, left in their reconstructions."
    )
    header = ["setting", "latents of parameters", "reconstructions of shapes"]
    return Table("Shares of the pure diversity", caption, header, rows)


def _table(setting: str, group: Cells) -> Table:
    rows = []
    for row, words in ROWS.items():
        known = group[0]["measured"][row]
        columns = [mean_text([_value(cell, row, name) for cell in group]) if name in known else "" for name in METRICS]
        rows.append(
            [words, format_number(mean_interval([_value(cell, row, "count") for cell in group]).mean), *columns]
        )
    against = "the shapes to learn from" if setting == "expansion" else "the shapes held out"
    caption = (
        f"Mean over {len(group)} repeats and half the width of its 95 % interval. Pure diversity grows with the "
        "number of "
        "shapes; both searches end with the same number. Precision, recall, density and coverage: pixels, "
        f"beside {against}."
    )
    return Table(setting.capitalize(), caption, ["set", "shapes", *METRICS.values()], rows)


def _errors(groups: Mapping[str, Cells]) -> Table:
    rows = []
    for setting, group in groups.items():
        kinds = ("seen", "held out")
        texts = [mean_text([c["errors"][kind] for c in group]) if kind in group[0]["errors"] else "" for kind in kinds]
        rows.append([setting, *texts])
    if (gap := _beyond(groups)) is not None:
        rows.append(["extrapolation - interpolation", "", f"{format_number(gap.mean)} ({range_text(gap)})"])
    caption = "Wrong pixels of a reconstruction over pixels of the shape."
    return Table(
        "Relative error of reconstructions", caption, ["setting", "shapes learnt from", "shapes held out"], rows
    )


def _figures(
    groups: Mapping[str, Cells], folder: Path, pictures: Sequence[Path], size: int
) -> list[tuple[str, str, Path]]:
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for metric, label in (
        ("pure_diversity", "pure diversity"),
        ("vendi_pixels", "Vendi score"),
        ("qd_score", "QD score"),
    ):
        ratios = {
            setting: np.array([_value(c, "latents", metric) / _value(c, "parameters", metric) for c in group])
            for setting, group in groups.items()
        }
        path = folder / f"{metric}.png"
        save(paired_ratios(ratios, f"Latents against parameters: {label}", f"Ratio of the {label}"), path)
        caption = "One dot a repeat, the bar is the mean with its 95 % interval; below 1 the latents have less."
        drawn.append((f"Latents against parameters: {label}", caption, path))
    for file in pictures:
        setting = file.name.split("-")[0]
        path = folder / f"shapes_{setting}.png"
        save(contact_sheet(_rows(file, size), f"{setting.capitalize()}, repeat 0"), path)
        drawn.append((f"Shapes: {setting}", "Every so many of each set; of the searches the elites at the end.", path))
    return drawn


def _rows(file: Path, size: int) -> list[tuple[str, np.ndarray]]:
    names = {"start": "learnt from", "rebuilt": "rebuilt", "parameters": "parameters", "latents": "latents"}
    with np.load(file, allow_pickle=False) as stored:
        sets = {row: np.unpackbits(stored[row], axis=-1)[..., :size] for row in names}
    chosen = {row: shapes[np.linspace(0, len(shapes) - 1, SHOWN).astype(int)] for row, shapes in sets.items()}
    return [(words, chosen[row][:, None].astype(np.float32)) for row, words in names.items()]


def _result_rows(cells: Cells) -> Iterator[list[Any]]:
    for cell in cells:
        for row, values in cell["measured"].items():
            start = [cell["setting"], cell["repeat"], cell["base"], row]
            yield [*start, *(values.get(name, "") for name in ("count", *METRICS, "rejected"))]
