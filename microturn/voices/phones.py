"""Phones: what a word sounds like, as a row of classes with their shares of the word's time.

espeak-ng reads every word on its own, whoever really says it; the shares are spread over the word's true span. That is
some tens of milliseconds off within long words, and the same for synthesisers and people.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from microturn.voices import espeak
from microturn.voices.speech import Speech
from microturn.voices.wordtimes import tokens

# Shapes: N pieces of time.

PHONES = (
    "", "p", "b", "t", "d", "k", "g", "m", "n", "N", "f", "v", "T", "D", "s", "z", "S", "Z", "h", "tS", "dZ", "l", "r",
    "w", "j", "i", "I", "E", "e@", "a", "V", "@", "3", "A", "0", "O", "U", "u", "eI", "aI", "OI", "aU", "oU", "i@",
)  # fmt: skip
"""Classes of sounds in espeak-ng's notation, without stress and length; the first is none at all."""
_SAME = {
    "aa": "a", "a#": "@", "I2": "I", "I#": "I", "i2": "i", "A@": "A", "O@": "O", "o@": "O", "O2": "O", "o": "O",
    "@L": "l", "@2": "@", "@5": "@", "t#": "t", "t2": "t", "n-": "n", "@-": "@", "aI@": "aI", "aI3": "aI",
    "i@3": "i@", "U@": "U", "E2": "E", "e": "E", "?": "t", "x": "k", "l^": "l", "3:r": "3", "aU@": "aU", "A~": "A",
    "O~": "O", "l#": "l", "r-": "r", "L": "l",
}  # fmt: skip
_INDEX = {name: index for index, name in enumerate(PHONES)}


@dataclass(frozen=True)
class Pronunciation:
    """Classes of a word's sounds, and where each ends as a share of the word's time (rising to 1)."""

    phones: tuple[int, ...]
    ends: tuple[float, ...]


def phone_class(name: str) -> int:
    """The class of one of espeak-ng's phonemes; 0 for pauses and marks."""
    bare = name.lstrip("',%=|").rstrip(":;")
    bare = _SAME.get(bare, bare)
    return _INDEX.get(bare, 0)


@lru_cache(maxsize=50_000)
def pronunciation(word: str) -> Pronunciation:
    """How ``word`` sounds (a letter with a full stop: its name). Raises ``InputError`` if it cannot be spoken."""
    heard = espeak.phonemes(tokens(word))
    found: list[int] = []
    starts: list[float] = []
    end_s = heard[-1][1]
    for name, start_s in heard:
        if name.startswith("_"):
            end_s = start_s
            break
        if phone_class(name):
            found.append(phone_class(name))
            starts.append(start_s)
    if not found:
        return Pronunciation((0,), (1.0,))
    length_s = max(end_s - starts[0], 1e-3)
    ends = [min(1.0, max(0.0, (start - starts[0]) / length_s)) for start in starts[1:]]
    return Pronunciation(tuple(found), (*ends, 1.0))


def phone_row(speech: Speech, step_ms: float, count: int) -> NDArray[np.uint8]:
    """The class at the middle of each of ``count`` pieces of ``step_ms``, (N,); 0 between words."""
    row = np.zeros(count, np.uint8)
    middle_ms = (np.arange(count) + 0.5) * step_ms
    for word in speech.words:
        inside = np.flatnonzero((middle_ms >= word.start_ms) & (middle_ms < word.end_ms))
        if not len(inside):
            continue
        said = pronunciation(word.text)
        share = (middle_ms[inside] - word.start_ms) / (word.end_ms - word.start_ms)
        place = np.minimum(np.searchsorted(said.ends, share, side="right"), len(said.phones) - 1)
        row[inside] = np.asarray(said.phones, np.uint8)[place]
    return row
