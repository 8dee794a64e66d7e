"""Speech: sound, and which words lie where in it."""

from __future__ import annotations

from dataclasses import dataclass

from microturn.turn import Pcm


@dataclass(frozen=True)
class Word:
    """One spoken word, lower case, with the time of its sound."""

    text: str
    start_ms: float
    end_ms: float


@dataclass(frozen=True)
class Speech:
    """Synthesised or recorded speech: samples at 16 kHz and the words in them (times from the first sample)."""

    pcm: Pcm
    words: tuple[Word, ...]
