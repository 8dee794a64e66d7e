"""The vocabulary everybody speaks: what one micro-turn takes in and gives out.

A session is a sequence of turns of 200 ms. The turn index is the clock: nothing below the edge (file, socket,
screen) reads the time of day. The output of turn *t* depends on the input up to and including turn *t*, so its
sound can be heard from ``(t + 1) * TURN_MS`` on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from microturn.errors import InputError

TURN_MS = 200
SAMPLE_RATE_HZ = 16_000
TURN_SAMPLES = SAMPLE_RATE_HZ * TURN_MS // 1000
"""Samples of one turn: 3,200 at 16 kHz mono."""

MAX_HEAR_TOKENS = 4
MAX_SAY_TOKENS = 4

Pcm = NDArray[np.float32]
"""Mono samples at 16 kHz in [-1, 1], shape (samples,)."""
Frame = NDArray[np.uint8]
"""One picture, shape (height, width, 3), RGB."""


class Act(StrEnum):
    """What the model may ask of the runtime in a turn."""

    DELEGATE = "delegate"
    CANCEL = "cancel"


class TextSource(StrEnum):
    """Who wrote a text that comes in; each source has an embedding of its own."""

    TYPED = "typed"
    INSTRUCTIONS = "instructions"
    JOB = "job"
    TOOL = "tool"


@dataclass(frozen=True)
class TextIn:
    """Text that comes in during a turn."""

    source: TextSource
    text: str

    @classmethod
    def from_job(cls, number: int | None, text: str) -> TextIn:
        """What a job brings, as words to be said: in lower case, without marks. Its number, if it is told, stands in
        front in digits, which such words do not have: the smallest, from 1 on, that no other running job has."""
        words = "".join(one if one.isalpha() or one == "'" else " " for one in text.lower()).split()
        return cls(TextSource.JOB, " ".join([*([] if number is None else [str(number)]), *words]))


@dataclass(frozen=True)
class Rehearsed:
    """What is heard in a turn when the words are given in place of sound: those of the hear lane, and whether somebody
    speaks at the turn's end."""

    words: tuple[str, ...] = ()
    voice: bool = False


@dataclass(frozen=True)
class TurnInput:
    """What came in during one turn.

    ``audio`` is ``(TURN_SAMPLES,)`` float32, or ``None`` for a gap: nothing arrived in time, and nobody waits.
    ``frame`` is the newest picture of the turn (any size; the eye resizes it), or ``None``. ``rehearsed`` gives the
    words in place of sound: then nothing is missing where ``audio`` is ``None``.
    """

    audio: Pcm | None
    frame: Frame | None = None
    texts: tuple[TextIn, ...] = ()
    rehearsed: Rehearsed | None = None

    def check(self, turn: int) -> None:
        """Raise ``InputError`` (naming the turn) unless shapes, types and values are what a turn accepts."""
        if self.audio is not None:
            if self.audio.shape != (TURN_SAMPLES,):
                raise InputError(f"turn {turn}: audio has shape {self.audio.shape}, expected ({TURN_SAMPLES},)")
            if self.audio.dtype != np.float32:
                raise InputError(f"turn {turn}: audio is {self.audio.dtype}, expected float32")
            if not np.isfinite(self.audio).all():
                raise InputError(f"turn {turn}: audio has a sample that is not a number")
        if self.frame is not None:
            if self.frame.ndim != 3 or self.frame.shape[2] != 3 or self.frame.dtype != np.uint8:
                found = f"{self.frame.dtype} {self.frame.shape}"
                raise InputError(f"turn {turn}: frame is {found}, expected uint8 (h, w, 3)")
            if 0 in self.frame.shape:
                raise InputError(f"turn {turn}: frame is {self.frame.shape[1]}x{self.frame.shape[0]} pixels")


@dataclass(frozen=True)
class TurnOutput:
    """What goes out in one turn.

    ``hear`` and ``say`` are what this turn adds to the two transcripts, each word with its leading space
    (``" red car"``, ``""`` if nothing): the transcript of many turns is their plain concatenation. ``audio`` is
    ``(TURN_SAMPLES,)`` float32: silence unless ``speaking``, but for the voice's last 50 ms in the turn after it.
    """

    turn: int
    hear: str
    say: str
    act: Act | None
    speaking: bool
    audio: Pcm = field(repr=False)

    @property
    def t_ms(self) -> int:
        """Start of the turn on the session's clock, in milliseconds."""
        return self.turn * TURN_MS
