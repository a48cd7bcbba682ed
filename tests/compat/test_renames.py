"""Configurations of release 0.1: every class and every setting that it knew is found under its present name."""

import dataclasses
import importlib
import inspect
import json
import warnings
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from lightning_gvae import renames
from lightning_gvae.callbacks.latent_archive.run import ArchiveOptions
from lightning_gvae.callbacks.latent_search.run import SearchOptions
from lightning_gvae.cli.build import build, rename_roots
from lightning_gvae.errors import ConfigError
from lightning_gvae.loading.targets import check_targets
from lightning_gvae.renames import former_overrides, moved_target, renamed_keys, renamed_overrides, renamed_settings
from lightning_gvae.studies.cells import Cell, run_cells
from tests.compat.runs import compose_run

DATA = Path(__file__).parent.parent / "data"
TARGETS = (DATA / "targets_0_1.txt").read_text().split()
SETTINGS = json.loads((DATA / "settings_0_1.json").read_text())
# No longer settings; both are accepted with a warning that says so.
WITHOUT_EFFECT = {"onednn_linear"}

# What classes with `**options` hand them to.
OPTIONS = {
    "LatentArchive": ArchiveOptions,
    "LatentArchiveStudy": ArchiveOptions,
    "LatentSearch": SearchOptions,
    "LatentSearchStudy": SearchOptions,
}
# Sections that may hold any class of a kind.
KINDS = {
    place: [moved_target(target) for target in TARGETS if target.startswith(f"lightning_gvae.{package}.")]
    for place, package in {"model": "models", "data": "datamodules"}.items()
}
OLD = "lightning_gvae.evolution.set_point"
SEARCH, EVOLUTION = "lightning_gvae.evolution.beta.BetaSearch", "lightning_gvae.callbacks.beta_evolution.BetaEvolution"


@pytest.fixture
def names(monkeypatch):
    """A release in which some settings are called otherwise."""
    table = {
        EVOLUTION: {"level": "source", "probe_size": "probe.size", "name": None},
        SEARCH: {"two_sided": "mirrored"},
        renames.ROOT: {"objective": "optimized", "seed": "random.seed"},
    }
    monkeypatch.setattr(renames, "RENAMED", table)
    monkeypatch.setattr("lightning_gvae.cli.build.RENAMED", table)


def located(target: str) -> type:
    module, _, name = target.rpartition(".")
    return getattr(importlib.import_module(module), name)


def accepted(found: type) -> set[str]:
    """Names of the arguments that a class, or a function, takes."""
    if not inspect.isclass(found):
        return set(inspect.signature(found).parameters)
    names: set[str] = set()
    for base in inspect.getmro(found):
        if "__init__" in vars(base):
            parameters = inspect.signature(base.__init__).parameters.values()  # type: ignore[misc]
            names |= {parameter.name for parameter in parameters}
            if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
                break
    if options := OPTIONS.get(found.__name__):
        names |= {field.name for field in dataclasses.fields(options)}
    return names


@pytest.mark.parametrize("target", TARGETS)
def test_every_class_of_the_old_configuration_is_found(target):
    now = moved_target(target)
    assert located(now).__name__ == target.rpartition(".")[2]
    check_targets({"_target_": now})


@pytest.mark.parametrize("target", SETTINGS["classes"])
def test_every_setting_of_an_old_class_is_taken(target):
    now = moved_target(target)
    renamed = renamed_keys(dict.fromkeys(SETTINGS["classes"][target], 0), now)
    assert renamed.keys() <= accepted(located(now))


@pytest.mark.parametrize("command", ["train", "eval", "study", "app", "inspect"])
def test_every_setting_without_a_section_is_known(command, tmp_path):
    cfg = compose_run(tmp_path, *(["ckpt_path=x"] if command == "eval" else []), name=command)
    now = renamed_keys(dict.fromkeys(SETTINGS["roots"][command], 0), renames.ROOT)
    assert now.keys() - WITHOUT_EFFECT <= {str(name) for name in cfg}


def test_names_lead_to_what_exists():
    for now in renames.MOVED.values():
        importlib.import_module(now)
    for owner in {*renames.RENAMED, *(owner for owners in renames.PLACES.values() for owner in owners)} - {
        renames.ROOT
    }:
        assert inspect.isclass(located(owner))
    shipped = {owner for owners in renames.PLACES.values() for owner in owners}
    assert renames.RENAMED.keys() <= shipped


