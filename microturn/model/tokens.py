"""Text tokens and the ids of everything that the model can put out.

Text is byte-level BPE (``tokenizer.json`` beside this file). A word is encoded with its leading space, so that the
texts of consecutive turns can simply be concatenated. The output ids of one turn are, in one softmax:

    [0, V)              hear token
    [V, 2V)             say token
    [2V, 2V + A)        act
    2V + A              <listen>     the last two end the turn
    2V + A + 1          <speak>
"""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor

from microturn.errors import WeightsError
from microturn.turn import Act

ACTS: tuple[Act, ...] = tuple(Act)
TOKENIZER_FILE = Path(__file__).with_name("tokenizer.json")


SAY_WEIGHT = 3.0
"""Training counts a word to be said so many times: there are ten times as many words to be heard, and a hundred times
as many turns in which nothing is to be said. Decoding divides its odds by as much (``unweighted``)."""


class OutputVocabulary:
    """Where the lanes lie in the softmax over what a turn can put out, for ``vocab_size`` text tokens."""

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size = vocab_size
        self.say = vocab_size
        self.act = 2 * vocab_size
        self.listen = self.act + len(ACTS)
        self.speak = self.listen + 1
        self.size = self.speak + 1

    def unweighted(self, scores_NO: Tensor) -> Tensor:
        """Scores (N, O) without the weight that training gave to words to be said: their softmax is what to expect."""
        weighted = torch.zeros(self.size, device=scores_NO.device)
        weighted[self.say : self.act] = math.log(SAY_WEIGHT)
        return scores_NO - weighted


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


def spill(labels: dict[int, list[str]], tokenizer: TextTokenizer, limit: int, num_turns: int) -> list[list[int]]:
    """Token ids by turn, at most ``limit`` a turn: what does not fit goes on in the next turn."""
    turns: list[list[int]] = []
    waiting: list[int] = []
    for turn in range(num_turns):
        for word in labels.get(turn, ()):
            waiting.extend(tokenizer.encode_word(word))
        turns.append(waiting[:limit])
        waiting = waiting[limit:]
    return turns
