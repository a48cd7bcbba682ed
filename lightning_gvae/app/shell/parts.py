"""Components that several tabs use, and what they have in common."""

from typing import Any

import gradio as gr

__all__ = ["output_picture", "seed_box"]


def output_picture(label: str, elem_id: str, plot: bool = False, **kwargs: Any) -> gr.Image:
    """A picture that the lab shows, as PNG; but for a ``plot`` it is enlarged without smoothing its pixels."""
    classes = ["lab-picture"] if plot else ["lab-picture", "lab-pixels"]
    kwargs = {"buttons": ["download", "fullscreen"], "elem_classes": classes, **kwargs}
    return gr.Image(label=label, elem_id=elem_id, format="png", interactive=False, alt_text=label, **kwargs)


def seed_box(
    label: str = "Seed", info: str = "The same seed gives the same result.", value: int = 0, **kwargs: Any
) -> gr.Number:
    """A whole number that chooses the random draws."""
    return gr.Number(value=value, label=label, info=info, precision=0, min_width=120, **kwargs)
