"""Configuration of the lab, and that the rest of the package does without Gradio."""

import ast
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from hydra.utils import instantiate

from lightning_gvae import cli
from lightning_gvae.app.settings import AppSettings
from lightning_gvae.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]


def composed(*overrides):
    with initialize_config_module("lightning_gvae.conf", version_base="1.3"):
        return compose("app", list(overrides))


def test_the_configuration_is_the_settings():
    assert instantiate(composed("paths.data_dir=sets").app).data_roots == ["sets", "."]
    made = instantiate(composed("paths.cache_dir=null", "app.data_roots=null").app)
    assert made == AppSettings() and made.host == "127.0.0.1" and made.takes_any_folder
    assert instantiate(composed("app.host=0.0.0.0").app).takes_any_folder is False
    assert instantiate(composed("app.host=0.0.0.0", "app.any_folder=true").app).takes_any_folder


@pytest.mark.parametrize(
    "change", [{"port": 70_000}, {"port": "x"}, {"max_images": 0}, {"kept_models": 0}, {"concurrency": 1.5}]
)
def test_settings_out_of_range(change):
    with pytest.raises(ConfigError, match=f"`{next(iter(change))}` must be"):
        AppSettings(**change)


def test_only_the_shell_imports_gradio():
    users = set()
    for path in (ROOT / "lightning_gvae").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.partition(".")[0] == "gradio" for name in names):
                users.add(path.parent.relative_to(ROOT).as_posix())
    assert users == {"lightning_gvae/app/shell"}


def test_without_gradio_the_command_says_what_to_install(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("lightning_gvae.app.shell")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(ConfigError, match=r"needs Gradio; install it with: pip install 'lightning-gvae\[app\]'"):
        cli.lab(composed())
