"""Images that members are scored on, and the numbers of the front on the test part."""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from lightning_gvae.callbacks.population_evolution.run import member_loss
from lightning_gvae.evolution.population.members import score_member
from lightning_gvae.interfaces import DataPart, DrawsTrainingNoise, EncodesLatents
from lightning_gvae.metrics.disentanglement.mig import mig
from lightning_gvae.rng import torch_stream
from lightning_gvae.training.modes import eval_mode

__all__ = ["Probe"]

CHUNK = 256  # images scored at a time


class Probe:
    """The first images of a part, the same for all members, with the same noise.

    Args:
        model: Prepares the images.
        part: Part of the data.
        count: Images, at most; None for all.
        seed: Of the noise.
        context: Precision in which members are scored.
    """

    def __init__(
        self,
        model: DrawsTrainingNoise,
        part: DataPart,
        count: int | None,
        seed: int,
        context: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self.size = len(part) if count is None else min(count, len(part))
        self._model, self._part, self._seed, self._context = model, part, seed, context

    def score(self, module: nn.Module, with_mig: bool = False) -> dict[str, float]:
        """``distortion``, ``rate``, ``nelbo`` and perhaps ``mig`` of a member."""
        noise = partial(_noise, self._seed, self._model.device)
        with self._context():
            scores = score_member(module, member_loss, ((i, len(i) / self.size) for i, _ in self._batches()), noise)
        if with_mig:
            # Codes that are no numbers have no information; such a member is replaced for its other scores.
            scores["mig"] = self._mig(module) if math.isfinite(scores["nelbo"]) else math.nan
        return scores

    @torch.no_grad()
    def _mig(self, module: nn.Module) -> float:
        model = cast(EncodesLatents, module)
        codes, targets = [], []
        for images, target in self._batches():
            codes.append(model.encode(images)[0].float().cpu())
            targets.append(target.reshape(len(target), -1))
        return mig(torch.cat(codes).numpy(), torch.cat(targets).numpy()).score

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Prepared images on the device of the model, and targets."""
        for start in range(0, self.size, CHUNK):
            images, targets = self._part.batch(np.arange(start, min(start + CHUNK, self.size)))
            with eval_mode(self._model):
                yield self._model.prepare(images.to(self._model.device)), targets


def _noise(seed: int, device: torch.device, index: int) -> torch.Generator:
    return torch_stream(seed, "population/probe", index, device=device)
