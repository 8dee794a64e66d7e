"""What the picture of a session shows, gathered turn by turn: envelopes instead of sound, thumbnails of pictures."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from microturn.turn import Frame, Pcm, TurnInput, TurnOutput

ENVELOPE_BINS = 20
"""Peaks a turn: one for 10 ms."""
THUMBNAIL_HEIGHT_PIXELS = 96
THUMBNAIL_EVERY_TURNS = 5
"""At most one thumbnail a second is kept."""

Label = tuple[int, str]
"""A turn and what belongs to it."""


@dataclass
class Timeline:
    """The turns of a session for drawing. ``user`` and ``model`` hold one array of peaks (ENVELOPE_BINS,) a turn."""

    title: str
    user: list[NDArray[np.float32]] = field(default_factory=list)
    model: list[NDArray[np.float32]] = field(default_factory=list)
    heard: list[Label] = field(default_factory=list)
    said: list[Label] = field(default_factory=list)
    typed: list[Label] = field(default_factory=list)
    acts: list[Label] = field(default_factory=list)
    speaking: list[bool] = field(default_factory=list)
    gaps: list[bool] = field(default_factory=list)
    thumbnails: dict[int, Frame] = field(default_factory=dict)

    @property
    def num_turns(self) -> int:
        """Turns gathered so far."""
        return len(self.speaking)

    def add(self, turn_input: TurnInput, output: TurnOutput) -> None:
        """Gather one turn; turns come in order."""
        turn = self.num_turns
        silent = np.zeros(ENVELOPE_BINS, np.float32)
        self.user.append(silent if turn_input.audio is None else envelope(turn_input.audio))
        self.model.append(envelope(output.audio))
        self.gaps.append(turn_input.audio is None)
        self.speaking.append(output.speaking)
        for labels, text in ((self.heard, printable(output.hear)), (self.said, printable(output.say))):
            if labels and text and not text.startswith(" "):
                # A word that goes on stays where it began.
                start, begun = labels[-1]
                labels[-1] = (start, begun + text)
            elif text.strip():
                labels.append((turn, text.strip()))
        self.typed += [(turn, printable(one.text)) for one in turn_input.texts]
        if output.act is not None:
            self.acts.append((turn, str(output.act)))
        last = max(self.thumbnails, default=-THUMBNAIL_EVERY_TURNS)
        if turn_input.frame is not None and turn - last >= THUMBNAIL_EVERY_TURNS:
            self.thumbnails[turn] = thumbnail(turn_input.frame)


def printable(text: str) -> str:
    """``text`` without control characters; line breaks become spaces."""
    return "".join(one if one.isprintable() else " " if one.isspace() else "" for one in text)


def envelope(pcm: Pcm) -> NDArray[np.float32]:
    """Peaks of one turn's sound ``(TURN_SAMPLES,)`` -> ``(ENVELOPE_BINS,)``."""
    peaks: NDArray[np.float32] = np.abs(pcm).reshape(ENVELOPE_BINS, -1).max(axis=1)
    return peaks


def thumbnail(frame: Frame) -> Frame:
    """A picture (height, width, 3) made at most ``THUMBNAIL_HEIGHT_PIXELS`` high, each pixel the mean of a square."""
    step = max(1, frame.shape[0] // THUMBNAIL_HEIGHT_PIXELS)
    if frame.shape[1] < step:
        return frame
    height, width = frame.shape[0] // step, frame.shape[1] // step
    squares = frame[: height * step, : width * step].reshape(height, step, width, step, 3)
    small: Frame = np.round(squares.mean(axis=(1, 3))).astype(np.uint8)
    return small
