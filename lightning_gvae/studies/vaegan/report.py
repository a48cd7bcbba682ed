"""Tables, figures and verdicts of :mod:`~lightning_gvae.studies.vaegan.study`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lightning_gvae.io.files import write_text
from lightning_gvae.plots.adversarial import score_dots
from lightning_gvae.plots.style import save
from lightning_gvae.report.page import Table, format_number, write_report
from lightning_gvae.report.provenance import write_provenance
from lightning_gvae.studies.cells import by_arm
from lightning_gvae.studies.collapse.slopes import read_rows, slopes
from lightning_gvae.studies.tables import mean_text, range_text, write_results
from lightning_gvae.studies.vaegan.claims import CLAIMS, PUBLISHED, RULE, Finding, find

__all__ = ["BASELINES", "MODELS", "verdicts", "write_vaegan_report"]

MODELS = {"vae": "VAE", "gan": "GAN", "vae_gan": "VAE-GAN"}
# What the cell of the untrained generator is scored with: sampler and row.
BASELINES = {
    "prior": "untrained network",
    "mean_image": "mean image",
    "training_images": "real training images (floor)",
}
SCORES = {
    "fid": "FID",
    "kid": "KID",
    "is": "IS",
    "precision": "precision",
    "recall": "recall",
    "classes": "classes > 1 %",
    "class_entropy": "class entropy (nats)",
    "class_tv": "TV to uniform",
    "class_confidence": "confidence",
}
LOSSES = {
    "test/elbo": "ELBO, test",
    "test/recon": "D, test",
    "test/kl": "KL, test",
    "test/llike": "feature loss, test",
    "train/discriminator_loss": "discriminator, training",
    "train/generator_loss": "generator, training",
    "train/encoder_loss": "encoder, training",
}
Arms = Mapping[str, Sequence[dict[str, Any]]]


def write_vaegan_report(
    results: Sequence[dict[str, Any]],
    folder: Path,
    data: Sequence[str],
    seeds: Sequence[int],
    scale: Mapping[str, Any],
    collapse: Path | None,
) -> Path:
    """Write ``report.html``, ``results.csv``, ``tables.md`` and the figures.

    Returns:
        Path of the report.
    """
    arms = by_arm(results)
    folder.mkdir(parents=True, exist_ok=True)
    findings = verdicts(arms, data, seeds, collapse, scale["name"])
    tables = [
        *(_scores(arms, name, len(seeds)) for name in data),
        *(_losses(arms, name) for name in data),
        _published(arms, data),
        _claims(findings),
    ]
    write_results(folder / "results.csv", results)
    write_text(folder / "tables.md", "\n".join(table.markdown() for table in tables))
    write_provenance(folder, "vaegan", scale, seeds, results)
    facts = {
        "scale": scale["about"],
        "runs": len(results),
        "seeds": list(seeds),
        "wall_seconds": sum(result["wall_seconds"] for result in results),
        "device": sorted({str(result.get("device")) for result in results}),
        "git_revision": sorted({str(result["git_revision"]) for result in results}),
    }
    summary = "\n\n".join([*_answers(findings), *(_beaten(arms, name) for name in data), RULE])
    title = f"VAE, GAN and VAE-GAN on {' and '.join(data)} ({scale['name']} scale)"
    commands = "\n".join(result["command"] for result in results)
    figures = [*_figures(arms, data, folder / "figures"), *_sheets(arms, data, folder / "cells")]
    return write_report(folder / "report.html", title, summary, {}, figures, commands, facts, tables)


def verdicts(
    arms: Arms, data: Sequence[str], seeds: Sequence[int], collapse: Path | None, scale: str
) -> list[tuple[str, Finding]]:
    """Every claim on every data set; the one about generations from the collapse studies beside this one."""
    found = []
    for claim in CLAIMS[:2]:
        for name in data:
            values = {model: _values(arms[f"{name}-{model}"], claim.metric) for model in MODELS}
            found.append((name, find(claim, values)))
    files = {} if collapse is None else {m: collapse / f"collapse-{m}-{scale}" / "results.csv" for m in MODELS}
    rows = [row for file in files.values() if file.is_file() for row in read_rows(file)]
    for name in sorted({row["data"] for row in rows}) or ["no collapse study"]:
        by_model = slopes([row for row in rows if row["data"] == name], "fid", "replace")
        shared = sorted(set.intersection(*(set(found) for found in by_model.values()))) if by_model else []
        values = {model: [chain[seed] for seed in shared] for model, chain in by_model.items() if shared}
        found.append((name, find(CLAIMS[2], values)))
    return found


def _values(group: Sequence[dict[str, Any]], score: str, sampler: str = "prior") -> list[float]:
    """One value a run; NaN where the score was left out."""
    return [result["metrics"].get(f"score/{score}/domain/{sampler}", float("nan")) for result in group]


def _scores(arms: Arms, data: str, seeds: int) -> Table:
    groups = [(label, arms[f"{data}-{model}"], "prior") for model, label in MODELS.items()]
    groups += [(label, arms[f"{data}-untrained"], sampler) for sampler, label in BASELINES.items()]
    rows = [
        [label, *(mean_text(_values(group, score, sampler)) for score in SCORES)] for label, group, sampler in groups
    ]
    caption = (
        f"Mean over {seeds} seed{'s' if seeds != 1 else ''} and half the width of its 95 % interval; generated "
        "images against the test set in the "
        "feature space of a classifier trained on this data set, so no FID or IS of the literature compares."
    )
    return Table(f"Scores on {data}", caption, ["images from", *SCORES.values()], rows)


def _losses(arms: Arms, data: str) -> Table:
    rows = []
    for model, label in MODELS.items():
        group = arms[f"{data}-{model}"]
        columns = [[result["metrics"].get(name, float("nan")) for result in group] for name in LOSSES]
        rows.append([label, f"{group[0]['steps']:,}", *(mean_text(values) for values in columns)])
    caption = (
        "Nats an image (discriminator and generator: a decision). Losses of different objectives do not compare: "
        "that one "
        "is lower than another says nothing about the images."
    )
    return Table(f"Final losses on {data}", caption, ["model", "steps", *LOSSES.values()], rows)


def _published(arms: Arms, data: Sequence[str]) -> Table:
    rows = []
    for model, label in MODELS.items():
        printed = [format_number(PUBLISHED[model][name]) for name in ("fid", "is", "loss")]
        ours = [mean_text(_values(arms[f"{name}-{model}"], score)) for name in data for score in ("fid", "is")]
        rows.append([label, *printed, *ours])
    caption = (
        "The published numbers are of an unnamed feature network, data set and number of images, without a "
        "spread; the losses "
        "are of three different objectives. Only the orders can be compared."
    )
    header = ["model", "FID, published", "IS, published", "loss, published"]
    header += [f"{score}, {name}" for name in data for score in ("FID", "IS")]
    return Table("Beside the published table", caption, header, rows)


def _claims(findings: Sequence[tuple[str, Finding]]) -> Table:
    rows = []
    for data, finding in findings:
        pairs = [f"{MODELS[first]} - {MODELS[second]}" for first, second in finding.claim.below]
        gaps = [f"{pair}: {range_text(gap)}" for pair, gap in zip(pairs, finding.gaps, strict=False)]
        claim = f"{finding.claim.name} {finding.claim.text}"
        rows.append([claim, data, "; ".join(gaps) or "not measured", _word(finding)])
    caption = (
        "Intervals of the differences, which the claim wants below zero. (iii): slope of the FID a generation under "
        "replace."
    )
    return Table("Claims", caption, ["claim", "data", "95 % intervals", "verdict"], rows)


def _word(finding: Finding) -> str:
    return "untestable here" if finding.verdict == "untestable" else finding.verdict


def _answers(findings: Sequence[tuple[str, Finding]]) -> list[str]:
    sentences = []
    for data, finding in findings:
        if finding.gaps:
            sentences.append(f"Claim {finding.claim.name}, {finding.claim.text}, on {data}: {_word(finding)}.")
        else:
            what = "run study=collapse for vae, gan and vae_gan at the same scale, then this study again"
            if finding.claim.metric != "slope":
                what = f"a run has no {SCORES[finding.claim.metric]}, its scores.json says why"
            sentences.append(f"Claim {finding.claim.name}, {finding.claim.text}: untestable here; {what}.")
    return sentences


def _beaten(arms: Arms, data: str) -> str:
    """By how much each model beats the two baselines that have learnt nothing, in the seed where it is least."""
    untrained = arms[f"{data}-untrained"]
    parts = []
    for model, label in MODELS.items():
        own = _values(arms[f"{data}-{model}"], "fid")
        ratios = [
            [theirs / ours for theirs, ours in zip(_values(untrained, "fid", sampler), own, strict=True)]
            for sampler in ("prior", "mean_image")
        ]
        if not np.isfinite(ratios).all():
            return f"On {data} a run has no FID: its scores.json says why."
        parts.append(f"{label} {min(ratios[0]):.3g} and {min(ratios[1]):.3g} times")
    return (
        f"On {data} the FID of the untrained network and of the mean image is above each model's by: "
        f"{', '.join(parts)}."
    )


def _figures(arms: Arms, data: Sequence[str], folder: Path) -> list[tuple[str, str, Path]]:
    drawn = []
    for name in data:
        models = [(label, arms[f"{name}-{model}"], "prior") for model, label in MODELS.items()]
        others = [(label, arms[f"{name}-untrained"], sampler) for sampler, label in BASELINES.items()]
        values = {
            SCORES[score]: {label: _values(group, score, sampler) for label, group, sampler in [*models, *others]}
            for score in ("fid", "is", "precision", "recall")
        }
        path = folder / f"scores_{name}.png"
        save(score_dots(values, f"Scores on {name}", log=("FID",)), path)
        drawn.append((f"Scores on {name}", "One dot a seed, a bar at their mean; FID on a logarithmic axis.", path))
    return drawn


def _sheets(arms: Arms, data: Sequence[str], cells: Path) -> list[tuple[str, str, Path]]:
    sheets = []
    for name in data:
        for model, label in [*MODELS.items(), ("untrained", "The untrained generator")]:
            first = arms[f"{name}-{model}"][0]
            sheet = first.get("sheets", {}).get("prior")
            if sheet is not None and (cells / sheet).is_file():  # stored results come without pictures
                caption = f"64 samples, seed {first['seed']}, not chosen."
                sheets.append((f"{label} on {name}", caption, cells / sheet))
    return sheets
