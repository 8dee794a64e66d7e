"""The words of the open scenarios by class (``words.toml``): plain lower-case words, each in one class only.

``CONTENT`` is what may be asked for, repeated, heard and set as a cue. ``FUNCTION`` holds the other words of requests
and sentences, ``HANDED`` those of requests that are handed over. ``UNSEEN`` is kept out of all that is heard and
answered in training, for a row of its own in the benchmark (the assistant's voice learns to say any word).
``COMMANDS`` (those of Speech Commands) and ``COMMON`` are words that people say and requests are not about: heard,
written and spoken like the others. A letter's name is written as the single letter in the lanes and as ``"a."`` in a
text to be spoken (see ``voices.wordtimes.tokens``).
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from microturn.errors import InputError

_FOUND = tomllib.loads(Path(__file__).with_name("words.toml").read_text())
HOMOPHONES: tuple[tuple[str, ...], ...] = tuple(tuple(group.split()) for group in _FOUND.pop("homophones"))
"""Groups of words that cannot be told apart by ear, or of which one is within the other."""
_WORDS: dict[str, tuple[str, ...]] = {name: tuple(text.split()) for name, text in _FOUND.items()}

NUMBERS = _WORDS["numbers"]
COLOURS = _WORDS["colours"]
WEEKDAYS = _WORDS["weekdays"]
MONTHS = _WORDS["months"]
OBJECTS = _WORDS["objects"]
ANIMALS = _WORDS["animals"]
FOODS = _WORDS["foods"]
PLACES = _WORDS["places"]
NAMES = _WORDS["names"]
ADJECTIVES = _WORDS["adjectives"]
VERBS = _WORDS["verbs"]
OTHERS = _WORDS["others"]
CONTENT = (
    *NUMBERS, *COLOURS, *WEEKDAYS, *MONTHS, *OBJECTS, *ANIMALS, *FOODS, *PLACES, *NAMES, *ADJECTIVES, *VERBS, *OTHERS,
)  # fmt: skip
LETTERS = tuple("abcdefghijklmnopqrstuvwxyz")
FUNCTION = _WORDS["function"]
UNSEEN = _WORDS["unseen"]
COMMANDS = _WORDS["commands"]
COMMON = _WORDS["common"]
HANDED = _WORDS["handed"]

MAX_NUMBER = 120
"""Largest number that ``number_words`` writes."""


def number_words(number: int) -> tuple[str, ...]:
    """``number`` (0 to ``MAX_NUMBER``) as it is said: 21 is ("twenty", "one"), 105 ("one", "hundred", "five").

    Raises ``InputError`` outside that range.
    """
    if not 0 <= number <= MAX_NUMBER:
        raise InputError(f"number {number} is outside 0 to {MAX_NUMBER}")
    if number <= 20:
        return (NUMBERS[number],)
    if number < 100:
        tens = NUMBERS[18 + number // 10]
        return (tens, *number_words(number % 10)) if number % 10 else (tens,)
    return ("one", "hundred", *number_words(number - 100)) if number > 100 else ("one", "hundred")


def sounds_alike(word: str, other: str) -> bool:
    """Whether the two words cannot be told apart by ear, or one is within the other."""
    return word == other or any(word in group and other in group for group in HOMOPHONES)
