"""Points that meet the criteria of a constrained problem, generated once and kept."""

import json
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor
from tqdm import tqdm

from lightning_gvae.datamodules.base import DataSpec, ImageDataModule
from lightning_gvae.datamodules.batches import Batch, Indices
from lightning_gvae.datamodules.cache import default_cache_dir
from lightning_gvae.datamodules.identity import Items, content_hashes
from lightning_gvae.errors import ConfigError, DataError, checked_count
from lightning_gvae.interfaces import HasLatentDim, offers
from lightning_gvae.io.content import text_hash
from lightning_gvae.io.files import write_array
from lightning_gvae.io.fingerprint import Unidentifiable, fingerprint
from lightning_gvae.io.settings import as_settings
from lightning_gvae.problems.criteria import Criterion, make_criterion
from lightning_gvae.problems.generate import PartFiles, generate
from lightning_gvae.problems.recipes import GENERATION, GeneratorSettings, LatentFunction, LatentModel, build_sources
from lightning_gvae.problems.sources import Source
from lightning_gvae.renames import takes_former_names
from lightning_gvae.rng import stream_key

__all__ = ["CriterionDataModule", "PointArrays"]

VERSION = 1  # of the generators; another one makes other files


class PointArrays:
    """Points in memory, handed out scaled so that the range of the training points is [-1, 1], feature by feature.

    Args:
        points: fp32 ``(N, D)``, problem units.
        targets: int64 ``(N,)``.
    """

    def __init__(self, points: Tensor, targets: Tensor) -> None:
        self.points, self.targets = points, targets
        self.low, self.high = torch.full_like(points[0], -1.0), torch.full_like(points[0], 1.0)

    def __len__(self) -> int:
        return len(self.points)

    def items(self) -> Items:
        """Hashes of the points."""
        return Items(content_hashes(self.points.numpy()))

    def scale_to(self, indices: Indices) -> None:
        """Take the range from the points at ``indices``."""
        chosen = self.points[torch.from_numpy(indices)]
        self.low, self.high = chosen.amin(0), chosen.amax(0)

    def batch(self, indices: Indices) -> Batch:
        """Scaled points fp32 ``(B, D)`` and targets; a feature without spread becomes 0."""
        chosen = torch.from_numpy(indices)
        width = self.high - self.low
        scaled = 2 * (self.points[chosen] - self.low) / width.where(width > 0, 1.0) - 1
        return scaled.where(width > 0, 0.0), self.targets[chosen]


