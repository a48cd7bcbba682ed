"""Tab: the aggregate posterior beside the prior."""

import gradio as gr
import numpy as np

from lightning_gvae.app.service.figures import latent_histograms, latent_plane
from lightning_gvae.app.service.posterior import posterior_view
from lightning_gvae.app.session import Lab, Session
from lightning_gvae.app.shell.chooser import Chooser
from lightning_gvae.app.shell.handlers import readable
from lightning_gvae.app.shell.parts import output_picture

__all__ = ["latent_space_tab"]


def latent_space_tab(lab: Lab, session: gr.State, top: Chooser) -> None:
    """Build it."""
    gr.Markdown(
        "Where the model puts 5,000 training images. New images are drawn from the prior (dashed circles at 1, 2 and 3 "
        "standard deviations; black curves beside the blue histograms): where it and the real images do not "
        "overlap, samples look wrong."
    )
    button = gr.Button("Show", variant="primary", elem_id="space-go")
    with gr.Row():
        plane = output_picture("Main directions", "space-plane", plot=True, min_width=280)
        bars = output_picture("Each latent", "space-histograms", plot=True, min_width=280)

    def show(session: Session) -> tuple[np.ndarray, np.ndarray]:
        view = posterior_view(lab.opened(session))
        return latent_plane(view), latent_histograms(view)

    button.click(readable(show), session, [plane, bars], api_name="latent_space")
    top.loaded.success(lambda: (None, None), outputs=[plane, bars], api_visibility="private")