def test_a_moved_class_is_built_with_a_warning_and_named_in_it():
    node = OmegaConf.create({"_target_": f"{OLD}.Ramp", "start": 1, "increment": 1, "period": 2, "maximum": 9})
    with pytest.warns(FutureWarning, match=r"set_point.Ramp is lightning_gvae.evolution.beta.target_kl.Ramp now"):
        assert type(build(node)).__name__ == "Ramp"
    with pytest.raises(ConfigError, match="does not exist"):
        build(OmegaConf.create({"_target_": f"{OLD}.Walk.Ramp"}))


def test_settings_are_renamed_wherever_their_class_is(names):
    node = {
        "a": [{"_target_": EVOLUTION, "level": "probe", "search": {"_target_": SEARCH, "two_sided": True}}],
        "level": 3,
    }
    with pytest.warns(FutureWarning) as told:
        found = renamed_settings(node)
    assert found == {
        "a": [{"_target_": EVOLUTION, "source": "probe", "search": {"_target_": SEARCH, "mirrored": True}}],
        "level": 3,
    }
    first, second = sorted(str(each.message) for each in told)
    assert first.startswith("`callbacks.beta_evolution.level` is `callbacks.beta_evolution.source` now;")
    assert "`callbacks.beta_evolution.search.two_sided` is `callbacks.beta_evolution.search.mirrored` now" in second
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert renamed_settings(node, quiet=True) == found
        assert renamed_settings(found) == found  # present names say nothing


def test_an_old_name_beats_the_default_under_the_new_one_and_finds_its_section(names):
    given = {"level": "training", "source": "probe", "probe_size": 7, "probe": {"size": 256, "seed": 1}, "name": "x"}
    assert renamed_keys(given, EVOLUTION) == {"source": "training", "probe": {"size": 7, "seed": 1}}
    assert renamed_keys({"probe_size": 7}, EVOLUTION) == {"probe": {"size": 7}}
    assert given["probe"] == {"size": 256, "seed": 1}
    with pytest.warns(FutureWarning, match="`callbacks.beta_evolution.name` has no effect any more"):
        assert renamed_keys({"name": "x"}, EVOLUTION, quiet=False) == {}


def test_a_section_may_be_called_as_the_setting_that_moved_into_it(names, monkeypatch):
    monkeypatch.setitem(renames.RENAMED, EVOLUTION, {"probe": "probe.size"})
    assert renamed_keys({"probe": 7}, EVOLUTION) == {"probe": {"size": 7}}
    assert renamed_keys({"probe": {"size": 7}}, EVOLUTION) == {"probe": {"size": 7}}
    with pytest.warns(
        FutureWarning, match="`callbacks.beta_evolution.probe` is `callbacks.beta_evolution.probe.size` now"
    ):
        assert renamed_overrides(["callbacks.beta_evolution.probe=7"]) == ["callbacks.beta_evolution.probe.size=7"]
    assert renamed_overrides(["callbacks.beta_evolution.probe.size=7"]) == ["callbacks.beta_evolution.probe.size=7"]


def test_a_section_may_bear_the_name_of_a_setting_that_lies_elsewhere_now(names, monkeypatch):
    monkeypatch.setitem(renames.RENAMED, EVOLUTION, {"probe": "files.probe", "probe_size": "probe.size"})
    assert renamed_keys({"probe": "x", "probe_size": 7}, EVOLUTION) == {"files": {"probe": "x"}, "probe": {"size": 7}}
    assert renamed_keys({"probe": {"size": 7}}, EVOLUTION) == {"probe": {"size": 7}}
    own = "callbacks.beta_evolution"
    with pytest.warns(FutureWarning, match=f"`{own}.probe` is `{own}.files.probe` now"):
        assert renamed_overrides([f"+{own}.probe=x"]) == [f"++{own}.files.probe=x"]
    for present in (f"{own}.probe.size=7", f"{own}.probe={{size:7}}"):
        assert renamed_overrides([present]) == [present]


OVERRIDES = {
    "callbacks.beta_evolution.level=training": "callbacks.beta_evolution.source=training",
    "++callbacks.beta_evolution.probe_size=3": "++callbacks.beta_evolution.probe.size=3",
    "~callbacks.beta_evolution.search.two_sided": "~callbacks.beta_evolution.search.mirrored",
    "objective={terms:{nll:-1}}": "optimized={terms:{nll:-1}}",
    "seed=1,2": "random.seed=1,2",
    "data.seed=1": "data.seed=1",
    "model=evae": "model=evae",
    "callbacks/beta_evolution=evae_fo": "callbacks/beta_evolution=evae_fo",
    "x='a=b'": "x='a=b'",
    "a.target={_target_:lightning_gvae.evolution.set_point.Ramp,start:2}": (
        "a.target={_target_:lightning_gvae.evolution.beta.target_kl.Ramp,start:2}"
    ),
}


