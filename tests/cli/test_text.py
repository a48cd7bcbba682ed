"""Text from the command line: what a run leaves, exact resume, two processes, other corpora, scores and messages."""

import json
import sys

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

from lightning_gvae import cli
from lightning_gvae.cli.train import main as train_main
from lightning_gvae.errors import ConfigError
from tests.cli.test_train import command, config, same
from tests.datamodules.sentences import write_corpus

SMALL = [
    "data=text",
    "data.name=toy",
    "data.max_length=20",
    "data.batch_size=16",
    "model.embedding=8",
    "model.hidden=12",
    "latent_dim=4",
    "target_kl=2",
    "trainer=cpu",
    "trainer.val_check_interval=10",
    "trainer.log_every_n_steps=5",
    "callbacks.text_samples.n_samples=3",
]
EVOLVE = [
    "model=text_evae",
    "callbacks.beta_evolution.interval=10",
    "callbacks.beta_evolution.warmup=10",
    "callbacks.beta_evolution.lookahead_steps=2",
    "callbacks.beta_evolution.probe_size=64",
]
SCORES = [
    "metrics=all",
    "evaluation.samples=40",
    "evaluation.likelihood_images=20",
    "evaluation.importance_samples=5",
    "evaluation.posteriors=40",
]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus") / "toy")


def settings(root):
    return [*SMALL, f"data.root={root}", f"paths.cache_dir={root.parent}/cache"]


def run_train(folder, root, *overrides):
    return cli.train(config(folder, *settings(root), *overrides))


@pytest.fixture(scope="module")
def evae_run(root, tmp_path_factory):
    """One finished run of 40 steps with all scores: its folder and metrics."""
    folder = tmp_path_factory.mktemp("evae")
    return folder, run_train(folder, root, *EVOLVE, *SCORES, "trainer.max_steps=40")


def test_a_run_leaves_sentences_curves_and_scores(evae_run):
    folder, metrics = evae_run
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    report = (folder / "report.html").read_text()
    for headline in ("Reconstructions", "Interpolation 1", "Samples", "KL weight and KL"):
        assert headline in report
    assert next(iter(json.loads((folder / "texts.json").read_text()))) == "Reconstructions"
    for name in ("elbo", "recon", "kl", "perplexity", "unknown_rate", "active_units"):
        assert f"test/{name}" in metrics and f"val/{name}" in metrics
    for name in ("perplexity_iw", "perplexity_elbo", "mutual_information", "distinct_1", "self_bleu_2", "words"):
        assert f"score/{name}" in metrics
    assert metrics["test/elbo"] == pytest.approx(-(metrics["test/recon"] + metrics["test/kl"]), rel=1e-5)
    # Both are estimates, from five draws on twenty sentences; the network has hardly learnt to use its latents.
    assert 1 < metrics["score/perplexity_iw"] < 1.03 * metrics["score/perplexity_elbo"]
    assert (folder / "evolution.csv").is_file()
    assert "tokens_per_second" in (folder / "metrics.csv").read_text().splitlines()[0]


@pytest.mark.parametrize("stop", [13, 20], ids=["mid-epoch", "on-a-generation"])
def test_resume_is_bit_exact(stop, evae_run, root, tmp_path):
    run_train(tmp_path / "half", root, *EVOLVE, f"trainer.max_steps={stop}", "test=false")
    last = f"ckpt_path={tmp_path}/half/checkpoints/last.ckpt"
    resumed = run_train(tmp_path / "rest", root, *EVOLVE, *SCORES, "trainer.max_steps=40", last)
    read = lambda path: torch.load(path / "checkpoints/last.ckpt", weights_only=True)
    straight, rest = read(evae_run[0]), read(tmp_path / "rest")
    for part in ("state_dict", "optimizer_states", "loops", "gvae_means", "gvae_random", "gvae_vocabulary"):
        same(straight[part], rest[part], part)
    for key in straight["callbacks"]:
        if "Checkpoint" not in key:  # those hold the paths of their own folders
            same(straight["callbacks"][key], rest["callbacks"][key], key)
    assert resumed == evae_run[1]


def test_two_processes_train_alike_into_one_folder(root, tmp_path):
    arguments = [*settings(root), *EVOLVE, "trainer=ddp_sim", "trainer.max_steps=15", "data.batch_size=8"]
    command("train.py", *arguments, cwd=tmp_path)
    (folder,) = (tmp_path / "logs/train/runs").iterdir()
    facts = json.loads((folder / "run.json").read_text())
    assert (facts["status"], facts["processes"]) == ("finished", 2)
    assert facts["metrics"]["evolution/generation"] == 0
    assert "Reconstructions" in (folder / "report.html").read_text()


