"""How people put their requests (``wordings.toml``): templates for training and others that are kept for testing.

A held-out template is never used in training but is made only of words that training uses. Which *combinations* of
content words belong to which split is decided by a stable hash of the words, so both sides can be checked without a
list.
"""

from __future__ import annotations

import tomllib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from microturn.split import Split

HELDOUT_SHARE = 0.25
"""Share of word combinations kept for testing."""
VERBS = ("say", "repeat", "tell", "let", "spell", "remind", "wait", "answer", "count")
"""Requests that start with one of these may be opened by ``ASKS``."""


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
