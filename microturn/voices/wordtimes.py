"""What all speech engines share: how text is written for them, and how their sound becomes ``Speech`` at 16 kHz.

Word times are tightened to the sound's energy in one way, so that labels mean the same whatever voice speaks. Engines
may be hidden by the environment variable ``MICROTURN_HIDE_ENGINES`` ("flite,festival,kokoro,piper,moonshine"), so that
any machine can show what one without them does.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from microturn.errors import InputError, VoiceError
from microturn.turn import SAMPLE_RATE_HZ, Pcm
from microturn.voices.speech import Speech, Word

HIDE_VARIABLE = "MICROTURN_HIDE_ENGINES"
OPTIONAL_ENGINES = ("flite", "festival", "kokoro", "piper", "moonshine")
"""What a machine may lack: voices (espeak-ng comes with the package), and the one that writes down what people say."""
PEAK = 0.5
"""Largest absolute sample of synthesised speech."""
EDGE_MS = 5.0
"""Sound kept before the first and after the last word."""

_QUIET = 10 ** (-42 / 20)
"""Below this fraction of the loudest 5 ms a frame counts as silence."""
_HOP = SAMPLE_RATE_HZ // 200
_WORD = re.compile(r"([a-z]+(?:'[a-z]+)?)(\.?)(,?)")


@dataclass(frozen=True)
class Token:
    """One word to be spoken: ``letter`` says it is the name of a letter, ``pause`` that a pause follows."""

    word: str
    letter: bool
    pause: bool


@dataclass(frozen=True)
class RawSpeech:
    """What an engine gives: samples (any scale, shape (samples,)) at ``rate_hz`` and one (start, end) in seconds per
    token."""

    samples: NDArray[np.float32]
    rate_hz: float
    spans: tuple[tuple[float, float], ...]


def hidden(engine: str) -> bool:
    """Whether ``engine`` counts as not installed, at this moment. Raises ``InputError`` if the variable names no such
    engine."""
    names = {name.strip() for name in os.environ.get(HIDE_VARIABLE, "").split(",")} - {""}
    if unknown := sorted(names.difference(OPTIONAL_ENGINES)):
        raise InputError(f"{HIDE_VARIABLE}: {unknown[0]!r} is none of {', '.join(OPTIONAL_ENGINES)}")
    return engine in names


def tokens(text: str) -> tuple[Token, ...]:
    """Split ``text`` into words. Raises ``InputError`` for anything but lower-case words, commas and letter names.

    ``"spell cat, c. a. t."``: a single letter followed by a full stop is the letter's name (so that ``a.`` is not the
    article); any other single letter except ``a``, ``i`` and ``o`` is a letter's name too. A comma is a pause.
    """
    found = []
    for part in text.split():
        match = _WORD.fullmatch(part)
        if match is None or (match[2] and len(match[1]) > 1):
            raise InputError(f"cannot speak {part!r} in {text!r}: not a lower-case word, nor a letter as 'a.'")
        letter = len(match[1]) == 1 and (bool(match[2]) or match[1] not in "aio")
        found.append(Token(match[1], letter, bool(match[3])))
    if not found:
        raise InputError(f"cannot speak {text!r}: it has no word")
    return tuple(found)


def written(spoken: Sequence[Token], letter_a: str) -> list[str]:
    """Every token as an engine is to read it. Only the name of the letter a needs writing of its own: alone, every
    engine takes it for the article."""
    return [(letter_a if token.letter and token.word == "a" else token.word) + "," * token.pause for token in spoken]


def resample(samples: NDArray[np.float32], from_hz: float, to_hz: float = SAMPLE_RATE_HZ) -> NDArray[np.float32]:
    """Change the rate of (samples,) by cutting or extending the spectrum, with a cosine edge under the lower Nyquist.

    Exact for a band-limited signal (Fourier interpolation); zeros are added so that the ends do not wrap around.
    """
    if from_hz == to_hz or not len(samples):
        return samples.astype(np.float32, copy=False)
    # Lengths of whole blocks keep the ratio exact and the transform's factors small.
    block_in, block_out = _ratio(from_hz, to_hz)
    blocks = -(-(len(samples) + 512) // block_in)
    spectrum = np.fft.rfft(samples, blocks * block_in)
    size_out = blocks * block_out
    kept = min(len(spectrum), size_out // 2 + 1)
    spectrum = spectrum[:kept].copy()
    edge = max(1, kept // 20)
    spectrum[kept - edge :] *= 0.5 + 0.5 * np.cos(np.pi * np.arange(1, edge + 1) / edge)
    changed = np.fft.irfft(spectrum, size_out) * (size_out / (blocks * block_in))
    return changed[: round(len(samples) * block_out / block_in)].astype(np.float32)


def _ratio(from_hz: float, to_hz: float) -> tuple[int, int]:
    """Block lengths (in, out) of whole samples in the ratio of the rates, within 0.2 %."""
    if float(from_hz).is_integer() and float(to_hz).is_integer():
        divisor = int(np.gcd(int(from_hz), int(to_hz)))
        return int(from_hz) // divisor, int(to_hz) // divisor
    return round(from_hz / to_hz * 256), 256


def frame_levels(pcm: Pcm) -> NDArray[np.float64]:
    """Root mean square of every 5 ms of (samples,): shape (ceil(samples / 80),)."""
    count = -(-len(pcm) // _HOP)
    padded = np.zeros(count * _HOP, np.float64)
    padded[: len(pcm)] = pcm
    levels: NDArray[np.float64] = np.sqrt(np.square(padded).reshape(count, _HOP).mean(1))
    return levels


def finish(spoken: Sequence[Token], raw: RawSpeech) -> Speech:
    """Bring ``raw`` to 16 kHz and ``PEAK``, tighten the words to the sound and trim silence at both ends.

    Raises ``VoiceError`` when the engine gave no sound or another number of words.
    """
    if len(raw.spans) != len(spoken):
        raise VoiceError(f"the engine gave {len(raw.spans)} word times for {len(spoken)} words")
    pcm = resample(raw.samples, raw.rate_hz)
    peak = float(np.abs(pcm).max(initial=0.0))
    if peak == 0.0:
        raise VoiceError(f"the engine gave no sound for {' '.join(token.word for token in spoken)!r}")
    pcm = pcm * np.float32(PEAK / peak)
    edges = tighten(pcm, raw.spans)
    first = max(0, int((edges[0][0] - EDGE_MS) * SAMPLE_RATE_HZ / 1000))
    last = min(len(pcm), int((edges[-1][1] + EDGE_MS) * SAMPLE_RATE_HZ / 1000))
    offset_ms = first * 1000 / SAMPLE_RATE_HZ
    words = tuple(
        Word(token.word, start - offset_ms, end - offset_ms) for token, (start, end) in zip(spoken, edges, strict=True)
    )
    return Speech(np.ascontiguousarray(pcm[first:last]), words)


def tighten(pcm: Pcm, spans: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Fit every (start, end) in seconds to the sound; returns milliseconds, in order, not overlapping.

    Quiet frames are cut off both ends; where a pause lies between two spans, the sound that runs on into it belongs to
    the word that it touches. A span that is quiet throughout (a swallowed word) keeps its times.
    """
    levels = frame_levels(pcm)
    loud = levels > _QUIET * levels.max(initial=0.0)
    hop_ms = _HOP * 1000 / SAMPLE_RATE_HZ
    length_ms = len(pcm) * 1000 / SAMPLE_RATE_HZ
    edges: list[tuple[float, float]] = []
    floor_ms = 0.0
    for index, (start_s, end_s) in enumerate(spans):
        start_ms = min(max(start_s * 1000, floor_ms), length_ms)
        end_ms = min(max(end_s * 1000, start_ms), length_ms)
        ceiling_ms = max(end_ms, min(spans[index + 1][0] * 1000, length_ms)) if index + 1 < len(spans) else length_ms
        first, last = int(start_ms // hop_ms), int(-(-end_ms // hop_ms))
        inside = first + np.flatnonzero(loud[first:last])
        if len(inside):
            begin, end = int(inside[0]), int(inside[-1]) + 1
            if begin > first:
                start_ms = begin * hop_ms
            else:
                while begin > 0 and loud[begin - 1]:
                    begin -= 1
                start_ms = max(floor_ms, min(start_ms, begin * hop_ms))
            if end < last:
                end_ms = end * hop_ms
            else:
                while end < len(loud) and loud[end]:
                    end += 1
                end_ms = min(ceiling_ms, max(end_ms, end * hop_ms))
        edges.append((start_ms, end_ms))
        floor_ms = end_ms
    return edges
