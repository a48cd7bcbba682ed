"""The web lab: sample, look into and breed with trained models in a browser.

- :mod:`~lightning_gvae.app.settings`: limits and folders.
- :mod:`~lightning_gvae.app.service`: what the lab can do, as plain functions that know of no web page.
- :mod:`~lightning_gvae.app.shell`: the page, a thin layer of Gradio; the only part that needs the extra ``app``.
"""
