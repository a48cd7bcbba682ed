"""Tab: one latent at a time."""

from typing import Any

import gradio as gr
import numpy as np

from lightning_gvae.app.service.figures import traversal_table
from lightning_gvae.app.service.latents import REACH, move, start, traverse, useful_dims
from lightning_gvae.app.service.sheets import sheet
from lightning_gvae.app.session import Lab, Session
from lightning_gvae.app.shell.chooser import Chooser
from lightning_gvae.app.shell.handlers import readable
from lightning_gvae.app.shell.parts import output_picture, seed_box
from lightning_gvae.errors import ConfigError

__all__ = ["START_NAMES", "traverse_tab"]

SLIDERS = 10
VALUES = (-2.5, -1.25, 0.0, 1.25, 2.5)
START_NAMES = [("a random draw", "random"), ("a test image", "test image")]


def traverse_tab(lab: Lab, session: gr.State, top: Chooser) -> None:
    """Build it."""
    gr.Markdown("Move one latent at a time and see what it stands for: slant, width, roundness ...")
    with gr.Row():
        kind = gr.Radio(START_NAMES, value="random", label="Start from", min_width=200, elem_id="walk-kind")
        number = seed_box("Which one (seed)", info="Another number, another start.", elem_id="walk-seed")
    button = gr.Button("Start", variant="primary", elem_id="walk-go")
    hint = gr.Markdown("Press **Start** to get sliders.", elem_id="walk-hint")
    with gr.Row():
        with gr.Column(min_width=260, scale=2):
            picture = output_picture("Image of these latents", "walk-picture", height=300)
        with gr.Column(min_width=260, scale=3):
            sliders = [
                gr.Slider(
                    -REACH, REACH, 0, step=0.05, label=f"latent {number}", visible=False, elem_id=f"walk-{number}"
                )
                for number in range(SLIDERS)
            ]
    table = output_picture("All of them at a glance", "walk-table", plot=True)

    def begin(session: Session, kind: str, number: float) -> tuple[Any, ...]:
        opened = lab.opened(session)
        base = start(opened, kind, number)
        session.dims = useful_dims(opened, SLIDERS)
        chosen = [dim for dim, _ in session.dims]
        base[chosen] = np.clip(base[chosen], -REACH, REACH)
        session.base = base
        updates = [
            gr.update(visible=True, value=round(float(base[dim]), 2), label=_name(dim, kl)) for dim, kl in session.dims
        ]
        updates += [gr.update(visible=False)] * (SLIDERS - len(updates))
        frames = traverse(opened, base, chosen, VALUES)
        words = "The sliders go from −3 to 3 standard deviations of the prior."
        if opened.has_encoder:
            words += " The latent that says most about an image comes first; near 0 nats it says nothing."
        return session, sheet(opened.decode(base[None])), traversal_table(frames, session.dims, VALUES), words, *updates

    def moved(session: Session, *values: float) -> np.ndarray:
        opened = lab.opened(session)
        if session.base is None:
            raise ConfigError("there is no start yet; press Start first.")
        chosen = [dim for dim, _ in session.dims]
        return sheet(move(opened, session.base, dict(zip(chosen, values, strict=False)))[None])

    button.click(
        readable(begin), [session, kind, number], [session, picture, table, hint, *sliders], api_name="start_traversal"
    )
    gr.on(
        [slider.input for slider in sliders],
        readable(moved),
        [session, *sliders],
        picture,
        api_name="move",
        show_progress="hidden",
        trigger_mode="always_last",
    )
    top.loaded.success(
        lambda: (None, None, "Press **Start** to get sliders.", *[gr.update(visible=False)] * SLIDERS),
        outputs=[picture, table, hint, *sliders],
        api_visibility="private",
    )


def _name(dim: int, kl: float) -> str:
    return f"z{dim}" if np.isnan(kl) else f"z{dim} ({kl:.1f} nats)"
