"""Corpora as numbers in memory-mapped files, made once however often a run starts."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lightning_gvae.datamodules.cache import alone, default_cache_dir, settle
from lightning_gvae.datamodules.parts import text_hashes
from lightning_gvae.datamodules.text.corpus import count_words, sentences
from lightning_gvae.errors import DataError
from lightning_gvae.io.content import file_hash, text_hash
from lightning_gvae.io.files import write_json
from lightning_gvae.text import EOS, UNK, Vocabulary

__all__ = ["Statistics", "Tokens", "cached_tokens", "cached_vocabulary"]

VERSION = 2  # of the layout; another one makes other keys
TOKENS, OFFSETS, CONTENTS, INDEX = "tokens.i32", "offsets.i64", "contents.u64", "index.json"


class Statistics(NamedTuple):
    """Counts of a corpus.

    Attributes:
        sentences: Lines with at least one word.
        words: Words of these lines, cut ones left out and ``<eos>`` not counted.
        unknown: Words among them that are ``<unk>``.
        cut: Lines that were too long and lost their end.
        cut_words: Words lost by that.
        empty: Lines without a word, which are left out.
    """

    sentences: int
    words: int
    unknown: int
    cut: int
    cut_words: int
    empty: int

    @property
    def unknown_rate(self) -> float:
        """Share of the words that are ``<unk>``."""
        return self.unknown / self.words


class Tokens(NamedTuple):
    """Numbers of words, sentence after sentence, each ended by ``<eos>``.

    Args:
        tokens: int32, memory-mapped, read-only.
        offsets: int64 ``(N + 1,)``; sentence ``i`` is ``tokens[offsets[i]:offsets[i + 1]]``.
        statistics: What was found in the file.
        contents: uint64 ``(N,)``, hash of the words of each sentence, also of those that are unknown or cut off.
    """

    tokens: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    statistics: Statistics
    contents: npt.NDArray[np.uint64]


def cached_vocabulary(
    path: Path, cap: int | None, encoding: str, lowercase: bool, cache_dir: Path | None = None
) -> Vocabulary:
    """The vocabulary of a corpus, counted once.

    Raises:
        ConfigError: ``cap`` leaves no room for a word.
        DataError: The corpus has no word or cannot be read, or the cache cannot be written.
    """

    def write(folder: Path) -> None:
        words = Vocabulary.of_counts(count_words(path, encoding, lowercase), cap).words
        write_json(folder / INDEX, {"words": words}, indent=None)

    settings = ["vocabulary", file_hash(path), cap, encoding, lowercase]
    folder = _cached(f"vocabulary-{path.stem}", settings, cache_dir, write)
    return Vocabulary(json.loads((folder / INDEX).read_text(encoding="utf-8"))["words"])


def cached_tokens(
    path: Path,
    vocabulary: Vocabulary,
    max_length: int,
    encoding: str = "utf-8",
    lowercase: bool = False,
    cache_dir: Path | None = None,
) -> Tokens:
    """The sentences of a corpus as numbers, mapped into memory.

    The cache is a folder whose name holds a hash of the file's content and of the settings. It is written beside and
    renamed when it is complete; of several processes that start at once one writes and the others wait.

    Args:
        path: The corpus.
        vocabulary: Words that are not in it become ``<unk>``.
        max_length: Most tokens of a sentence, ``<eos>`` included; longer ones lose their end.
        encoding: Of the file.
        lowercase: Take capital letters for small ones.
        cache_dir: Folder of the caches; None is :func:`~lightning_gvae.datamodules.cache.default_cache_dir`.

    Raises:
        DataError: The corpus has no word or cannot be read, or the cache cannot be written.
    """
    settings = ["tokens", file_hash(path), vocabulary.digest, max_length, encoding, lowercase]

    def write(folder: Path) -> None:
        _tokenise(folder, path, vocabulary, max_length, encoding, lowercase)

    folder = _cached(f"text-{path.stem}", settings, cache_dir, write)
    statistics = Statistics(**json.loads((folder / INDEX).read_text(encoding="utf-8")))
    expected, found = 4 * (statistics.words + statistics.sentences), (folder / TOKENS).stat().st_size
    if found != expected:
        raise DataError(f"{folder / TOKENS} must be {expected} bytes long, found {found}; delete {folder}")
    tokens = np.memmap(folder / TOKENS, dtype=np.int32, mode="r")
    contents = np.fromfile(folder / CONTENTS, dtype="<u8").astype(np.uint64)
    return Tokens(tokens, np.fromfile(folder / OFFSETS, dtype=np.int64), statistics, contents)


def _tokenise(
    folder: Path, path: Path, vocabulary: Vocabulary, max_length: int, encoding: str, lowercase: bool
) -> None:
    words_kept = unknown = cut = cut_words = empty = 0
    offsets = [0]
    with (folder / TOKENS).open("wb") as file, (folder / CONTENTS).open("wb") as contents:
        for words in sentences(path, encoding, lowercase):
            if not words:
                empty += 1
                continue
            if len(words) >= max_length:
                cut += 1
                cut_words += len(words) - (max_length - 1)
            numbers = vocabulary.encode(words[: max_length - 1])
            words_kept += len(numbers)
            unknown += numbers.count(UNK)
            offsets.append(offsets[-1] + len(numbers) + 1)
            file.write(np.array([*numbers, EOS], dtype=np.int32).tobytes())
            contents.write(text_hashes([" ".join(words)]).astype("<u8").tobytes())
        settle(file)
        settle(contents)
    if len(offsets) == 1:
        raise DataError(f"{path} is empty: it has no word; give a file with one sentence a line")
    with (folder / OFFSETS).open("wb") as file:
        np.array(offsets, dtype=np.int64).tofile(file)
        settle(file)
    statistics = Statistics(len(offsets) - 1, words_kept, unknown, cut, cut_words, empty)
    write_json(folder / INDEX, statistics._asdict(), indent=None)


def _cached(title: str, settings: list[Any], cache_dir: Path | None, write: Callable[[Path], None]) -> Path:
    """The complete folder of these settings; written now if nobody has."""
    key = text_hash(json.dumps([VERSION, *settings]))
    folder = (cache_dir or default_cache_dir()).expanduser() / f"{title}-{key}"
    if folder.is_dir():
        return folder
    partial = folder.with_name(f"{folder.name}.partial")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with alone(folder):
            if not folder.is_dir():  # another process may have written it while this one waited
                shutil.rmtree(partial, ignore_errors=True)  # left behind by a killed process
                partial.mkdir()
                write(partial)
                partial.rename(folder)
    except OSError as error:
        raise DataError(
            f"the cache {folder} cannot be written or read: {error.strerror or error}; make room there, or choose "
            "another folder with data.cache_dir"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder
