"""pythae's BaseTrainer with the networks of ``benchmarks.contenders``; runs in an environment of its own.

    .venv-peers/bin/python benchmarks/contender_pythae.py mlp28 images.pt

Imports nothing of this package but ``turns``, which lies beside it. Same layers, batch size, likelihood and images
(floats in [0, 1], as pythae wants them); the rest is pythae's own: its data set and loader, Adam, progress bar, best
model kept.
"""

# mypy: ignore-errors
import sys
import tempfile
from typing import Any

import torch
from pythae.data.datasets import BaseDataset
from pythae.models import VAE, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from pythae.trainers.training_callbacks import TrainingCallback
from torch import Tensor, nn
from turns import Pause

LATENTS = {"mlp28": 20, "conv64": 10}
SHAPES = {"mlp28": (1, 28, 28), "conv64": (1, 64, 64)}
CHANNELS = (32, 32, 64, 64)


def networks(case: str) -> tuple[nn.Module, nn.Module]:
    """The layers of our ``mlp`` and ``conv`` networks."""
    latents = LATENTS[case]
    if case == "mlp28":
        encoder = [nn.Flatten(), nn.Linear(784, 400), nn.ReLU(), nn.Linear(400, 2 * latents)]
        decoder = [nn.Linear(latents, 400), nn.ReLU(), nn.Linear(400, 784), nn.Unflatten(1, (1, 28, 28))]
        return nn.Sequential(*encoder), nn.Sequential(*decoder)
    encoder, decoder = [], []
    for fan_in, fan_out in zip((1, *CHANNELS), CHANNELS):  # noqa: B905  (the last one has no successor)
        encoder += [nn.Conv2d(fan_in, fan_out, 4, 2, 1), nn.ReLU(inplace=True)]
    for fan_in, fan_out in zip(CHANNELS[::-1], (*CHANNELS[-2::-1], 1), strict=True):
        decoder += [nn.ConvTranspose2d(fan_in, fan_out, 4, 2, 1), nn.ReLU(inplace=True)]
    encoder += [nn.Flatten(), nn.Linear(1024, 256), nn.ReLU(), nn.Linear(256, 2 * latents)]
    hidden = [nn.Linear(latents, 256), nn.ReLU(), nn.Linear(256, 1024), nn.ReLU(), nn.Unflatten(1, (64, 4, 4))]
    return nn.Sequential(*encoder), nn.Sequential(*hidden, *decoder[:-1])


class Encoder(BaseEncoder):
    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, images: Tensor) -> Any:
        mean, log_var = self.layers(images).chunk(2, dim=1)
        return ModelOutput(embedding=mean, log_covariance=log_var)


class Decoder(BaseDecoder):
    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, latents: Tensor) -> Any:
        return ModelOutput(reconstruction=torch.sigmoid(self.layers(latents)))


class Pausing(TrainingCallback):
    """Stops the run between turns."""

    def __init__(self) -> None:
        self.pause = Pause()

    def _step(self) -> None:
        if not self.pause.step():
            raise SystemExit(0)

    def on_train_begin(self, training_config: Any, **kwargs: Any) -> None:
        self._step()

    def on_train_step_end(self, training_config: Any, **kwargs: Any) -> None:
        self._step()


def main(case: str, images_file: str) -> None:
    images = torch.load(images_file, weights_only=True).float().div_(255)
    encoder, decoder = networks(case)
    config = VAEConfig(input_dim=SHAPES[case], latent_dim=LATENTS[case], reconstruction_loss="bce")
    with tempfile.TemporaryDirectory() as folder:
        settings = BaseTrainerConfig(
            output_dir=folder, num_epochs=1_000_000, per_device_train_batch_size=128, learning_rate=1e-3, no_cuda=True
        )
        BaseTrainer(
            model=VAE(config, encoder=Encoder(encoder), decoder=Decoder(decoder)),
            train_dataset=BaseDataset(images, torch.zeros(len(images))),
            training_config=settings,
            callbacks=[Pausing()],
        ).train()


if __name__ == "__main__":
    main(*sys.argv[1:])
