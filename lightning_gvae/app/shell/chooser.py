"""The top of the page: which model."""

import re
from typing import Any, NamedTuple

import gradio as gr

from lightning_gvae.app.service.opened import Opened
from lightning_gvae.app.session import Lab, Session
from lightning_gvae.app.shell.handlers import readable
from lightning_gvae.interfaces import HasBeta, offers

__all__ = ["Chooser", "checkpoint_list", "chooser"]

NONE_YET = "No model is loaded yet. Choose a checkpoint and press **Load**."


class Chooser(NamedTuple):
    """Parts at the top of the page that the tabs need.

    Attributes:
        refresh: Runs when the page is opened or refreshed, to fill lists.
        loaded: Event after which there is another model.
    """

    refresh: gr.Button
    loaded: Any


def chooser(lab: Lab, session: gr.State, page: gr.Blocks) -> Chooser:
    """Build it."""
    with gr.Group():
        with gr.Row():
            choice = gr.Dropdown(
                choices=[],
                label="Checkpoint",
                info="Trained models below the folder of runs, newest first.",
                allow_custom_value=True,
                scale=3,
                min_width=260,
                elem_id="checkpoint",
            )
            folder = gr.Textbox(
                label="Or a folder",
                info="An existing run folder or .ckpt file; used instead if filled in.",
                max_length=1000,
                scale=2,
                min_width=220,
                elem_id="folder",
            )
        with gr.Row():
            load = gr.Button("Load", variant="primary", elem_id="load", min_width=120)
            refresh = gr.Button("Refresh", elem_id="refresh", min_width=120)
    facts = gr.Markdown(NONE_YET, elem_id="facts")

    def fill() -> Any:
        return checkpoint_list(lab)

    def load_model(session: Session, choice: str | None, folder: str) -> tuple[Session, str]:
        path = lab.library.find((folder or "").strip() or choice or "")
        opened = lab.library.open(path)
        session.load(path)
        return session, describe(opened)

    page.load(fill, outputs=choice, api_visibility="private")
    refresh.click(readable(fill), outputs=choice, api_visibility="private")
    loaded = load.click(
        readable(load_model), [session, choice, folder], [session, facts], api_name="load", scroll_to_output=False
    )
    return Chooser(refresh, loaded)


def checkpoint_list(lab: Lab) -> Any:
    """Update of a list of checkpoints: what there is now, the newest chosen; runs that have not finished are marked."""
    found = lab.library.choices()
    labels = [_labelled(path, lab.library.status(path)) for path in found]
    return gr.update(choices=list(zip(labels, found, strict=True)), value=found[0] if found else None)


def _labelled(path: str, status: str | None) -> str:
    return shorter(path) if status in (None, "finished") else f"{shorter(path)} ({status})"


def shorter(path: str) -> str:
    """A checkpoint's path as it fits on a phone: without the folders that all runs have, and fractions of seconds.

    >>> shorter("train/runs/2026-01-31_10-20-30-123456/checkpoints/last.ckpt")
    '2026-01-31_10-20-30 last'
    """
    run, _, name = path.removeprefix("train/runs/").removesuffix(".ckpt").rpartition("/")
    whole = re.sub(r"(_[-0-9]{8})-[0-9]{6}", r"\1", run.removesuffix("/checkpoints"))
    return f"{whole} {name}".strip()


def describe(opened: Opened) -> str:
    """One line about a model, as Markdown."""
    channels, height, width = opened.image_shape
    model = opened.model
    weight = f", KL weight {float(model.beta):.3g}" if opened.has_encoder and offers(model, HasBeta) else ""
    label = opened.label.replace("`", "'")
    colour = "grey" if channels == 1 else "colour"
    return (
        f"**{opened.kind}** trained on **{opened.data_name}**: {colour} images of {width}×{height} pixels, "
        f"{opened.latent_dim} latents{weight}. `{label}`"
    )
