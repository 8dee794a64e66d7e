"""The commonest words of English, by the unigrams of the language model that PocketSphinx's wheel brings."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from microturn.errors import InputError

DICTIONARY = "cmudict-en-us.dict"
LANGUAGE_MODEL = "en-us.lm.bin"
NUM_COMMON_WORDS = 20_000
_WORD = re.compile("(?![ivx]{2,}$)[a-z]+('[a-z]+)?")
"""Roman numerals are left out: voices differ in how they read them."""


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
    folder = pocketsphinx_folder()
    from pocketsphinx import Config, LogMath, NGramModel

    model = NGramModel(Config(lm=None, loglevel="FATAL"), LogMath(), str(folder / LANGUAGE_MODEL))
    words = sorted(word for word in dictionary() if _WORD.fullmatch(word))
    return tuple(sorted(words, key=lambda word: -model.prob([word]))[:NUM_COMMON_WORDS])
