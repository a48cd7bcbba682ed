"""Tables, figures, animation and words of a collapse study of image models."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lightning_gvae.io.files import write_text
from lightning_gvae.plots.animation import generations_gif
from lightning_gvae.plots.collapse import Band, band_panels
from lightning_gvae.plots.images import contact_sheet
from lightning_gvae.plots.style import save
from lightning_gvae.report.page import Table, format_number, write_report
from lightning_gvae.studies.collapse.chain import generation_folder, read_samples
from lightning_gvae.studies.collapse.slopes import chains, first_below, slope, write_rows
from lightning_gvae.studies.intervals import Interval, mean_interval, paired_difference
from lightning_gvae.studies.tables import mean_text, range_text

__all__ = ["write_collapse_report"]

TRACE, RECALL = "log_feature_trace", "recall"
METRICS = {
    "fid": "FID",
    "kid": "KID",
    "precision": "precision",
    "recall": "recall",
    "is": "IS",
    "classes": "classes > 1 %",
    "class_entropy": "class entropy (nats)",
    "class_tv": "TV to uniform",
    "class_confidence": "confidence",
    TRACE: "log trace(cov), features",
    "pixel_variance": "pixel variance",
    "nearest": "distance to real training images",
    "duplicates": "duplicates",
    "elbo": "ELBO, real test (nats)",
    "kl": "KL, real test (nats)",
    "active_units": "active units",
    "aggregate_variance": "aggregate variance",
}
CLASSIFIED = {
    f"{way}_{name}": f"{words}: {name if name != 'f1' else 'F1'}"
    for way, words in (("real_to_generated", "real to generated"), ("generated_to_real", "generated to real"))
    for name in ("accuracy", "precision", "recall", "f1")
}
DRAWN = (
    "fid",
    "kid",
    "precision",
    "recall",
    "is",
    TRACE,
    "class_entropy",
    "class_tv",
    "class_confidence",
    "pixel_variance",
    "nearest",
    "elbo",
)
LEAST = 0.02  # recall of generation 0 from which on "half of it" means something
SHEET, FRAME = 12, 36  # samples of a generation in the contact sheet and in the animation
Seeds = dict[int, list[float]]


def write_collapse_report(
    rows: Sequence[Mapping[str, Any]],
    policies: Sequence[str],
    shown: Mapping[str, Path],
    folder: Path,
    title: str,
    facts: Mapping[str, Any],
) -> Path:
    """Write ``report.html``, ``results.csv``, ``tables.md``, figures and the animation.

    Args:
        rows: Metrics of every generation, of one model, with ``data``, ``model``, ``policy``, ``seed``, ``generation``.
        policies: Labels of the policies, the one that the others are compared with first.
        shown: Policies by label, each with the folder of the chain whose samples are shown.
        folder: Where to write.
        title: Headline.
        facts: Circumstances for the report.

    Returns:
        Path of the report.
    """
    folder.mkdir(parents=True, exist_ok=True)
    series = {
        metric: {policy: found[key] for policy in policies for key in found if key[1] == policy}
        for metric in METRICS
        if (found := chains(rows, metric))
    }
    tables = [_generations(series, policies), _slopes(series, policies)]
    classified = {
        name: {policy: found[key] for policy in policies for key in found if key[1] == policy}
        for name in CLASSIFIED
        if (found := chains(rows, name))
    }
    if classified:
        tables.append(_classified(classified, policies))
    write_rows(folder / "results.csv", rows)
    write_text(folder / "tables.md", "\n".join(table.markdown() for table in tables))
    figures = [*_curves(series, folder / "figures"), *_sheets(shown, facts["generations"], folder / "figures")]
    summary = "\n\n".join(_answers(series, policies))
    return write_report(folder / "report.html", title, summary, {}, figures, "", dict(facts), tables)


def _generations(series: Mapping[str, Mapping[str, Seeds]], policies: Sequence[str]) -> Table:
    rows = []
    for policy in policies:
        length = len(next(iter(series["fid"][policy].values())))
        for generation in sorted({0, length // 2, length - 1}):
            cells = [mean_text([v[generation] for v in values[policy].values()]) for values in series.values()]
            rows.append([f"{policy}, {generation}", *cells])
    seeds = len(series["fid"][policies[0]])
    caption = (
        f"Mean over {seeds} seed{'s' if seeds != 1 else ''} and half the width of its 95 % interval; generation "
        "0 is trained "
        "on real images. Samples are compared with the real test images in the space of a classifier of this data set."
    )
    return Table("Generations", caption, ["policy, generation", *(METRICS[name] for name in series)], rows)


def _classified(series: Mapping[str, Mapping[str, Seeds]], policies: Sequence[str]) -> Table:
    rows = []
    for policy in policies:
        length = len(next(iter(next(iter(series.values()))[policy].values())))
        for generation in sorted({0, length // 2, length - 1}):
            cells = [mean_text([v[generation] for v in values[policy].values()]) for values in series.values()]
            rows.append([f"{policy}, {generation}", *cells])
    caption = (
        "A classifier trained on real images and tested on generated ones, whose classes are those that the frozen "
        "classifier sees; and one trained on generated images with those classes, tested on real ones. Precision, "
        "recall and F1: means over the classes."
    )
    return Table("Classification", caption, ["policy, generation", *(CLASSIFIED[name] for name in series)], rows)


def _slopes(series: Mapping[str, Mapping[str, Seeds]], policies: Sequence[str]) -> Table:
    rows = []
    for policy in policies:
        texts = [range_text(_slope(series[metric][policy])) for metric in (TRACE, "fid", RECALL)]
        words = ", ".join(_halved(values) for values in series[RECALL][policy].values())
        gap = "" if policy == policies[0] else range_text(_slope_gap(series[TRACE], policy, policies[0]))
        rows.append([policy, *texts, words, gap])
    caption = (
        "95 % intervals of least-squares slopes a generation; the generation at which recall is below half of "
        "generation 0's, "
        f"seed by seed; and the slope of log trace(cov) less that under {policies[0]}, paired by seed."
    )
    header = ["policy", "log trace(cov)", "FID", "recall", "recall halved at", f"log trace(cov), less {policies[0]}"]
    return Table("Slopes", caption, header, rows)


def _halved(recall: Sequence[float]) -> str:
    if recall[0] < LEAST:
        return f"none to lose ({format_number(recall[0])} at generation 0)"
    half = first_below(recall)
    return "never" if half is None else str(half)


def _slope(seeds: Seeds) -> Interval:
    return mean_interval([slope(values) for values in seeds.values()])


def _slope_gap(series: Mapping[str, Seeds], policy: str, other: str) -> Interval:
    ours, theirs = ([slope(values) for values in series[name].values()] for name in (policy, other))
    return paired_difference(ours, theirs)


def _answers(series: Mapping[str, Mapping[str, Seeds]], policies: Sequence[str]) -> list[str]:
    sentences = []
    for policy in policies:
        trend = _slope(series[TRACE][policy])
        way = "falls" if trend.high < 0 else "rises" if trend.low > 0 else "does not clearly change"
        halved = ", ".join(_halved(values) for values in series[RECALL][policy].values())
        sentences.append(
            f"Under {policy} the variety of the samples {way}: log trace(cov) moves by {format_number(trend.mean)} a "
            f"generation (95 % interval {range_text(trend)}, {trend.seeds} seed{'s' if trend.seeds != 1 else ''}). "
            f"Generation at which recall is below half of generation 0's, seed by seed: {halved}."
        )
    for policy in policies[1:]:
        gap = _slope_gap(series[TRACE], policy, policies[0])
        if gap.excludes_zero:
            word = "less" if gap.mean > 0 else "more"
            sentences.append(f"{policy} loses {word} variety a generation than {policies[0]} ({range_text(gap)}).")
        else:
            sentences.append(
                f"Whether {policy} loses less variety than {policies[0]} cannot be told ({range_text(gap)})."
            )
    return sentences


def _curves(series: Mapping[str, Mapping[str, Seeds]], folder: Path) -> list[tuple[str, str, Path]]:
    panels = {
        METRICS[metric]: [_band(policy, seeds) for policy, seeds in series[metric].items()]
        for metric in DRAWN
        if metric in series
    }
    path = folder / "metrics.png"
    save(band_panels(panels, "Metrics over generations", "Generation"), path)
    caption = "Mean over the seeds; the band is its 95 % t interval (of a single seed there is none)."
    return [("Metrics over generations", caption, path)]


def _band(policy: str, seeds: Seeds) -> Band:
    intervals = [mean_interval(values) for values in zip(*seeds.values(), strict=True)]
    mean = np.array([interval.mean for interval in intervals])
    low, high = (np.array([getattr(interval, end) for interval in intervals]) for end in ("low", "high"))
    single = ~np.isfinite(low)
    return Band(policy, np.arange(len(mean)), mean, np.where(single, mean, low), np.where(single, mean, high))


def _sheets(shown: Mapping[str, Path], generations: int, folder: Path) -> list[tuple[str, str, Path]]:
    drawn = []
    for number, (policy, place) in enumerate(shown.items()):
        # The first ones: they come from the same noise in every chain of this seed, generation by generation.
        samples = np.stack([read_samples(generation_folder(place, g))[:FRAME] for g in range(generations)])
        rows = [(f"generation {generation}", images[:SHEET]) for generation, images in enumerate(samples)]
        path = folder / f"samples_{policy}.png"
        save(contact_sheet(rows, f"Samples under {policy}"), path)
        drawn.append((f"Samples under {policy}", "The first samples of every generation, not chosen.", path))
        if number == 0:
            path = folder / f"generations_{policy}.gif"
            generations_gif(path, samples, [f"{policy}, generation {g}" for g in range(generations)])
            drawn.append(
                (f"Generations under {policy}", "The same places of the sample, generation by generation.", path)
            )
    return drawn