@takes_former_names("lightning_gvae.datamodules.criterion.CriterionDataModule")
class CriterionDataModule(ImageDataModule):
    """Valid points of C1 to C5, made when they are first needed; a generation that was killed goes on where it was.

    Batches hold points ``(B, D)`` scaled per feature to [-1, 1] over the training points; ``data_range`` leads back to
    problem units. The target is the number of the source that a point comes from: 0, but for C4 as published, where
    each criterion has points of its own that need not meet the others.

    Args:
        problem: ``"c1"`` ... ``"c5"``.
        dims: Variables D, where the problem leaves it open.
        order: C4: which criteria, see :func:`~lightning_gvae.problems.criteria.make_criterion`.
        n: Training points (of each source), at least 1.
        paper: C4 as published, from points that meet one criterion each.
        generator: How points are made; may be given as a mapping.
        val_size: Further points for validation.
        test_size: Further points for the test.
        batch_size: Points a training step on one rank.
        eval_batch_size: Points a validation or test step.
        cache_dir: Folder of the generated points; None is ``$GVAE_CACHE_DIR`` or the user's folder of caches.
        seed: Of the points, their parts and their order.
        if_changed: As for :class:`~lightning_gvae.datamodules.base.ImageDataModule`.

    Raises:
        ConfigError: A setting is out of range or does not fit the problem.
        InfeasibleError: From ``prepare_data``: no point is found; what was found before is kept.
        DataError: The folder cannot be written or holds something else.

    References:
        Bentley, Lim, Gaier and Tran, Evolving Through the Looking Glass: Learning Improved Search Spaces with
        Variational Autoencoders, PPSN 2022.
    """

    def __init__(
        self,
        problem: str,
        dims: int | None = None,
        order: Sequence[int] | None = None,
        n: int = 5000,
        paper: bool = False,
        generator: GeneratorSettings | Mapping[str, Any] | None = None,
        val_size: int = 500,
        test_size: int = 500,
        batch_size: int = 64,
        eval_batch_size: int = 500,
        cache_dir: str | Path | None = None,
        seed: int = 0,
        if_changed: str = "refuse",
    ) -> None:
        self.problem: Criterion = make_criterion(problem, dims, order)
        name = f"{problem}-{self.problem.dims}d" if problem in ("c1", "c2", "c3") else problem
        name += "" if order is None else "-" + "".join(str(number) for number in order)
        sizes = (
            checked_count("val_size", val_size, unit="points"),
            checked_count("test_size", test_size, unit="points"),
            *(batch_size, eval_batch_size, seed),
        )
        super().__init__(DataSpec(name, (self.problem.dims,)), *sizes, if_changed=if_changed)
        self.n = checked_count("n", n, unit="points")
        self.held_out = val_size + test_size
        made = as_settings(GeneratorSettings, generator, "generator")
        key = _decoder_key(made.decode)
        self.sources: list[Source] = build_sources(self.problem, paper, made)
        facts = [VERSION, GENERATION, problem, self.problem.dims, list(order or [])]
        facts += [made.method, paper, made.population, made.generations]
        facts += [seed, n, val_size, test_size, key if key is None else [key, made.latent_bound]]
        digest = text_hash(json.dumps(facts))
        self.folder = (Path(cache_dir) if cache_dir else default_cache_dir()).expanduser() / f"points-{name}-{digest}"

    @property
    def data_range(self) -> tuple[Tensor, Tensor]:
        """Smallest and largest value of each feature over the training points, ``(D,)`` each, problem units."""
        source = self.train_set.source
        assert isinstance(source, PointArrays)
        return source.low, source.high

    def prepare_data(self) -> None:
        """Generate what is missing, with a progress bar; of several processes one does, the others wait."""
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{self.folder}.lock"):
                for number in range(len(self.sources)):
                    self._make(number)
        except OSError as error:
            raise DataError(
                f"the points of {self.spec.name} cannot be kept in {self.folder.parent}: "
                f"{error.strerror or error}; make "
                "room there, or choose another folder with data.cache_dir"
            ) from error

    def load(self) -> tuple[PointArrays, None]:
        """All points, generated if that has not been done yet."""
        if not all(self._file(number).is_file() for number in range(len(self.sources))):
            self.prepare_data()
        made = [self._read(number) for number in range(len(self.sources))]
        targets = [torch.full((len(points),), number) for number, points in enumerate(made)]
        return PointArrays(torch.cat(made), torch.cat(targets)), None

    def setup(self, stage: str | None = None) -> None:
        """Load the points, cut them into parts, and scale them by the training part."""
        super().setup(stage)
        source = self.train_set.source
        assert isinstance(source, PointArrays)
        source.scale_to(self.train_set.indices)

    def _make(self, number: int) -> None:
        file, source = self._file(number), self.sources[number]
        if file.is_file():
            return
        parts = PartFiles(self.folder / f"parts-{number}")
        total = self.n + -(-self.held_out // len(self.sources))
        interval = 0.2 if sys.stderr.isatty() else 10.0
        with tqdm(total=total, desc=f"generate {source.problem}", unit="point", mininterval=interval) as bar:

            def progress(found: int, tries: int) -> None:
                bar.set_postfix({"tries": tries}, refresh=False)
                bar.update(found - bar.n)

            points = generate(source, total, stream_key(self.seed, "points", number) & (2**62 - 1), progress, parts)
        write_array(file, points.numpy())
        rmtree(parts.folder, ignore_errors=True)

    def _file(self, number: int) -> Path:
        return self.folder / f"points-{number}.npy"

    def _read(self, number: int) -> Tensor:
        file = self._file(number)
        try:
            points = np.load(file, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise DataError(f"{file} cannot be read ({error}); delete it, and the points are made again") from error
        if points.dtype != np.float32 or points.ndim != 2 or points.shape[1] != self.problem.dims:
            raise DataError(
                f"{file} must hold fp32 points with {self.problem.dims} columns, found {points.dtype} of "
                f"{points.shape}; "
                "delete it, and the points are made again"
            )
        return torch.from_numpy(points)


def _decoder_key(decode: LatentModel | LatentFunction | None) -> str | None:
    """Fingerprint of a decoder: points that another one made are not taken.

    Raises:
        ConfigError: It does not say the size of its latents.
    """
    if decode is None:
        return None
    if not offers(decode, HasLatentDim) or not isinstance(decode.latent_dim, int):
        raise ConfigError(
            "`generator.decode` must have an attribute `latent_dim`, the size of its latents, as SolveVAE has"
        )
    try:
        return fingerprint(decode, "decode")
    except Unidentifiable as reason:
        print(
            f"The points are made anew at every start, because their decoder cannot be identified: {reason}.",
            file=sys.stderr,
        )
        return f"unidentifiable:{uuid.uuid4().hex}"