@pytest.mark.filterwarnings("ignore:.*does not know the old name:FutureWarning")
def test_overrides_are_renamed_and_back(names):
    assert renamed_overrides(OVERRIDES) == list(OVERRIDES.values())
    assert former_overrides(OVERRIDES.values()) == list(OVERRIDES)
    assert renamed_overrides(["callbacks.beta_evolution.name=x", "model=vae"]) == ["model=vae"]


def test_a_command_line_of_the_last_release_composes(tmp_path, monkeypatch):
    monkeypatch.setattr(renames, "RENAMED", {EVOLUTION: {"every": "interval"}})
    with pytest.warns(
        FutureWarning, match="`callbacks.beta_evolution.every` is `callbacks.beta_evolution.interval` now"
    ):
        cfg = compose_run(tmp_path, "model=evae", "callbacks.beta_evolution.every=7")
    assert cfg.callbacks.beta_evolution.interval == 7


# Choices with which the shipped configuration has a section; a class that is the section's only one by itself needs
# none.
CHOSEN = {
    "callbacks.architecture_evolution": ["model=conv_autoencoder"],
    "callbacks.beta_evolution": ["model=evae"],
    "lightning_gvae.datamodules.criterion.CriterionDataModule": ["model=solve_vae", "data=criterion"],
    "lightning_gvae.datamodules.image_folder.ImageFolderDataModule": ["data=image_folder", "data.root=x"],
    "lightning_gvae.datamodules.celeba.CelebADataModule": ["data=celeba"],
    "lightning_gvae.datamodules.text.TextDataModule": ["model=text_vae", "data=text", "data.root=x"],
    "lightning_gvae.datamodules.ptb.PTBDataModule": ["model=text_vae", "data=ptb"],
    "callbacks.beta_evolution.search": ["model=evae"],
    "lightning_gvae.models.gan.GAN": ["model=gan"],
    "lightning_gvae.models.vae_gan.VAEGAN": ["model=vae_gan"],
}
SHIPPED = [(place, owner) for place, owners in renames.PLACES.items() for owner in owners if renames.RENAMED.get(owner)]


@pytest.mark.parametrize(("place", "owner"), SHIPPED)
def test_every_setting_that_is_renamed_composes_under_its_old_name(place, owner, tmp_path):
    names, front = renames.RENAMED[owner], f"{place}." if place else ""
    values = {old: 100 + number for number, old in enumerate(names)}
    with pytest.warns(FutureWarning) as told:
        cfg = compose_run(
            tmp_path, *CHOSEN.get(place, CHOSEN.get(owner, [])), *(f"++{front}{old}={v}" for old, v in values.items())
        )
    for old, new in names.items():
        assert any(str(each.message).startswith(f"`{front}{old}` ") for each in told)
        if new is not None:
            assert OmegaConf.select(cfg, f"{front}{new}") == values[old]


@pytest.mark.parametrize("place", [place for place in renames.PLACES if place])
def test_no_old_name_is_a_present_setting_of_any_class_at_its_place(place):
    """On a command line the class is not known."""
    owners = {*renames.PLACES[place], *KINDS.get(place, ())}
    tables = [renames.RENAMED.get(owner, {}) for owner in owners]
    sections = {new.partition(".")[0] for names in tables for new in names.values() if new is not None and "." in new}
    old = {name for names in tables for name in names} - sections
    for owner in owners:
        assert not accepted(located(owner)) & old, owner


def test_roots_of_a_users_own_file_are_renamed(names):
    cfg = OmegaConf.create({"objective": {"terms": "${other}"}, "optimized": None, "other": 1, "random": {"seed": 0}})
    OmegaConf.set_struct(cfg, True)
    with pytest.warns(FutureWarning, match="`objective` is `optimized` now"):
        rename_roots(cfg)
    assert OmegaConf.to_container(cfg, resolve=True) == {
        "optimized": {"terms": 1},
        "other": 1,
        "random": {"seed": 0},
    }


def test_cells_of_the_last_release_are_taken_over(tmp_path):
    target = "callbacks.beta_evolution.search.target={{_target_:lightning_gvae.evolution.{}.Ramp,start:2}}"
    old, new = (Cell("evae_ramp", 0, ("model=evae", target.format(at))) for at in ("set_point", "beta.target_kl"))
    assert old.name != new.name == Cell("evae_ramp", 0, new.overrides).name and new.former_name == old.name
    (tmp_path / old.name).mkdir()
    (tmp_path / old.name / "cell.json").write_text('{"arm": "evae_ramp", "seed": 0}')
    assert run_cells([new], tmp_path, lambda folder: {}) == {new: {"arm": "evae_ramp", "seed": 0}}
    assert [path.name for path in tmp_path.iterdir()] == [new.name]
