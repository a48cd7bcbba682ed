"""``app.py`` and ``gvae-app``: the web lab."""

import functools

import hydra
from omegaconf import DictConfig

from lightning_gvae.cli.build import build
from lightning_gvae.cli.entry import CONF, run_entry
from lightning_gvae.cli.restore import restore
from lightning_gvae.errors import ConfigError

__all__ = ["lab", "main"]


def lab(cfg: DictConfig) -> None:
    """Serve the web lab until it is interrupted.

    Args:
        cfg: The composed ``app`` configuration.

    Raises:
        GvaeError: A setting is not as it should be, or the extra ``app`` is not installed.
    """
    settings = build(cfg.app)
    try:
        from lightning_gvae.app.shell.page import run_lab
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "gradio":
            raise
        raise ConfigError("the web lab needs Gradio; install it with: pip install 'lightning-gvae[app]'") from error
    run_lab(settings, functools.partial(restore, data_roots=settings.data_roots))


@hydra.main(version_base="1.3", config_path=CONF, config_name="app")
def _composed(cfg: DictConfig) -> None:
    lab(cfg)


def main() -> None:
    """Entry point of ``app.py`` and ``gvae-app``."""
    run_entry(_composed, stops=False)  # its server ends itself at Ctrl-C
