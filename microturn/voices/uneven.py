"""Uneven speech: sounds longer and shorter, the pitch up and down, as people speak and synthesisers do not.

A synthesiser gives a sound the same length every time, and whoever learns to hear from synthesisers alone counts on it.
Two slow curves are drawn for an utterance: one of its speed (sounds keep their pitch, by WSOLA: Verhelst and Roelands
1993) and one of its tape (speed, pitch and formants together). Words' times follow.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from microturn.turn import SAMPLE_RATE_HZ, Pcm
from microturn.voices.speech import Speech, Word

HOP_SAMPLES = 200
WINDOW_SAMPLES = 2 * HOP_SAMPLES
"""Two periods of a low voice (80 Hz) fit into a window."""
SEARCH_SAMPLES = 100
"""How far around its place a window looks for one that continues the sound."""

SPEED_KNOTS_MS, TAPE_KNOTS_MS = (60.0, 220.0), (150.0, 500.0)
"""Range of the distance between the knots of each curve."""
SPEED_SPREAD, TAPE_SPREAD = 0.45, 0.08
"""Largest spread of each curve, as the natural logarithm of a factor."""

Samples = NDArray[np.float64]
"""Positions in a recording, (N,), in samples."""


def uneven(speech: Speech, rng: np.random.Generator) -> Speech:
    """``speech`` at speeds and pitches that change all the time; how much is drawn too. Same draws, same bits."""
    speed = _curve(len(speech.pcm), SPEED_KNOTS_MS, rng.uniform(0.0, SPEED_SPREAD), rng)
    stretched = stretch(speech, speed)
    tape = _curve(len(stretched.pcm), TAPE_KNOTS_MS, rng.uniform(0.0, TAPE_SPREAD), rng)
    return resample(stretched, tape)


def stretch(speech: Speech, speed: Samples) -> Speech:
    """``speech`` at ``speed`` (a factor for each of its samples) with its pitch kept."""
    when = _when(speed)
    num_hops = int(when[-1]) // HOP_SAMPLES + 1
    places = np.interp(np.arange(num_hops) * HOP_SAMPLES, when, np.arange(len(when)))
    places = np.rint(places).astype(int)
    margin = SEARCH_SAMPLES + WINDOW_SAMPLES
    padded = np.pad(speech.pcm, (margin, 2 * margin))
    window = np.hanning(WINDOW_SAMPLES + 1)[:-1]
    out = np.zeros((num_hops + 1) * HOP_SAMPLES)
    taken = margin - HOP_SAMPLES
    for hop, place in enumerate(places):
        first = int(place) + margin - HOP_SAMPLES - SEARCH_SAMPLES
        around = padded[first : first + WINDOW_SAMPLES + 2 * SEARCH_SAMPLES]
        continued = padded[taken + HOP_SAMPLES : taken + HOP_SAMPLES + WINDOW_SAMPLES]
        taken = first + int(np.argmax(np.correlate(around, continued, "valid"))) if hop else first + SEARCH_SAMPLES
        out[hop * HOP_SAMPLES : hop * HOP_SAMPLES + WINDOW_SAMPLES] += window * padded[taken : taken + WINDOW_SAMPLES]
    # A window is centred on its hop, so the sound begins half a window in.
    return _moved(speech, out[HOP_SAMPLES : HOP_SAMPLES + int(when[-1])], when)


def resample(speech: Speech, speed: Samples) -> Speech:
    """``speech`` at ``speed`` (a factor for each of its samples), as from a tape: pitch and formants go with it."""
    when = _when(speed)
    places = np.interp(np.arange(int(when[-1])), when, np.arange(len(when)))
    return _moved(speech, np.interp(places, np.arange(len(speech.pcm)), speech.pcm), when)


def _curve(num_samples: int, knots_ms: tuple[float, float], spread: float, rng: np.random.Generator) -> Samples:
    """A factor around 1 for each sample: straight lines between knots whose logarithms are normal."""
    distance = int(rng.uniform(*knots_ms) * SAMPLE_RATE_HZ / 1000)
    num_knots = num_samples // distance + 2
    logs = np.clip(rng.normal(size=num_knots), -2.0, 2.0) * spread
    return np.exp(np.interp(np.arange(num_samples), np.arange(num_knots) * distance, logs))


def _when(speed: Samples) -> Samples:
    """The moment (in samples) at which each sample of the source is played, and, last, the end: (N + 1,)."""
    return np.concatenate([[0.0], np.cumsum(1.0 / speed)])


def _moved(speech: Speech, pcm: Samples, when: Samples) -> Speech:
    """``pcm`` with the words of ``speech`` where they are now."""
    per_ms = SAMPLE_RATE_HZ / 1000

    def moment_ms(time_ms: float) -> float:
        return float(np.interp(time_ms * per_ms, np.arange(len(when)), when)) / per_ms

    words = tuple(Word(word.text, moment_ms(word.start_ms), moment_ms(word.end_ms)) for word in speech.words)
    sound: Pcm = pcm.astype(np.float32)
    return Speech(sound, words)
