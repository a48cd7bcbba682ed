"""Exported folders: every family comes back bit for bit without its run; what could not come back is not written."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lightning_gvae import EVAE, GAN, VAE, ConvAutoencoder, MultiRateVAE, TextVAE, load
from lightning_gvae.errors import CheckpointError, ConfigError
from lightning_gvae.loading.folder import CARD, CONFIG, VOCABULARY, WEIGHTS
from lightning_gvae.nets.mlp import MLPDecoder, MLPEncoder
from tests.compat.files import restore_checkpoint
from tests.compat.runs import write_data
from tests.loading.test_load import FAMILIES, SHAPE, STORED, OwnVAE

MLP = "lightning_gvae.nets.mlp.MLP"
OWN = {
    part: {"_target_": f"{MLP}{part.title()}", "image_shape": list(SHAPE), "latent_dim": 3, "hidden": [6]}
    for part in ("encoder", "decoder")
}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("root")
    write_data(folder)
    return folder


def drawn(model):
    """Samples for a seed, or reconstructions of a model that has none."""
    with torch.no_grad():
        if isinstance(model, ConvAutoencoder):
            noise = torch.rand(3, *model.image_shape, generator=torch.Generator().manual_seed(1))
            return model.reconstruct(noise)
        return model.sample(3, torch.Generator().manual_seed(1))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_comes_back_bit_for_bit(family, root, tmp_path):
    path = restore_checkpoint(STORED / family, root, f"{family}/last.ckpt")
    model = load(path)
    folder = model.save_pretrained(tmp_path / "export")
    again = load(folder)
    assert type(again) is type(model) and not again.training
    assert torch.equal(drawn(again), drawn(model))
    own = again.state_dict()
    assert own.keys() == {name for name in model.state_dict() if not name.startswith("schedule.") or name in own}
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in own.items())
    assert again.data_facts == model.data_facts
    assert (folder / VOCABULARY).is_file() == isinstance(model, TextVAE)
    if isinstance(model, TextVAE):
        assert again.vocabulary == model.vocabulary
    assert str(root) not in (folder / CONFIG).read_text() + (folder / CARD).read_text()
    # once more from the export alone
    twice = load(again.save_pretrained(tmp_path / "twice"))
    assert torch.equal(drawn(twice), drawn(model))


@pytest.mark.parametrize("groups", [None, [1, 2]])
def test_a_network_for_every_weight_comes_back_at_its_weight(groups, tmp_path):
    model = MultiRateVAE(SHAPE, latent_dim=3, beta_range=(0.5, 2.0), latent_groups=groups).eval()
    model.beta.fill_(0.7)
    again = load(model.save_pretrained(tmp_path / "export"))
    assert float(again.beta) == 0.7 and torch.equal(drawn(again), drawn(model))
    if groups is None:
        plain = model.at(2.0).eval()
        assert torch.equal(drawn(load(plain.save_pretrained(tmp_path / "plain"))), drawn(plain))


def test_another_process_draws_the_same_images(tmp_path):
    model = VAE(SHAPE, latent_dim=3).eval()
    folder = model.save_pretrained(tmp_path / "export")
    script = f"""
import torch
from lightning_gvae import load
with torch.no_grad():
    torch.save(load({str(folder)!r}).sample(3, torch.Generator().manual_seed(1)), {str(tmp_path / "drawn.pt")!r})
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120, cwd=tmp_path)
    assert torch.equal(torch.load(tmp_path / "drawn.pt", weights_only=True), drawn(model))


def test_a_class_opens_its_own_exports_and_names_that_of_others(tmp_path):
    folder = EVAE(SHAPE, latent_dim=3).save_pretrained(tmp_path / "export")
    assert type(VAE.from_pretrained(folder)) is EVAE
    with pytest.raises(CheckpointError, match=r"class EVAE, which is no GAN; call EVAE\.from_pretrained"):
        GAN.from_pretrained(folder)


def test_own_networks_are_named_or_refused(tmp_path):
    networks = (MLPEncoder(SHAPE, 3, hidden=[6]), MLPDecoder(SHAPE, 3, hidden=[6]))
    model = VAE(SHAPE, 3, network=networks).eval()
    with pytest.raises(ConfigError, match="own networks, given as objects.*network={'encoder': {'_target_'"):
        model.save_pretrained(tmp_path / "refused")
    assert not (tmp_path / "refused").exists()
    folder = model.save_pretrained(tmp_path / "export", network=OWN)
    assert torch.equal(drawn(load(folder)), drawn(model))
    other = {**OWN, "encoder": OWN["encoder"] | {"hidden": [7]}}
    with pytest.raises(CheckpointError, match="size mismatch"):
        model.save_pretrained(tmp_path / "refused", network=other)
    assert not (tmp_path / "refused").exists()


