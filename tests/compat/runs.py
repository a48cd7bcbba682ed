"""Runs of which fixtures are kept, and what is compared of a model that is opened again."""

from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_module
from omegaconf import DictConfig
from torch import Tensor

from lightning_gvae.cli.hydra_guard import guard_hydra
from tests.datamodules.pictures import photo
from tests.datamodules.sentences import write_corpus

__all__ = [
    "ARCHITECTURE",
    "ARCHIVE",
    "BETAS",
    "COLLAPSE",
    "EXPRESSIVITY",
    "FAMILIES",
    "LATENT",
    "SEARCHED",
    "SOLVE",
    "compose_run",
    "outputs",
    "overrides_of",
    "write_data",
]

SHOWN = 6  # values of a tensor that are compared one by one
RUN = [
    "trainer=cpu",
    "trainer.max_steps=6",
    "trainer.val_check_interval=3",
    "trainer.log_every_n_steps=2",
    "callbacks.progress_bar=null",
    "++trainer.enable_progress_bar=false",
    "latent_dim=2",
]
PLAIN = ["callbacks.exact_resume=null"]
IMAGES = [*RUN, "data=digits", "callbacks.figures=null"]
SMALL = [
    "+model.encoder={_target_:lightning_gvae.nets.mlp.MLPEncoder,image_shape:[1,8,8],latent_dim:2,hidden:[6]}",
    "+model.decoder={_target_:lightning_gvae.nets.mlp.MLPDecoder,image_shape:[1,8,8],latent_dim:2,hidden:[6]}",
]
EVOLVED = [
    "callbacks.beta_evolution.interval=3",
    "callbacks.beta_evolution.warmup=3",
    "callbacks.beta_evolution.lookahead_steps=2",
    "callbacks.beta_evolution.probe_size=32",
]
RAMP = "{_target_:lightning_gvae.evolution.set_point.Ramp,start:2,increment:1,period:4,maximum:6}"
TEXT = [
    *RUN,
    "data=text",
    "data.root=$ROOT/corpus",
    "data.name=toy",
    "data.max_length=20",
    "data.batch_size=16",
    "paths.cache_dir=$ROOT/cache",
    "model.embedding=8",
    "model.hidden=6",
    "callbacks.text_samples=null",
]
TRANSFORMER = ["model.architecture=transformer", "model.heads=2", "model.feedforward=12"]
PICTURES = [
    *RUN,
    "callbacks.figures=null",
    "data=image_folder",
    "data.root=$ROOT/pictures",
    "data.image_size=28",
    "data.channels=1",
    "data.val_size=8",
    "data.test_size=8",
    "data.batch_size=8",
    "paths.cache_dir=$ROOT/cache",
]
CRITERION = [
    *RUN,
    "data=criterion",
    "data.problem=c2",
    "data.dims=2",
    "data.n=64",
    "data.batch_size=16",
    "data.val_size=32",
    "data.test_size=32",
    "paths.cache_dir=$ROOT/cache",
    "callbacks.figures=null",
    "callbacks.best_checkpoint.monitor=val/loss",
    "callbacks.best_checkpoint.mode=min",
]
GENOME = "model.genome='8k3nrp-4k3rp adam 0.003 robust'"

