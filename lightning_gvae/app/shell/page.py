"""The whole page, and the server that shows it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from lightning_gvae.app.service.library import Library, Restored
from lightning_gvae.app.session import Lab, Session
from lightning_gvae.app.settings import AppSettings
from lightning_gvae.app.shell.breed import breed_tab
from lightning_gvae.app.shell.chooser import chooser
from lightning_gvae.app.shell.classes import classes_tab
from lightning_gvae.app.shell.diverge import diverge_tab
from lightning_gvae.app.shell.gaussian import gaussian_tab
from lightning_gvae.app.shell.generations import generations_tab
from lightning_gvae.app.shell.interpolate import interpolate_tab
from lightning_gvae.app.shell.latent_space import latent_space_tab
from lightning_gvae.app.shell.reconstruct import reconstruct_tab
from lightning_gvae.app.shell.sample import sample_tab
from lightning_gvae.app.shell.traverse import traverse_tab
from lightning_gvae.errors import ConfigError

__all__ = ["TABS", "build_page", "run_lab", "start_server"]

TABS = (
    "Sample",
    "Reconstruct",
    "Traverse",
    "Interpolate",
    "Latent space",
    "Classes",
    "Generations",
    "Gaussian lab",
    "Breed",
    "Diverge",
)
SESSIONS = 100  # visitors whose state is kept
HOUR = 3600  # seconds; how long a visitor's files and state are kept
QUEUED = 64  # requests that may wait

# Fonts of the visitor's own machine: Gradio's would be fetched from the network.
FONT = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
MONO = ["ui-monospace", "Consolas", "monospace"]

CSS = """
.lab-picture .image-container { padding-top: 2rem; }
.lab-pixels img { image-rendering: pixelated; }
#facts { padding: 0.25rem 0.5rem; overflow-wrap: anywhere; }
#breed-picture img { cursor: pointer; }
.gradio-container { width: 100% !important; max-width: 1200px !important; margin: 0 auto !important; }
footer { display: none !important; }
"""


def build_page(lab: Lab) -> gr.Blocks:
    """The page; what it does not know of itself it asks the lab."""
    with gr.Blocks(title="lightning-gvae lab", analytics_enabled=False, delete_cache=(HOUR, HOUR)) as page:
        session = gr.State(Session(), time_to_live=12 * HOUR, delete_callback=Session.forget)
        gr.Markdown("# lightning-gvae lab\nLook into trained generative models: sample, explore, breed.")
        top = chooser(lab, session, page)
        builders: tuple[Callable[[], Any], ...] = (
            lambda: sample_tab(lab, session, top),
            lambda: reconstruct_tab(lab, session, top),
            lambda: traverse_tab(lab, session, top),
            lambda: interpolate_tab(lab, session, top),
            lambda: latent_space_tab(lab, session, top),
            lambda: classes_tab(lab, session, top),
            lambda: generations_tab(lab, session, top, page),
            gaussian_tab,
            lambda: breed_tab(lab, session, top),
            lambda: diverge_tab(lab, session, top, page),
        )
        with gr.Tabs():
            for name, build in zip(TABS, builders, strict=True):
                with gr.Tab(name):
                    build()
    page.queue(default_concurrency_limit=lab.settings.concurrency, max_size=QUEUED)
    return page


def start_server(page: gr.Blocks, settings: AppSettings, wait: bool) -> str:
    """Serve the page; returns its address, at once or, if it is to ``wait``, when the server was stopped.

    Raises:
        ConfigError: The port is taken, or the address is not this machine's.
    """
    try:
        _, url, _ = page.launch(
            server_name=settings.host,
            server_port=settings.port or None,
            inbrowser=settings.open_browser,
            prevent_thread_lock=not wait,
            share=False,
            quiet=not wait,
            max_file_size=f"{settings.max_upload_mb}mb",
            state_session_capacity=SESSIONS,
            enable_monitoring=False,
            ssr_mode=False,
            pwa=False,
            footer_links=[],
            theme=gr.themes.Default(font=FONT, font_mono=MONO).set(block_info_text_color="*neutral_600"),
            css=CSS,
        )
    except OSError as error:
        raise ConfigError(
            f"the lab cannot listen on {settings.host}:{settings.port} ({error}); choose another app.port, or 0 "
            "for a free one."
        ) from error
    return url


def run_lab(settings: AppSettings, restore: Callable[[Path], Restored]) -> None:
    """Serve the lab until it is interrupted."""
    lab = Lab(Library(settings, restore))
    try:
        start_server(build_page(lab), settings, wait=True)
    finally:
        lab.close()
