"""Tab: away from what the model was trained for."""

from typing import Any

import gradio as gr
import numpy as np

from lightning_gvae.app.service.diverging import (
    FURTHEST,
    MOST_LINKS,
    MOST_STEPS,
    OBJECTIVES,
    ROW,
    WIDEST,
    attribute,
    blend,
    further_trained,
    iterated,
    stretched,
)
from lightning_gvae.app.service.sheets import sheet
from lightning_gvae.app.session import Lab, Session
from lightning_gvae.app.shell.chooser import Chooser, checkpoint_list
from lightning_gvae.app.shell.handlers import readable
from lightning_gvae.app.shell.parts import output_picture, seed_box
from lightning_gvae.app.shell.traverse import START_NAMES

__all__ = ["diverge_tab"]


def diverge_tab(lab: Lab, session: gr.State, top: Chooser, page: gr.Blocks) -> None:
    """Build it."""
    gr.Markdown("Leave what the model was trained for, on purpose. The loaded model itself stays as it is.")
    with gr.Tabs():
        with gr.Tab("Typical or extreme"):
            _prior(lab, session, top)
        with gr.Tab("From class to class"):
            _classes(lab, session, top)
        with gr.Tab("Blend"):
            _blend(lab, session, top, page)
        with gr.Tab("Again and again"):
            _chain(lab, session, top)
        with gr.Tab("Train away"):
            _train(lab, session, top)


def _prior(lab: Lab, session: gr.State, top: Chooser) -> None:
    with gr.Row():
        seed = seed_box(elem_id="prior-seed")
        bound = gr.Slider(
            0.1,
            WIDEST,
            1.0,
            step=0.1,
            label="Cut the prior at",
            min_width=200,
            elem_id="prior-bound",
            info="Standard deviations. A small bound: typical images, few kinds.",
        )
        factor = gr.Slider(
            0,
            FURTHEST,
            1.0,
            step=0.1,
            label="Then multiply by",
            min_width=200,
            elem_id="prior-factor",
            info="Above 1: further out than any training image.",
        )
    button = gr.Button("Sample", variant="primary", elem_id="prior-go")
    picture = output_picture("Samples", "prior-picture")

    def draw(session: Session, seed: float, bound: float, factor: float) -> np.ndarray:
        return sheet(stretched(lab.opened(session), seed, bound, factor), ROW)

    button.click(readable(draw), [session, seed, bound, factor], picture, api_name="stretch")
    _cleared(top, picture)


def _classes(lab: Lab, session: gr.State, top: Chooser) -> None:
    with gr.Row():
        first = gr.Dropdown(label="From class", allow_custom_value=True, min_width=160, elem_id="attribute-from")
        last = gr.Dropdown(label="To class", allow_custom_value=True, min_width=160, elem_id="attribute-to")
        seed = seed_box("Which image (seed)", info="Another number, another image.", elem_id="attribute-seed")
        reach = gr.Slider(
            0,
            FURTHEST,
            1.5,
            step=0.1,
            label="How far",
            min_width=200,
            elem_id="attribute-reach",
            info="1 is the distance of the two classes' means; beyond it lies exaggeration.",
        )
    button = gr.Button("Walk", variant="primary", elem_id="attribute-go")
    picture = output_picture("From the image on, along the direction", "attribute-picture")

    def walk(session: Session, first: str, last: str, seed: float, reach: float) -> np.ndarray:
        return sheet(attribute(lab.opened(session), first, last, seed, reach), ROW)

    def fill(session: Session) -> tuple[Any, ...]:
        opened = lab.opened(session)
        names = list(opened.class_names) if opened.has_encoder else []
        ends = (names[0], names[-1]) if names else (None, None)
        return *(gr.update(choices=names, value=end) for end in ends), None

    button.click(readable(walk), [session, first, last, seed, reach], picture, api_name="attribute")
    top.loaded.success(fill, session, [first, last, picture], api_visibility="private")


