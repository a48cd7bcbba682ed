"""Any corpus with one sentence a line, as a Lightning data module."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch

from lightning_gvae.datamodules.base import DataSpec
from lightning_gvae.datamodules.batches import Batch
from lightning_gvae.datamodules.identity import DataRecord, Items, stored_record
from lightning_gvae.datamodules.identity_check import IdentityCheck
from lightning_gvae.datamodules.parts import Rule, Size, checked_sizes, cut_by_hash, cut_by_permutation, keyed
from lightning_gvae.datamodules.staging import to_device
from lightning_gvae.datamodules.text.batches import BucketLoader, Sentences, TextSplit
from lightning_gvae.datamodules.text.cache import Statistics, cached_tokens, cached_vocabulary
from lightning_gvae.datamodules.text.corpus import corpus_files
from lightning_gvae.errors import CheckpointError, ConfigError, DataError, checked_count, say
from lightning_gvae.io.content import file_hash
from lightning_gvae.io.settings import as_settings
from lightning_gvae.lightning_compat import leave_finished_epoch, repeats_batches
from lightning_gvae.renames import takes_former_names
from lightning_gvae.text import SPECIALS, Vocabulary

__all__ = ["TextDataModule", "TextSpec", "WordSettings"]


@dataclass(frozen=True)
class TextSpec(DataSpec):
    """Facts of a corpus for models: ``image_shape`` is ``(T, V)``, most tokens of a sentence and tokens in all."""


@dataclass(frozen=True)
class WordSettings:
    """Words of a corpus.

    Args:
        vocabulary_cap: Most tokens, the four special ones included; None keeps every word of the training part.
        lowercase: Take capital letters for small ones.
        encoding: Of the files; a byte order mark decides if there is one.

    Raises:
        ConfigError: The cap leaves no room for a word.
    """

    vocabulary_cap: int | None = None
    lowercase: bool = False
    encoding: str = "utf-8"

    def __post_init__(self) -> None:
        if self.vocabulary_cap is not None and self.vocabulary_cap <= len(SPECIALS):
            Vocabulary.of_counts({"word": 1}, self.vocabulary_cap)  # says what is wrong


@takes_former_names("lightning_gvae.datamodules.text.TextDataModule")
class TextDataModule(L.LightningDataModule):
    """Sentences as numbers of words, in batches of about one length.

    The vocabulary is that of the training part. Words outside it become ``<unk>``, a sentence ends in ``<eos>``, one
    that is longer than ``max_length`` loses its end, and lines without a word are left out; how often each of these
    happens is in ``statistics`` and, if something was lost, on the screen.

    ``root`` is a folder with ``<name>.train.txt``, ``<name>.valid.txt`` and ``<name>.test.txt`` (or any one corpus so
    named, or ``train.txt`` ...), or a single file or a folder with one. Of a single file a hash of the sentence, keyed
    by ``split_seed``, decides in which part it is, see :func:`~lightning_gvae.datamodules.parts.cut_by_hash`: it stays
    there whatever is added, and a sentence that occurs twice is in one part. Checkpoints carry a record of the parts,
    see :class:`~lightning_gvae.datamodules.identity_check.IdentityCheck`. A model that was trained on another corpus is
    evaluated with the words that it knows: give them as ``vocabulary``, or
    use ``eval.py``, which does. A single file is then a test part as a whole.

    Args:
        root: Folder or file.
        name: Of the corpus: of its files, and in messages.
        words: Encoding, letters and number of the words; may be given as a mapping.
        max_length: Most tokens of a sentence, ``<eos>`` included, at least 2.
        vocabulary: Words to use instead of those of the training part.
        val_size: Sentences held out for validation from a single file, a share or a count.
        test_size: Sentences held out for testing from a single file, a share or a count.
        batch_size: Sentences a training step on one rank, at least 1.
        eval_batch_size: Sentences a validation or test step on one rank, at least 1.
        bucket_pool: Batches that are sorted by length together, at least 1; 1 makes batches of any lengths.
        cache_dir: Folder of the caches; None is ``$GVAE_CACHE_DIR`` or a folder in the user's caches.
        seed: Seed of the order of the training sentences.
        split_seed: Seed of the parts of a single file; None is ``seed``. Runs with different seeds but one
            ``split_seed`` are evaluated on the same sentences.
        if_changed: What to do if the sentences are not those that a checkpoint was trained on: ``"refuse"``, or
            ``"accept"`` and say it.

    Raises:
        ConfigError: A number is out of range, or the cap leaves no room for a word.
        DataError: Later, when the files are opened: there is no corpus, a part is missing or empty, or a line is not
            text of the encoding.
    """

    name: str

    def __init__(
        self,
        root: Path | str,
        name: str = "text",
        words: WordSettings | Mapping[str, Any] | None = None,
        max_length: int = 128,
        vocabulary: Vocabulary | None = None,
        val_size: Size = 0.1,
        test_size: Size = 0.1,
        batch_size: int = 32,
        eval_batch_size: int = 64,
        bucket_pool: int = 50,
        cache_dir: Path | str | None = None,
        seed: int = 0,
        split_seed: int | None = None,
        if_changed: str = "refuse",
    ) -> None:
        super().__init__()
        self.root, self.name = Path(root).expanduser(), name
        self.words = as_settings(WordSettings, words, "words")
        self.max_length = checked_count("max_length", max_length, 2, "a word and <eos>")
        self.val_size, self.test_size = checked_sizes(val_size, test_size)
        self.batch_size = checked_count("batch_size", batch_size)
        self.eval_batch_size = checked_count("eval_batch_size", eval_batch_size)
        self.bucket_pool = checked_count("bucket_pool", bucket_pool, unit="batches")
        self.seed = checked_count("seed", seed, least=0)
        self.split_seed = self.seed if split_seed is None else checked_count("split_seed", split_seed, least=0)
        self.cache_dir = None if cache_dir is None else Path(cache_dir)
        self.statistics: dict[str, Statistics] = {}
        self._vocabulary = vocabulary
        self._trained_on: str | None = (
            None if vocabulary is None else ""
        )  # hash of the corpus, if it need not be this one
        self._record: DataRecord | None = None  # of the data that the vocabulary is from
        self.permuted = False  # whether a file is cut by a permutation of its lines, as of the last release
        self._splits: dict[str, TextSplit] = {}
        self.identity = IdentityCheck(name, "sentence", if_changed, repeats=True)
        self._evaluated: Mapping[str, Any] | None = None  # checkpoint to compare with
        self._state: dict[str, Any] | None = None

    @property
    def vocabulary(self) -> Vocabulary:
        """The words; those of the training part are counted at the first call.

        Raises:
            DataError: There is no training part to count.
        """
        if self._vocabulary is None:
            files = corpus_files(self.root, self.name)
            path = files.get("train") or files.get("all")
            if path is None:
                raise DataError(
                    f"{self.root} has no training part to make a vocabulary of (only {', '.join(files)}); add it, or "
                    "evaluate a trained model on this corpus (eval.py ckpt_path=... data.root=...)"
                )
            self._vocabulary = cached_vocabulary(
                path, self.words.vocabulary_cap, self.words.encoding, self.words.lowercase, self.cache_dir
            )
        return self._vocabulary

    @property
    def spec(self) -> TextSpec:
        """Name and shape: most tokens of a sentence, and tokens of the vocabulary."""
        return TextSpec(self.name, (self.max_length, len(self.vocabulary)))

    def resume_from(self, checkpoint: Mapping[str, Any]) -> None:
        """Cut a single file as it was cut for a run that is gone on with.

        Of a changed corpus the checkpoint's words are taken over, which the model knows; whether the change is accepted
        is decided when the sentences are compared.
        """
        self._record = stored_record(checkpoint)
        self.permuted = self._record is None or self._record.rule.kind == "permutation"
        words, corpus = checkpoint.get("gvae_vocabulary"), checkpoint.get(type(self).__qualname__, {}).get("corpus")
        if words is not None and corpus is not None and corpus != self._corpus():
            self._vocabulary = Vocabulary(words)

    def restore(self, checkpoint: Mapping[str, Any]) -> None:
        """Take over the words of a checkpoint's model and its way of cutting a file, before anything else is asked.

        Raises:
            CheckpointError: The checkpoint holds no vocabulary.
        """
        words = checkpoint.get("gvae_vocabulary")
        if words is None:
            raise CheckpointError(
                f"the checkpoint holds no vocabulary, which {self.name} must be read with; was its model trained on "
                "text?"
            )
        self._record = stored_record(checkpoint)
        self.permuted = self._record is None or self._record.rule.kind == "permutation"
        self._trained_on = checkpoint.get(type(self).__qualname__, {}).get("corpus")
        self._vocabulary = Vocabulary(words)

    def prepare_data(self) -> None:
        """Fill the caches, on one process a machine."""
        self._load()

    def setup(self, stage: str | None = None) -> None:
        """Map the caches into memory; later calls do nothing."""
        if not self._splits:
            self._splits = self._load()
            self._report()
            if self._evaluated is not None:
                self.identity.evaluate(self._evaluated, self.part_items(), self.rule)

    def compare_with(self, checkpoint: Mapping[str, Any]) -> None:
        """Have ``setup`` compare the test part with what a checkpoint was trained on, before its model is evaluated."""
        self._evaluated = checkpoint

    @property
    def rule(self) -> Rule:
        """Rule that decides in which part a sentence is."""
        single = "all" in corpus_files(self.root, self.name)
        return Rule(("permutation" if self.permuted else "names") if single else "files", self.split_seed)

    @property
    def part_sizes(self) -> dict[str, int]:
        """Number of sentences of the parts that there are."""
        return {name: len(split) for name, split in self._splits.items()}

    def part_items(self) -> dict[str, Items]:
        """Identities of the sentences of each part."""
        return {name: split.source.items().at(split.indices) for name, split in self._splits.items()}

    @property
    def train_set(self) -> TextSplit:
        """Sentences to train on."""
        return self._split("train")

    @property
    def val_set(self) -> TextSplit:
        """Sentences held out for validation."""
        return self._split("val")

    @property
    def test_set(self) -> TextSplit:
        """Sentences for the final test."""
        return self._split("test")

    def describe(self) -> dict[str, Any]:
        """Figures of the corpus by name: of the vocabulary, and of each part or, of a single file, of the whole."""
        figures: dict[str, Any] = {"name": self.name, "vocabulary": len(self.vocabulary), "max_length": self.max_length}
        for part, found in self.statistics.items():
            figures[part] = {**found._asdict(), "unknown_rate": found.unknown_rate}
        return figures

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Move tokens and lengths, unless they are there; Lightning would walk through nested containers."""
        if batch[0].device.type == device.type:
            return batch
        tokens, lengths = to_device(batch, device)
        return tokens, lengths

    def train_dataloader(self) -> BucketLoader:
        """Batches of the training part, in a new order every epoch."""
        if self.trainer is not None:
            leave_finished_epoch(self.trainer)
        return self._loader(
            "train",
            self.batch_size,
            training=True,
            reshuffle=not repeats_batches(self.trainer),
            pool=self.bucket_pool,
            changed=self.identity.accepted,
        )

    def val_dataloader(self) -> BucketLoader:
        """Batches of the validation part, by length."""
        return self._loader("val", self.eval_batch_size, training=False)

    def test_dataloader(self) -> BucketLoader:
        """Batches of the test part, by length."""
        return self._loader("test", self.eval_batch_size, training=False)

    def state_dict(self) -> dict[str, Any]:
        """Corpus and words that a checkpoint was trained with, and the record of its parts."""
        if self._state is None:
            record = self.identity.state(self.part_items(), self.rule) if "train" in self._splits else {}
            self._state = {"corpus": self._corpus(), "vocabulary": self.vocabulary.digest, **record}
        return self._state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Refuse to go on with another vocabulary, or, unless that is accepted, with other sentences.

        Raises:
            CheckpointError: The checkpoint's are others.
        """
        self.setup()
        self.identity.resume(state_dict, self.part_items(), self.rule)
        self._state = None
        if state_dict["vocabulary"] != self.vocabulary.digest:
            raise CheckpointError(
                f"the checkpoint was trained with another vocabulary (hash {state_dict['vocabulary']}, the one of "
                f"{self.root} has {self.vocabulary.digest}); go on with the same corpus and "
                "`words`, or start a new run"
            )

    def _loader(self, name: str, batch_size: int, *, training: bool, **options: Any) -> BucketLoader:
        """Loader of a part; an accelerator is fed batch by batch."""
        device = torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device
        fed = None if device.type == "cpu" else device
        return BucketLoader(self._split(name), batch_size, training=training, seed=self.seed, device=fed, **options)

    @property
    def _foreign(self) -> bool:
        """Whether the words are those of another corpus."""
        return self._trained_on is not None and self._trained_on != self._corpus()

    def _corpus(self) -> str:
        """Hash of the file that says what the corpus is: its training part, else the first there is."""
        files = corpus_files(self.root, self.name)
        return file_hash(files.get("train") or next(iter(files.values())))

    def _load(self) -> dict[str, TextSplit]:
        sources = {
            part: Sentences(
                cached_tokens(
                    path, self.vocabulary, self.max_length, self.words.encoding, self.words.lowercase, self.cache_dir
                )
            )
            for part, path in corpus_files(self.root, self.name).items()
        }
        self.statistics = {part: source.statistics for part, source in sources.items()}
        if "all" not in sources:
            return {part: self._part(part, source, np.arange(len(source))) for part, source in sources.items()}
        whole = sources["all"]
        if self._foreign and not self._same_data(whole):
            return {"test": self._part("test", whole, np.arange(len(whole)))}
        sizes, what = (self.val_size, self.test_size), f"{self.name} ({self.root})"
        if self.permuted:
            cut = cut_by_permutation(len(whole), *sizes, self.split_seed, what, "sentence")
        else:
            cut = cut_by_hash(keyed(whole.items().contents, self.split_seed), *sizes, what, "sentence")
        return {part: self._part(part, whole, indices) for part, indices in cut.items()}

    def _same_data(self, whole: Sentences) -> bool:
        """Whether a file holds most of what the model was trained on, so that not all of it can be a test part."""
        return self._record is not None and self._record.compare({"all": whole.items()}).same_data

    def _part(self, part: str, source: Sentences, indices: np.ndarray) -> TextSplit:
        return TextSplit(f"{self.name}/{part}", source, indices)

    def _report(self) -> None:
        for part, found in self.statistics.items():
            if found.cut:
                say(
                    f"{self.name}/{part}: {found.cut} of {found.sentences} sentences are longer than {self.max_length} "
                    f"tokens and lose {found.cut_words} words (data.max_length)"
                )
            if self._foreign:
                rate = f"{100 * found.unknown_rate:.2f} % of the words of {self.name}/{part}"
                say(f"{rate} are unknown to the model")

    def _split(self, name: str) -> TextSplit:
        if not self._splits:
            raise ConfigError(f"`{name}_set` does not exist before `setup()` has loaded {self.name}; call it first")
        if name not in self._splits:
            raise DataError(
                f"{self.root} has no {name} part, only {', '.join(self._splits)}; add {self.name}."
                f"{'valid' if name == 'val' else name}.txt"
            )
        return self._splits[name]
