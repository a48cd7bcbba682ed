"""Names of the last release in configurations: classes that moved, and settings that are called otherwise now.

Both are translated for one release: silently where a file of that release holds them, with a warning that names the new
name where a user wrote them. To rename a setting, add it to ``RENAMED``, and its class to ``PLACES`` if it is new
there.
"""

import dataclasses
import functools
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

__all__ = [
    "MOVED",
    "PLACES",
    "RENAMED",
    "ROOT",
    "former_overrides",
    "moved_target",
    "renamed_keys",
    "renamed_overrides",
    "renamed_settings",
    "takes_former_names",
]

T = TypeVar("T")

# Class, or module of classes -> where it is now.
MOVED: dict[str, str] = {
    "lightning_gvae.callbacks.checkpoint_files": "lightning_gvae.training.checkpoint_io",
    "lightning_gvae.csv_log": "lightning_gvae.loggers.csv",
    "lightning_gvae.evolution.archive_settings": "lightning_gvae.evolution.archive.settings",
    "lightning_gvae.evolution.genes": "lightning_gvae.evolution.beta.genes",
    "lightning_gvae.evolution.genome_space": "lightning_gvae.evolution.architecture.genome_space",
    "lightning_gvae.evolution.latent_settings": "lightning_gvae.evolution.latent.settings",
    "lightning_gvae.evolution.set_point": "lightning_gvae.evolution.beta.target_kl",
    "lightning_gvae.nets.linear": "torch.nn",
    "lightning_gvae.no_profiler": "lightning_gvae.runtime",
}
CLASS = r"\blightning_gvae(?:\.\w+)+"  # in a text
ROOT = "train.py"  # stands for the class of the settings that have no section
VAES = (
    *("vae.VAE", "beta_vae.BetaVAE", "capacity_vae.CapacityVAE", "control_vae.ControlVAE", "evae.EVAE"),
    *("solve_vae.SolveVAE", "text_lm.TextLM", "text_vae.TextVAE"),
    *("text_variants.TextControlVAE", "text_variants.TextEVAE"),
)
IMAGE_FILES = (
    "lightning_gvae.datamodules.image_folder.ImageFolderDataModule",
    "lightning_gvae.datamodules.celeba.CelebADataModule",
)
SENTENCES = ("lightning_gvae.datamodules.text.TextDataModule", "lightning_gvae.datamodules.ptb.PTBDataModule")
_NETWORKS: dict[str, str | None] = {"encoder": "network.encoder", "decoder": "network.decoder"}
_ADVERSARY: dict[str, str | None] = {
    "discriminator": "adversary.discriminator",
    "discriminator_norm": "adversary.norm",
    "loss": "adversary.loss",
    "real_weight": "adversary.real_weight",
    "label_smoothing": "adversary.label_smoothing",
    "instance_noise": "adversary.instance_noise",
    "equilibrium": "adversary.equilibrium",
    "margin": "adversary.margin",
    "lr_ratio": "adversary.lr_ratio",
    "update_order": "adversary.update_order",
}
# Class -> name of a setting in the last release -> name now: in a section of the class's settings if it has dots, None
# if the setting no longer exists.
RENAMED: dict[str, dict[str, str | None]] = {
    "lightning_gvae.callbacks.architecture_evolution.ArchitectureEvolution": {
        "epochs": "training.epochs",
        "patience": "training.patience",
        "batch_size": "training.batch_size",
        "train_images": "training.train_images",
        "score_images": "training.score_images",
        "score_split": "training.score_split",
        "threads": "training.threads",
        "loc_max": "limits.loc_max",
        "max_macs": "limits.max_macs",
        "evaluator": "parallel.backend",
        "workers": "parallel.workers",
        "timeout_hours": "parallel.timeout_hours",
        "members": "front.members",
        "choose": "front.choose",
        "choose_loc_max": "front.choose_loc_max",
        "index": "front.index",
        "pick": "front.pick",
        "finetune_epochs": "front.finetune_epochs",
        "front_seeds": "front.seeds",
        "probes": "front.probes",
        "journal": "files.journal",
        "shared_journal": "files.shared_journal",
        "cache_dir": "files.cache_dir",
        "front": "files.front",
        "front_dir": "files.front_dir",
    },
    "lightning_gvae.callbacks.beta_evolution.BetaEvolution": {"level": "kl_source"},
    **{
        name: {each: f"decoding.{each}" for each in ("on_error", "workers", "background", "value_range")}
        for name in IMAGE_FILES
    },
    **{name: {each: f"words.{each}" for each in ("vocabulary_cap", "lowercase", "encoding")} for name in SENTENCES},
    "lightning_gvae.datamodules.criterion.CriterionDataModule": {
        "method": "generator.method",
        "population": "generator.population",
        "generations": "generator.generations",
        "decode": "generator.decode",
        "latent_bound": "generator.latent_bound",
    },
    "lightning_gvae.evolution.beta.BetaSearch": {
        "survivors": "variation.survivors",
        "children": "variation.children",
        "delta": "variation.delta",
        "eta": "variation.eta",
        "crossover": "variation.crossover",
        "mutation": "variation.mutation",
        "cauchy": "variation.cauchy",
        "two_sided": "variation.mirror_candidates",
        "fitness": "fitness.kind",
        "elbo_weight": "fitness.elbo_weight",
        "target_weight": "fitness.target_weight",
        "margin": "fitness.min_improvement",
        "memory": "convergence.window",
        "settled": "convergence.std",
    },
    ROOT: {"objective": "optimized_metric"},
    **{f"lightning_gvae.models.{name}": _NETWORKS for name in VAES},
    "lightning_gvae.models.gan.GAN": {"decoder": "network.decoder", **_ADVERSARY},
    "lightning_gvae.models.vae_gan.VAEGAN": {
        **_NETWORKS,
        **_ADVERSARY,
        "recon_layer": "adversary.recon_layer",
        "discriminate_recon": "adversary.discriminate_recon",
        "discriminate_prior": "adversary.discriminate_prior",
    },
}
# Section of the shipped configuration -> the classes in it that RENAMED knows.
PLACES: dict[str, tuple[str, ...]] = {
    "": (ROOT,),
    "callbacks.architecture_evolution": ("lightning_gvae.callbacks.architecture_evolution.ArchitectureEvolution",),
    "callbacks.beta_evolution": ("lightning_gvae.callbacks.beta_evolution.BetaEvolution",),
    "callbacks.beta_evolution.search": ("lightning_gvae.evolution.beta.BetaSearch",),
    "callbacks.latent_archive": ("lightning_gvae.callbacks.latent_archive.LatentArchive",),
    "callbacks.latent_search": ("lightning_gvae.callbacks.latent_search.LatentSearch",),
    "data": ("lightning_gvae.datamodules.criterion.CriterionDataModule", *IMAGE_FILES, *SENTENCES),
    "model": (
        *(f"lightning_gvae.models.{name}" for name in VAES),
        "lightning_gvae.models.gan.GAN",
        "lightning_gvae.models.vae_gan.VAEGAN",
    ),
}


