"""Words a second of a text run against a bare torch loop, and what batches of one length gain.

    python -m benchmarks.text [--turns 9] [--steps 20] [--precision 32-true]

Our run (Trainer with the default callbacks of a text model, CSV logging, checkpoints) and a loop written by hand with
the same network, optimiser and batches take turns inside one process, so that a machine that drifts slows both alike;
ratios are formed turn by turn. The second measurement trains the same network on bucketed and on random batches in
turns. A corpus of random words with the lengths of Penn Treebank's sentences serves: speed does not depend on what they
say.
"""

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from hydra import compose, initialize_config_module
from hydra.utils import instantiate

from benchmarks.figures import Figure
from lightning_gvae.datamodules.text.datamodule import TextDataModule
from lightning_gvae.models import TextVAE
from lightning_gvae.rng import numpy_stream, torch_stream

WORDS, SENTENCES, BATCH = 10_000, 8_000, 32
SIZES: dict[str, Any] = {"latent_dim": 32, "embedding": 128, "hidden": 200, "dropout": 0.2}


def corpus(folder: Path) -> Path:
    """Lengths as in Penn Treebank: mean 21, standard deviation 10, at most 82."""
    stream = numpy_stream(0, "benchmark")
    lengths = np.clip(np.rint(stream.gamma(4.4, 4.8, SENTENCES)), 1, 82).astype(int)
    words = 1 / np.arange(1, WORDS + 1)  # Zipf
    draws = stream.choice(WORDS, lengths.sum(), p=words / words.sum())
    lines = [" ".join(f"w{word}" for word in part) for part in np.split(draws, np.cumsum(lengths)[:-1])]
    for part in ("train", "valid", "test"):
        chosen = lines if part == "train" else lines[:64]
        (folder / f"{part}.txt").write_text("\n".join(chosen) + "\n")
    return folder


def data(folder: Path, pool: int = 50) -> TextDataModule:
    module = TextDataModule(folder, max_length=84, batch_size=BATCH, bucket_pool=pool, cache_dir=folder / "cache")
    module.setup()
    return module


def bare_loop(module: TextDataModule, precision: str) -> Iterator[tuple[int, int]]:
    """What a person writes by hand, one step per ``next``: words and tokens with padding of the batch."""
    torch.manual_seed(0)
    model = TextVAE(module.spec.image_shape, **SIZES)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    loader, epoch = module.train_dataloader(), 0
    noise = torch_stream(0, "bare")
    while True:
        loader.set_epoch(epoch)
        for tokens, lengths, *_ in loader:
            with torch.autocast("cpu", torch.bfloat16, enabled=precision != "32-true"):
                terms = model.elbo_terms(tokens, noise)
                loss = terms.recon + terms.kl
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            yield int(lengths.sum()), tokens.numel()
        epoch += 1


class Turns(L.Callback):
    """Pauses our run after every turn and gives the bare loop its own, over the same batches."""

    def __init__(self, bare: Iterator[tuple[int, int]], steps: int, turns: int) -> None:
        self.bare, self.steps, self.turns = bare, steps, turns
        self.rows: list[dict[str, float]] = []
        self._mark, self._words = 0.0, 0

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, *args: Any) -> None:
        if trainer.global_step % self.steps == 0:
            now = time.perf_counter()
            if trainer.global_step > 0:
                seconds, words, _ = timed(self.bare, self.steps)
                assert words == self._words, "the batches differ"
                self.rows.append({"words": words, "ours": now - self._mark, "bare": seconds})
            if len(self.rows) == self.turns + 1:
                trainer.should_stop = True
            self._mark, self._words = time.perf_counter(), 0
        self._words += int(batch[1].sum())


def timed(loop: Iterator[tuple[int, int]], steps: int) -> tuple[float, int, int]:
    start = time.perf_counter()
    counts = [next(loop) for _ in range(steps)]
    return time.perf_counter() - start, sum(words for words, _ in counts), sum(tokens for _, tokens in counts)


