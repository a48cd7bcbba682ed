"""Tab: a walk through the generations of a collapse study."""

from typing import Any

import gradio as gr
import numpy as np

from lightning_gvae.app.service.figures import metric_lines
from lightning_gvae.app.service.generations import StoredChain, chains_below, read_chain, read_generation
from lightning_gvae.app.service.sheets import sheet
from lightning_gvae.app.session import Lab, Session
from lightning_gvae.app.shell.chooser import Chooser
from lightning_gvae.app.shell.handlers import readable
from lightning_gvae.app.shell.parts import output_picture
from lightning_gvae.errors import ConfigError, DataError

__all__ = ["generations_tab"]

SHOWN = 36


def generations_tab(lab: Lab, session: gr.State, top: Chooser, page: gr.Blocks) -> None:
    """Build it."""
    gr.Markdown(
        "When a model learns from images that the last model made, and so on, images get worse and all alike. "
        "This walks "
        "through the generations that `python study.py study=collapse` left. It needs no loaded model."
    )
    choice = gr.Dropdown(
        [],
        label="Chain of generations",
        allow_custom_value=True,
        elem_id="chain",
        info="Found below the folder of runs, or enter a folder.",
    )
    button = gr.Button("Open", variant="primary", elem_id="chain-go")
    slider = gr.Slider(0, 1, 0, step=1, label="Generation", visible=False, elem_id="generation")
    with gr.Row():
        picture = output_picture("Samples of this generation", "generation-picture", min_width=280)
        lines = output_picture("Scores by generation", "generation-lines", plot=True, min_width=280)
    note = gr.Markdown(elem_id="generation-note")

    def fill() -> Any:
        found = chains_below(lab.library.root)
        return gr.update(choices=found, value=found[0] if found else None)

    def open_chain(session: Session, choice: str | None) -> tuple[Any, ...]:
        if not choice:
            raise DataError(
                "there is no collapse study below the folder of runs yet; run `python study.py study=collapse` with an "
                "image model first, then press Refresh."
            )
        chain = read_chain(lab.library.folder(choice))
        session.chain = chain.folder
        first, last = chain.numbers[0], chain.numbers[-1]
        move = gr.update(visible=last > first, minimum=first, maximum=max(last, first + 1), value=first)
        return session, move, *show(chain, first)

    def walk(session: Session, number: float) -> tuple[np.ndarray, np.ndarray, str]:
        if session.chain is None:
            raise ConfigError("no chain of generations is open; choose one and press Open.")
        return show(read_chain(session.chain), int(number))

    page.load(fill, outputs=choice, api_visibility="private")
    top.refresh.click(fill, outputs=choice, api_visibility="private")
    outputs = [picture, lines, note]
    button.click(readable(open_chain), [session, choice], [session, slider, *outputs], api_name="open_generations")
    slider.input(
        readable(walk),
        [session, slider],
        outputs,
        api_name="generation",
        show_progress="hidden",
        trigger_mode="always_last",
    )


def show(chain: StoredChain, number: int) -> tuple[np.ndarray, np.ndarray, str]:
    """Sheet, curves and words of one generation."""
    found = read_generation(chain.folder, number, SHOWN)
    words = f"Generation {number} of {chain.numbers[-1]}: {len(found.images)} of its {found.total:,} samples."
    rows = "".join(f"\n| {name} | {value:.4g} |" for name, value in sorted(found.metrics.items()))
    table = f"\n\n| score | value |\n| --- | --- |{rows}" if rows else ""
    return sheet(found.images), metric_lines(chain, number), words + table
