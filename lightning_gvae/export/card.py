"""Model card: what an exported model is, what it was trained on, how good it is and how to use it."""

from collections.abc import Mapping, Sequence
from typing import Any

from lightning_gvae.io.version import PACKAGE

__all__ = ["model_card"]

TAGS = ("variational-autoencoder", "vae", "generative-model", "pytorch", "pytorch-lightning")
HOURS, MINUTES = 3600, 60  # seconds


def model_card(config: Mapping[str, Any], weights: int, kind: str) -> str:
    """Card in Markdown, with the metadata that the Hugging Face Hub reads.

    Args:
        config: Content of ``config.json``.
        weights: Number of trained weights.
        kind: Class of the model.
    """
    training, data = config.get("training") or {}, config.get("data") or {}
    is_text = kind.startswith("Text")
    name = data.get("name", "unknown data")
    parts = [
        _front_matter(is_text),
        f"# {kind} on {name}",
        _summary(config, weights, kind, name),
        "## Use",
        _example(config, kind, is_text),
        _figures(training.get("figures") or []),
        _scores(training.get("scores") or {}),
        _metrics(training.get("metrics") or {}),
        _data(data),
        _settings(config["model"]),
        _training(training, config),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front_matter(is_text: bool) -> str:
    tags = "\n".join(f"- {tag}" for tag in TAGS)
    pipeline = "text-generation" if is_text else "unconditional-image-generation"
    return f"---\nlibrary_name: {PACKAGE}\npipeline_tag: {pipeline}\ntags:\n{tags}\n---"


def _summary(config: Mapping[str, Any], weights: int, kind: str, name: str) -> str:
    training, shape = config.get("training") or {}, "x".join(map(str, config["model"].get("image_shape") or ()))
    article = "An" if kind[0] in "AEIOU" else "A"
    text = f"{article} {kind} with {weights:,} weights, for data of shape {shape}, trained on {name}"
    steps = training.get("step", training.get("optimizer_steps"))
    if steps is not None:
        text += f" for {steps:,} optimiser steps"
    if training.get("wall_seconds") is not None:
        text += f" ({_duration(training['wall_seconds'])} on {training.get('device', 'an unknown device')})"
    return f"{text}. Exported by {PACKAGE} {config['version']}."


def _example(config: Mapping[str, Any], kind: str, is_text: bool) -> str:
    lines = ["import torch", "from lightning_gvae import load", "", 'model = load("path/of/this/folder")']
    lines.append("with torch.no_grad():")
    if is_text:
        lines.append("    print(model.words(model.sample(5, torch.Generator().manual_seed(0))))")
    elif kind == "ConvAutoencoder":
        lines.append("    pixels = model.reconstruct(images)  # floats in [0, 1]")
    else:
        lines.append("    drawn = model.sample(16, torch.Generator().manual_seed(0))")
    lines.append("print(model.data_facts)")
    code = "\n".join(lines)
    return f"```bash\npip install {PACKAGE}\n```\n\n```python\n{code}\n```"


def _figures(figures: list[Mapping[str, str]]) -> str:
    shown = [f"![{entry['title']}](figures/{entry['file']})\n\n*{entry['caption']}*" for entry in figures]
    return "\n\n".join(["## Figures", *shown]) if shown else ""


def _scores(scores: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        (name.removeprefix("score/"), _number(facts["value"]), _facts(facts)) for name, facts in sorted(scores.items())
    ]
    return _table("Scores", ("score", "value", "measured on"), rows)


def _facts(facts: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in facts.items() if name != "value" and value is not None)


def _metrics(metrics: Mapping[str, float]) -> str:
    rows = [(name, _number(value)) for name, value in metrics.items()]
    text = _table("Final numbers", ("metric", "value"), rows)
    return f"{text}\n\nLosses are in nats, summed over pixels or words and averaged over the batch." if rows else ""


def _data(data: Mapping[str, Any]) -> str:
    rows = [(name, _plain(value)) for name, value in data.items() if value not in (None, [], False)]
    return _table("Data", ("fact", "value"), rows)


def _settings(model: Mapping[str, Any]) -> str:
    rows = [(name.strip("_"), _plain(value)) for name, value in model.items() if value not in (None, False, {})]
    return _table("Settings", ("setting", "value"), rows)


def _training(training: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    names = ("status", "started", "step", "optimizer_steps", "wall_seconds", "device", "processes", "examples", "seed")
    rows = [(name, _plain(training[name])) for name in (*names, "checkpoint", "git_revision") if training.get(name)]
    if training.get("command"):
        rows.append(("command", f"`{training['command']}`"))
    versions = training.get("versions") or {}
    rows += [(f"version of {name}", str(version)) for name, version in versions.items() if version != "not installed"]
    return _table("Training", ("fact", "value"), rows)


def _table(title: str, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    if not rows:
        return ""
    lines = [columns, tuple("---" for _ in columns), *rows]
    return f"## {title}\n\n" + "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(str(text).split()).replace("|", "\\|")


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_plain(each)}" for name, each in value.items())
    if isinstance(value, list):
        shown = ", ".join(_plain(each) for each in value[:20])
        return f"{shown}, ... ({len(value)})" if len(value) > 20 else shown
    return _number(value) if isinstance(value, float) else str(value)


def _duration(seconds: float) -> str:
    for unit, length in (("hours", HOURS), ("minutes", MINUTES)):
        if seconds >= length:
            return f"{seconds / length:.2g} {unit}"
    return f"{seconds:.0f} seconds"


def _number(value: float) -> str:
    return f"{value:.4g}"
