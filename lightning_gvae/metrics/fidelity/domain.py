"""A feature space learnt from the labelled data set itself: a small classifier, trained once and cached."""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import skip_init

from lightning_gvae.errors import ConfigError, DataError
from lightning_gvae.io.content import array_hash, weights_hash
from lightning_gvae.metrics.fidelity.features import FeatureSpace, SpaceId
from lightning_gvae.metrics.fidelity.store import Stored, cached
from lightning_gvae.rng import numpy_stream, torch_stream

__all__ = ["Classifier", "DomainSettings", "DomainSpace", "LabelledImages", "domain_space", "train_classifier"]

VERSION = 1  # of network and training; another one trains anew
CHANNELS = (32, 64, 96, 128)
PIECE = 32  # images at once on a CPU: their activations fit into the cache


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Images and their classes.

    Args:
        images: uint8 ``(N, C, H, W)``, 1 or 3 channels, may be memory-mapped.
        labels: Integers 0..K-1, ``(N,)``.

    Raises:
        DataError: Types or shapes are others, or there is no image.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.integer]

    def __post_init__(self) -> None:
        shape = self.images.shape
        if self.images.dtype != np.uint8 or len(shape) != 4 or shape[1] not in (1, 3) or not len(self.images):
            raise DataError(
                f"`images` must be uint8 of shape (N, C, H, W) with 1 or 3 channels, got {self.images.dtype} of {shape}"
            )
        if self.labels.shape != (len(self.images),) or self.labels.dtype.kind not in "iu" or self.labels.min() < 0:
            raise DataError(
                f"`labels` must be classes 0, 1, ... of shape ({len(self.images)},), got {self.labels.dtype} of"
                f" {self.labels.shape}"
            )


@dataclass(frozen=True)
class DomainSettings:
    """Settings of the classifier's training.

    Args:
        epochs: Passes over the training set.
        batch_size: Images a step.
        learning_rate: Highest rate of Adam; it rises over a tenth of the steps and falls to zero.
        dims: Features of the last layer but one.
        seed: Of the first weights and of the order of the images.

    Raises:
        ConfigError: One is out of range.
    """

    epochs: int = 2
    batch_size: int = 128
    learning_rate: float = 2e-3
    dims: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "dims"):
            if getattr(self, name) < 1:
                raise ConfigError(f"`{name}` must be at least 1, got {getattr(self, name)}")
        if not 0 < self.learning_rate < 1:
            raise ConfigError(f"`learning_rate` must lie between 0 and 1, got {self.learning_rate}")


