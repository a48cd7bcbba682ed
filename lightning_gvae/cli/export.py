"""``gvae-export``: a trained model as a folder, as ONNX, as programs of ``torch.export`` or for diffusers."""

from pathlib import Path

import hydra
from omegaconf import DictConfig, OmegaConf

from lightning_gvae.cli.build import build, plain
from lightning_gvae.cli.entry import CONF, run_entry
from lightning_gvae.errors import ConfigError, checked_choice

__all__ = ["export", "main"]

FORMS = ("folder", "onnx", "torch_export", "diffusers")


def export(cfg: DictConfig) -> Path:
    """Write a trained model so that it can be used without its run.

    Args:
        cfg: The composed ``export`` configuration.

    Returns:
        The folder.

    Raises:
        GvaeError: The model cannot be read, or not be exported in this form.
    """
    checked_choice("to", cfg.to, FORMS)
    if cfg.to != "folder" and (cfg.wandb is not None or cfg.hub is not None):
        raise ConfigError(
            f"`wandb` and `hub` take a model with its card: leave them out, or give to=folder, not {cfg.to}."
        )
    from lightning_gvae.export.artifact import log_artifact
    from lightning_gvae.export.folder import export_folder
    from lightning_gvae.export.hub import push_to_hub
    from lightning_gvae.export.latent_diffusion import export_diffusers
    from lightning_gvae.export.programs import export_onnx, export_programs
    from lightning_gvae.interfaces import ConditionedModel, require
    from lightning_gvae.loading.load import load

    network = plain(cfg.network) if OmegaConf.is_dict(cfg.network) else None
    # Networks of a plain checkpoint that were objects; those that a file names are made by `load`.
    built = None if network is None else {part: build(node) for part, node in network.items()}
    model = load(str(cfg.ckpt_path)) if built is None else load(str(cfg.ckpt_path), network=built)
    if cfg.beta is not None:
        model = require(model, ConditionedModel, "`beta`", "Leave it out, or give a model=multi_rate_vae").at(cfg.beta)
    folder = Path(cfg.folder) if cfg.folder is not None else Path(cfg.paths.output_dir) / "model"
    if cfg.to == "folder":
        export_folder(model, folder, network=network, run=cfg.run, scores=cfg.scores)
    elif cfg.to == "diffusers":
        export_diffusers(model, folder)
    else:
        for path in (export_onnx if cfg.to == "onnx" else export_programs)(model, folder):
            print(f"{path.name}: agrees with the model")
    print(f"\nmodel:      {folder}")
    if cfg.to == "folder":
        print(f"load:       lightning_gvae.load({str(folder)!r})")
    if cfg.to == "diffusers":
        print(f"load:       diffusers.AutoencoderKL.from_pretrained({str(folder)!r})")
    if cfg.wandb is not None:
        facts = {"class": type(model).__name__, "data": model.data_facts.name}
        name = log_artifact(folder, cfg.wandb, aliases=list(cfg.aliases), registry=cfg.registry, **facts)
        print(f"artifact:   ckpt_path={name}")
    if cfg.hub is not None:
        print(f"hub:        {push_to_hub(model, cfg.hub, network=network, run=cfg.run)}")
    return folder


@hydra.main(version_base="1.3", config_path=CONF, config_name="export")
def _composed(cfg: DictConfig) -> None:
    export(cfg)


def main() -> None:
    """Entry point of ``gvae-export``."""
    run_entry(_composed)