# What stands behind train.py; the fixtures hold what the release that wrote them took.
FAMILIES: dict[str, list[str]] = {
    "vae": [*IMAGES, "model=vae"],
    "vae_custom": [*IMAGES, *PLAIN, *SMALL, "model=vae"],
    "vae_conv": [*PICTURES, *PLAIN, "model=vae", "model.network=conv"],
    "vae_ema": [*IMAGES, *PLAIN, "model=vae", "callbacks=ema"],
    "vae_learnt_sigma": [*IMAGES, *PLAIN, "model=vae", "model.likelihood=learnt_sigma"],
    "vae_realnvp": [
        *IMAGES,
        *PLAIN,
        "model=vae",
        "model.prior=realnvp",
        "+model.prior_settings.hidden=4",
        "+model.prior_settings.layers=2",
    ],
    "vae_gmm": [*IMAGES, *PLAIN, "model=vae", "model.prior=gmm", "+model.prior_settings.components=3"],
    "vae_scheduler": [
        *IMAGES,
        *PLAIN,
        "model=vae",
        "model.lr_scheduler={_target_:torch.optim.lr_scheduler.CosineAnnealingLR,_partial_:true,T_max:10}",
    ],
    "vae_seed": [*IMAGES, *PLAIN, "model=vae", "seed=1"],
    "beta_vae": [*IMAGES, *PLAIN, "model=beta_vae"],
    "capacity_vae": [*IMAGES, *PLAIN, "model=capacity_vae"],
    "annealed_vae": [*IMAGES, *PLAIN, "model=annealed_vae", "model.schedule.steps=10"],
    "cyclical_vae": [*IMAGES, *PLAIN, "model=cyclical_vae", "model.schedule.steps=12"],
    "free_bits_vae": [*IMAGES, *PLAIN, "model=free_bits_vae"],
    "sigma_vae": [*IMAGES, *PLAIN, "model=sigma_vae"],
    "control_vae": [*IMAGES, *PLAIN, "model=control_vae", "model.ramp_start=0.5", "model.ramp_period=2"],
    "dynamic_vae": [*IMAGES, *PLAIN, "model=dynamic_vae"],
    "evae": [*IMAGES, *EVOLVED, "model=evae"],
    "evae_fo": [*IMAGES, *PLAIN, *EVOLVED, "model=evae", "callbacks/beta_evolution=evae_fo"],
    "evae_random": [*IMAGES, *PLAIN, *EVOLVED, "model=evae", "callbacks/beta_evolution=evae_random"],
    "evae_ramp": [
        *IMAGES,
        *PLAIN,
        *EVOLVED,
        "model=evae",
        "callbacks.beta_evolution.search.two_sided=true",
        f"callbacks.beta_evolution.search.target={RAMP}",
    ],
    "solve_vae": [*CRITERION, *PLAIN, "model=solve_vae", "model.candidates=2"],
    "solve_vae_realnvp": [
        *CRITERION,
        *PLAIN,
        "model=solve_vae",
        "model.candidates=1",
        "model.prior=realnvp",
        "+model.prior_settings.hidden=4",
        "+model.prior_settings.layers=2",
    ],
    "gan": [*IMAGES, *PLAIN, "model=gan"],
    "gan_conv": [*PICTURES, *PLAIN, "model=gan", "model.discriminator_norm=group"],
    "vae_gan": [*IMAGES, *PLAIN, "model=vae_gan"],
    "vae_gan_paper": [*IMAGES, *PLAIN, "model=vae_gan_paper"],
    "vae_gan_evae": [
        *IMAGES,
        *PLAIN,
        *EVOLVED,
        "model=vae_gan",
        "+callbacks/beta_evolution=evae",
    ],
    "text_vae": [*TEXT, *PLAIN, "model=text_vae"],
    "text_vae_transformer": [*TEXT, *PLAIN, "model=text_vae", *TRANSFORMER],
    "text_control_vae": [*TEXT, *PLAIN, "model=text_control_vae"],
    "text_evae": [*TEXT, *EVOLVED, "model=text_evae"],
    "text_evae_transformer": [*TEXT, *PLAIN, *EVOLVED, "model=text_evae", *TRANSFORMER],
    "text_lm": [*TEXT, *PLAIN, "model=text_lm"],
    "conv_autoencoder": [
        *RUN,
        "data=digits",
        *PLAIN,
        "model=conv_autoencoder",
        GENOME,
        "callbacks.code_figures=null",
        "callbacks.code_probe=null",
    ],
    "conv_vae": [*IMAGES, *PLAIN, "model=conv_vae", GENOME],
}