def test_a_corpus_can_be_looked_at_before_training(root, tmp_path, capsys):
    overrides = [name for name in settings(root) if name.startswith(("data", "paths"))]
    found = cli.inspect_data(config(tmp_path, *overrides, name="inspect"))
    assert found["vocabulary"] == 17 and found["train"]["sentences"] == 200
    assert json.loads((tmp_path / "data.json").read_text()) == found
    shown = capsys.readouterr().out
    assert "toy: 17 tokens" in shown and "0.00%" in shown and "unknown_rate" in shown


@pytest.mark.slow
def test_two_processes_resume_exactly_and_see_the_batches_of_one(root, tmp_path):
    def run(name, *overrides):
        base = [*settings(root), "model=text_control_vae", "trainer=ddp_sim", "data.batch_size=8", "test=false"]
        command("train.py", *base, f"hydra.run.dir={tmp_path / name}", *overrides, cwd=tmp_path)
        return torch.load(tmp_path / name / "checkpoints/last.ckpt", weights_only=True)

    whole = run("whole", "trainer.max_steps=30")
    run("half", "trainer.max_steps=13")
    rest = run("rest", "trainer.max_steps=30", f"ckpt_path={tmp_path}/half/checkpoints/last.ckpt")
    for part in ("state_dict", "optimizer_states", "loops", "gvae_random"):
        same(whole[part], rest[part], part)


def test_evaluation_repeats_the_test_and_reads_other_corpora_with_the_model_s_words(evae_run, root, tmp_path, capsys):
    folder, metrics = evae_run
    checkpoint = f"ckpt_path={folder}/checkpoints/last.ckpt"
    again = cli.evaluate(config(tmp_path / "a", checkpoint, "trainer=cpu", name="eval"))
    assert {name: again[name] for name in again} == {name: metrics[name] for name in again}
    assert {"test/perplexity", "test/unknown_rate", "test/kl"} <= again.keys()
    other = tmp_path / "other.txt"
    other.write_bytes(b"the red cat\r\nthe purple cat and the red dog\r\n")
    found = cli.evaluate(config(tmp_path / "b", checkpoint, "trainer=cpu", f"data.root={other}", name="eval"))
    assert found["test/unknown_rate"] == pytest.approx(1 / 10)
    assert found["test/perplexity"] != again["test/perplexity"]
    assert "10.00 % of the words of toy/all are unknown to the model" in capsys.readouterr().err


def failure(monkeypatch, capsys, folder, *arguments):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    monkeypatch.setenv("GVAE_SHORT_ERRORS", "1")
    GlobalHydra.instance().clear()
    with pytest.raises(SystemExit) as caught:
        train_main()
    return " ".join(str(caught.value).split())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model=text_vae", "data=digits"], "text models need text: choose data=ptb or data=text"),
        (["model=text_vae", "data=text", "data.root=none"], "there is no corpus at none; set data.root"),
        (
            ["model=text_vae", "data=ptb", "data.words.vocabulary_cap=3"],
            "`words.vocabulary_cap` must be an integer of at least 5",
        ),
        (
            ["model=text_lm", "latent_dim=8", "model.latent_dim=8", "data=text", "data.root=c.txt"],
            "TextLM has no latents",
        ),
    ],
)
def test_mistakes_end_in_one_paragraph(overrides, message, monkeypatch, capsys, tmp_path):
    (tmp_path / "c.txt").write_text("a b\n" * 5)
    overrides = [*overrides, f"paths.cache_dir={tmp_path}/cache"]
    assert message in failure(monkeypatch, capsys, tmp_path, *overrides)


def test_scores_of_text_are_refused_for_images(tmp_path):
    with pytest.raises(ConfigError, match="perplexity: it is a score of text, and digits is none"):
        cli.train(
            config(
                tmp_path,
                "data=digits",
                "trainer=cpu",
                "trainer.max_steps=3",
                "metrics=[perplexity]",
                "callbacks.figures=null",
            )
        )


def test_a_model_of_images_refuses_text(root, tmp_path):
    with pytest.raises(ConfigError, match="`image_shape` must be"):
        cli.train(config(tmp_path, "model=vae", "data=text", f"data.root={root}", "data.name=toy", "trainer=cpu"))
