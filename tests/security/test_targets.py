"""What a configuration may name: classes that a run is made of, and nothing that leads elsewhere."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from lightning_gvae import cli
from lightning_gvae.cli.train import main as train_main
from lightning_gvae.errors import ConfigError
from lightning_gvae.loading.targets import EXTENSION, check_targets, named_targets
from tests.cli.test_conf import CHOICES, resolved

REFUSED = [
    "os.system",
    "subprocess.run",
    "builtins.eval",
    "shutil.rmtree",
    "pickle.loads",
    "importlib.import_module",
    "torch.os.system",  # through an allowed package to another one
    "torch.hub.load",
    "torch.load",
    "torch.utils.cpp_extension.load",
    "torch.hub.os.system",
    "torch.nn.modules.module.warnings.warn",
    "torch.optim.optimizer.functools.partial",
    "lightning.pytorch.cli.LightningCLI",  # makes whatever class its arguments name
    "lightning.pytorch.trainer.trainer.os.system",
    "lightning.fabric.utilities.cloud_io.torch.load",
    "lightning.pytorch.core.saving.os.remove",
    "lightning_gvae.cli.entry.os.system",
    "lightning_gvae.cli.train.main",
    "lightning_gvae.report.run_record.subprocess.run",
    "lightning_gvae.studies.cells.subprocess.Popen",
    "lightning_gvae.io.files.replace_file",
    "lightning_gvae.datamodules.download.download",
    "lightning_gvae.errors",
    "lightning_gvae.io.checkpoint.read_checkpoint",
    "torchmetrics.utilities.imports.sys.exit",
    "torch.nn.Module.__init__",
    "torch.nn",
    "torch",
    "lightning_gvae.",
    "lightning_gvae.models.vae.VAE.__class__",
    "torch.nn.functional.relu",
    "lightning_gvae..models",
    "",
    "${x}",
]


@pytest.mark.parametrize("target", REFUSED)
def test_a_name_that_leads_elsewhere_is_refused(target):
    with pytest.raises(ConfigError, match="`_target_`"):
        check_targets({"deep": [{"down": {"_target_": target, "_partial_": True}}]})


@pytest.mark.parametrize("target", [None, 7, ["os.system"], {"a": "os.system"}])
def test_a_target_that_is_no_text_is_refused(target):
    with pytest.raises(ConfigError, match="`_target_` must be"):
        check_targets({"_target_": target})


@pytest.mark.parametrize(
    "target", ["lightning_gvae.models.nope.Nope", "torch.optim.Nope", "lightning_gvae.models.vae.Nope"]
)
def test_a_misspelt_name_is_said_to_be_so(target):
    with pytest.raises(ConfigError, match="does not exist.*check its spelling"):
        check_targets({"_target_": target})


def test_all_that_the_package_itself_names_is_allowed():
    names = set()
    for choice in CHOICES:
        node = resolved(*choice)
        check_targets({key: value for key, value in node.items() if key != "hydra"})
        names |= set(named_targets(node))
    assert len(names) > 40


def test_only_the_environment_can_allow_more(monkeypatch):
    node = {"_target_": "tests.faults.witness.Witness"}
    with pytest.raises(ConfigError, match=f"Allow your own classes with {EXTENSION}="):
        check_targets(node)
    monkeypatch.setenv(EXTENSION, "some_package., tests.faults.")
    check_targets(node)
    with pytest.raises(ConfigError):
        check_targets({"_target_": "os.system"})
    monkeypatch.setenv(EXTENSION, " , ")  # nothing, and not everything
    with pytest.raises(ConfigError):
        check_targets(node)


def hostile_node(canary: Path) -> dict:
    return {"_target_": "torch.os.mkdir", "path": str(canary)}


def train_config(folder, *overrides):
    with initialize_config_module("lightning_gvae.conf", version_base="1.3"):
        return compose("train", [f"paths.output_dir={folder}", "data=digits", "trainer=cpu", *overrides])


def interpolated(cfg, canary):
    """The harm lies elsewhere in the configuration, and an interpolation leads to it."""
    cfg.paths.evil = hostile_node(canary)
    cfg.model.optimizer = "${paths.evil}"


def nested(cfg, canary):
    cfg.data.extra = {"list": [1, {"deeper": hostile_node(canary)}]}


def whole_group(cfg, canary):
    cfg.model = hostile_node(canary)


def callback(cfg, canary):
    cfg.callbacks.evil = hostile_node(canary)


def logger(cfg, canary):
    cfg.logger.evil = hostile_node(canary)


def composed_name(cfg, canary):
    cfg.task_name = "torch.os"
    cfg.callbacks.evil = hostile_node(canary) | {"_target_": "${task_name}.mkdir"}


@pytest.mark.parametrize("spoil", [interpolated, nested, whole_group, callback, logger, composed_name])
def test_a_configuration_that_would_run_something_is_refused(spoil, tmp_path):
    cfg = train_config(tmp_path / "run")
    OmegaConf.set_struct(cfg, False)
    spoil(cfg, tmp_path / "canary")
    with pytest.raises(ConfigError, match="nothing was called"):
        cli.train(cfg)
    assert not (tmp_path / "canary").exists()


SECTIONS = {
    "callbacks": "+hydra.callbacks.evil={{_target_: os.mkdir, path: {canary}}}",
    "callbacks by a detour": "+hydra.callbacks={{evil: {{_target_: ${{oc.decode:os.mkdir}}, path: {canary}}}}}",
    "logging class": "+hydra.hydra_logging.handlers.evil={{class: os.mkdir, path: {canary}}}",
}


@pytest.mark.parametrize("section", SECTIONS)
def test_hydras_own_section_is_not_executed_either(section, tmp_path, monkeypatch):
    """``hydra.callbacks`` and the logging configuration, which Hydra reads before this package has a say."""
    canary = tmp_path / "canary"
    evil = SECTIONS[section].format(canary=canary)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["train.py", "data=digits", "trainer=cpu", "trainer.max_steps=1", evil])
    monkeypatch.setenv("GVAE_SHORT_ERRORS", "1")
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    GlobalHydra.instance().clear()
    with pytest.raises(SystemExit) as caught:
        train_main()
    message = " ".join(str(caught.value).split())
    assert message.startswith("ConfigError: ") and ("`_target_`" in message or "logging configuration" in message)
    assert not canary.exists()
    assert not list(tmp_path.glob("logs/train/runs/*/checkpoints"))
