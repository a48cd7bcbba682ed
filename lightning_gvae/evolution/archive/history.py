"""History of a quality-diversity search: all that is needed to go on with it.

Candidates follow from the seed and from what the search was told. So the history keeps the judgements, a few numbers a
candidate, and a digest of the candidates themselves; whoever tells a new search the same arrives at the same state, and
the digest proves it. A file holds plain arrays and one text of JSON; nothing in it is ever executed.
"""

import hashlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lightning_gvae.errors import CheckpointError
from lightning_gvae.io.files import write_arrays
from lightning_gvae.io.settings import differences

__all__ = ["ArchiveHistory", "ArchiveJournal", "Told"]

Array = np.ndarray[Any, Any]
Told = tuple[Array, Array, Array]  # objective (N,), descriptors (N, K), realistic (N,)


class ArchiveHistory:
    """Judgements of every generation, in their order.

    Args:
        facts: What the search is, plain values; a file of other facts belongs to another search.
    """

    def __init__(self, facts: Mapping[str, Any]) -> None:
        self.facts = json.dumps(facts, sort_keys=True)
        self.told: list[Told] = []
        self.centroids: Array | None = None
        self.judges_realism = False
        self._digest = hashlib.blake2b(digest_size=16)

    def add(self, latents: Array, told: Told) -> None:
        """Note a generation."""
        self._digest.update(np.ascontiguousarray(latents).tobytes())
        self.told.append(told)

    @property
    def digest(self) -> str:
        """Digest of all candidates so far, bit for bit."""
        return self._digest.hexdigest()

    def write(self, path: Path) -> None:
        """Write to a file, whole or not at all."""
        columns = [np.concatenate(column) for column in zip(*self.told, strict=True)]
        arrays = {
            "facts": np.array(self.facts),
            "digest": np.array(self.digest),
            "judges_realism": np.array(self.judges_realism),
            "lengths": np.array([len(objective) for objective, _, _ in self.told], dtype=np.int64),
            "objective": columns[0],
            "descriptors": columns[1],
            "realistic": columns[2],
            "centroids": np.empty((0, 0)) if self.centroids is None else self.centroids,
        }
        write_arrays(path, arrays)


class ArchiveJournal:
    """A history that was written to a file.

    Args:
        path: The file.

    Raises:
        CheckpointError: It cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                self.facts, self.digest = str(stored["facts"]), str(stored["digest"])
                self.judges_realism = bool(stored["judges_realism"])
                ends = np.cumsum(stored["lengths"])[:-1]
                columns = [np.split(stored[name], ends) for name in ("objective", "descriptors", "realistic")]
                self.centroids: Array | None = stored["centroids"] if stored["centroids"].size else None
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise CheckpointError(f"{path} cannot be read ({error}); delete it, and the search starts anew") from error
        self.told: list[Told] = list(zip(*columns, strict=True))

    def check(self, facts: Mapping[str, Any]) -> None:
        """Refuse to go on with another search.

        Raises:
            CheckpointError: The facts are others; the message names them.
        """
        mine, stored = json.loads(json.dumps(facts)), json.loads(self.facts)
        if changed := differences(stored, mine):
            raise CheckpointError(
                f"{self.path} belongs to another search: {'; '.join(changed)}. Restore the settings, or delete "
                "it to start "
                "anew"
            )
