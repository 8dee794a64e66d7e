"""The commonest words of English and sentences of them, by the language model that PocketSphinx's wheel brings."""

from __future__ import annotations

import math
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from microturn.errors import InputError

if TYPE_CHECKING:
    from pocketsphinx import NGramModel

DICTIONARY = "cmudict-en-us.dict"
LANGUAGE_MODEL = "en-us.lm.bin"
NUM_COMMON_WORDS = 20_000
NUM_NEW_WORDS = 2_000
"""Of these, the commonest that sessions of training have at any place where a word may be anything: what the assistant
is to say there has the times of its voice, which takes half a second of a core for every word it has not said yet."""
_WORD = re.compile("(?![ivx]{2,}$)[a-z]+('[a-z]+)?")
"""Roman numerals are left out: voices differ in how they read them."""
CANDIDATES = 120
"""Words of which the next one of a sentence is chosen."""
_LOG_OF_BASE = math.log(1.0001)
"""Logarithms of PocketSphinx are whole numbers to this base."""


def pocketsphinx_folder() -> Path:
    """Its US English models. Raises ``InputError`` when it is not installed."""
    try:
        from pocketsphinx import get_model_path
    except ImportError as error:
        raise InputError("pocketsphinx is not installed: pip install 'microturn[bench]'") from error
    return Path(get_model_path("en-us"))


@cache
def dictionary() -> frozenset[str]:
    """The words that PocketSphinx can pronounce. Raises ``InputError`` when it is not installed."""
    text = (pocketsphinx_folder() / DICTIONARY).read_text(encoding="utf-8")
    return frozenset(line.split(maxsplit=1)[0].partition("(")[0] for line in text.splitlines() if line)


@cache
def common_words() -> tuple[str, ...]:
    """The ``NUM_COMMON_WORDS`` commonest, the commonest first. Raises ``InputError`` without PocketSphinx."""
    model = trigrams()
    words = sorted(word for word in dictionary() if _WORD.fullmatch(word))
    return tuple(sorted(words, key=lambda word: -model.prob([word]))[:NUM_COMMON_WORDS])


def common_sentence(rng: np.random.Generator, num_words: int) -> str:
    """So many common words that follow each other as in English: hardly ever a sentence, but with a sentence's words
    in a sentence's order. Raises ``InputError`` without PocketSphinx."""
    words, up_to_W = common_words(), _up_to()
    model = trigrams()
    said = ["<s>"]
    for _ in range(num_words):
        # Drawn by how common they are and then chosen by how well they follow: the model as a whole is not asked.
        drawn = np.searchsorted(up_to_W, rng.random(CANDIDATES)).clip(0, len(words) - 1)
        follows = np.array([model.prob([words[index], *said[:-3:-1]]) - model.prob([words[index]]) for index in drawn])
        weight = np.exp(follows * _LOG_OF_BASE)
        said.append(words[int(drawn[rng.choice(CANDIDATES, p=weight / weight.sum())])])
    return " ".join(said[1:])


@cache
def _up_to() -> NDArray[np.float64]:
    """How likely a word is one of ``common_words`` up to the first, the second, and so on."""
    model = trigrams()
    up_to_W = np.cumsum(np.exp([model.prob([word]) * _LOG_OF_BASE for word in common_words()]))
    return np.asarray(up_to_W / up_to_W[-1])


@cache
def trigrams() -> NGramModel:
    """Trigrams; ``prob`` of a word and those before it, the newest first, is a whole logarithm."""
    folder = pocketsphinx_folder()
    from pocketsphinx import Config, LogMath, NGramModel

    return NGramModel(Config(lm=None, loglevel="FATAL"), LogMath(), str(folder / LANGUAGE_MODEL))
