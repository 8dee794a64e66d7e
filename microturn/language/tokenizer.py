"""The text tokenizer: words to ids and back.

Text is byte-level BPE (``tokenizer.json`` beside this file) in which every word of ``lexicon`` is one token (a
contraction, as "it's", is two or three), but for those that are kept out of training or handed over; other words are
spelt in pieces, down to bytes. A word is encoded with its leading space, so that the texts of consecutive turns can
simply be concatenated.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from microturn.errors import WeightsError
from microturn.language import lexicon

TOKENIZER_FILE = Path(__file__).with_name("tokenizer.json")


class TextTokenizer:
    """Words to ids and back."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.vocab_size: int = tokenizer.get_vocab_size()

    @classmethod
    def from_file(cls, path: Path) -> TextTokenizer:
        """Raises ``WeightsError`` when the file is missing or not a tokenizer."""
        try:
            return cls(Tokenizer.from_str(path.read_text(encoding="utf-8")))
        except OSError as error:
            raise WeightsError(f"{path}: {error.strerror}") from error
        except Exception as error:  # the library raises bare Exception for malformed files
            raise WeightsError(f"{path}: not a tokenizer file ({error})") from error

    def encode_word(self, word: str) -> list[int]:
        """Ids of one word with its leading space."""
        return list(self._tokenizer.encode(" " + word).ids)

    def encode(self, text: str) -> list[int]:
        """Ids of a text; every word with its leading space."""
        return [token for word in text.split() for token in self.encode_word(word)]

    def decode(self, ids: list[int]) -> str:
        """Text of ids, leading space kept; bytes that do not form a character come out as U+FFFD."""
        return str(self._tokenizer.decode(ids, skip_special_tokens=False))

    def to_json(self) -> str:
        return str(self._tokenizer.to_str())


@lru_cache(maxsize=1)
def default_tokenizer() -> TextTokenizer:
    """The tokenizer of the packaged weights."""
    return TextTokenizer.from_file(TOKENIZER_FILE)


def train_tokenizer(vocab_size: int = 4096) -> TextTokenizer:
    """Merges are learnt from the lexicon and common words alone."""
    words = sorted({*lexicon.CONTENT, *lexicon.FUNCTION, *lexicon.LETTERS, *lexicon.COMMANDS, *lexicon.COMMON})
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        min_frequency=1,
        show_progress=False,
    )
    tokenizer.train_from_iterator([" " + " ".join(words)] * 4, trainer)
    return TextTokenizer(tokenizer)
