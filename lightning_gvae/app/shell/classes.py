"""Tab: which classes the samples are of."""

import gradio as gr
import numpy as np

from lightning_gvae.app.service.classes import class_counts
from lightning_gvae.app.service.figures import class_bars
from lightning_gvae.app.service.sampling import sample
from lightning_gvae.app.session import Lab, Session
from lightning_gvae.app.shell.chooser import Chooser
from lightning_gvae.app.shell.handlers import readable
from lightning_gvae.app.shell.parts import output_picture, seed_box
from lightning_gvae.app.shell.sample import SAMPLER_NAMES

__all__ = ["classes_tab"]


def classes_tab(lab: Lab, session: gr.State, top: Chooser) -> None:
    """Build it."""
    gr.Markdown(
        "A classifier trained on the real images sorts the samples. A model that has collapsed forgets whole classes. "
        "The classifier is trained the first time, which takes up to a few minutes, and is kept."
    )
    with gr.Row():
        n = gr.Number(
            lab.settings.max_images,
            label="How many samples",
            info=f"1 to {lab.settings.max_images:,}.",
            precision=0,
            min_width=120,
            elem_id="classes-n",
        )
        seed = seed_box(elem_id="classes-seed")
        sampler = gr.Dropdown(
            SAMPLER_NAMES, value="prior", label="Draw latents from", min_width=220, elem_id="classes-sampler"
        )
    button = gr.Button("Count classes", variant="primary", elem_id="classes-go")
    picture = output_picture("Samples and real images by class", "classes-picture", plot=True)
    note = gr.Markdown(elem_id="classes-note")

    def count(session: Session, n: float, seed: float, sampler: str) -> tuple[np.ndarray, str]:
        opened = lab.opened(session)
        found = class_counts(opened, sample(opened, n, seed, 1.0, sampler, lab.settings.max_images))
        missing = f"Fewer than 1 % of the samples: **{', '.join(found.missing)}**." if found.missing else ""
        return class_bars(found), (
            f"{found.distance:.0%} of the samples would have to change class for the shares to agree (total "
            "variation). "
            f"{missing} The classifier is right on {found.accuracy:.1%} of the real test images."
        )

    button.click(readable(count), [session, n, seed, sampler], [picture, note], api_name="classes")
    top.loaded.success(lambda: (None, ""), outputs=[picture, note], api_visibility="private")
