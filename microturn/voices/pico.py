"""SVOX Pico through the package ``ttspico`` (``make voices``): two speakers that sound more like people.

Pico tells no word times: they come from the same text in an espeak-ng voice, stretched to fit (``align``).
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np

from microturn.errors import VoiceError
from microturn.turn import SAMPLE_RATE_HZ
from microturn.voices import espeak
from microturn.voices.align import align
from microturn.voices.hidden import hidden
from microturn.voices.wordtimes import PEAK, RawSpeech, Token, finish

SPEAKERS = ("en-US", "en-GB")
_REFERENCE = ("en-us", "")
"""espeak-ng's accent and speaker for the word times."""
_PERCENT = 100


def installed() -> tuple[str, ...]:
    """The speakers that can be used here: both, or none (also if Pico is hidden, see ``hidden``)."""
    return SPEAKERS if find_spec("ttspico") is not None and not hidden("pico") else ()


def speak(speaker: str, spoken: Sequence[Token], rate: float, pitch: float) -> RawSpeech:
    """Say ``spoken`` as ``speaker``; ``rate`` multiplies the speed, ``pitch`` the fundamental frequency (0.5 to 2).

    Raises ``VoiceError`` when Pico or the speaker is not there.
    """
    if speaker not in installed():
        raise VoiceError(f"pico has no speaker {speaker!r} here (have: {', '.join(installed()) or 'none'})")
    import ttspico

    engine = ttspico.TtsEngine(speaker)  # a new one each time: a used one does not give the same samples again
    engine.rate, engine.pitch = round(_PERCENT * rate), round(_PERCENT * pitch)
    samples = np.frombuffer(engine.speak(_markup(spoken)), np.int16).astype(np.float32)
    if not samples.any():
        raise VoiceError(f"pico gave no sound for {' '.join(token.word for token in spoken)!r}")
    reference = finish(spoken, espeak.speak(*_REFERENCE, spoken, rate, 1.0))
    known_ms = [(word.start_ms, word.end_ms) for word in reference.words]
    times_ms = align(samples * (PEAK / np.abs(samples).max()), reference.pcm, known_ms)
    return RawSpeech(samples, SAMPLE_RATE_HZ, tuple((start / 1000, end / 1000) for start, end in times_ms))


def _markup(spoken: Sequence[Token]) -> str:
    """The text for Pico. Only "a" is read as a word when it stands alone; its name is given as a phoneme."""
    parts = []
    for token in spoken:
        word = '<phoneme ph="eI"/>' if token.letter and token.word == "a" else token.word
        parts.append(word + ("," if token.pause else ""))
    return " ".join(parts)
