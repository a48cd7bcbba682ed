"""Learning curves of the runs of a study: what is kept of them, and their figures."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lightning_gvae.io.checkpoint import read_checkpoint
from lightning_gvae.plots.collapse import Band, band_panels
from lightning_gvae.plots.comparison import method_bars, method_curves

__all__ = [
    "Arms",
    "Drawn",
    "curve_figures",
    "latent_curve_figures",
    "latent_figures",
    "read_curves",
    "series_of",
    "validations",
]

CURVES = ("train/kl", "train/elbo", "train/recon", "train/beta", "val/kl", "val/recon")
MOST = 100  # points of a curve of a latent
SCORES_FILE, OF = "scores.json", "latent_of_"
Arms = Mapping[str, Sequence[dict[str, Any]]]
Drawn = tuple[str, str, str, Any]  # file without suffix, title, caption, figure


def read_curves(run_dir: Path) -> dict[str, Any]:
    """Curves of a finished run from its last checkpoint.

    Returns:
        ``curves``: steps and values by name, of what was logged at all (a run that is shorter than the interval of
        the loggers has no values of training); ``kl_dims``: KL of each latent at the last validation, nats;
        ``kl_curves``: steps and KL of each latent over training, at most a hundred points each; ``factors``: the latent
        that knows most of each factor, by name, if MIG was among the scores; ``beta``: the KL weight that the run ended
        with, NaN of a model without one.
    """
    checkpoint = read_checkpoint(run_dir / "checkpoints" / "last.ckpt")
    history = next(state["rows"] for key, state in checkpoint["callbacks"].items() if key.startswith("History"))
    return {
        "curves": {
            name: {key: history[name][key].tolist() for key in ("steps", "values")}
            for name in CURVES
            if name in history
        },
        "kl_dims": [history[name]["values"][-1].item() for name in sorted(history) if name.startswith("kl/")],
        "kl_curves": [_thinned(history[name]) for name in sorted(history, key=_latent) if name.startswith("kl/")],
        "factors": _factors(run_dir),
        "beta": float(checkpoint["state_dict"].get("beta", np.nan)),
    }


def series_of(result: Mapping[str, Any], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of a curve of a result that holds what :func:`read_curves` returns."""
    curve = result["curves"][name]
    return np.array(curve["steps"], dtype=float), np.array(curve["values"])


def validations(result: Mapping[str, Any]) -> np.ndarray:
    """Rate and distortion at every validation, ``(T, 2)`` in nats, in the order of the steps."""
    return np.stack([series_of(result, name)[1] for name in ("val/kl", "val/recon")], axis=1)


def curve_figures(arms: Arms, target: float, wanted: Sequence[tuple[str, str, str, bool]]) -> list[Drawn]:
    """Figures of curves over training: mean over the seeds, with a band from the lowest to the highest.

    Arms whose runs lack a curve are left out, and a figure without arms too.

    Args:
        arms: Results by arm.
        target: Set-point of the KL, nats; marked in the figure of ``train/kl``.
        wanted: ``(name, title, label, logarithmic)`` of each curve.
    """
    drawn = []
    for name, title, label, log in wanted:
        groups = {arm: group for arm, group in arms.items() if all(name in result["curves"] for result in group)}
        if groups:
            series = {arm: [series_of(result, name) for result in group] for arm, group in groups.items()}
            figure = method_curves(series, title, label, target if name == "train/kl" else None, log)
            caption = "Mean over the seeds; the band goes from the lowest to the highest."
            drawn.append((name.replace("/", "_"), title, caption, figure))
    return drawn


def latent_curve_figures(arms: Arms) -> list[Drawn]:
    """Figure of the KL of each latent over training, in the first seed of every arm; none if no run kept them.

    A latent bears the names of the factors that it knows most of, if they are known.
    """
    panels = {arm: _latents_of(group[0]) for arm, group in arms.items() if group[0].get("kl_curves")}
    if not panels:
        return []
    caption = "First seed of each arm; latents bear the names of the factors that they know most of, where known."
    title = "KL of each latent over training (nats)"
    return [("kl_latents", title, caption, band_panels(panels, title, "Step"))]


def _latents_of(result: Mapping[str, Any]) -> list[Band]:
    names: dict[int, list[str]] = {}
    for factor, latent in (result.get("factors") or {}).items():
        names.setdefault(latent, []).append(factor.replace("_", " "))
    bands = []
    for number, curve in enumerate(result["kl_curves"]):
        label = ", ".join(names.get(number, [])) or ("no factor" if names else f"latent {number}")
        values = np.array(curve["values"])
        bands.append(Band(label, np.array(curve["steps"], dtype=float), values, values, values))
    return bands


def _thinned(rows: Mapping[str, Any]) -> dict[str, list[float]]:
    chosen = np.unique(np.linspace(0, len(rows["steps"]) - 1, MOST).round().astype(int))
    return {key: rows[key][chosen].tolist() for key in ("steps", "values")}


def _latent(name: str) -> int:
    return int(name.removeprefix("kl/")) if name.startswith("kl/") else -1


def _factors(run_dir: Path) -> dict[str, int]:
    path = run_dir / SCORES_FILE
    if not path.is_file():
        return {}
    facts = json.loads(path.read_text(encoding="utf-8")).get("facts", {}).get("score/mig", {})
    return {name.removeprefix(OF): latent for name, latent in facts.items() if name.startswith(OF)}


def latent_figures(arms: Arms) -> list[Drawn]:
    """Figure of the KL of each latent; none if a run was not validated."""
    if not all(result["kl_dims"] for group in arms.values() for result in group):
        return []
    dims = {arm: np.array([sorted(r["kl_dims"], reverse=True) for r in group]) for arm, group in arms.items()}
    caption = "Mean over the seeds, the latents of each run by falling KL; bars: lowest and highest seed."
    figure = method_bars(dims, "KL of each latent at the end of training", "Latent, by falling KL", "KL (nats)")
    return [("kl_dims", "KL of each latent", caption, figure)]
