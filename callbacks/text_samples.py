"""Shows what a text model writes: reconstructions, samples and interpolations, for the report and the loggers."""

from pathlib import Path

import lightning as L
from torch import Tensor

from lightning_gvae.callbacks.history import history_of
from lightning_gvae.errors import ConfigError, checked_count
from lightning_gvae.interfaces import TextModel, encodes, require
from lightning_gvae.lightning_compat import logger_step
from lightning_gvae.loggers.figures import send_pictures
from lightning_gvae.loggers.tables import send_table
from lightning_gvae.plots.pictures import curve_pictures
from lightning_gvae.plots.style import save
from lightning_gvae.report.finish import finish_report, write_into_run
from lightning_gvae.report.page import Table
from lightning_gvae.rng import numpy_stream, torch_stream
from lightning_gvae.training.batches import fetch, loader_size, validation_loader
from lightning_gvae.training.modes import inference_mode

__all__ = ["TextSamples"]


class TextSamples(L.Callback):
    """Writes sentences when a fit ends: ``texts.json``, tables in ``report.html`` and Weights & Biases, and the curves.

    Validation sentences are shown beside what their codes are decoded to, greedily and by beam search; samples from the
    prior are drawn word by word and from the nucleus; and the line between the codes of two sentences is decoded. Of a
    language model without latents there are samples only. The model is only looked at, random numbers come from own
    streams, and only rank 0 writes.

    Args:
        n_sentences: Validation sentences shown, at least 2; every two of them make an interpolation.
        n_samples: Samples, at least 1.
        n_interpolations: Interpolations, at least 0.
        steps: Sentences of an interpolation, both ends included, at least 2.
        beam: Width of the beam search, at least 1.
        temperature: Of nucleus samples, positive.
        top_p: Of nucleus samples, in (0, 1].
        seed: Seed of the choice of sentences and of the samples.

    Raises:
        ConfigError: A number is out of range; or, when a fit starts: the model writes no text, or there is no History.
    """

    def __init__(
        self,
        n_sentences: int = 8,
        n_samples: int = 16,
        n_interpolations: int = 2,
        steps: int = 7,
        beam: int = 5,
        temperature: float = 1.0,
        top_p: float = 0.9,
        seed: int = 0,
    ) -> None:
        self.n_sentences = checked_count("n_sentences", n_sentences, 2)
        self.n_samples = checked_count("n_samples", n_samples)
        self.n_interpolations = checked_count("n_interpolations", n_interpolations, 0)
        self.steps, self.beam = checked_count("steps", steps, 2), checked_count("beam", beam)
        if not (0 < temperature < float("inf") and 0 < top_p <= 1):
            raise ConfigError(f"`temperature` must be positive and `top_p` in (0, 1], got {temperature} and {top_p}.")
        self.temperature, self.top_p, self.seed = temperature, top_p, seed

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuse what could only fail at the end."""
        if stage != "fit":
            return
        _model(pl_module)
        history_of(trainer, "TextSamples")

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write everything."""
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if not trainer.is_global_zero or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        with inference_mode(pl_module), trainer.precision_plugin.forward_context():
            tables = self.tables(trainer, _model(pl_module))
        folder, history = Path(trainer.default_root_dir), history_of(trainer, "TextSamples")
        pictures = curve_pictures(history.series, history.names)
        for picture in pictures:
            assert picture.figure is not None
            save(picture.figure, folder / "figures" / picture.file)
        send_pictures(trainer, folder, pictures)
        write_into_run(folder / "texts.json", {t.title: {"header": t.header, "rows": t.rows} for t in tables})
        for table in tables:
            key = f"text/{table.title.lower().replace(' ', '_')}"
            send_table(trainer, key, table.header, table.rows, logger_step(trainer))
        finish_report(trainer, pl_module, pictures, metrics, tables)

    def tables(self, trainer: L.Trainer, model: TextModel) -> list[Table]:
        """Tables of what the model writes."""
        found = [self._samples(model)]
        if not encodes(model):
            return found
        loader = validation_loader(trainer)
        order = numpy_stream(self.seed, "text/sentences").permutation(loader_size(loader))[: self.n_sentences]
        batch = trainer.strategy.batch_to_device(fetch(loader, order), model.device, dataloader_idx=0)
        tokens = model.prepare(batch)
        return [self._reconstructions(model, tokens), *self._interpolations(model, tokens), *found]

    def _reconstructions(self, model: TextModel, tokens: Tensor) -> Table:
        codes = model.encode(tokens)[0]
        columns = (tokens, model.decode(codes), model.decode_beam(codes, self.beam))
        rows = list(map(list, zip(*(model.words(column) for column in columns), strict=True)))
        caption = "Validation sentences and what the means of their posteriors are decoded to."
        return Table("Reconstructions", caption, ["sentence", "greedy", f"beam {self.beam}"], rows, prose=True)

    def _interpolations(self, model: TextModel, tokens: Tensor) -> list[Table]:
        tables = []
        for number in range(min(self.n_interpolations, len(tokens) // 2)):
            first, second = (tokens[2 * number + end] for end in (0, 1))
            sentences = model.words(model.interpolate(first, second, self.steps))
            rows = [[f"{step / (self.steps - 1):.2f}", text] for step, text in enumerate(sentences)]
            ends = model.words(tokens[2 * number : 2 * number + 2])
            caption = f"On the line from the code of “{ends[0]}” to that of “{ends[1]}”, greedily decoded."
            tables.append(Table(f"Interpolation {number + 1}", caption, ["part", "sentence"], rows, prose=True))
        return tables

    def _samples(self, model: TextModel) -> Table:
        settings = [(1.0, 1.0), (self.temperature, self.top_p)]
        columns = []
        for temperature, top_p in settings:
            stream = torch_stream(self.seed, "text/samples", device=model.device)
            columns.append(model.words(model.sample(self.n_samples, stream, temperature, top_p)))
        caption = "The same latents in a row; the first column is the model's own distribution."
        header = ["drawn word by word", f"nucleus {self.top_p:g}, temperature {self.temperature:g}"]
        return Table("Samples", caption, header, list(map(list, zip(*columns, strict=True))), prose=True)


def _model(pl_module: L.LightningModule) -> TextModel:
    remedy = "Remove the callback (callbacks.text_samples=null), or take model=text_vae"
    return require(pl_module, TextModel, "TextSamples", remedy)