class Classifier(nn.Module):
    """Strided convolutions down to at most 8x8, then one hidden layer.

    Args:
        shape: ``(C, H, W)`` of the images, at least 8x8.
        classes: K.
        dims: D of the hidden layer, whose outputs are the features.
        seed: Of the weights, He-normal.

    Raises:
        ConfigError: Images below 8x8.
    """

    def __init__(self, shape: tuple[int, int, int], classes: int, dims: int = 128, seed: int = 0) -> None:
        super().__init__()
        channels, height, width = shape
        if min(height, width) < 8:
            raise ConfigError(f"images must be at least 8x8 for the domain's classifier, got {height}x{width}")
        layers: list[nn.Module] = []
        for depth, outputs in enumerate(CHANNELS):
            # Strides instead of pooling: four times quicker on a CPU.
            layers += [skip_init(nn.Conv2d, channels, outputs, 3, stride=2, padding=1), nn.ReLU()]
            channels, height, width = outputs, (height + 1) // 2, (width + 1) // 2
            if depth > 0 and max(height, width) <= 8:
                break
        grid = (min(height, 8), min(width, 8))
        self.convolutions = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(grid))
        self.hidden = skip_init(nn.Linear, channels * grid[0] * grid[1], dims)
        self.output = skip_init(nn.Linear, dims, classes)
        stream = torch_stream(seed, "fidelity/domain/weights")
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            else:
                nn.init.kaiming_normal_(parameter, nonlinearity="relu", generator=stream)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 ``(B, C, H, W)`` to features ``(B, D)`` and logits ``(B, K)``."""
        x = images.float() / 255 - 0.5
        # GELU: a third of the units of a ReLU never fire, which leaves the covariance singular.
        features = F.gelu(self.hidden(self.convolutions(x).flatten(1)))
        return features, self.output(features)


class DomainSpace(FeatureSpace):
    """Features and logits of a classifier of the data set, on images of the size that it was trained on.

    Args:
        net: The trained classifier.
        shape: ``(C, H, W)``.
        data: Name of the data set.
        accuracy: On its test images, 0..1.
        device: Where it runs.
    """

    def __init__(
        self,
        net: Classifier,
        shape: tuple[int, int, int],
        data: str,
        accuracy: float,
        device: torch.device | str = "cpu",
    ) -> None:
        self.net = net.eval().requires_grad_(False).to(device)
        self.shape = shape
        dims, classes = net.output.in_features, net.output.out_features
        super().__init__(SpaceId("domain", dims, classes, weights_hash(net.state_dict()), data, accuracy), device)

    def _run(self, images: Tensor) -> tuple[Tensor, Tensor]:
        if tuple(images.shape[1:]) != self.shape:
            raise DataError(
                f"the space domain was learnt from {self.space.trained_on} with images of shape {self.shape}, got"
                f" {tuple(images.shape[1:])}; learn one from images of that shape, or resize them"
            )
        parts = [self.net(piece) for piece in images.split(PIECE if images.device.type == "cpu" else len(images))]
        return torch.cat([features for features, _ in parts]), torch.cat([logits for _, logits in parts])


def train_classifier(
    train: LabelledImages, settings: DomainSettings, classes: int, device: torch.device | str = "cpu"
) -> Classifier:
    """Train the classifier; the same seed, data and threads give the same weights.

    Args:
        train: Images and classes.
        settings: How.
        classes: K.
        device: Where.
    """
    shape = (train.images.shape[1], train.images.shape[2], train.images.shape[3])
    net = Classifier(shape, classes, settings.dims, settings.seed).to(device)
    optimizer = torch.optim.Adam(net.parameters(), lr=settings.learning_rate)
    per_epoch = -(-len(train.images) // settings.batch_size)
    steps, step = settings.epochs * per_epoch, 0
    for epoch in range(settings.epochs):
        order = numpy_stream(settings.seed, "fidelity/domain/order", epoch).permutation(len(train.images))
        for rows in np.array_split(order, per_epoch):
            progress = (step + 1) / steps
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * min(progress / 0.1, (1 - progress) / 0.9)
            images = torch.from_numpy(train.images[rows]).to(device)
            labels = torch.from_numpy(train.labels[rows].astype(np.int64)).to(device)
            loss = F.cross_entropy(net(images)[1], labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
    return net.eval()


def domain_space(
    data: str,
    train: LabelledImages,
    test: LabelledImages,
    *,
    cache_dir: Path | None,
    settings: DomainSettings | None = None,
    device: torch.device | str = "cpu",
) -> DomainSpace:
    """The feature space of a labelled data set, trained now or read from the cache.

    Args:
        data: Name of the data set, for messages and the cached file.
        train: What the classifier learns from.
        test: What its accuracy is measured on; scores report it.
        cache_dir: Folder of the caches; None keeps nothing.
        settings: How it is trained; None is the default.
        device: Where it is trained and runs.

    Raises:
        ConfigError: Images below 8x8.
        DataError: Training and test images differ in shape, there are fewer than two classes, or the cache is damaged.
    """
    settings = settings or DomainSettings()
    shape = (train.images.shape[1], train.images.shape[2], train.images.shape[3])
    if test.images.shape[1:] != shape:
        raise DataError(f"test images must have the training images' shape {shape}, got {test.images.shape[1:]}")
    classes = int(max(train.labels.max(), test.labels.max())) + 1
    if classes < 2:
        raise DataError(f"`labels` of {data} must have at least 2 classes to learn features from, got {classes}")
    path = None
    if cache_dir is not None:
        contents = array_hash(train.images, train.labels, test.images, test.labels)
        key = array_hash(np.frombuffer(f"{contents}{json.dumps(asdict(settings))}{VERSION}".encode(), np.uint8))
        path = Path(cache_dir) / "fidelity" / f"domain-{data.replace('/', '_')}-{key[:16]}.safetensors"

    def make() -> Stored:
        start = time.perf_counter()
        net = train_classifier(train, settings, classes, device)
        seconds = time.perf_counter() - start
        facts = {"data": data, "accuracy": repr(_accuracy(net, test, device)), "seconds": f"{seconds:.1f}"}
        weights = {name: value.detach().cpu() for name, value in net.state_dict().items()}
        return weights, {**facts, "settings": json.dumps(asdict(settings))}

    weights, metadata = cached(path, make)
    net = Classifier(shape, classes, settings.dims)
    try:
        net.load_state_dict(weights)
        accuracy = float(metadata["accuracy"])
    except (RuntimeError, KeyError, ValueError) as error:
        raise DataError(f"{path} is not this classifier ({error}); delete it, it will be trained anew") from error
    return DomainSpace(net, shape, data, accuracy, device)


@torch.no_grad()
def _accuracy(net: Classifier, test: LabelledImages, device: torch.device | str) -> float:
    right = 0
    for start in range(0, len(test.images), 256):
        images = torch.from_numpy(np.array(test.images[start : start + 256])).to(device)
        right += int((net(images)[1].argmax(1).cpu().numpy() == test.labels[start : start + 256]).sum())
    return right / len(test.images)