def test_a_class_of_a_users_package_is_exported_where_it_may_be_loaded(tmp_path, monkeypatch):
    model = OwnVAE(SHAPE, width=5, latent_dim=3).eval()
    with pytest.raises(CheckpointError, match="GVAE_ALLOW_TARGETS"):
        model.save_pretrained(tmp_path / "export")
    monkeypatch.setenv("GVAE_ALLOW_TARGETS", "tests.loading.")
    folder = model.save_pretrained(tmp_path / "export")
    assert load(folder).extra.in_features == 5
    monkeypatch.delenv("GVAE_ALLOW_TARGETS")
    with pytest.raises(CheckpointError, match=r"tests\.loading\.test_load\.OwnVAE.*GVAE_ALLOW_TARGETS"):
        load(folder)

    class Hidden(VAE):
        """Defined where nobody finds it."""

    with pytest.raises(ConfigError, match="defined in a script or function"):
        Hidden(SHAPE, latent_dim=3).save_pretrained(tmp_path / "hidden")


def changed(folder: Path, **entries) -> None:
    path = folder / CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: changed(f, format=2, version="9.1"), r"exported by lightning-gvae 9\.1 in format 2.*install"),
        (lambda f: changed(f, library="transformers"), "`library` is not 'lightning-gvae'"),
        (lambda f: changed(f, model={"_target_": "os.system"}), "`_target_` must be below"),
        (lambda f: changed(f, model={"_target_": "lightning_gvae.cli.train.train"}), "neither a model nor a network"),
        (lambda f: changed(f, model={}), "names no class"),
        (lambda f: changed(f, model={"_target_": "lightning_gvae.models.vae.VAE", "wings": 2}), "wings"),
        (lambda f: (f / WEIGHTS).unlink(), "model.safetensors is missing, damaged"),
        (lambda f: (f / WEIGHTS).write_bytes(b"not tensors"), "model.safetensors is missing, damaged"),
        (lambda f: (f / CONFIG).write_text("{"), "config.json cannot be read"),
        (lambda f: (f / CONFIG).unlink(), "neither an exported model"),
    ],
)
def test_a_spoilt_export_ends_in_one_sentence(spoil, message, tmp_path):
    folder = VAE(SHAPE, latent_dim=3).save_pretrained(tmp_path / "export")
    spoil(folder)
    with pytest.raises(CheckpointError, match=message):
        load(folder)


def test_the_card_says_what_is_known(tmp_path):
    run = tmp_path / "run"
    (run / "figures").mkdir(parents=True)
    record = {
        "status": "finished",
        "optimizer_steps": 1200,
        "wall_seconds": 5400.0,
        "device": "cpu, 2 threads",
        "command": "train.py data.root=/home/someone/pictures model=vae",
        "metrics": {"test/elbo": -17.25, "train/loss": 1.0},
    }
    (run / "run.json").write_text(json.dumps(record))
    scores = {"scores": {"score/mig": 0.25}, "facts": {"score/mig": {"images": 5000, "part": "test"}}}
    (run / "scores.json").write_text(json.dumps(scores))
    index = {"figures": [{"title": "Samples", "caption": "Drawn | from the prior.", "file": "samples.png"}]}
    (run / "figures/index.json").write_text(json.dumps(index))
    (run / "figures/samples.png").write_bytes(b"png")
    folder = VAE(SHAPE, latent_dim=3).save_pretrained(tmp_path / "export", run=run)
    card = (folder / CARD).read_text()
    assert card.startswith("---\nlibrary_name: lightning-gvae\n")
    for text in (
        *("1,200 optimiser steps (1.5 hours on cpu, 2 threads)", "| mig | 0.25 | images 5000, part test |"),
        *("| test/elbo | -17.25 |", "![Samples](figures/samples.png)", "| latent_dim | 3 |", "data.root=pictures"),
    ):
        assert text in card, text
    assert "someone" not in card and "train/loss" not in card
    assert (folder / "figures/samples.png").read_bytes() == b"png"
    # an export of the export keeps them
    again = load(folder).save_pretrained(tmp_path / "again")
    assert "| mig | 0.25 |" in (again / CARD).read_text() and (again / "figures/samples.png").is_file()
    with pytest.raises(ConfigError, match="cannot be read"):
        VAE(SHAPE, latent_dim=3).save_pretrained(tmp_path / "x", run=tmp_path)


class TiedVAE(VAE):
    """One layer under two names."""

    def __init__(self, image_shape, **settings):
        super().__init__(image_shape, **settings)
        self.again = self.encoder.head


def test_weights_that_share_memory_are_written_each_for_itself(tmp_path, monkeypatch):
    monkeypatch.setenv("GVAE_ALLOW_TARGETS", "tests.export.")
    model = TiedVAE(SHAPE, latent_dim=3).eval()
    again = load(model.save_pretrained(tmp_path / "export"))
    assert again.again is again.encoder.head and torch.equal(drawn(again), drawn(model))
