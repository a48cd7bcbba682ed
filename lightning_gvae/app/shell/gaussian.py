"""Tab: collapse where it can be computed."""

import gradio as gr
import numpy as np

from lightning_gvae.app.service.figures import fitted_densities, variance_lines
from lightning_gvae.app.service.gaussian_lab import gaussian_lab
from lightning_gvae.app.shell.handlers import readable
from lightning_gvae.app.shell.parts import output_picture, seed_box

__all__ = ["gaussian_tab"]

POLICY_NAMES = [
    ("the last samples alone (replace)", "replace"),
    ("everything so far (accumulate)", "accumulate"),
    ("a part of everything so far", "accumulate_subsample"),
    ("real points and last samples (augment)", "augment"),
    ("some new real points (fresh)", "fresh"),
]
ESTIMATOR_NAMES = [("unbiased", "unbiased"), ("maximum likelihood", "mle")]


def gaussian_tab() -> None:
    """Build it."""
    gr.Markdown(
        "The smallest model that can collapse: fit a Gaussian to points, draw points from it, fit the next one "
        "to those. "
        "Solid lines are measured on many chains, dashed lines are theory. It needs no loaded model."
    )
    policy = gr.Dropdown(POLICY_NAMES, value="replace", label="Each generation learns from", elem_id="gauss-policy")
    with gr.Row():
        samples = gr.Number(
            20, label="Points a generation", info="2 to 10,000", precision=0, min_width=130, elem_id="gauss-n"
        )
        generations = gr.Number(60, label="Generations", info="1 to 500", precision=0, min_width=130, elem_id="gauss-g")
        chains = gr.Number(300, label="Chains", info="2 to 2,000", precision=0, min_width=130, elem_id="gauss-chains")
    with gr.Row():
        estimator = gr.Dropdown(
            ESTIMATOR_NAMES,
            value="unbiased",
            label="Estimate of the variance",
            min_width=180,
            elem_id="gauss-estimator",
        )
        fresh = gr.Slider(
            0.0,
            1.0,
            0.2,
            step=0.05,
            label="Share of new real points",
            info="Only for “some new real points”.",
            min_width=180,
            elem_id="gauss-fresh",
        )
        seed = seed_box(elem_id="gauss-seed")
    button = gr.Button("Run", variant="primary", elem_id="gauss-go")
    note = gr.Markdown(elem_id="gauss-note")
    with gr.Row():
        lines = output_picture("Variance by generation", "gauss-lines", plot=True, min_width=280)
        densities = output_picture("One chain", "gauss-densities", plot=True, min_width=280)

    def run(
        policy: str, samples: float, generations: float, chains: float, estimator: str, fresh: float, seed: float
    ) -> tuple[str, np.ndarray, np.ndarray]:
        lab = gaussian_lab(policy, samples, generations, chains, estimator, fresh, seed)
        return lab.words, variance_lines(lab), fitted_densities(lab)

    inputs = [policy, samples, generations, chains, estimator, fresh, seed]
    button.click(readable(run), inputs, [note, lines, densities], api_name="gaussian")