def moved_target(target: str) -> str:
    """Present name of a class.

    >>> moved_target("lightning_gvae.csv_log.CsvLog")
    'lightning_gvae.loggers.csv.CsvLog'
    """
    return _elsewhere(target, MOVED)


def renamed_settings(node: Any, *, quiet: bool = False) -> Any:
    """A configuration with the present names of its classes and of their settings.

    Args:
        node: Plain containers; every mapping with a ``_target_`` holds the settings of that class.
        quiet: For what a file holds; else every old name gets a ``FutureWarning`` with the new one.
    """
    if isinstance(node, list):
        return [renamed_settings(value, quiet=quiet) for value in node]
    if not isinstance(node, Mapping):
        return node
    found = {key: renamed_settings(value, quiet=quiet) for key, value in node.items()}
    target = found.get("_target_")
    if not isinstance(target, str):
        return found
    found["_target_"] = moved_target(target)
    if found["_target_"] != target and not quiet:
        _warn_moved(target)
    return renamed_keys(found, found["_target_"], quiet=quiet)


def renamed_keys(settings: Mapping[str, Any], owner: str, *, quiet: bool = True) -> dict[str, Any]:
    """Settings of one class under their present names.

    What is given under an old name wins: under the new one stands the default of the shipped configuration.

    Args:
        settings: By name, plain containers.
        owner: Present name of the class, or ``ROOT``.
        quiet: As for :func:`renamed_settings`.
    """
    names = {
        old: new
        for old, new in RENAMED.get(owner, {}).items()
        # A section may have the name of a setting of the last release.
        if old in settings and not (_is_section(old, owner) and isinstance(settings[old], Mapping))
    }
    found = {name: value for name, value in settings.items() if name not in names}
    for old, new in names.items():
        if not quiet:
            _warn_renamed(_full_name(owner, old), new and _full_name(owner, new))
        if new is not None:
            *sections, last = new.split(".")
            place = found
            for section in sections:
                inner = place.get(section)
                place[section] = dict(inner) if isinstance(inner, Mapping) else {}
                place = place[section]
            place[last] = settings[old]
    return found


