"""Tab: what the model makes of a person's image."""

import gradio as gr
import numpy as np

from lightning_gvae.app.service.figures import pairs
from lightning_gvae.app.service.reconstruction import Reconstruction, real_images, reconstruct
from lightning_gvae.app.service.sheets import sheet
from lightning_gvae.app.service.uploads import read_upload
from lightning_gvae.app.session import Lab, Session
from lightning_gvae.app.shell.chooser import Chooser
from lightning_gvae.app.shell.handlers import readable
from lightning_gvae.app.shell.parts import output_picture, seed_box

__all__ = ["reconstruct_tab"]

SHOWN = 6


def reconstruct_tab(lab: Lab, session: gr.State, top: Chooser) -> None:
    """Build it."""
    gr.Markdown(
        "An image is squeezed into a few latents and decoded again: what the model keeps is what it understood."
    )
    with gr.Row():
        with gr.Column(min_width=280):
            upload = gr.File(
                label=f"Your image (PNG, JPEG, ...; up to {lab.settings.max_upload_mb} MB)",
                elem_id="upload",
                height=150,
            )
            invert = gr.Checkbox(
                False,
                label="Exchange dark and light",
                elem_id="upload-invert",
                info="For dark strokes on white paper, where the model knows light on black.",
            )
            crop = gr.Checkbox(True, label="Keep proportions, cut off what is too long", elem_id="upload-crop")
            button = gr.Button("Reconstruct", variant="primary", elem_id="reconstruct-go")
        with gr.Column(min_width=280):
            with gr.Row():
                seen = output_picture("Input", "reconstruct-seen", min_width=130, buttons=[])
                made = output_picture("Reconstruction", "reconstruct-made", min_width=130, buttons=[])
            note = gr.Markdown(elem_id="reconstruct-note")
    gr.Markdown("No image at hand? Take test images, which the model was not trained on.")
    seed = seed_box("Which images (seed)", elem_id="real-seed")
    test = gr.Button("Reconstruct test images", elem_id="real-go")
    table = output_picture("Test images", "real-picture", plot=True)

    def own(session: Session, path: str | None, invert: bool, crop: bool) -> tuple[np.ndarray, np.ndarray, str]:
        opened = lab.opened(session)
        opened.encoder()
        image = read_upload(path, opened.image_shape, invert, crop, lab.settings.max_upload_mb)
        found = reconstruct(opened, image.image[None])
        return sheet(found.originals), sheet(found.images), f"{_plain(image.note)}\n\n{_words(found)}"

    def real(session: Session, seed: float) -> np.ndarray:
        opened = lab.opened(session)
        opened.encoder()
        found = reconstruct(opened, real_images(opened, SHOWN, seed))
        return pairs(found.originals, found.images)

    button.click(readable(own), [session, upload, invert, crop], [seen, made, note], api_name="reconstruct")
    test.click(readable(real), [session, seed], table, api_name="reconstruct_test_images")
    top.loaded.success(lambda: (None, None, "", None), outputs=[seen, made, note, table], api_visibility="private")


def _words(found: Reconstruction) -> str:
    return (
        f"Pixels differ by {found.errors[0]:.0f} of 255 grey levels (root mean square); the latents hold "
        f"{found.kl[0]:.1f} nats about the image."
    )


def _plain(text: str) -> str:
    """Text without what Markdown would take for markup."""
    return "".join(f"\\{character}" if character in "\\`*_[]<>()#!|~" else character for character in text)
