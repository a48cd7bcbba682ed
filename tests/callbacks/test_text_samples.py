"""What a text run shows: tables of sentences in the report and Weights & Biases, curves, words a second."""

import json
from html import escape
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, WandbLogger

from lightning_gvae.callbacks.history import History
from lightning_gvae.callbacks.text_samples import TextSamples
from lightning_gvae.callbacks.token_rate import TokenRate
from lightning_gvae.datamodules.text.datamodule import TextDataModule
from lightning_gvae.errors import ConfigError
from lightning_gvae.models import VAE, TextLM, TextVAE
from tests.datamodules.sentences import write_corpus

SHAPE = (20, 17)
SMALL: dict[str, Any] = {"embedding": 8, "hidden": 12}


class Recorder(WandbLogger):
    """Takes what would go to the server."""

    def __init__(self, folder: Path) -> None:
        super().__init__(save_dir=folder, offline=True)
        self.sent: dict[str, Any] = {}

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        self.sent |= metrics

    def log_hyperparams(self, params: Any) -> None:
        pass

    @property
    def experiment(self) -> Any:
        return None


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus") / "toy")


def fit(
    folder: Path, root: Path, model: L.LightningModule, callbacks: list[Any], steps: int = 12, **kwargs: Any
) -> Any:
    trainer = L.Trainer(
        accelerator="cpu",
        callbacks=callbacks,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=folder,
        max_steps=steps,
        max_epochs=-1,
        log_every_n_steps=4,
        num_sanity_val_steps=0,
        **{"logger": False} | kwargs,
    )
    data = TextDataModule(root, name="toy", max_length=20, batch_size=16, cache_dir=root.parent / "cache")
    trainer.fit(model, datamodule=data)
    return trainer, data


def samples(**kwargs: Any) -> TextSamples:
    return TextSamples(**{"n_sentences": 4, "n_samples": 3, "steps": 5, "beam": 2} | kwargs)


def test_tables_reach_the_report_the_folder_and_weights_and_biases(tmp_path: Path, root: Path) -> None:
    torch.manual_seed(0)
    model, recorder = TextVAE(SHAPE, latent_dim=4, **SMALL), Recorder(tmp_path)
    _, data = fit(tmp_path, root, model, [History(), samples()], logger=recorder)
    texts = json.loads((tmp_path / "texts.json").read_text())
    assert list(texts) == ["Reconstructions", "Interpolation 1", "Interpolation 2", "Samples"]
    header, rows = texts["Reconstructions"].values()
    assert header == ["sentence", "greedy", "beam 2"] and len(rows) == 4
    lines = {line.strip() for line in (root / "toy.valid.txt").read_text().splitlines()}
    assert {row[0] for row in rows} <= lines
    tokens = data.val_set.batch(range(len(data.val_set)))[0]
    model.eval()
    greedy = dict(zip(model.words(tokens), model.words(model.reconstruct(tokens)), strict=True))
    assert all(greedy[row[0]] == row[1] for row in rows)
    parts = texts["Interpolation 1"]["rows"]
    assert [row[0] for row in parts] == ["0.00", "0.25", "0.50", "0.75", "1.00"]
    assert [parts[0][1], parts[-1][1]] == [rows[0][1], rows[1][1]]
    assert len(texts["Samples"]["rows"]) == 3
    page = (tmp_path / "report.html").read_text()
    assert "TextVAE was trained on toy for 12 optimiser steps" in page
    for row in [row for table in texts.values() for row in table["rows"]]:
        assert all(f"<td>{escape(cell)}</td>" in page for cell in row)
    assert page.count("data:image/png;base64,") == 4
    expected = {"final_metrics", "text/reconstructions", "text/interpolation_1", "text/interpolation_2", "text/samples"}
    assert {name for name in recorder.sent if name in expected or name.startswith("text/")} == expected
    table = recorder.sent["text/reconstructions"]
    assert (table.columns, table.data) == (header, rows)


def test_looking_changes_nothing_and_the_seed_chooses(tmp_path: Path, root: Path) -> None:
    def run(name: str, *callbacks: Any) -> tuple[Any, Any]:
        torch.manual_seed(0)
        model = TextVAE(SHAPE, latent_dim=4, **SMALL)
        fit(tmp_path / name, root, model, [History(), *callbacks])
        return model.state_dict(), torch.get_rng_state()

    (plain, state), (shown, after) = run("a"), run("b", samples())
    assert all(torch.equal(plain[name], shown[name]) for name in plain) and torch.equal(state, after)
    run("c", samples()), run("d", samples(seed=1))
    texts = [(tmp_path / name / "texts.json").read_text() for name in "bcd"]
    assert texts[0] == texts[1] != texts[2]


def test_a_language_model_shows_samples_alone(tmp_path: Path, root: Path) -> None:
    fit(tmp_path, root, TextLM(SHAPE, **SMALL), [History(), samples()])
    assert list(json.loads((tmp_path / "texts.json").read_text())) == ["Samples"]


def test_the_rate_counts_words_and_is_given_to_loggers_alone(tmp_path: Path, root: Path) -> None:
    rate, logger = TokenRate(), CSVLogger(tmp_path, name="", version="")
    history = History()
    trainer, data = fit(tmp_path, root, TextLM(SHAPE, **SMALL), [history, rate], logger=logger)
    loader = data.train_dataloader()
    loader.set_epoch(0)
    assert rate.tokens == sum(int(lengths.sum()) for _, lengths in loader)  # 12 steps are an epoch
    assert rate.seconds > 0 and rate.rate == rate.tokens / rate.seconds
    assert "train/tokens_per_second" in (tmp_path / "metrics.csv").read_text()
    assert "train/tokens_per_second" not in {*history.names, *trainer.callback_metrics, *trainer.logged_metrics}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_sentences": 1}, "`n_sentences` must be an integer of at least 2"),
        ({"steps": 1}, "`steps` must be an integer of at least 2"),
        ({"top_p": 0.0}, r"`temperature` must be positive and `top_p` in \(0, 1\], got 1.0 and 0.0"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TextSamples(**settings)


def test_other_models_and_runs_without_history_are_refused_at_the_start(tmp_path: Path, root: Path) -> None:
    with pytest.raises(ConfigError, match="TextSamples needs a text model; VAE lacks decode_beam"):
        fit(tmp_path, root, VAE((1, 4, 4)), [History(), samples()])
    with pytest.raises(ConfigError, match="draws its curves from the History callback"):
        fit(tmp_path, root, TextVAE(SHAPE, latent_dim=4, **SMALL), [samples()])
