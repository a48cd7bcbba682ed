"""Draws what a model has learnt and how, for the run folder, the loggers and the report."""

from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from lightning_gvae.callbacks.history import history_of
from lightning_gvae.errors import ConfigError
from lightning_gvae.interfaces import GenerativeModel, HasPosterior, encodes, require
from lightning_gvae.io.files import write_bytes
from lightning_gvae.loggers.figures import send_images, send_pictures
from lightning_gvae.plots.animation import traversal_gif
from lightning_gvae.plots.images import kl_order
from lightning_gvae.plots.pictures import Picture, Views, curve_pictures, image_pictures
from lightning_gvae.plots.style import save
from lightning_gvae.report.finish import finish_report
from lightning_gvae.rng import numpy_stream, torch_stream
from lightning_gvae.training.batches import fetch, loader_size, validation_loader
from lightning_gvae.training.modes import inference_mode

__all__ = ["Figures"]

REMEDY = "Remove the callback (callbacks.figures=null), or give the model these members"
KL_IMAGES = 512
CHUNK = 128
VALUES = 21  # of a traversal: all in the animation, every other one in the figure


class Figures(L.Callback):
    """Draws reconstructions, samples, traversals and learning curves when a fit ends, and writes ``report.html``.

    Files go to ``figures/`` in the run folder (``trainer.default_root_dir``), figures also to Weights & Biases and
    TensorBoard if they log this run. Validation images are chosen once by ``seed``. Traversals go around the posterior
    mean of the first of them, through the dimensions with the largest mean KL over up to 512 validation images.

    Of a model without posteriors (``has_posterior = False``, a GAN) there are samples and curves.

    The model is only looked at: evaluation mode, no gradients, random numbers from own streams. Only rank 0 draws.

    Args:
        n_images: Validation images shown with their reconstructions.
        n_samples: Samples from the prior.
        traversal_range: Largest absolute value of a traversed latent, in standard deviations of the prior.
        max_traversal_dims: Latent dimensions traversed.
        every_n_validations: Also draw the images after each n-th validation; ``None`` draws at the end only.
        seed: Seed of the choice of images and of the samples.

    Raises:
        ConfigError: An argument is out of range; or, when a fit starts: the model lacks a method, there is no History
            among the callbacks, no validation, no data set with positions, or no folder that can be written.
    """

    def __init__(
        self,
        n_images: int = 8,
        n_samples: int = 64,
        traversal_range: float = 2.5,
        max_traversal_dims: int = 10,
        every_n_validations: int | None = None,
        seed: int = 0,
    ) -> None:
        counts = {"n_images": n_images, "n_samples": n_samples, "max_traversal_dims": max_traversal_dims}
        if every_n_validations is not None:
            counts["every_n_validations"] = every_n_validations
        for name, count in counts.items():
            if isinstance(count, bool) or not isinstance(count, int) or count < 1:
                raise ConfigError(f"`{name}` must be a whole number of at least 1, got {count!r}.")
        if not 0 < traversal_range < float("inf"):
            raise ConfigError(f"`traversal_range` must be a positive number, got {traversal_range}.")
        self.n_images, self.n_samples, self.max_traversal_dims = n_images, n_samples, max_traversal_dims
        self.traversal_range, self.every_n_validations, self.seed = traversal_range, every_n_validations, seed
        self._validations = 0

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuse what could only fail hours later."""
        if stage != "fit":
            return
        model = _model(pl_module)
        if len(shape := model.image_shape) != 3:
            raise ConfigError(
                f"Figures draws images and this model's data have the shape {tuple(shape)}; remove the callback "
                "(callbacks.figures=null), or take an experiment for points (experiment=solve_c1)."
            )
        history_of(trainer, "Figures")
        if not trainer.enable_validation:
            raise ConfigError(
                "Figures shows validation images and this run does not validate; give a validation loader, leave "
                "`limit_val_batches` above 0, or remove the callback (~callbacks.figures)."
            )
        # All ranks learn what rank 0 found, so that all of them stop.
        problem = trainer.strategy.broadcast(_write_problem(trainer) if trainer.is_global_zero else None)
        if problem:
            raise ConfigError(problem)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Refuse a validation set without positions."""
        loader_size(validation_loader(trainer))

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw the images if it is time."""
        if self.every_n_validations is None or trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
            return
        self._validations += 1
        if self._validations % self.every_n_validations == 0 and trainer.is_global_zero:
            views = self._look(trainer, _model(pl_module))
            self._publish(trainer, views, image_pictures(views))

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw everything and write the report."""
        # Lightning may have to sum these over the ranks, so all of them ask.
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if not trainer.is_global_zero:
            return
        views, history = self._look(trainer, _model(pl_module)), history_of(trainer, "Figures")
        pictures = image_pictures(views) + curve_pictures(history.series, history.names)
        self._publish(trainer, views, pictures)
        send_images(trainer, views)
        finish_report(trainer, pl_module, pictures, metrics)

    def state_dict(self) -> dict[str, Any]:
        """Number of validations so far, so that a resumed run draws after the same ones."""
        return {"validations": self._validations}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`."""
        self._validations = int(state_dict["validations"])

    def _look(self, trainer: L.Trainer, model: GenerativeModel) -> Views:
        loader = validation_loader(trainer)
        order = numpy_stream(self.seed, "figures/images").permutation(loader_size(loader))
        noise = torch_stream(self.seed, "figures/samples", device=model.device)

        def images_at(positions: np.ndarray) -> Tensor:
            batch = trainer.precision_plugin.convert_input(fetch(loader, positions))
            return model.prepare(trainer.strategy.batch_to_device(batch, model.device, dataloader_idx=0))

        with inference_mode(model), trainer.precision_plugin.forward_context():
            if not encodes(model):
                return _samples_alone(_array(model.sample(self.n_samples, generator=noise)))
            shown = images_at(order[: self.n_images])
            scored = order[:KL_IMAGES]
            kl = _array(torch.cat([_kl(*model.encode(images_at(part))) for part in _parts(scored)]).mean(0))
            dims = kl_order(kl)[: self.max_traversal_dims]
            values = np.linspace(-self.traversal_range, self.traversal_range, VALUES)
            latents = _traversal_latents(model.encode(shown[:1])[0][0], dims, values)
            frames = np.concatenate([_array(model.decode(part)) for part in latents.split(CHUNK)])
            return Views(
                originals=_array(shown),
                reconstructions=_array(model.reconstruct(shown)),
                samples=_array(model.sample(self.n_samples, generator=noise)),
                frames=frames.reshape(len(dims), VALUES, *frames.shape[1:]),
                dims=dims.tolist(),
                kl=kl[dims],
                values=values,
            )

    def _publish(self, trainer: L.Trainer, views: Views, pictures: list[Picture]) -> None:
        folder = Path(trainer.default_root_dir)
        for picture in pictures:
            path = folder / "figures" / picture.file
            try:
                if picture.figure is None:
                    traversal_gif(path, views.frames, [f"z{dim}" for dim in views.dims])
                else:
                    save(picture.figure, path)
            except OSError as error:
                raise ConfigError(
                    f"`default_root_dir` must be a folder that can be written, {path}: {error}."
                ) from error
        send_pictures(trainer, folder, pictures)


def _model(pl_module: L.LightningModule) -> GenerativeModel:
    model = require(pl_module, GenerativeModel, "Figures", REMEDY)
    return require(model, HasPosterior, "Figures", REMEDY) if encodes(model) else model


def _samples_alone(samples: np.ndarray) -> Views:
    none = samples[:0]
    return Views(none, none, samples, none[:, None], [], np.zeros(0), np.zeros(0))


def _write_problem(trainer: L.Trainer) -> str | None:
    probe = Path(trainer.default_root_dir) / "figures" / ".probe"
    try:
        write_bytes(probe, b"")
        probe.unlink()
    except OSError as error:
        return f"`default_root_dir` must be a folder that can be written, {probe.parent} cannot: {error}."
    return None


def _kl(mean: Tensor, log_var: Tensor) -> Tensor:
    """KL of each image and latent to the standard normal, nats, ``(B, Z)``."""
    mean, log_var = mean.cpu().double(), log_var.cpu().double()  # not every device has fp64
    return 0.5 * (mean**2 + log_var.exp() - 1 - log_var)


def _parts(positions: np.ndarray) -> list[np.ndarray]:
    return [positions[start : start + CHUNK] for start in range(0, len(positions), CHUNK)]


def _traversal_latents(mean: Tensor, dims: np.ndarray, values: np.ndarray) -> Tensor:
    """Latents ``(D * V, Z)``: the mean with one entry replaced by each value in turn."""
    latents = mean.repeat(len(dims), len(values), 1)
    for row, dim in enumerate(dims):
        latents[row, :, dim] = torch.as_tensor(values, dtype=mean.dtype, device=mean.device)
    return latents.flatten(0, 1)


def _array(tensor: Tensor) -> np.ndarray:
    array = tensor.detach().cpu()
    return (array if array.dtype == torch.float64 else array.float()).numpy()
