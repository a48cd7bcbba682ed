"""The command line: one module a command; the only part of the package that imports Hydra.

``train``, ``evaluate``, ``export``, ``study``, ``inspect`` and ``app`` each hold a plain function of a configuration,
which stands here too, and an entry point ``main`` that composes the configuration. ``build`` makes objects of
configurations, ``restore`` models of checkpoints.
"""

from lightning_gvae.cli.app import lab
from lightning_gvae.cli.evaluate import evaluate
from lightning_gvae.cli.export import export
from lightning_gvae.cli.inspect import inspect_data
from lightning_gvae.cli.restore import restore
from lightning_gvae.cli.study import study
from lightning_gvae.cli.train import train

__all__ = ["evaluate", "export", "inspect_data", "lab", "restore", "study", "train"]
