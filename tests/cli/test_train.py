"""The command line end to end: what a run leaves, resume, evaluation, loggers, process groups, and wrong input."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra

from lightning_gvae import cli
from lightning_gvae.cli.evaluate import main as eval_main
from lightning_gvae.cli.restore import resolve_checkpoint
from lightning_gvae.cli.train import main as train_main
from tests.datamodules.pictures import write

ROOT = Path(__file__).resolve().parents[2]
SMALL = [
    "data=digits",
    "trainer=cpu",
    "trainer.val_check_interval=10",
    "trainer.log_every_n_steps=5",
    "callbacks.figures.n_samples=4",
]
EVOLVE = [
    "model=evae",
    "callbacks.beta_evolution.interval=10",
    "callbacks.beta_evolution.warmup=10",
    "callbacks.beta_evolution.lookahead_steps=2",
    "callbacks.beta_evolution.probe_size=64",
]


def config(folder, *overrides, name="train"):
    with initialize_config_module("lightning_gvae.conf", version_base="1.3"):
        return compose(name, [f"paths.output_dir={folder}", *overrides])


def run_train(folder, *overrides):
    return cli.train(config(folder, *SMALL, *overrides))


def command(*arguments, cwd, env=None, check=True):
    """Run a script of the repository as a user would."""
    result = subprocess.run(  # noqa: PLW1510  (the caller may want the failure)
        [sys.executable, str(ROOT / arguments[0]), *arguments[1:]],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=280,
    )
    if check:
        assert result.returncode == 0, result.stdout + result.stderr
    return result


@pytest.fixture(scope="module")
def evae_run(tmp_path_factory):
    """One finished eVAE run of 40 steps: its folder and metrics."""
    folder = tmp_path_factory.mktemp("evae")
    return folder, run_train(folder, *EVOLVE, "trainer.max_steps=40")


def test_a_run_leaves_what_it_promises(evae_run):
    folder, metrics = evae_run
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    figures = {path.name for path in (folder / "figures").iterdir()}
    for kind in ("reconstruction", "sample", "traversal", "beta", "dimension", "rate_distortion"):
        assert any(kind in name for name in figures), (kind, figures)
    assert any(name.endswith(".gif") for name in figures)
    report = (folder / "report.html").read_text()
    assert report.count("data:image/png;base64,") >= 6
    assert "data:image/gif;base64," in report
    assert "http://" not in report
    assert "https://" not in report
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    logged = [row for row in rows if row["train/elbo"]]
    assert [int(row["step"]) for row in logged] == list(range(4, 40, 5))
    for row in logged:
        total = float(row["train/recon"]) + float(row["train/kl"])
        assert -float(row["train/elbo"]) == pytest.approx(total, rel=1e-6)
    facts = json.loads((folder / "run.json").read_text())
    assert facts["status"] == "finished"
    assert facts["optimizer_steps"] == 40
    assert facts["versions"]["torch"] == torch.__version__.split("+")[0]
    assert facts["evolution_extra_compute"] == pytest.approx(metrics["evolution/extra_compute"])
    assert {"test/elbo", "test/recon", "test/kl", "test/active_units"} <= set(metrics)
    assert metrics["test/elbo"] == pytest.approx(-(metrics["test/recon"] + metrics["test/kl"]), rel=1e-5)
    with (folder / "evolution.csv").open() as file:
        steps = [int(row["step"]) for row in csv.DictReader(file)]
    assert sorted(set(steps)) == [10, 20, 30]
    assert len(steps) == 3 * 8


def same(a, b, where=""):
    """Whether two checkpoints hold the same bits, containers and all."""
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            same(a[key], b[key], f"{where}/{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), where
        for index, (left, right) in enumerate(zip(a, b, strict=True)):
            same(left, right, f"{where}/{index}")
    else:
        assert a == b, where


@pytest.mark.parametrize("stop", [13, 20, 27], ids=["mid-epoch", "on-a-generation", "mid-interval"])
def test_resume_is_bit_exact(stop, evae_run, tmp_path):
    run_train(tmp_path / "half", *EVOLVE, f"trainer.max_steps={stop}", "test=false")
    resumed = run_train(
        tmp_path / "rest", *EVOLVE, "trainer.max_steps=40", f"ckpt_path={tmp_path}/half/checkpoints/last.ckpt"
    )
    read = lambda path: torch.load(path / "checkpoints/last.ckpt", weights_only=True)
    straight, rest = read(evae_run[0]), read(tmp_path / "rest")
    for part in ("state_dict", "optimizer_states", "loops", "gvae_means", "gvae_random"):
        same(straight[part], rest[part], part)
    for key in straight["callbacks"]:
        if "Checkpoint" not in key:  # those hold the paths of their own folders
            same(straight["callbacks"][key], rest["callbacks"][key], key)
    assert {name: value for name, value in resumed.items() if "wall" not in name} == evae_run[1]
    assert json.loads((tmp_path / "rest/run.json").read_text())["resumed_from"].endswith("half/checkpoints/last.ckpt")


def test_settings_of_the_last_release_are_accepted_with_a_warning(tmp_path):
    old = ("onednn_linear=false", "trainer.profiler._target_=lightning_gvae.no_profiler.NoProfiler")
    with pytest.warns(FutureWarning) as warned:
        run_train(tmp_path, *old, "trainer.max_steps=2", "test=false")
    said = "\n".join(str(each.message) for each in warned)
    assert "`onednn_linear` has no effect" in said
    assert "lightning_gvae.runtime.NoProfiler now" in said


def test_last_is_the_newest_checkpoint_of_the_task(tmp_path):
    for name in ("old", "new"):
        run_train(tmp_path / f"logs/train/runs/{name}", "trainer.max_steps=10", "test=false")
    cfg = config(tmp_path / "logs/train/runs/now", *SMALL, f"paths.log_dir={tmp_path}/logs", "ckpt_path=last")
    assert resolve_checkpoint(cfg) == f"{tmp_path}/logs/train/runs/new/checkpoints/last.ckpt"


def test_evaluation_from_the_checkpoint_alone_repeats_the_test(evae_run, tmp_path, monkeypatch):
    folder, metrics = evae_run
    monkeypatch.chdir(tmp_path)
    again = cli.evaluate(
        config(tmp_path / "eval", f"ckpt_path={folder}/checkpoints/last.ckpt", "trainer=cpu", name="eval")
    )
    assert {name: again[name] for name in again} == {name: metrics[name] for name in again}
    assert len(again) >= 5


def test_scores_leave_their_settings_and_a_sheet_of_every_sampler(evae_run, tmp_path):
    arguments = (f"ckpt_path={evae_run[0]}/checkpoints/last.ckpt", "trainer=cpu", "metrics=[precision_recall]")
    settings = ("evaluation.samplers=[prior,gmm]", "evaluation.samples=100", "evaluation.seed=5")
    found = cli.evaluate(config(tmp_path, *arguments, *settings, f"paths.cache_dir={tmp_path}/cache", name="eval"))
    kept = json.loads((tmp_path / "scores.json").read_text())
    assert kept["scores"] == {name: value for name, value in found.items() if name.startswith("score/")}
    assert {"score/recall/domain/prior", "score/recall/domain/gmm"} <= set(kept["scores"])
    assert kept["settings"]["samples"] == 100 and kept["settings"]["seed"] == 5
    for sampler in ("prior", "gmm"):
        assert (tmp_path / f"figures/samples_{sampler}.png").stat().st_size > 1000


def test_evaluation_with_other_data_settings(evae_run, tmp_path):
    arguments = (f"ckpt_path={evae_run[0]}/checkpoints/last.ckpt", "trainer=cpu", "+data.eval_batch_size=50")
    again = cli.evaluate(config(tmp_path, *arguments, name="eval"))
    assert again["test/kl"] == pytest.approx(evae_run[1]["test/kl"], rel=1e-5)


@pytest.mark.parametrize(
    "model",
    [
        "vae",
        "beta_vae",
        "capacity_vae",
        "control_vae",
        "dynamic_vae",
        "cyclical_vae",
        "annealed_vae",
        "free_bits_vae",
        "sigma_vae",
    ],
)
def test_every_model_trains_from_the_command_line(model, tmp_path):
    metrics = run_train(tmp_path, f"model={model}", "trainer.max_steps=12")
    assert metrics["train/elbo"] < 0 or model == "sigma_vae"
    assert (tmp_path / "report.html").exists()


@pytest.mark.parametrize("preset", ["evae_fo", "evae_random"])
def test_every_preset_of_evolution_trains(preset, tmp_path):
    metrics = run_train(tmp_path, *EVOLVE, f"callbacks/beta_evolution={preset}", "trainer.max_steps=25")
    assert metrics["evolution/generation"] == 1  # counted from 0
    assert metrics["evolution/beta"] != 1


def test_moving_average_does_not_average_the_kl_weight(tmp_path):
    run_train(tmp_path, *EVOLVE, "callbacks=ema", "trainer.max_steps=25", "test=false")
    checkpoint = torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)
    assert checkpoint["state_dict"]["beta"] == checkpoint["current_model_state"]["beta"]
    moved = "encoder.head.weight"
    assert not torch.equal(checkpoint["state_dict"][moved], checkpoint["current_model_state"][moved])


def test_fast_dev_run_leaves_no_checkpoints(tmp_path):
    run_train(tmp_path, "+trainer.fast_dev_run=true")
    assert not list(tmp_path.glob("checkpoints/*.ckpt"))


def test_beta_on_the_command_line_beats_the_evolved_one_and_evolution_goes_on_from_it(evae_run, tmp_path, caplog):
    with caplog.at_level("INFO", logger="lightning.pytorch.utilities.rank_zero"):
        run_train(
            tmp_path,
            *EVOLVE,
            "trainer.max_steps=41",
            "beta=3",
            "test=false",
            f"ckpt_path={evae_run[0]}/checkpoints/last.ckpt",
        )
    assert any("beta = 3 from the command line overrides" in message for message in caplog.messages)
    beta = torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)["state_dict"]["beta"].item()
    assert 3 * 0.6 < beta < 3 * 1.65  # step 40 is a generation: at most delta = 0.5 in log beta away


def test_wandb_offline_run_is_complete(tmp_path):
    """A real offline run: figures, tables, scalars and the checkpoint lie in the folder that `wandb sync` sends."""
    env = {"WANDB_MODE": "offline", "WANDB_SILENT": "true"}
    command("train.py", *SMALL, *EVOLVE, "logger=wandb", "trainer.max_steps=25", cwd=tmp_path, env=env)
    (run,) = tmp_path.glob("logs/train/runs/*/wandb/offline-run-*")
    (file,) = run.glob("run-*.wandb")
    content = file.read_bytes()
    assert content.startswith(b":W&B")
    for key in (b"train/elbo", b"val/elbo", b"evolution/beta", b"test/elbo", b"model-", b"search"):
        assert key in content, key
    media = {path.suffix for path in (run / "files/media").rglob("*") if path.is_file()}
    assert ".png" in media
    assert list((run / "files/media").rglob("*.table.json")), "no table"


def test_two_processes_train_alike_into_one_folder(tmp_path):
    arguments = [*SMALL, *EVOLVE, "trainer=ddp_sim", "trainer.max_steps=25", "data.batch_size=32"]
    command("train.py", *arguments, cwd=tmp_path)
    (folder,) = (tmp_path / "logs/train/runs").iterdir()
    facts = json.loads((folder / "run.json").read_text())
    assert (facts["status"], facts["processes"]) == ("finished", 2)
    assert facts["metrics"]["evolution/generation"] == 1  # counted from 0
    assert (folder / "report.html").exists()


def test_devices_and_strategy_can_be_given_one_by_one(tmp_path):
    arguments = ["trainer.devices=2", "trainer.strategy=ddp", "trainer.accelerator=cpu", "trainer.max_steps=5"]
    command("train.py", "data=digits", "model=control_vae", *arguments, cwd=tmp_path)
    (facts,) = tmp_path.glob("logs/train/runs/*/run.json")
    assert json.loads(facts.read_text())["processes"] == 2


def test_any_folder_of_images_trains_on_two_processes_and_is_decoded_once(tmp_path):
    for number in range(40):
        write(tmp_path / "in" / f"{number}.jpg", number, "JPEG")
    settings = ["data.root=in", "data.image_size=32", "data.val_size=4", "data.test_size=4", "data.batch_size=8"]
    augmented = ["data.hflip=true", "data.max_shift=2", "data.dequantise=true", "data.device_cache=true"]
    cache = {"GVAE_CACHE_DIR": str(tmp_path / "cache")}
    arguments = ["data=image_folder", *settings, *augmented, *SMALL[2:], "trainer=ddp_sim", "trainer.max_steps=4"]
    result = command("train.py", "model=vae", *arguments, cwd=tmp_path, env=cache)
    assert result.stderr.count("prepare image_folder: 100%") == 1
    (facts,) = tmp_path.glob("logs/train/runs/*/run.json")
    assert json.loads(facts.read_text())["status"] == "finished"
    assert len([path for path in (tmp_path / "cache").iterdir() if path.is_dir()]) == 1


def test_multirun_gives_every_job_its_folder(tmp_path):
    command("train.py", "-m", "seed=1,2", *SMALL, "trainer.max_steps=5", cwd=tmp_path)
    jobs = sorted(tmp_path.glob("logs/train/multiruns/*/*/run.json"))
    assert [json.loads(path.read_text())["seed"] for path in jobs] == [1, 2]


def failure(monkeypatch, capsys, tmp_path, *arguments, main=train_main):
    """The message that the command line ends with."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    monkeypatch.setenv("GVAE_SHORT_ERRORS", "1")
    GlobalHydra.instance().clear()
    with pytest.raises(SystemExit) as caught:
        main()
    assert "Traceback" not in capsys.readouterr().err
    message = str(caught.value)
    assert "\n\n" not in message.strip(), "more than one paragraph"
    return " ".join(message.split())


