"""Tab: from one image to another."""

import gradio as gr
import numpy as np

from lightning_gvae.app.service.latents import interpolate, start
from lightning_gvae.app.service.sheets import sheet
from lightning_gvae.app.session import Lab, Session
from lightning_gvae.app.shell.chooser import Chooser
from lightning_gvae.app.shell.handlers import readable
from lightning_gvae.app.shell.parts import output_picture, seed_box
from lightning_gvae.app.shell.traverse import START_NAMES

__all__ = ["interpolate_tab"]

PATH_NAMES = [("an arc", "arc"), ("a straight line", "straight")]
COLUMNS = 6


def interpolate_tab(lab: Lab, session: gr.State, top: Chooser) -> None:
    """Build it."""
    gr.Markdown("Walk through latent space from one image to another. A good model shows an image at every step.")
    with gr.Row():
        kind = gr.Radio(START_NAMES, value="random", label="Ends are", min_width=200, elem_id="way-kind")
        first = seed_box("From (seed)", info="Chooses the first image.", value=0, elem_id="way-first")
        last = seed_box("To (seed)", info="Chooses the last image.", value=6, elem_id="way-last")
        steps = gr.Slider(2, 30, 12, step=1, label="Images on the way", min_width=180, elem_id="way-steps")
        path = gr.Dropdown(
            PATH_NAMES,
            value="arc",
            label="Along",
            info="The arc keeps the distance from the centre.",
            min_width=220,
            elem_id="way-path",
        )
    button = gr.Button("Interpolate", variant="primary", elem_id="way-go")
    picture = output_picture("From first to last", "way-picture")

    def walk(session: Session, kind: str, first: float, last: float, steps: float, path: str) -> np.ndarray:
        opened = lab.opened(session)
        ends = start(opened, kind, first), start(opened, kind, last)
        return sheet(interpolate(opened, *ends, steps, path), COLUMNS)

    button.click(readable(walk), [session, kind, first, last, steps, path], picture, api_name="interpolate")
    top.loaded.success(lambda: None, outputs=picture, api_visibility="private")