def against_bare(folder: Path, steps: int, turns: int, precision: str) -> dict[str, Any]:
    """Our Trainer, as ``train.py`` builds it, against the loop by hand."""
    with initialize_config_module("lightning_gvae.conf", version_base="1.3"):
        overrides = [f"paths.output_dir={folder / 'run'}", "model=text_vae", "trainer=cpu", "data=ptb"]
        overrides += [f"trainer.precision={precision}", "trainer.max_steps=1000000"]
        cfg = compose("train", overrides)
    module = data(folder)
    callback = Turns(bare_loop(data(folder), precision), steps, turns)
    left_out = ("figures", "text_samples", "progress_bar")
    ours = [instantiate(node) for name, node in cfg.callbacks.items() if node is not None and name not in left_out]
    loggers = [instantiate(node) for node in cfg.logger.values()]
    trainer = instantiate(
        cfg.trainer,
        callbacks=[*ours, callback],
        logger=loggers,
        val_check_interval=1_000_000,
        enable_progress_bar=False,
    )
    torch.manual_seed(0)
    trainer.fit(TextVAE(module.spec.image_shape, **SIZES), datamodule=module)
    rows = callback.rows[1:]  # the first turn warms up
    return {
        "words_per_second": {
            kind: round(statistics.median(row["words"] / row[kind] for row in rows)) for kind in ("ours", "bare")
        },
        "ours_over_bare": spread([row["bare"] / row["ours"] for row in rows]),
        "turns": len(rows),
        "steps_per_turn": steps,
    }


def bucketing(folder: Path, steps: int, turns: int, precision: str) -> dict[str, Any]:
    """Bucketed against random batches, the same network, in turns."""
    loops = {name: bare_loop(data(folder, pool), precision) for name, pool in (("bucketed", 50), ("random", 1))}
    for loop in loops.values():
        timed(loop, steps)
    rates: dict[str, list[float]] = {name: [] for name in loops}
    used: dict[str, list[int]] = {name: [0, 0] for name in loops}
    for turn in range(turns):
        for name, loop in list(loops.items())[:: 1 if turn % 2 else -1]:
            seconds, words, tokens = timed(loop, steps)
            rates[name].append(words / seconds)
            used[name] = [used[name][0] + words, used[name][1] + tokens]
    pairs = zip(rates["bucketed"], rates["random"], strict=True)
    return {
        "words_per_second": {name: round(statistics.median(found)) for name, found in rates.items()},
        "padding": {name: round(1 - words / tokens, 3) for name, (words, tokens) in used.items()},
        "bucketed_over_random": spread([bucketed / random for bucketed, random in pairs]),
    }


def spread(ratios: list[float]) -> dict[str, float]:
    low, _, high = statistics.quantiles(ratios, n=4)
    return {"median": round(statistics.median(ratios), 3), "low": round(low, 3), "high": round(high, 3)}


def figures(turns: int, steps: int = 20) -> list[Figure]:
    """Figures for the table of all benchmarks."""
    with tempfile.TemporaryDirectory() as name:
        folder = corpus(Path(name))
        bare = against_bare(folder, steps, turns + 1, "32-true")
        buckets = bucketing(folder, steps, turns, "32-true")
    found = []
    for title, of, result, key, who in (
        (
            "training, text, LSTM, batch 32",
            "seconds of a bare loop with fused Adam / ours",
            bare,
            "ours_over_bare",
            "ours",
        ),
        (
            "text, batches by length",
            "words a second with them / with random batches",
            buckets,
            "bucketed_over_random",
            "bucketed",
        ),
    ):
        each: dict[str, float] = result[key]
        facts = {"words_per_s": result["words_per_second"][who]}
        found.append(Figure(title, of, each["median"], each["low"], each["high"], turns, facts))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--steps", type=int, default=20, help="optimiser steps of a turn")
    parser.add_argument("--precision", default="32-true", choices=["32-true", "bf16-mixed"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = corpus(Path(name))
        settings = (folder, options.steps, options.turns, options.precision)
        found = {
            "text": against_bare(*settings),
            "buckets": bucketing(*settings),
            "precision": options.precision,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "machine": f"{platform.machine()}, {platform.processor() or platform.system()}",
        }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
