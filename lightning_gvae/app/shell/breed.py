"""Tab: interactive evolution."""

from typing import Any

import gradio as gr
import numpy as np

from lightning_gvae.app.service.breeding import MOST_BRED, Variety, breed, first_population
from lightning_gvae.app.service.downloads import write_downloads
from lightning_gvae.app.service.sheets import cell_at, picking_sheet, sheet
from lightning_gvae.app.session import Lab, Session
from lightning_gvae.app.shell.chooser import Chooser
from lightning_gvae.app.shell.handlers import readable
from lightning_gvae.app.shell.parts import output_picture, seed_box
from lightning_gvae.errors import ConfigError

__all__ = ["breed_tab"]

COLUMNS = 4


def breed_tab(lab: Lab, session: gr.State, top: Chooser) -> None:
    """Build it."""
    gr.Markdown(
        "Evolution with you as the judge: **click the images you like**, then press **Next generation**. Their "
        "children mix "
        "the parents' latents (SBX crossover), and now and then one jumps (Cauchy mutation)."
    )
    with gr.Row():
        size = gr.Slider(4, MOST_BRED, 12, step=4, label="Population", min_width=160, elem_id="breed-size")
        seed = seed_box(elem_id="breed-seed")
    with gr.Accordion("How children differ from their parents", open=False):
        with gr.Row():
            eta = gr.Slider(
                0.5, 50, 5, step=0.5, label="Likeness", info="Spread index of SBX; higher is nearer.", min_width=200
            )
            mutation = gr.Slider(0, 1, 0.1, step=0.05, label="Share of latents that jump", min_width=200)
            jump = gr.Slider(
                0, 3, 0.5, step=0.1, label="Size of jumps", info="Median, in standard deviations.", min_width=200
            )
        keep = gr.Checkbox(True, label="Parents live on beside their children", elem_id="breed-keep")
    begin_button = gr.Button("Start anew", elem_id="breed-start")
    with gr.Row():
        with gr.Column(scale=3, min_width=280):
            picture = output_picture("Population (click to pick)", "breed-picture", buttons=["fullscreen"])
        with gr.Column(scale=2, min_width=260):
            status = gr.Markdown("Press **Start anew** to get a first generation.", elem_id="breed-status")
            parents = gr.CheckboxGroup(
                [], label="Picked", info="By number; the same as clicking.", elem_id="breed-parents"
            )
            with gr.Row():
                next_button = gr.Button("Next generation", variant="primary", elem_id="breed-next", min_width=120)
                like = gr.Button("Add to favourites", elem_id="breed-like", min_width=120)
            favourites = output_picture("Favourites", "breed-favourites", buttons=["fullscreen"])
            with gr.Row():
                png = gr.DownloadButton("Download PNG", interactive=False, elem_id="breed-png", min_width=110)
                npz = gr.DownloadButton("Download NPZ", interactive=False, elem_id="breed-npz", min_width=110)

    def view(session: Session, words: str = "") -> tuple[Any, ...]:
        population = session.population
        if population is None:
            raise ConfigError("there is no population yet; press Start anew.")
        numbers = [str(number + 1) for number in range(len(population.genes))]
        return (
            session,
            picking_sheet(population.images(lab.opened(session)), session.picked, COLUMNS),
            gr.update(choices=numbers, value=[numbers[one] for one in sorted(session.picked)]),
            (
                f"**Generation {population.generation}**, {len(numbers)} individuals, {len(session.picked)} picked. "
                f"{words}"
            ),
        )

    def begin(session: Session, size: float, seed: float) -> tuple[Any, ...]:
        session.population, session.picked = first_population(lab.opened(session), size, seed), set()
        return view(session, "Click those you like.")

    def following(session: Session, eta: float, mutation: float, jump: float, keep: bool) -> tuple[Any, ...]:
        if session.population is None:
            raise ConfigError("there is no population yet; press Start anew.")
        count = len(session.picked) if keep else 0
        session.population = breed(session.population, sorted(session.picked), Variety(eta, mutation, jump, keep))
        session.picked = set()
        kept = f"The first {count} are the parents." if count > 1 else "The first is the parent." if count else ""
        different, size = session.population.distinct, len(session.population.genes)
        if different <= max(1, count, size // 4):
            kept += f" Variety is lost: {different} of {size} are different; let more genes jump, or pick others."
        return view(session, kept.strip())

    def click(session: Session, event: gr.SelectData) -> tuple[Any, ...]:
        population = session.population
        if population is None:
            raise ConfigError("there is no population yet; press Start anew.")
        board = picking_sheet(population.images(lab.opened(session)), (), COLUMNS)
        x, y = event.index
        session.pick(session.picked ^ {cell_at(x, y, board.shape[:2], len(population.genes), COLUMNS)})
        return view(session)

    def pick(session: Session, numbers: list[str]) -> tuple[Any, ...]:
        session.pick({int(number) - 1 for number in numbers if number.isdigit()})
        return view(session)

    def keep_favourites(session: Session) -> tuple[Any, ...]:
        opened = lab.opened(session)
        session.add_favourites(opened)
        images, latents = (np.stack(part) for part in zip(*session.favourites, strict=True))
        facts = {"checkpoint": opened.label, "model": opened.kind}
        paths = write_downloads(lab.downloads(session), f"favourites-{opened.kind}", images, latents, facts)
        return session, sheet(images, COLUMNS), *(gr.update(value=str(path), interactive=True) for path in paths)

    outputs = [session, picture, parents, status]
    begin_button.click(readable(begin), [session, size, seed], outputs, api_name="breed_start")
    next_button.click(readable(following), [session, eta, mutation, jump, keep], outputs, api_name="breed_next")
    picture.select(readable(click), session, outputs, api_visibility="private", show_progress="hidden")
    parents.input(readable(pick), [session, parents], outputs, api_name="breed_pick", show_progress="hidden")
    like.click(readable(keep_favourites), session, [session, favourites, png, npz], api_name="breed_favourites")
    top.loaded.success(
        lambda: (
            (None, gr.update(choices=[], value=[]), "Press **Start anew** to get a first generation.", None)
            + (gr.update(value=None, interactive=False),) * 2
        ),
        outputs=[picture, parents, status, favourites, png, npz],
        api_visibility="private",
    )