# Journals, each with the run that writes it.
OWN = "callbacks.architecture_evolution"
ARCHITECTURE = [
    *RUN,
    "data=digits",
    "model=conv_autoencoder",
    *PLAIN,
    "callbacks.code_figures=null",
    "callbacks.code_probe=null",
    f"{OWN}.shared_journal=$ROOT/store",
    *(
        f"{OWN}.{name}={value}"
        for name, value in {
            "population": 3,
            "generations": 2,
            "epochs": 1,
            "batch_size": 32,
            "train_images": 64,
            "score_images": 64,
            "finetune_epochs": 1,
            "probes": "false",
            "space.max_blocks": 2,
            "space.choices": "{filters:[2,4],kernel:[3]}",
        }.items()
    ),
]
SEARCHED = "vae_custom"  # family whose latent space is searched
LATENT = [
    "+callbacks/latent_search=default",
    "+callbacks.latent_search.problem.criteria.pixel_mass=[0.1,0.6]",
    *(
        f"callbacks.latent_search.{name}={value}"
        for name, value in {
            "problem.objective": "target_distance",
            "problem.wanted": "null",
            "problem.target": 3,
            "bounds": "[-2,2]",
            "runs": 2,
            "frames": 2,
            "save_every": 10,
            "settings.population": 6,
            "settings.generations": 60,
        }.items()
    ),
]
ARCHIVE = [
    "+callbacks/latent_archive=default",
    "callbacks.latent_archive.goal.descriptors=null",
    "~callbacks.latent_archive.goal.realism",
    *(
        f"callbacks.latent_archive.{name}={value}"
        for name, value in {
            "goal.descriptors": "{brightness:[0.1,0.6],mirror_symmetry:[0,1]}",
            "bounds": "[-2,2]",
            "save_every": 10,
            "settings.shape": "[4,4]",
            "settings.iterations": 60,
            "settings.batch_size": 4,
            "settings.initial": 8,
        }.items()
    ),
]
CELL = [*RUN, "data=digits", "callbacks.figures=null", *PLAIN]
BETAS = [
    "study=betas",
    "study.seeds=[0,1]",
    "~study.arms",
    "+study.arms={vae:['model=vae'],beta_vae:['model=beta_vae']}",
    "study.sweep=[vae,beta_vae]",
    "study.holding=[]",
    "study.questions=[]",
    "study.scale.budget=6",
    "study.scale.target_kl=6",
    f"study.scale.overrides={CELL}",
]
COLLAPSE = [
    "study=collapse",
    "study.model=vae",
    "study/data=digits",
    "study.policy=[replace]",
    "study.seeds=[0,1]",
    "study.scale.images.generations=2",
    "study.scale.images.train_images=150",
    "study.scale.images.score_images=150",
    "study.scale.steps.vae=5",
]
SOLVE = [
    "study=solve",
    "study/scale=solve_quick",
    "study.problems=[c2]",
    "study.dims=[2]",
    "study.seeds=[0,1]",
    "study.scale.runs=2",
    "study.scale.n=60",
    "study.scale.epochs=2",
]
EXPRESSIVITY = [
    "study=expressivity",
    "study.settings=[recombination]",
    "study.repeats=2",
    "study.scale.size=8",
    "study.scale.bins=8",
    "study.scale.generations=4",
    "study.scale.children=4",
    "study.scale.steps=4",
    "study.scale.latents=2",
    "study.scale.hidden=[8,8]",
    "study.scale.epochs=2",
    "study.scale.batch_size=8",
]


def write_data(root: Path) -> None:
    """The data of all families that are not part of an installation, below ``root``."""
    from PIL import Image

    write_corpus(root / "corpus")
    (root / "pictures").mkdir(parents=True, exist_ok=True)
    for number in range(48):
        Image.fromarray(photo(number, 28, 28, 1)).save(root / "pictures" / f"{number:02}.png")


def overrides_of(given: list[str], root: Path) -> list[str]:
    """Overrides with the folder that stands for ``$ROOT``."""
    return [text.replace("$ROOT", str(root)) for text in given]


def compose_run(folder: Path, *overrides: str, name: str = "train") -> DictConfig:
    """The configuration of a run that writes to ``folder``, from overrides as the command line takes them."""
    guard_hydra()
    with initialize_config_module("lightning_gvae.conf", version_base="1.3"):
        return compose(name, [f"paths.output_dir={folder}", f"paths.log_dir={folder.parent}", *overrides])


def outputs(model: Any, datamodule: Any) -> dict[str, Any]:
    """What a model makes of a few test samples and of seeded noise, by name; its weights too, each as one number."""
    datamodule.prepare_data()
    datamodule.setup()
    model.eval()
    found: dict[str, Any] = {}
    batch = next(iter(datamodule.test_dataloader()))
    first = batch[0] if isinstance(batch, list | tuple) else batch
    with torch.no_grad():
        inputs = model.prepare(first[:8])
        if type(model).__name__ == "ConvAutoencoder":
            found |= {"loss": model.loss(inputs), "code": model.encode(inputs), "again": model.reconstruct(inputs)}
        elif type(model).__name__ != "GAN":
            terms = model.elbo_terms(inputs, _stream())
            found |= {"recon": terms.recon, "kl": terms.kl, "kl_dims": terms.kl_dims, "loss": model.loss(terms)}
            if getattr(model, "has_posterior", True):
                found |= dict(zip(("mean", "log_var"), model.encode(inputs), strict=True))
                found["decoded"] = model.decode(found["mean"])
        if hasattr(model, "judge") and not isinstance(first, tuple):
            found["judged"] = model.judge(inputs)[1]
        if hasattr(model, "sample"):
            found["sample"] = model.sample(4, _stream())
        weights = [value.double().abs().mean() for value in model.state_dict().values() if value.numel()]
        found["weights"] = torch.stack(weights)
    return {name: _described(value) for name, value in found.items()}


def _stream() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def _described(value: Tensor) -> dict[str, Any]:
    flat = value.detach().double().flatten()
    return {
        "shape": list(value.shape),
        "mean": float(flat.mean()) if len(flat) else 0.0,
        "square": float(flat.square().mean()) if len(flat) else 0.0,
        "first": flat[:SHOWN].tolist(),
    }
