"""The words of a corpus and their numbers."""

from collections.abc import Iterable, Mapping, Sequence

from lightning_gvae.errors import ConfigError, DataError
from lightning_gvae.io.content import text_hash

__all__ = ["BOS", "EOS", "PAD", "SPECIALS", "UNK", "Vocabulary"]

SPECIALS = ("<pad>", "<unk>", "<bos>", "<eos>")
PAD, UNK, BOS, EOS = range(len(SPECIALS))


class Vocabulary:
    """Numbers of words: first the special tokens ``<pad> <unk> <bos> <eos>`` (0 to 3), then the words.

    A word that is not in the vocabulary is ``<unk>``. So are the words ``<pad>``, ``<bos>`` and ``<eos>``, should a
    corpus contain them: only a model's own sentences begin and end there.

    Args:
        words: The words without the special tokens, all different, none with white space in it.

    Raises:
        DataError: There is no word, or one occurs twice, is special, empty or has white space.

    >>> vocabulary = Vocabulary.of_counts({"the": 3, "cat": 1, "a": 1, "<unk>": 2}, cap=6)
    >>> vocabulary.words
    ('the', 'a')
    >>> vocabulary.encode("the cat".split())
    [4, 1]
    >>> vocabulary.decode([4, 5, 3, 0])
    'the a'
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = tuple(words)
        self.tokens = (*SPECIALS, *self.words)
        self._numbers = {token: number for number, token in enumerate(self.tokens)}
        if not self.words or len(self._numbers) != len(self.tokens) or any(word.split() != [word] for word in words):
            raise DataError(
                f"`words` must be at least one different word without white space, and none of {', '.join(SPECIALS)}; "
                f"got {len(self.words)} words; build the vocabulary from a corpus instead."
            )
        for special in (PAD, BOS, EOS):
            self._numbers[SPECIALS[special]] = UNK

    @classmethod
    def of_counts(cls, counts: Mapping[str, int], cap: int | None = None) -> "Vocabulary":
        """The most frequent words; of equally frequent ones the alphabetically first.

        Args:
            counts: How often each word occurs; special tokens are left out.
            cap: Most tokens, special ones included; None keeps every word.

        Raises:
            ConfigError: ``cap`` leaves no room for a word.
            DataError: There is no word to choose from.
        """
        if cap is not None and (isinstance(cap, bool) or not isinstance(cap, int) or cap <= len(SPECIALS)):
            raise ConfigError(
                f"`words.vocabulary_cap` must be an integer of at least {len(SPECIALS) + 1}, the {len(SPECIALS)} "
                "special "
                f"tokens {' '.join(SPECIALS)} and one word, got {cap!r}; raise it, or set it to null for every word."
            )
        known = [word for word in counts if word not in SPECIALS]
        known.sort(key=lambda word: (-counts[word], word))
        return cls(known if cap is None else known[: cap - len(SPECIALS)])

    @property
    def digest(self) -> str:
        """Hash of the words in their order: two vocabularies with the same digest are the same."""
        return text_hash("\n".join(self.words))

    def __len__(self) -> int:
        return len(self.tokens)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.words == other.words

    def __hash__(self) -> int:
        return hash(self.words)

    def encode(self, words: Iterable[str]) -> list[int]:
        """Numbers of words, without ``<bos>`` and ``<eos>``."""
        return [self._numbers.get(word, UNK) for word in words]

    def decode(self, tokens: Iterable[int]) -> str:
        """The sentence up to ``<eos>``, words parted by single spaces; ``<bos>`` and ``<pad>`` are left out."""
        words = []
        for token in tokens:
            if token == EOS:
                break
            if token not in (PAD, BOS):
                words.append(self.tokens[token])
        return " ".join(words)
