"""Learning curves of the runs of a study: what is kept of them, and their figures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lightning_gvae.io.checkpoint import read_checkpoint
from lightning_gvae.plots.comparison import method_bars, method_curves

__all__ = ["Arms", "Drawn", "curve_figures", "latent_figures", "read_curves", "series_of", "validations"]

CURVES = ("train/kl", "train/elbo", "train/recon", "train/beta", "val/kl", "val/recon")
Arms = Mapping[str, Sequence[dict[str, Any]]]
Drawn = tuple[str, str, str, Any]  # file without suffix, title, caption, figure


def read_curves(run_dir: Path) -> dict[str, Any]:
    """Curves of a finished run from its last checkpoint.

    Returns:
        ``curves``: steps and values by name, of what was logged at all (a run that is shorter than the interval of
        the loggers has no values of training); ``kl_dims``: KL of each latent at the last validation, nats;
        ``beta``: the KL weight that the run ended with, NaN of a model without one.
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


def latent_figures(arms: Arms) -> list[Drawn]:
    """Figure of the KL of each latent; none if a run was not validated."""
    if not all(result["kl_dims"] for group in arms.values() for result in group):
        return []
    dims = {arm: np.array([sorted(r["kl_dims"], reverse=True) for r in group]) for arm, group in arms.items()}
    caption = "Mean over the seeds, the latents of each run by falling KL; bars: lowest and highest seed."
    figure = method_bars(dims, "KL of each latent at the end of training", "Latent, by falling KL", "KL (nats)")
    return [("kl_dims", "KL of each latent", caption, figure)]
