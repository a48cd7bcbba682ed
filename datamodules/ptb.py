"""The Penn Treebank as Mikolov prepared it."""

from pathlib import Path
from typing import Any

from lightning_gvae.datamodules.text.datamodule import TextDataModule

__all__ = ["PTBDataModule"]


class PTBDataModule(TextDataModule):
    """42,068 / 3,370 / 3,761 sentences of the Wall Street Journal from ``ptb.{train,valid,test}.txt``.

    Lower case, no punctuation, numbers as ``N``; 887,521 / 70,390 / 78,669 words of 9,999 kinds, ``<unk>`` among them.
    With ``<pad>``, ``<bos>`` and ``<eos>`` there are 10,002 tokens. The longest sentence has 82 words.

    Args:
        root: Folder with the three files.
        name: Of the files and of the corpus.
        max_length: Most tokens of a sentence, ``<eos>`` included.
        options: As for :class:`~lightning_gvae.datamodules.text.TextDataModule`.

    Raises:
        ConfigError: As for the base class.
        DataError: As for the base class.

    References:
        Mikolov et al., Recurrent Neural Network Based Language Model, 2010.
    """

    def __init__(self, root: Path | str, name: str = "ptb", max_length: int = 84, **options: Any) -> None:
        super().__init__(root, name, max_length=max_length, **options)
