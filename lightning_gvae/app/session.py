"""Session of one visitor: what was chosen and made so far; nobody else sees it."""

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lightning_gvae.app.service.breeding import Population
from lightning_gvae.app.service.library import Library
from lightning_gvae.app.service.opened import Opened
from lightning_gvae.errors import ConfigError

__all__ = ["Lab", "Session"]

MOST_FAVOURITES = 200


@dataclass
class Session:
    """One visitor's choices; a new one for every browser tab.

    Args:
        checkpoint: The model that was loaded.
        dims: Latent dimensions that the sliders move, with their KL.
        base: Latents ``(Z,)`` that the sliders start from.
        population: The generation that is bred from.
        picked: Positions of its parents.
        favourites: Images uint8 ``(C, H, W)`` and their latents ``(Z,)``.
        chain: Folder of the collapse study that is walked through.
        folder: Where this visitor's downloads lie.
    """

    checkpoint: Path | None = None
    dims: list[tuple[int, float]] = field(default_factory=list)
    base: npt.NDArray[np.float32] | None = None
    population: Population | None = None
    picked: set[int] = field(default_factory=set)
    favourites: list[tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]] = field(default_factory=list)
    chain: Path | None = None
    folder: Path | None = None

    def load(self, checkpoint: Path) -> None:
        """Take another model; what was made with the last one goes."""
        self.checkpoint = checkpoint
        self.dims, self.base, self.population, self.picked, self.favourites = [], None, None, set(), []

    def pick(self, positions: set[int]) -> None:
        """Pick these individuals and no others.

        Raises:
            ConfigError: There is no such individual.
        """
        size = 0 if self.population is None else len(self.population.genes)
        if not positions <= set(range(size)):
            raise ConfigError(f"the population has numbers 1 to {size}; pick some of those.")
        self.picked = positions

    def add_favourites(self, opened: Opened) -> int:
        """Keep the picked individuals; returns how many were not kept before.

        Raises:
            ConfigError: Nobody is picked, or there are too many favourites.
        """
        if self.population is None or not self.picked:
            raise ConfigError("nobody was picked; click the images you like first.")
        latents = opened.prior_latents(self.population.genes[sorted(self.picked)].astype(np.float32))
        new = [one for one in latents if not any(np.array_equal(one, known) for _, known in self.favourites)]
        if len(self.favourites) + len(new) > MOST_FAVOURITES:
            raise ConfigError(f"there is room for {MOST_FAVOURITES} favourites; download them and start anew.")
        if new:
            self.favourites += list(zip(opened.decode(np.stack(new)), new, strict=True))
        return len(new)

    def forget(self) -> None:
        """Remove the visitor's downloads."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


class Lab:
    """State that all visitors share: the library, and the folder of downloads until the lab is closed.

    Args:
        library: The checkpoints.
    """

    def __init__(self, library: Library) -> None:
        self.library = library
        self.settings = library.settings
        self._place = tempfile.TemporaryDirectory(prefix="gvae-lab-")

    def opened(self, session: Session) -> Opened:
        """The model of a visitor.

        Raises:
            ConfigError: None was loaded yet.
            CheckpointError: Its file is gone.
        """
        if session.checkpoint is None:
            raise ConfigError("no model is loaded; choose a checkpoint at the top of the page and press Load.")
        return self.library.open(session.checkpoint)

    def downloads(self, session: Session) -> Path:
        """A visitor's own folder."""
        if session.folder is None:
            session.folder = Path(tempfile.mkdtemp(dir=self._place.name))
        return session.folder

    def close(self) -> None:
        """Remove all downloads."""
        self._place.cleanup()
