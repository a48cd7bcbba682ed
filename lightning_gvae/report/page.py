"""One self-contained HTML page about a run: its figures, final numbers, configuration and circumstances."""

import base64
import json
import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from lightning_gvae.errors import ConfigError, DataError
from lightning_gvae.io.files import write_text
from lightning_gvae.io.run_status import RECORD, run_status

__all__ = ["FIGURES_INDEX", "Table", "format_number", "metric_unit", "run_summary", "write_report", "write_run_report"]

FIGURES_INDEX = "figures/index.json"
MIME = {".png": "image/png", ".gif": "image/gif", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}
NATS = {"loss", "recon", "kl", "elbo", "target_kl", "llike"}
NATS |= {"discriminator_loss", "encoder_loss", "generator_loss"}
GROUPS = ("test", "val", "train", "evolution")
FACTS = {
    "wall_seconds": "Wall time",
    "git_revision": "Git revision",
    "optimizer_steps": "Optimiser steps",
    "evolution_extra_compute": "Extra compute of evolution",
}

STYLE = """
:root { color-scheme: light dark; --ink: #1d2126; --muted: #5c6670; --page: #f6f7f9; --card: #fff; --rule: #dde1e6; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e7eaee; --muted: #9aa5b1; --page: #14171a; --card: #1e2226; --rule: #353b42; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.55 system-ui, sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: .5rem 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .7rem; }
p.summary { font-size: 1.05rem; max-width: 46rem; }
section, details { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; padding: .4rem 1rem; }
details { margin-top: .8rem; } summary { cursor: pointer; padding: .35rem 0; font-weight: 600; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .35rem .8rem .35rem 0; border-bottom: 1px solid var(--rule); vertical-align: top; }
tbody tr:last-child > * { border-bottom: 0; } tbody th { font-weight: 400; } thead th { color: var(--muted); }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; } .unit { color: var(--muted); }
.facts td { overflow-wrap: anywhere; } .facts th { width: 1%; padding-right: 1.6rem; color: var(--muted); }
.facts th { white-space: nowrap; }
figure { margin: 0 0 1.4rem; background: var(--card); border: 1px solid var(--rule); border-radius: 10px; }
figure img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
.paper { background: #fff; border-radius: 9px 9px 0 0; padding: .5rem; }
@media (max-width: 45rem) { .paper { overflow-x: auto; } .paper img { max-width: 36rem; } }
figcaption { padding: .7rem 1rem .8rem; color: var(--muted); font-size: .92rem; }
figcaption b { color: var(--ink); display: block; }
pre { overflow-x: auto; font: .82rem/1.5 ui-monospace, monospace; margin: .3rem 0 .6rem; }
"""


class Table(NamedTuple):
    """A table of a report: texts in cells, the first column left, the others right.

    Args:
        title: Headline.
        caption: What the reader must know; empty for none.
        header: Names of the columns.
        rows: Texts of the cells.
        prose: Whether the cells hold sentences, which stand left and wrap.
    """

    title: str
    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    prose: bool = False

    def markdown(self) -> str:
        """The table as Markdown, with its headline."""
        rule = ["---", *("---:" for _ in self.header[1:])]
        lines = "\n".join(f"| {' | '.join(row)} |" for row in (self.header, rule, *self.rows))
        return f"## {self.title}\n\n{self.caption}\n\n{lines}\n"


def write_report(
    path: Path | str,
    title: str,
    summary: str,
    metrics: Mapping[str, float],
    figures: Sequence[tuple[str, str, Path | str]],
    config_text: str = "",
    facts: Mapping[str, Any] | None = None,
    tables: Sequence[Table] = (),
) -> Path:
    """Write a page that needs nothing but itself: images are inside, there is no script, nothing is loaded.

    Args:
        path: The HTML file; replaced whole or not at all.
        title: Headline.
        summary: In words; an empty line parts two paragraphs.
        metrics: Final values by name; the unit follows from the name.
        figures: ``(title, caption, file)`` of PNG, GIF, JPEG or WebP files.
        config_text: Configuration as text; folded away.
        facts: Circumstances of the run by name; ``None`` values, ``metrics`` and ``left_out`` are left out.
        tables: Further tables, above the figures; with some, an empty ``metrics`` is left out.

    Returns:
        The path written.

    Raises:
        DataError: A figure's file is missing, or is no image by its suffix.
        ConfigError: The page cannot be written where ``path`` says.
    """
    path = Path(path)
    parts = [
        f"<h1>{escape(title)}</h1>",
        *(f'<p class="summary">{escape(paragraph)}</p>' for paragraph in summary.split("\n\n")),
        _metrics(metrics) if metrics or not tables else "",
        *map(_table, tables),
        _figures(figures),
        _facts(facts or {}),
        _config(config_text),
    ]
    page = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # A browser enforces what this page promises: nothing is fetched from anywhere.
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">\n"
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in parts if part)
        + "\n</main>\n</body>\n</html>\n"
    )
    try:
        write_text(path, page)
    except OSError as error:
        raise ConfigError(f"`path` must lie in a folder that can be written, {path} cannot: {error}.") from error
    return path