def takes_former_names(owner: str) -> Callable[[type[T]], type[T]]:
    """Decorator of a class whose constructor understands the keywords of the last release, each with a warning.

    Not for LightningModules: ``save_hyperparameters`` looks at the frames of constructors, and would miss a subclass's.

    Args:
        owner: Name of the class in :data:`RENAMED`.
    """

    def decorate(kind: type[T]) -> type[T]:
        make: Any = kind.__init__

        @functools.wraps(make)
        def init(self: Any, *args: Any, **settings: Any) -> None:
            groups = {name: value for name, value in settings.items() if dataclasses.is_dataclass(value)}
            if any(name in RENAMED[owner] for name in settings.keys() - groups.keys()):
                others = {name: value for name, value in settings.items() if name not in groups}
                settings = groups | renamed_keys(others, owner, quiet=False)
            make(self, *args, **settings)

        kind.__init__ = init  # type: ignore[method-assign]
        return kind

    return decorate


def renamed_overrides(overrides: Iterable[str]) -> list[str]:
    """Overrides of a command line with present names; every old one gets a warning. Without what no longer exists.

    >>> renamed_overrides(["model=vae", "logger.csv._target_=lightning_gvae.loggers.csv.CsvLog"])
    ['model=vae', 'logger.csv._target_=lightning_gvae.loggers.csv.CsvLog']
    """
    found = []
    for text in overrides:
        sign, key, value = _parts(text)
        names = ((f"{place}{old}", new and f"{place}{new}", both) for place, old, new, both in _shipped_names())
        for old, new, grouped in names:
            if (key == old and not (grouped and value.startswith("={"))) or (_is_within(key, old) and not grouped):
                _warn_renamed(old, new)
                key = "" if new is None else new + key.removeprefix(old)
                sign = "++" if sign == "+" else sign  # the shipped configuration may have it by now
                break
        for target in re.findall(CLASS, value):
            if moved_target(target) != target:
                _warn_moved(target)
        if key:
            found.append(f"{sign}{key}{_all_elsewhere(value, MOVED)}")
    return found


def former_overrides(overrides: Iterable[str]) -> list[str]:
    """Inverse of :func:`renamed_overrides`: what one would have written in the last release.

    >>> former_overrides(["+logger.csv._target_=lightning_gvae.loggers.csv.CsvLog"])
    ['+logger.csv._target_=lightning_gvae.csv_log.CsvLog']
    """
    found, moved = [], {now: old for old, now in MOVED.items() if now.startswith("lightning_gvae.")}
    for text in overrides:
        sign, key, value = _parts(text)
        for place, old, new, _ in _shipped_names():
            if new is not None and (key == f"{place}{new}" or _is_within(key, f"{place}{new}")):
                key = f"{place}{old}" + key.removeprefix(f"{place}{new}")
                break
        found.append(f"{sign}{key}{_all_elsewhere(value, moved)}")
    return found


def _shipped_names() -> Iterator[tuple[str, str, str | None, bool]]:
    """Section of the shipped configuration with a dot at its end, old and new name of a setting in it, and whether the
    old name is that of a section now."""
    for place, owners in PLACES.items():
        for owner in owners:
            for old, new in RENAMED.get(owner, {}).items():
                yield f"{place}." if place else "", old, new, _is_section(old, owner)


def _is_section(name: str, owner: str) -> bool:
    """Whether a class has a section of the name of a former setting, whose values were no mappings."""
    return any(_is_within(new, name) for new in RENAMED[owner].values())


def _full_name(owner: str, setting: str) -> str:
    place = next((place for place, owners in PLACES.items() if owner in owners), owner.rpartition(".")[2])
    return f"{place}.{setting}" if place else setting


def _is_within(name: str | None, section: str) -> bool:
    return name is not None and name.startswith(f"{section}.")


def _parts(override: str) -> tuple[str, str, str]:
    """Sign, key and the rest of an override; a choice of a group is all key."""
    sign, key, rest = re.fullmatch(r"(\+\+|\+|~)?([^=]*)(.*)", override, re.DOTALL).groups("")  # type: ignore[union-attr]
    return sign, key, rest


def _elsewhere(name: str, moved: Mapping[str, str]) -> str:
    """Name of a class after it, or its module, has moved."""
    module, _, last = name.rpartition(".")
    return moved.get(name) or (f"{moved[module]}.{last}" if module in moved else name)


def _all_elsewhere(text: str, moved: Mapping[str, str]) -> str:
    """Text in which every class of the package is called by its other name."""
    return re.sub(CLASS, lambda found: _elsewhere(found[0], moved), text)


def _warn_moved(target: str) -> None:
    _warn(f"`_target_` {target} is {moved_target(target)} now")


def _warn_renamed(old: str, new: str | None) -> None:
    _warn(f"`{old}` is `{new}` now" if new else f"`{old}` has no effect any more")


def _warn(text: str) -> None:
    warnings.warn(f"{text}; the next release does not know the old name.", FutureWarning, stacklevel=4)
