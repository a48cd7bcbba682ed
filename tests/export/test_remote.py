"""The Hugging Face Hub and Weights & Biases, without either: what is sent, what is read back, and no connection."""

from pathlib import Path

import pytest
import torch
import wandb

from lightning_gvae import VAE, load
from lightning_gvae.errors import CheckpointError, ConfigError
from lightning_gvae.export.artifact import log_artifact
from lightning_gvae.loading.artifact import fetch_artifact
from lightning_gvae.loading.sources import is_hub_id
from tests.loading.test_load import SHAPE


@pytest.fixture
def model():
    return VAE(SHAPE, latent_dim=3).eval()


def test_a_name_at_the_hub_without_a_connection_ends_in_one_sentence(monkeypatch, tmp_path):
    constants = pytest.importorskip("huggingface_hub.constants", reason="needs the extra hub")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match="no file or folder 'someone/vae' here, and as a model of the Hugging"):
        load("someone/vae", hub={"cache_dir": tmp_path})
    with pytest.raises(CheckpointError, match="cannot be uploaded to 'someone/vae'.*save_pretrained"):
        VAE(SHAPE, latent_dim=3).push_to_hub("someone/vae", token="none")


def test_the_hub_gets_the_folder_and_gives_it_back(monkeypatch, model, tmp_path):
    hub = pytest.importorskip("huggingface_hub", reason="needs the extra hub")
    sent = tmp_path / "sent"

    class Api:
        def __init__(self, token=None): ...

        def create_repo(self, repo_id, private, exist_ok):
            assert private
            return type("Url", (), {"repo_id": repo_id})

        def upload_folder(self, repo_id, folder_path, commit_message, **options):
            Path(folder_path).rename(sent)
            return f"https://hub/{repo_id}/commit/1"

    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", Api)
    assert model.push_to_hub("someone/vae", private=True) == "https://hub/someone/vae/commit/1"
    assert {path.name for path in sent.iterdir()} == {"config.json", "model.safetensors", "README.md"}

    def snapshot_download(name, revision, **options):
        assert (name, revision, options["token"]) == ("someone/vae", "v1", "secret")
        return str(sent)

    monkeypatch.setattr(hub, "snapshot_download", snapshot_download)
    again = VAE.from_pretrained("someone/vae", revision="v1", token="secret")
    assert torch.equal(again.encoder.head.weight, model.encoder.head.weight)


def test_the_hub_names_its_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub.errors", None)
    with pytest.raises(ConfigError, match=r"pip install 'lightning-gvae\[hub\]'"):
        load("someone/vae")


def test_forms_of_names():
    assert is_hub_id("someone/vae-1.0") and not is_hub_id("someone/a/b") and not is_hub_id("/tmp")
    for name in ("vae", "a/b", "a/b/c/d", "a/b/c:1:2", "a/b/", "a b/c/d"):
        with pytest.raises(CheckpointError, match="an artifact is named wandb:entity/project/name:version"):
            fetch_artifact(name)
    for name in ("vae", "a/b/c/d", "a//b", "a/b:v1"):
        with pytest.raises(ConfigError, match="`wandb` must be entity/project/name"):
            log_artifact(Path(), name)


class Run:
    """Stands for a run of W&B."""

    entity, offline = "team", False

    def __init__(self, calls):
        self.calls = calls

    def __enter__(self):
        return self

    def __exit__(self, *error): ...

    def log_artifact(self, artifact, aliases):
        self.calls["logged"] = (artifact.name, artifact.type, aliases, artifact.metadata)
        self.calls["files"] = sorted(artifact.manifest.entries)
        return artifact

    def link_artifact(self, artifact, target):
        self.calls["linked"] = target


def test_the_folder_is_a_model_artifact_and_is_read_back(monkeypatch, model, tmp_path):
    folder, calls = model.save_pretrained(tmp_path / "export"), {}

    def init(**options):
        calls["run"] = {name: options[name] for name in ("entity", "project", "job_type")}
        return Run(calls)

    monkeypatch.setattr(wandb, "init", init)
    registry = "wandb-registry-model/digits"
    name = log_artifact(folder, "team/vaes/digits", aliases=["good"], registry=registry, data="digits")
    assert name == "wandb:team/vaes/digits:latest"
    assert calls["run"] == {"entity": "team", "project": "vaes", "job_type": "export"}
    assert calls["logged"] == ("digits", "model", ["latest", "good"], {"data": "digits"})
    assert calls["files"] == ["README.md", "config.json", "model.safetensors"]
    assert calls["linked"] == registry

    class Api:
        def artifact(self, wanted):
            calls["asked"] = wanted
            return type("Found", (), {"download": lambda self, root: str(folder)})()

    monkeypatch.setattr(wandb, "Api", Api)
    assert torch.equal(load("wandb:team/vaes/digits:good").encoder.head.weight, model.encoder.head.weight)
    assert calls["asked"] == "team/vaes/digits:good"
    load("wandb:team/vaes/digits")
    assert calls["asked"] == "team/vaes/digits:latest"


def test_offline_the_artifact_waits_and_a_registry_is_refused(monkeypatch, model, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "offline")
    folder = model.save_pretrained(tmp_path / "export")
    assert log_artifact(folder, "team/vaes/digits", aliases=["good"]) == "wandb:team/vaes/digits:latest"
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))
    with pytest.raises(ConfigError, match="`registry=wandb-registry-model/digits` needs a connection"):
        log_artifact(folder, "team/vaes/digits", registry="wandb-registry-model/digits")


def test_an_artifact_without_a_connection_ends_in_one_sentence(monkeypatch, model, tmp_path):
    def refuse(*args, **options):
        raise wandb.errors.CommError("no route to host")

    monkeypatch.setattr(wandb, "Api", refuse)
    with pytest.raises(CheckpointError, match=r"team/vaes/digits:v1 .* cannot be fetched \(no route to host\)"):
        load("wandb:team/vaes/digits:v1")
    monkeypatch.setattr(wandb, "init", refuse)
    with pytest.raises(ConfigError, match=r"cannot be logged as the artifact .*no route to host.*WANDB_MODE=offline"):
        log_artifact(model.save_pretrained(tmp_path / "export"), "team/vaes/digits")
