"""Random overrides: a run is built, or refused in one paragraph; never a traceback from deep inside, never a hang."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hydra import compose, initialize_config_module
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from lightning_gvae.callbacks.beta_override import BetaOverride
from lightning_gvae.cli import entry
from lightning_gvae.cli.build import build as build_one
from lightning_gvae.cli.build import build_all, build_data_and_model, plain
from lightning_gvae.cli.restore import restore_run
from lightning_gvae.io.checkpoint import read_checkpoint
from tests.cli.test_train import config, run_train

MODELS = ("vae", "beta_vae", "capacity_vae", "control_vae", "cyclical_vae", "evae", "sigma_vae", "gan", "vae_gan")
COMPOSED = 150
BUILT = 60


def keys(node: Any, path: str = "") -> list[str]:
    """Every setting of a configuration by its full name."""
    if not isinstance(node, dict):
        return [path]
    return [path] * bool(path) + [
        name for key, value in node.items() for name in keys(value, f"{path}.{key}".lstrip("."))
    ]


def composed(*overrides: str) -> Any:
    with initialize_config_module("lightning_gvae.conf", version_base="1.3"):
        return compose("train", ["paths.output_dir=out", "data=digits", "trainer=cpu", *overrides])


KEYS = sorted(
    {
        key
        for model in MODELS
        for key in keys(OmegaConf.to_container(composed(f"model={model}"), resolve=False))
        if not key.startswith(("paths", "logger", "trainer.profiler"))
    }
)
PLAIN = [
    "null",
    "true",
    "-1",
    "0",
    "1",
    "2",
    "3.5",
    "1e-3",
    "nan",
    "inf",
    "-inf",
    "many",
    "",
    "[]",
    "{}",
    "[1,2]",
    "[1,8,8]",
    "{a:1}",
    "{_target_:os.system}",
    "{_target_:torch.os.getcwd}",
    "{_target_:torch.optim.SGD,_partial_:true}",
    "???",
    "${nope}",
    "${seed}",
    "${model}",
    "${oc.env:NOPE_NOPE}",
    "${",
    "a=b",
    "'",
    "a b",
    "\u00e9\u4e2d",
    "x" * 3000,
]
values = st.one_of(st.sampled_from(PLAIN), st.text(max_size=8), st.integers(-3, 500).map(str), st.floats().map(str))
overrides = st.lists(
    st.tuples(st.sampled_from(["", "", "", "", "+", "++", "~"]), st.sampled_from(KEYS), values).map(
        lambda parts: f"{parts[0]}{parts[1]}" + ("" if parts[0] == "~" else f"={parts[2]}")
    ),
    min_size=1,
    max_size=3,
)
MODEL_CHOICES = [f"model={model}" for model in MODELS]
choices = st.sampled_from(MODEL_CHOICES)


def ends(action) -> str | None:
    """Message of a command that ends in one paragraph; None if it ends well. Anything else comes through."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GVAE_SHORT_ERRORS", "1")
        patch.setattr(entry, "_quiet", lambda: None)
        try:
            entry.run_entry(action)
        except SystemExit as end:
            assert isinstance(end.code, str) and end.code.strip(), end.code
            assert "Traceback" not in end.code and "\n\n" not in end.code.strip()
            return end.code
    return None


def build(cfg: Any) -> None:
    """All that ``train`` makes of a configuration before it starts."""
    build_data_and_model(cfg)
    plain(cfg)
    callbacks = build_all(cfg.get("callbacks"))
    if cfg.beta is not None:
        callbacks.append(BetaOverride(cfg.beta))
    build_one(cfg.trainer, callbacks=callbacks, logger=False)


@pytest.mark.slow
@pytest.mark.timeout(280)
@pytest.mark.filterwarnings("ignore")
def test_random_overrides_compose_or_are_refused():
    count = {"well": 0, "refused": 0}

    @settings(max_examples=COMPOSED)
    @given(choices, overrides)
    def check(choice, changes):
        refused = ends(lambda: plain(composed(choice, *changes)))
        count["refused" if refused else "well"] += 1

    check()
    assert min(count.values()) > COMPOSED / 10, count


