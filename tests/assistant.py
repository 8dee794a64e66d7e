"""A stand-in for the assistant's voice, so that tests of sessions do not wait for Kokoro, nor need it: every word is a
buzz whose length grows with its letters, as a word's does."""

from __future__ import annotations

import zlib
from functools import cache

import numpy as np
import pytest

from microturn.scenario import script
from microturn.turn import SAMPLE_RATE_HZ, Pcm
from microturn.voices.catalogue import Voice
from microturn.voices.wordtimes import PEAK

PITCH_HZ = 175.0
VOICE = Voice("stand-in", "espeak", "")


@cache
def word_pcm(token: str) -> Pcm:
    """100 ms and 40 ms a letter of 20 harmonics, whose strengths are this word's alone."""
    letters = 3 if token.endswith(".") else len(token)
    time_s = np.arange((100 + 40 * letters) * SAMPLE_RATE_HZ // 1000) / SAMPLE_RATE_HZ
    strength = np.random.default_rng(zlib.crc32(token.encode())).uniform(0.2, 1.0, (20, 1))
    number = np.arange(1, 21)[:, None]
    pcm = (strength / number * np.cos(2 * np.pi * PITCH_HZ * number * time_s)).sum(0)
    pcm *= np.minimum(1.0, np.minimum(np.arange(1, len(pcm) + 1), np.arange(len(pcm), 0, -1)) / 80)
    buzz: Pcm = (PEAK * pcm / np.abs(pcm).max()).astype(np.float32)
    return buzz


def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the end of the test all words of the assistant are buzzes."""
    for module in ("scenario.script", "train.sessions", "train.voice"):
        monkeypatch.setattr(f"microturn.{module}.assistant_voice", lambda: VOICE)
    monkeypatch.setattr(script, "word_pcm", word_pcm)
    monkeypatch.setattr(script, "on_turns", cache(script.on_turns.__wrapped__))
