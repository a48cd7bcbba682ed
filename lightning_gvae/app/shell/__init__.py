"""The page of the web lab: Gradio components around :mod:`lightning_gvae.app.service`, one file a tab.

Nothing here computes: handlers take what was entered, call the service and show what comes back. Everything that
belongs to one visitor lies in a ``gr.State``. Gradio comes with the extra ``app``; no other part of the package imports
it.
"""

import os

# Before Gradio is imported, which asks them: the lab tells nobody of its use and needs no network.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