def write_run_report(
    run_dir: Path | str,
    metrics: Mapping[str, float],
    config_text: str | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Path:
    """Write ``report.html`` of a run folder from what lies in it; may be called again when more is known.

    Figures, captions and tables come from ``figures/index.json``, which the Figures callback writes, and from the lists
    ``figures/*.index.json`` of other callbacks.

    Args:
        run_dir: The run folder.
        metrics: Final values by name.
        config_text: Configuration as text; ``None`` reads ``.hydra/config.yaml`` if it exists.
        facts: Circumstances of the run; ``None`` reads ``run.json`` if it exists.

    Returns:
        Path of the report.

    Raises:
        DataError: ``run.json`` or the index cannot be read, or a figure is missing.
        ConfigError: The folder cannot be written.
    """
    folder = Path(run_dir)
    if config_text is None:
        config = folder / ".hydra" / "config.yaml"
        config_text = config.read_text(encoding="utf-8") if config.is_file() else ""
    facts = _read_json(folder / RECORD) if facts is None else facts
    index = _read_json(folder / FIGURES_INDEX)
    own = {"model": facts.get("model"), "data": facts.get("data"), "steps": facts.get("optimizer_steps")}
    run = index.get("run", {}) | {name: value for name, value in own.items() if value is not None}
    lists = [index, *map(_read_json, sorted((folder / "figures").glob("*.index.json")))]
    items = [item for listed in lists for item in listed.get("figures", [])]
    figures = [(item["title"], item["caption"], folder / "figures" / item["file"]) for item in items]
    title = " on ".join(str(run[name]) for name in ("model", "data") if run.get(name)) or folder.resolve().name
    summary = f"{run_summary(run, metrics)} {_ending(facts)}".strip()
    tables = [Table(**table) for listed in lists for table in listed.get("tables", [])]
    if left_out := facts.get("left_out"):
        caption = "Scores that were asked for and could not be computed."
        tables.append(Table("Left out", caption, ("score", "reason"), list(left_out.items()), prose=True))
    return write_report(folder / "report.html", title, summary, metrics, figures, config_text, facts, tables)


def run_summary(run: Mapping[str, Any], metrics: Mapping[str, float]) -> str:
    """One paragraph: what was trained on what, for how long, and how it ended.

    >>> run_summary({"model": "VAE", "data": "mnist", "steps": 2000}, {"val/elbo": -99.5, "val/kl": 25.0})
    'VAE was trained on mnist for 2,000 optimiser steps. Validation: ELBO −99.5 nats, KL 25 nats.'
    """
    words = [str(run.get("model") or "The model"), "was trained" if run.get("steps") else "was evaluated"]
    if run.get("data"):
        words.append(f"on {run['data']}")
    if run.get("steps"):
        words.append(f"for {run['steps']:,} optimiser step{'s' if run['steps'] != 1 else ''}")
    sentences = [" ".join(words) + "."]
    for stage, label in (("val", "Validation"), ("test", "Test")):
        terms = (("ELBO", "elbo"), ("reconstruction", "recon"), ("KL", "kl"))
        found = [
            f"{term} {format_number(metrics[f'{stage}/{name}'])} nats"
            for term, name in terms
            if f"{stage}/{name}" in metrics
        ]
        if found:
            sentences.append(f"{label}: {', '.join(found)}.")
    if "train/beta" in metrics:
        sentences.append(f"The KL weight ended at {format_number(metrics['train/beta'])}.")
    return " ".join(sentences)


def _ending(facts: Mapping[str, Any]) -> str:
    """Sentence about a run that did not reach its end; empty for others."""
    status = run_status(facts) if facts.get("status") else ""
    if status == "stopped":
        return f"The run was told to stop before its end ({facts.get('stopped_by', 'by a signal')})."
    if status == "failed":
        return f"The run ended in an error: {str(facts['status']).partition(':')[2].strip()}"
    return "The run was killed before its end." if status == "interrupted" else ""


def metric_unit(name: str) -> str:
    """Unit of a metric by its name, empty for a pure number.

    >>> metric_unit("val/elbo"), metric_unit("kl/3"), metric_unit("train/beta")
    ('nats', 'nats', '')
    """
    group, _, last = name.rpartition("/")
    if last in NATS or group == "kl":
        return "nats"
    return {"active_units": "dimensions", "extra_compute": "of training"}.get(last, "")


def format_number(value: float) -> str:
    """Four digits, or one decimal from a thousand on, with a true minus sign.

    >>> format_number(-12345.678), format_number(0.000123456), format_number(7.0)
    ('−12,345.7', '0.0001235', '7')
    """
    number = float(value)
    if not math.isfinite(number):
        return str(number).replace("-", "\N{MINUS SIGN}")
    if number.is_integer() and abs(number) < 1e12:
        text = f"{number:,.0f}"
    else:
        text = f"{number:,.1f}" if 1000 <= abs(number) < 1e9 else f"{number:.4g}"
    return text.replace("-", "\N{MINUS SIGN}")


def _metrics(metrics: Mapping[str, float]) -> str:
    plain = sorted((name for name in metrics if _metric_order(name)[0] <= len(GROUPS)), key=_metric_order)
    dims = sorted((name for name in metrics if name not in plain), key=_metric_order)
    if not metrics:
        return "<h2>Final metrics</h2>\n<section><p>None were logged.</p></section>"
    text = f"<h2>Final metrics</h2>\n<section>{_metric_table(metrics, plain)}</section>" if plain else ""
    if dims:
        text += f"\n<details><summary>KL per latent dimension</summary>{_metric_table(metrics, dims)}</details>"
    return text


def _metric_order(name: str) -> tuple[int, str, int]:
    """Sort key: test, validation, training, evolution, others, and last the KL of each dimension by its number."""
    group, _, last = name.partition("/")
    if group == "kl" and last.isdecimal():
        return len(GROUPS) + 1, "", int(last)
    return (GROUPS.index(group) if group in GROUPS else len(GROUPS)), name, 0


def _metric_table(metrics: Mapping[str, float], names: Sequence[str]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td class="number">{format_number(metrics[name])}</td>'
        f'<td class="unit">{metric_unit(name)}</td></tr>'
        for name in names
    )
    head = '<tr><th scope="col">Metric</th><th scope="col" class="number">Value</th><th scope="col">Unit</th></tr>'
    return f'<div class="scroll"><table><thead>{head}</thead><tbody>{rows}</tbody></table></div>'


def _table(table: Table) -> str:
    def cells(row: Sequence[str], kind: str) -> str:
        first, *others = (escape(text) for text in row)
        return f"<{kind}>{first}</{kind}>" + "".join(f"<{kind}{style}>{text}</{kind}>" for text in others)

    style = "" if table.prose else ' class="number"'

    head = f"<thead><tr>{cells(table.header, 'th')}</tr></thead>"
    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in table.rows)
    caption = f"<p>{escape(table.caption)}</p>" if table.caption else ""
    return (
        f"<h2>{escape(table.title)}</h2>\n<section>{caption}"
        f'<div class="scroll"><table>{head}<tbody>{body}</tbody></table></div></section>'
    )


