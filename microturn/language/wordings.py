"""What people say: requests and sentences by templates (``wordings.toml``), some for training and others that are kept
for testing, combinations of words, and loose words.

A held-out template is never used in training but is made only of words that training uses. Which *combinations* of
content words belong to which split is decided by a stable hash of the words, so both sides can be checked without a
list.
"""

from __future__ import annotations

import string
import tomllib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from microturn.language import lexicon
from microturn.split import Split

HELDOUT_SHARE = 0.25
"""Share of word combinations kept for testing."""
VERBS = (
    "say", "repeat", "tell", "let", "spell", "remind", "wait", "answer", "count", "work", "calculate", "convert",
    "change", "look", "explain", "find", "search", "read", "book", "write", "ask", "call", "send", "set", "plan", "put",
    "move",
)  # fmt: skip
"""Requests that start with one of these may be opened by ``ASKS``."""
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


@dataclass(frozen=True)
class Wordings:
    """Templates of one request; ``{x}``, ``{y}``, ``{n}`` and ``{m}`` are slots."""

    train: tuple[str, ...]
    heldout: tuple[str, ...]

    def of(self, split: Split) -> tuple[str, ...]:
        return self.train if split == "train" else self.heldout

    def draw(self, rng: np.random.Generator, split: Split, *, polite: bool = True, **slots: str) -> str:
        """One request of the split with its slots filled, often with a polite opening."""
        text = pick(rng, self.of(split)).format(**slots)
        if polite and rng.random() < 0.5:
            openings = CALLS.of(split)
            if text.split()[0] in VERBS:
                openings = (*ASKS.of(split), *openings)
            text = f"{pick(rng, openings)} {text}"
        return text


def _wordings(found: dict[str, dict[Split, list[str]]]) -> dict[str, Wordings]:
    return {name: Wordings(tuple(both["train"]), tuple(both["heldout"])) for name, both in found.items()}


_FOUND = tomllib.loads(Path(__file__).with_name("wordings.toml").read_text())
GREETINGS = _wordings(_FOUND.pop("greetings"))
"""The answer to each greeting, and the ways to put the greeting."""
ASKED = _wordings(_FOUND.pop("asked"))
"""By kind, requests that are handed over, and how jobs put what they bring."""
BROUGHT = _wordings(_FOUND.pop("brought"))
INSTRUCTIONS: tuple[str, ...] = tuple(_FOUND.pop("instructions"))
"""What may be written before a session, in sentences whose slots are named after classes of words."""
_WORDINGS = _wordings(_FOUND)
CALLS = _WORDINGS["calls"]
"""Openings that go before any request."""
ASKS = _WORDINGS["asks"]
SAY = _WORDINGS["say"]
SPELL = _WORDINGS["spell"]
ONCE = _WORDINGS["once"]
EVERY = _WORDINGS["every"]
TWO_TIMERS = _WORDINGS["two_timers"]
STOP = _WORDINGS["stop"]
CUE = _WORDINGS["cue"]
COUNT = _WORDINGS["count"]
CORRECT = _WORDINGS["correct"]
NEVER_MIND = _WORDINGS["never_mind"]
PLAIN = _WORDINGS["plain"]
"""Sentences that ask nothing; their slots are named after classes of words, as those of ``ASIDE``."""
ASIDE = _WORDINGS["aside"]
"""Talk to somebody who is called by name: not for the model."""


def pick(rng: np.random.Generator, words: Sequence[str]) -> str:
    """One of ``words``, each as likely."""
    return words[int(rng.integers(len(words)))]


def combination_split(*words: str) -> Split:
    """The split that a combination of content words belongs to, by a stable hash (the order of the words matters)."""
    share = zlib.crc32(" ".join(words).encode()) / 2**32
    return "heldout" if share < HELDOUT_SHARE else "train"


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
        if not any(lexicon.sounds_alike(word, other) for other in avoid):
            words.append(word)
    pauses = rng.random(count - 1) < COMMA_SHARE
    return [word + "," if pause else word for word, pause in zip(words, (*pauses, False), strict=True)]


def plain_sentence(rng: np.random.Generator, split: Split) -> str:
    """A sentence that asks nothing, from the split's templates and combinations."""
    return _filled(rng, PLAIN.of(split), split)


def aside(rng: np.random.Generator, split: Split) -> str:
    """A sentence to somebody else, from the split's templates and combinations."""
    return _filled(rng, ASIDE.of(split), split)


def instructions(rng: np.random.Generator) -> str:
    """One to five sentences that somebody may write before a session."""
    return " ".join(_filled(rng, INSTRUCTIONS, "train") for _ in range(int(rng.choice([1, 1, 2, 3, 5]))))


def _filled(rng: np.random.Generator, templates: Sequence[str], split: Split) -> str:
    template = pick(rng, templates)
    names = [name for _, name, _, _ in string.Formatter().parse(template) if name]
    while True:
        words = {name: pick(rng, SLOTS[name]) for name in names}
        if not names or combination_split(*words.values()) == split:
            return template.format(**words)
