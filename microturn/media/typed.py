"""Typed text beside a recording, and the quiet turns after its end in which an answer can be finished."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from microturn.errors import InputError
from microturn.media.reader import MediaSource
from microturn.turn import TURN_MS, TURN_SAMPLES, TextIn, TextSource, TurnInput

MAX_SECOND = 24 * 3600.0


@dataclass(frozen=True)
class TypedText:
    """``text`` that is typed in turn ``turn``."""

    turn: int
    text: str


def parse_typed_text(argument: str) -> TypedText:
    """``"2.5:stop counting"`` -> turn 12. Raises ``InputError`` unless it is a second of a day and some words."""
    at, colon, words = argument.partition(":")
    try:
        second = float(at)
    except ValueError:
        second = math.nan
    if not colon or not 0.0 <= second <= MAX_SECOND:
        raise InputError(f'text {argument!r}: expected "SECOND:words" such as "2.5:stop", 0 to {MAX_SECOND:.0f} s')
    if not words.strip():
        raise InputError(f"text {argument!r}: has no words after the colon")
    return TypedText(int(round(second * 1000) // TURN_MS), " ".join(words.split()))


def turns_of_seconds(name: str, seconds: float) -> int:
    """Whole turns that cover ``seconds``. Raises ``InputError`` (naming the option) outside 0 to a day."""
    if not 0.0 <= seconds <= MAX_SECOND:
        raise InputError(f"{name} {seconds}: expected 0 to {MAX_SECOND:.0f} seconds")
    return math.ceil(round(seconds * 1000) / TURN_MS)


def session_length(source: MediaSource, typed: Sequence[TypedText], tail_turns: int) -> int | None:
    """Turns of the whole session as far as the input declares its length; what ``session_turns`` will yield."""
    if source.num_turns is None:
        return None
    return max([source.num_turns, *(one.turn + 1 for one in typed)]) + tail_turns


def session_turns(source: MediaSource, typed: Sequence[TypedText], tail_turns: int) -> Iterator[TurnInput]:
    """The turns of ``source`` with the typed text in its turns, then ``tail_turns`` in which nothing happens.

    A text after the end of the recording prolongs the session. The added turns are silent when the input has sound,
    and gaps like all the others when it has none. Raises ``MediaError`` where the input turns out to be damaged.
    """
    texts: dict[int, tuple[TextIn, ...]] = {}
    for one in typed:
        texts[one.turn] = (*texts.get(one.turn, ()), TextIn(TextSource.TYPED, one.text))
    turn = 0
    for turn_input in source.iter_turns():
        yield replace(turn_input, texts=texts[turn]) if turn in texts else turn_input
        turn += 1
    end = max([turn, *(one.turn + 1 for one in typed)]) + tail_turns
    while turn < end:
        audio = np.zeros(TURN_SAMPLES, np.float32) if source.has_audio else None
        yield TurnInput(audio=audio, texts=texts.get(turn, ()))
        turn += 1
