"""Words as numbers and numbers as words; needs neither Lightning nor a data set.

- ``vocabulary``: the words of a corpus and their numbers
- ``generation``: sentences from a decoder, word by word: greedy, sampled, nucleus, beam search
"""

from lightning_gvae.text.vocabulary import BOS, EOS, PAD, SPECIALS, UNK, Vocabulary

__all__ = ["BOS", "EOS", "PAD", "SPECIALS", "UNK", "Vocabulary"]
