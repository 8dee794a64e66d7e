"""What people say besides requests: loose words, combinations of words, sentences that ask nothing, talk to others."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence

import numpy as np

from microturn.language import lexicon
from microturn.language.lexicon import sounds_alike
from microturn.language.wordings import ASIDE, PLAIN, combination_split, pick
from microturn.split import Split

COMMA_SHARE = 0.12
"""Share of loose words that a pause follows."""
CONTENT_SHARE = 0.85
"""Share of content words among loose words."""
REQUEST_WORDS = frozenset({
    "answer", "count", "every", "goodbye", "hear", "hello", "hey", "remind", "repeat", "say", "spell", "stop", "tell",
    "thank", "whenever",
})  # fmt: skip
"""Function words that could make a request of words in random order."""
LOOSE_FUNCTION_WORDS = tuple(word for word in lexicon.FUNCTION if word not in REQUEST_WORDS)
SLOTS: Mapping[str, tuple[str, ...]] = {
    "colour": lexicon.COLOURS, "object": lexicon.OBJECTS, "thing": lexicon.OBJECTS, "animal": lexicon.ANIMALS,
    "food": lexicon.FOODS, "snack": lexicon.FOODS, "place": lexicon.PLACES, "name": lexicon.NAMES,
    "other": lexicon.NAMES, "day": lexicon.WEEKDAYS, "adjective": lexicon.ADJECTIVES, "number": lexicon.NUMBERS,
}  # fmt: skip


def combination(
    rng: np.random.Generator, split: Split, count: int, content: Sequence[str] = lexicon.CONTENT
) -> tuple[str, ...]:
    """``count`` different words of ``content``; several are a combination of the split, single ones are in both."""
    while True:
        places = rng.choice(len(content), count, replace=False)
        words = tuple(content[int(place)] for place in places)
        if count == 1 or combination_split(*words) == split:
            return words


def loose_words(rng: np.random.Generator, count: int, avoid: Sequence[str] = ()) -> list[str]:
    """``count`` random words, some with a comma (a pause) after them, none that sounds like one of ``avoid``."""
    words: list[str] = []
    while len(words) < count:
        word = pick(rng, lexicon.CONTENT if rng.random() < CONTENT_SHARE else LOOSE_FUNCTION_WORDS)
        if not any(sounds_alike(word, other) for other in avoid):
            words.append(word)
    pauses = rng.random(count - 1) < COMMA_SHARE
    return [word + "," if pause else word for word, pause in zip(words, (*pauses, False), strict=True)]


def plain_sentence(rng: np.random.Generator, split: Split) -> str:
    """A sentence that asks nothing, from the split's templates and combinations."""
    return _filled(rng, PLAIN.of(split), split)


def aside(rng: np.random.Generator, split: Split) -> str:
    """A sentence to somebody else, from the split's templates and combinations."""
    return _filled(rng, ASIDE.of(split), split)


def _filled(rng: np.random.Generator, templates: Sequence[str], split: Split) -> str:
    template = pick(rng, templates)
    names = [name for _, name, _, _ in string.Formatter().parse(template) if name]
    while True:
        words = {name: pick(rng, SLOTS[name]) for name in names}
        if combination_split(*words.values()) == split:
            return template.format(**words)
