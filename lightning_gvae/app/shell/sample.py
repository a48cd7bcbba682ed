"""Tab: new images from a seed."""

from typing import Any

import gradio as gr

from lightning_gvae.app.service.downloads import write_downloads
from lightning_gvae.app.service.sampling import HOTTEST, sample
from lightning_gvae.app.service.sheets import sheet
from lightning_gvae.app.session import Lab, Session
from lightning_gvae.app.shell.chooser import Chooser
from lightning_gvae.app.shell.handlers import readable
from lightning_gvae.app.shell.parts import output_picture, seed_box

__all__ = ["SAMPLER_NAMES", "sample_tab"]

SAMPLER_NAMES = [
    ("the prior", "prior"),
    ("a mixture of Gaussians", "gmm"),
    ("a normalising flow", "flow"),
]


def sample_tab(lab: Lab, session: gr.State, top: Chooser) -> None:
    """Build it."""
    gr.Markdown("The model turns random numbers (latents) into images it has never seen.")
    with gr.Row():
        n = gr.Number(
            64,
            label="How many",
            info=f"1 to {lab.settings.max_images:,} images.",
            precision=0,
            min_width=120,
            elem_id="sample-n",
        )
        seed = seed_box(elem_id="sample-seed")
        temperature = gr.Slider(
            0,
            HOTTEST,
            1.0,
            step=0.05,
            label="Temperature",
            min_width=200,
            info="Below 1: more typical, less varied. Above 1: stranger.",
            elem_id="sample-temperature",
        )
        sampler = gr.Dropdown(
            SAMPLER_NAMES,
            value="prior",
            label="Draw latents from",
            min_width=220,
            elem_id="sample-sampler",
            info="The last two are first fitted to real images.",
        )
    button = gr.Button("Generate", variant="primary", elem_id="sample-go")
    picture = output_picture("Samples", "sample-picture")
    with gr.Row():
        png = gr.DownloadButton("Download PNG", interactive=False, elem_id="sample-png", min_width=120)
        npz = gr.DownloadButton("Download NPZ", interactive=False, elem_id="sample-npz", min_width=120)

    def generate(session: Session, n: float, seed: float, temperature: float, sampler: str) -> tuple[Any, ...]:
        opened = lab.opened(session)
        made = sample(opened, n, seed, temperature, sampler, lab.settings.max_images)
        paths = write_downloads(
            lab.downloads(session),
            f"samples-{opened.kind}-seed-{made.facts['seed']}",
            made.images,
            made.latents,
            made.facts,
        )
        return session, sheet(made.images), *(gr.update(value=str(path), interactive=True) for path in paths)

    inputs, outputs = [session, n, seed, temperature, sampler], [session, picture, png, npz]
    button.click(readable(generate), inputs, outputs, api_name="sample")
    top.loaded.success(readable(generate), inputs, outputs, api_visibility="private")