def corrupt(path):
    path.write_bytes(b"not a checkpoint")
    return path


WRONG = {
    "unknown model": (["model=nope"], "Could not find 'model/nope' Available options in 'model': annealed_vae"),
    "a number for a model": (["model=269"], "The settings `model=269` do not compose"),
    "a number among choices": (["model=[vae,3]"], "choices such as `model=vae` must be names"),
    "unknown data": (["data=nope"], "Available options in 'data': arrays cars3d celeba cifar10"),
    "missing data": (["data=mnist", "paths.data_dir=here"], "train-images-idx3-ubyte"),
    "missing faces": (["data=celeba", "paths.data_dir=here"], "list_eval_partition.txt was not found in here/celeba"),
    "no folder given": (["data=image_folder"], "`data.root` must be given, on the command line as data.root=..."),
    "missing folder": (["data=image_folder", "data.root=here"], "here is not a folder"),
    "missing npz": (["data=dsprites", "data.path=no.npz"], "no.npz"),
    "negative beta": ([*SMALL, "model.beta=-1"], "`beta` must be a KL weight of 0 or more, got -1"),
    "negative bounds": ([*SMALL, "model=control_vae", "model.beta_min=-1"], "`beta_min` must not be negative, got -1"),
    "no look-ahead": ([*SMALL, *EVOLVE, "callbacks.beta_evolution.lookahead_steps=0"], "`lookahead_steps` must be an"),
    "no target": ([*SMALL, "model=evae", "target_kl=null"], "`target`"),
    "no target, control": ([*SMALL, "model=control_vae", "target_kl=null"], "`target_kl` must be a positive number"),
    "no checkpoint": ([*SMALL, "ckpt_path=nowhere.ckpt"], "no checkpoint at nowhere.ckpt"),
    "no last checkpoint": ([*SMALL, "ckpt_path=last"], "`ckpt_path=last` finds no checkpoints/last.ckpt below logs"),
    "unknown argument": ([*SMALL, "+model.foo=1"], "foo"),
    "foreign target": ([*SMALL, "model._target_=os.system"], "`_target_` must be below lightning_gvae."),
    "wrong shape": ([*SMALL, "model.image_shape=[1,28,28]"], "`model.image_shape` is (1, 28, 28), but the data set"),
    "unwritable run folder": ([*SMALL, "hydra.run.dir=/proc/run"], "/proc/run"),
    "wrong type": ([*SMALL, "data.batch_size=many"], "`batch_size`"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_ends_in_one_paragraph(case, monkeypatch, capsys, tmp_path):
    arguments, expected = WRONG[case]
    assert expected in failure(monkeypatch, capsys, tmp_path, *arguments)


def test_truncated_data_is_named(monkeypatch, capsys, tmp_path, data_dir):
    source = data_dir / "mnist"
    target = tmp_path / "mnist"
    target.mkdir()
    for path in source.glob("*.gz"):
        (target / path.name).write_bytes(path.read_bytes()[: 1000 if "train-images" in path.name else None])
    message = failure(monkeypatch, capsys, tmp_path, "data=mnist", f"paths.data_dir={tmp_path}")
    assert "train-images-idx3-ubyte.gz" in message


def test_damaged_and_hostile_checkpoints_are_refused_unexecuted(monkeypatch, capsys, tmp_path):
    message = failure(monkeypatch, capsys, tmp_path, *SMALL, f"ckpt_path={corrupt(tmp_path / 'bad.ckpt')}")
    assert "bad.ckpt" in message

    class Hostile:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    torch.save({"state_dict": {}, "payload": Hostile()}, tmp_path / "hostile.ckpt")
    message = failure(monkeypatch, capsys, tmp_path, *SMALL, f"ckpt_path={tmp_path}/hostile.ckpt")
    assert "nothing in it was executed" in message
    assert not (tmp_path / "executed").exists()


def test_checkpoint_of_another_model_is_refused(evae_run, monkeypatch, capsys, tmp_path):
    path = f"ckpt_path={evae_run[0]}/checkpoints/last.ckpt"
    message = failure(monkeypatch, capsys, tmp_path, *SMALL, "model=vae", path)
    assert "belongs to another model (class: stored 'EVAE', now 'VAE')" in message


def test_nan_loss_ends_in_one_paragraph_and_the_run_says_so(monkeypatch, capsys, tmp_path):
    arguments = [*SMALL, "model.optimizer.lr=1e20", "trainer.max_steps=50"]
    message = failure(monkeypatch, capsys, tmp_path, *arguments)
    assert "the loss became NaN or infinite at optimiser step" in message
    assert "beta 1, learning rate 1e+20" in message
    (facts,) = tmp_path.glob("logs/train/runs/*/run.json")
    assert json.loads(facts.read_text())["status"].startswith("failed: NonFiniteError")


def test_evaluation_without_a_checkpoint_says_what_is_missing(monkeypatch, capsys, tmp_path):
    assert "ckpt_path" in failure(monkeypatch, capsys, tmp_path, main=eval_main)
