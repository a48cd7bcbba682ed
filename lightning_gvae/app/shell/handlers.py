"""Errors of handlers as messages in the page."""

import functools
import html
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import gradio as gr

from lightning_gvae.errors import GvaeError

__all__ = ["readable"]

P = ParamSpec("P")
T = TypeVar("T")

SECONDS = 15.0


def readable(handler: Callable[P, T]) -> Callable[P, T]:
    """Show errors that a person can mend as a message in the page; others stay a traceback on the console.

    Messages may quote what a visitor typed or a file's name, and the page would read them as HTML: they are escaped.
    """

    @functools.wraps(handler)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return handler(*args, **kwargs)
        except (GvaeError, OSError) as error:
            text = str(error)
            message = html.escape(text[:1].upper() + text[1:])
            raise gr.Error(message, duration=SECONDS, title="That did not work", print_exception=False) from error

    return wrapper