@pytest.mark.slow
@pytest.mark.timeout(280)
@pytest.mark.filterwarnings("ignore")
def test_random_settings_build_or_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    count = {"well": 0, "refused": 0}

    # Composed once a model, and changed after that: composing takes longer than building.
    bases = {choice: composed(choice) for choice in MODEL_CHOICES}

    def changed(choice: str, changes: list[str]) -> Any:
        try:
            given = OmegaConf.from_dotlist([change.lstrip("+~") for change in changes])
        except yaml.YAMLError:
            given = OmegaConf.create()  # the test's own way of giving settings; on the command line Hydra reads them
        return OmegaConf.merge(bases[choice], given)

    @settings(max_examples=BUILT)
    @given(choices, overrides)
    def check(choice, changes):
        state = torch.get_rng_state()
        refused = ends(lambda: build(changed(choice, changes)))
        torch.set_rng_state(state)
        count["refused" if refused else "well"] += 1

    check()
    assert min(count.values()) > BUILT / 10, count
    assert not [path for path in tmp_path.rglob("*") if path.is_file()], "building a run writes nothing"


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A checkpoint of a run of two steps."""
    folder = tmp_path_factory.mktemp("stored")
    run_train(folder, "trainer.max_steps=2", "test=false", "callbacks.figures=null", "model.network=mlp")
    return folder / "checkpoints/last.ckpt"


junk = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.floats(),
    st.text(max_size=5),
    st.just([]),
    st.just({}),
    st.just(torch.zeros(2)),
    st.just({"_target_": "torch.os.getcwd"}),
    st.lists(st.integers(), max_size=2),
)


def entries(node: Any, path: tuple = ()) -> list[tuple]:
    if not isinstance(node, dict):
        return [path]
    return [path, *(found for key, value in node.items() for found in entries(value, (*path, key)))]


@pytest.mark.slow
@pytest.mark.timeout(280)
@pytest.mark.filterwarnings("ignore")
def test_a_checkpoint_with_wrong_entries_is_refused_in_one_paragraph(stored, tmp_path):
    """A real file whose entries were replaced or taken out, opened as ``eval.py`` does."""
    whole = read_checkpoint(stored)
    places = list(entries({k: whole[k] for k in ("gvae_config", "state_dict", "gvae_model", "gvae_means")}))
    places = [place for place in places if place and place[:2] in _read_by_eval(place)]
    count = {"well": 0, "refused": 0}

    @settings(max_examples=40)
    @given(st.sampled_from(places), st.one_of(junk, st.just(...)))
    def check(place, value):
        spoilt = torch.load(stored, weights_only=True)
        parent = spoilt
        for key in place[:-1]:
            parent = parent[key]
        if value is ...:
            del parent[place[-1]]
        else:
            parent[place[-1]] = value
        path = tmp_path / "spoilt.ckpt"
        torch.save(spoilt, path)
        before = path.read_bytes()
        refused = ends(lambda: restore_run(config(tmp_path / "eval", f"ckpt_path={path}", name="eval")))
        assert path.read_bytes() == before
        count["refused" if refused else "well"] += 1

    check()
    assert count["refused"] > 5, json.dumps(count)


def _read_by_eval(place: tuple) -> tuple:
    """Of the configuration only data, model and seed are made use of."""
    if place[0] != "gvae_config":
        return (place[:2],)
    return (place[:2],) if len(place) == 1 or place[1] in ("data", "model", "seed") else ()


def test_a_thousand_examples_in_all():
    from tests.fuzz.test_files import EXAMPLES, READERS

    assert COMPOSED + BUILT + 40 + len(READERS) * EXAMPLES >= 1000
    assert Path(__file__).is_file()
