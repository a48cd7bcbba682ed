"""The Inception-v3 of published FID tables, as torch-fidelity runs it."""

import hashlib
import os
from io import BytesIO
from pathlib import Path
from pickle import UnpicklingError
from urllib.error import URLError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3, FeatureExtractorInceptionV3

from lightning_gvae.errors import ConfigError, DataError
from lightning_gvae.io.content import weights_hash
from lightning_gvae.metrics.fidelity.features import FeatureSpace, SpaceId
from lightning_gvae.metrics.fidelity.images import as_rgb

__all__ = ["InceptionSpace"]

FILE = Path(URL_INCEPTION_V3).name
SHA256_PREFIX = FILE.removesuffix(".pth").rpartition("-")[2]
LAYERS = ("64", "192", "768", "2048")
CLASSES = 1008


class InceptionSpace(FeatureSpace):
    """Features of the Inception-v3 of 2015-12-05 in torch-fidelity's port of the TensorFlow graph.

    Images are resized to 299x299 bilinearly as TensorFlow 1 does it (without antialiasing, corners not aligned) and
    scaled as ``(x - 128) / 128``. The logits are those without bias, as published inception scores have them.

    With other weights than the official file the space is called ``inception-custom``, so that no table can mix them
    up; with an earlier layer ``inception-64``, ``inception-192`` or ``inception-768``. The layers before the last are
    quicker and need fewer samples, but no published table uses them; they have no logits.

    Args:
        weights: A ``.pth`` or ``.safetensors`` file of weights; None is torch's folder of downloads, to which the file
            is fetched if it is not there.
        layer: Dimensions of the features: ``"2048"``, ``"768"``, ``"192"`` or ``"64"``.
        device: Where it runs.

    Raises:
        ConfigError: There is no such layer.
        DataError: The weights are not there and cannot be fetched, or are not weights of this network.
    """

    def __init__(
        self, weights: str | Path | None = None, layer: str = "2048", device: torch.device | str = "cpu"
    ) -> None:
        if layer not in LAYERS:
            raise ConfigError(f"`layer` must be one of {', '.join(LAYERS)}, got {layer!r}")
        path = _fetched() if weights is None else Path(weights).expanduser()
        state, official = _read(path)
        wanted = [layer, "logits_unbiased"] if layer == "2048" else [layer]
        # torch-fidelity would unpickle whatever a file holds: it gets a copy of the tensors that were read safely.
        copy = BytesIO()
        torch.save(state, copy)
        copy.seek(0)
        try:
            with torch.random.fork_rng(devices=[]):  # its constructor draws weights, which are replaced at once
                self.net = FeatureExtractorInceptionV3("inception-v3-compat", wanted, copy)
        except RuntimeError as error:
            raise DataError(f"{path} must hold the weights of torch-fidelity's Inception-v3: {error}") from error
        self.net.to(device)
        name = "inception" + ("" if official else "-custom") + ("" if layer == "2048" else f"-{layer}")
        trained_on = "ImageNet" if official else f"weights of {path.name}"
        classes = CLASSES if layer == "2048" else None
        super().__init__(SpaceId(name, int(layer), classes, weights_hash(state), trained_on), device)

    def _run(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        outputs = self.net(as_rgb(images))
        return outputs[0], outputs[1] if len(outputs) > 1 else None


def _fetched() -> Path:
    """The file in torch's folder of downloads, where torch-fidelity keeps it too."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / FILE
    if not path.is_file():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(URL_INCEPTION_V3, os.fspath(path), SHA256_PREFIX, progress=False)
        except (URLError, OSError, RuntimeError) as error:
            raise DataError(
                f"the weights of inception, {FILE} (96 MB), are not in {path.parent} and cannot be fetched from"
                f" {URL_INCEPTION_V3}: {error}; fetch that file on a machine with network and put it into"
                f" {path.parent}, or use the space efficientnet_lite0 or domain, which need no download"
            ) from error
    return path


def _read(path: Path) -> tuple[dict[str, Tensor], bool]:
    """Weights and whether they are the official ones; no code in the file is ever run."""
    if not path.is_file():
        raise DataError(f"{path} was not found; `weights` must be the file {FILE} or one with the same layout")
    try:
        if path.suffix == ".safetensors":
            return load_file(path), False
        official = hashlib.sha256(path.read_bytes()).hexdigest().startswith(SHA256_PREFIX)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, SafetensorError, RuntimeError, EOFError) as error:
        raise DataError(f"{path} must hold weights and nothing else: {error}") from error
    if not isinstance(state, dict):
        raise DataError(f"{path} must hold a dictionary of weights, found {type(state).__name__}")
    return dict(state), official