def _figures(figures: Sequence[tuple[str, str, Path | str]]) -> str:
    cards = [
        f'<figure><div class="paper"><img src="{_data_uri(Path(file))}" alt="{escape(title)}"></div>'
        f"<figcaption><b>{escape(title)}</b>{escape(caption)}</figcaption></figure>"
        for title, caption, file in figures
    ]
    return "<h2>Figures</h2>\n" + "\n".join(cards) if cards else ""


def _data_uri(file: Path) -> str:
    if file.suffix.lower() not in MIME:
        raise DataError(f"`figures` must be images ({', '.join(MIME)}), got {file}.")
    if not file.is_file():
        raise DataError(f"`figures` names {file}, which does not exist; draw the figures again or leave it out.")
    return f"data:{MIME[file.suffix.lower()]};base64,{base64.b64encode(file.read_bytes()).decode('ascii')}"


def _facts(facts: Mapping[str, Any]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(FACTS.get(name, name.replace("_", " ").capitalize()))}</th>'
        f"<td>{escape(_fact(name, value))}</td></tr>"
        for name, value in facts.items()
        if value is not None and name not in ("metrics", "left_out", "process")
    )
    table = f'<section><div class="scroll"><table class="facts"><tbody>{rows}</tbody></table></div></section>'
    return f"<h2>The run</h2>\n{table}" if rows else ""


def _fact(name: str, value: Any) -> str:
    if name == "status" and value == "running":
        return "running when this page was written"
    if name.endswith("_seconds"):
        return _duration(float(value))
    if name == "evolution_extra_compute":
        return f"{100 * float(value):.3g} % of training"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_fact(str(key), item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value)
    return format_number(value) if isinstance(value, float) else str(value)


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours} h {rest // 60:02d} min" if hours else f"{rest // 60} min {rest % 60:02d} s"


def _config(text: str) -> str:
    if not text.strip():
        return ""
    return f"<h2>Configuration</h2>\n<details><summary>config.yaml</summary><pre>{escape(text)}</pre></details>"


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is not valid JSON ({error}); delete it or write it again.") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} must hold a JSON object, got {type(content).__name__}.")
    return content
