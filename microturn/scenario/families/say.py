"""``say``: repeat after me, spell, answer a greeting; spoken or typed, one to three requests a session."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from microturn.language.lexicon import CONTENT
from microturn.language.wordings import GREETINGS, SAY, SPELL, combination, combination_split, pick
from microturn.scenario.families import free
from microturn.scenario.script import REPLY_LATE_MS, Script
from microturn.split import Split
from microturn.turn import TURN_MS

TYPED_SHARE = 0.2
SPELLED_LETTERS = range(3, 7)
"""Lengths of words that are spelt."""


def build(script: Script) -> None:
    """One to three requests with pauses, sometimes with a remark that asks nothing before or between them."""
    rng = script.rng
    for _ in range(int(rng.choice([1, 2, 2, 3]))):
        script.pause(300.0, 1500.0)
        if rng.random() < 0.2:
            script.speak(free.draw_text(script), matters=False)
            script.pause(600.0, 1500.0)
        request, reply = draw_request(rng, script.split, script.content)
        if rng.random() < TYPED_SHARE:
            end_ms = script.answer_typed(request, reply, REPLY_LATE_MS + TURN_MS)
        else:
            end_ms = script.answer(reply, script.speak(request)[-1].end_ms)
        script.wait_until(end_ms)


def draw_request(rng: np.random.Generator, split: Split, content: Sequence[str] = CONTENT) -> tuple[str, str]:
    """A request of the split about words of ``content``, and what answers it (a text to be spoken)."""
    kind = rng.random()
    if kind < 0.15:
        reply = pick(rng, tuple(GREETINGS))
        return GREETINGS[reply].draw(rng, split, polite=False), reply
    if kind < 0.30:
        return draw_spelling(rng, split, content)
    words_said = combination(rng, split, int(rng.choice([1, 1, 2, 2, 3, 4])), content)
    text = " ".join(words_said)
    if len(words_said) == 2 and rng.random() < 0.4:
        text = " and ".join(words_said)
    return SAY.draw(rng, split, x=text), text


def draw_spelling(rng: np.random.Generator, split: Split, content: Sequence[str]) -> tuple[str, str]:
    """A request to spell one of the words of ``content`` that belong to the split, and the names of its letters."""
    words = [word for word in content if len(word) in SPELLED_LETTERS and combination_split("spell", word) == split]
    word = pick(rng, words)
    return SPELL.draw(rng, split, x=word), letter_names(word)


def letter_names(letters: Iterable[str]) -> str:
    """The text that names ``letters`` one by one; with pauses between them, or nobody could tell them apart."""
    return ", ".join(f"{letter}." for letter in letters)
