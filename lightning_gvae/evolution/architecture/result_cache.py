"""Results of candidates that several searches share: the same genome, data, settings and seed give the same result."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lightning_gvae.errors import ConfigError, DataError
from lightning_gvae.evolution.architecture.candidate_trainers import Result
from lightning_gvae.io.content import text_hash
from lightning_gvae.io.files import write_json
from lightning_gvae.io.settings import differences

__all__ = ["ResultCache"]


class ResultCache:
    """A folder with one file a trained candidate, for searches that differ in what they propose and in nothing else.

    What a candidate's training gives depends on its genome, the data, the settings of its training and the run's seed.
    Whatever has these in common has a folder of its own below ``folder``, so nothing else can get in. Files are written
    whole or not at all: any number of searches may read and write at the same time. Candidates that failed are not
    kept, another machine may have more memory.

    Args:
        folder: Where all shared results are kept.
        settings: What a result depends on besides the genome, as plain containers.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.settings = json.loads(json.dumps(settings))
        self.folder = folder / text_hash(json.dumps(self.settings, sort_keys=True))

    @property
    def weights(self) -> Path:
        """Folder for the weights of the candidates."""
        return self.folder / "weights"

    def open(self) -> None:
        """Make the folder.

        Raises:
            ConfigError: It is there and belongs to other settings: somebody has moved or edited it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "settings.json"
        if not path.is_file():
            write_json(path, self.settings, indent=None)
        if changed := differences(_read(path), self.settings):
            raise ConfigError(f"{path} is of other settings: {'; '.join(changed)}. Remove {self.folder}")

    def read(self, keys: Iterable[str]) -> dict[str, Result]:
        """Results of those that are known.

        Raises:
            DataError: A file cannot be read.
        """
        found = {}
        for key in keys:
            path = self._path(key)
            if path.is_file():
                content = _read(path)
                if content.get("key") != key or not {"values", "seconds"} <= content.keys():
                    raise DataError(f"{path} is no result of the candidate {key}; remove it to train that one anew")
                found[key] = Result(content["values"], "trained", "", content["seconds"])
        return found

    def add(self, key: str, result: Result) -> None:
        """Keep the result of a candidate, if it could be trained."""
        if result.status == "trained" and not self._path(key).is_file():
            content = asdict(result)
            kept = {"key": key, "values": dict(content["values"]), "seconds": content["seconds"]}
            write_json(self._path(key), kept, indent=None)

    def _path(self, key: str) -> Path:
        return self.folder / f"{text_hash(key)}.json"


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}); remove it to train that candidate anew") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} cannot be read (it is no JSON object); remove it to train that candidate anew")
    return content