def _blend(lab: Lab, session: gr.State, top: Chooser, page: gr.Blocks) -> None:
    with gr.Row():
        other = gr.Dropdown(
            [],
            label="With the checkpoint",
            allow_custom_value=True,
            scale=2,
            min_width=260,
            elem_id="blend-other",
            info="One of the same settings, best one that was trained on from the loaded model.",
        )
        share = gr.Slider(
            -0.5,
            1.5,
            0.5,
            step=0.05,
            label="Share of its weights",
            min_width=200,
            elem_id="blend-share",
            info="Below 0 and above 1: past the two.",
        )
        seed = seed_box(elem_id="blend-seed")
    button = gr.Button("Blend", variant="primary", elem_id="blend-go")
    picture = output_picture("Loaded model, in between, the other one; the same latents", "blend-picture")

    def mix(session: Session, other: str | None, share: float, seed: float) -> np.ndarray:
        found = lab.library.open(lab.library.find(other or ""))
        return sheet(_joined(blend(lab.opened(session), found, share, seed)), ROW)

    def fill() -> Any:
        return checkpoint_list(lab)

    page.load(fill, outputs=other, api_visibility="private")
    top.refresh.click(readable(fill), outputs=other, api_visibility="private")
    button.click(readable(mix), [session, other, share, seed], picture, api_name="blend")
    _cleared(top, picture)


def _chain(lab: Lab, session: gr.State, top: Chooser) -> None:
    with gr.Row():
        kind = gr.Radio(START_NAMES, value="random", label="Start from", min_width=200, elem_id="chain-kind")
        seed = seed_box("Which one (seed)", info="Another number, another start.", elem_id="chain-seed")
        links = gr.Slider(1, MOST_LINKS, 7, step=1, label="Times", min_width=180, elem_id="chain-links")
        gain = gr.Slider(
            0,
            FURTHEST,
            1.0,
            step=0.1,
            label="Gain",
            min_width=200,
            elem_id="chain-gain",
            info="Factor of the latents each time; above 1 it does not come to rest.",
        )
    button = gr.Button("Encode and decode", variant="primary", elem_id="chain-run")
    picture = output_picture("What came out goes in again", "chain-picture")

    def run(session: Session, kind: str, seed: float, links: float, gain: float) -> np.ndarray:
        return sheet(iterated(lab.opened(session), kind, seed, links, gain), ROW)

    button.click(readable(run), [session, kind, seed, links, gain], picture, api_name="chain")
    _cleared(top, picture)


def _train(lab: Lab, session: gr.State, top: Chooser) -> None:
    with gr.Row():
        objective = gr.Radio(
            list(OBJECTIVES),
            value=OBJECTIVES[0],
            label="Wanted",
            min_width=220,
            elem_id="away-objective",
            info="Images of no clear class, or images unlike all real ones.",
        )
        steps = gr.Slider(1, MOST_STEPS, 60, step=1, label="Steps", min_width=180, elem_id="away-steps")
        leash = gr.Slider(
            0,
            1,
            0.0,
            step=0.01,
            label="Leash",
            min_width=180,
            elem_id="away-leash",
            info="Above 0 it holds the weights near where they began.",
        )
        seed = seed_box(elem_id="away-seed")
    button = gr.Button("Train a copy", variant="primary", elem_id="away-go")
    picture = output_picture("Before and after, from the same latents", "away-picture")
    note = gr.Markdown(elem_id="away-note")

    def train(session: Session, objective: str, steps: float, leash: float, seed: float) -> tuple[np.ndarray, str]:
        images, course, moved = further_trained(lab.opened(session), objective, steps, leash, seed)
        unit = "nats of a classifier's doubt" if objective == OBJECTIVES[0] else "pixels from the nearest real image"
        words = f"{course[0]:.2f} → {course[-1]:.2f} {unit}; the decoder's weights moved by {moved:.1%}."
        return sheet(_joined(images), ROW), words

    button.click(readable(train), [session, objective, steps, leash, seed], [picture, note], api_name="train_away")
    top.loaded.success(lambda: (None, ""), outputs=[picture, note], api_visibility="private")


def _joined(rows: np.ndarray) -> np.ndarray:
    """``(R, N, C, H, W)`` to ``(R N, C, H, W)``."""
    return rows.reshape(-1, *rows.shape[2:])


def _cleared(top: Chooser, picture: gr.Image) -> None:
    top.loaded.success(lambda: None, outputs=picture, api_visibility="private")
