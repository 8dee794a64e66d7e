"""Rooms and noises around the user's voice: what a microphone adds to speech, made by a program.

A session has one ``Acoustics``: a room (a synthetic impulse response with spectral tilt and band limits), one level and
one kind of noise at one signal-to-noise ratio. Everything is drawn from the generator that is passed in.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from microturn.language.wordings import loose_words
from microturn.split import Split
from microturn.turn import SAMPLE_RATE_HZ, Pcm
from microturn.voices.catalogue import draw_voice, synthesise

SPEECH_RMS = 0.1
"""Root mean square of a voice before gain, over the time it speaks: -20 dBFS."""
FAR_VOICES = 12
"""Voices of each split that murmur in the background."""
NOISE_KINDS = ("white", "pink", "brown", "hum", "music", "clicks")


@dataclass(frozen=True)
class Acoustics:
    """What happens to one session's sound between mouth and microphone."""

    gain_db: float
    snr_db: float
    noise: str
    """One of ``NOISE_KINDS``, or ``babble``, or ``recording``."""
    impulse: Pcm
    """The room's impulse response, ``(samples,)``; its first sample is the direct sound (2 ms
    later with a low-pass)."""


def decibel(value_db: float) -> float:
    """Amplitude factor of ``value_db``."""
    return float(10.0 ** (value_db / 20.0))


def rms(pcm: Pcm) -> float:
    """Root mean square of ``pcm`` (0 for an empty array)."""
    return float(np.sqrt(np.mean(np.square(pcm, dtype=np.float64)))) if len(pcm) else 0.0


def unit(pcm: Pcm) -> Pcm:
    """``pcm`` brought to RMS 1."""
    level = rms(pcm)
    return np.asarray(pcm / np.float32(level) if level > 0.0 else pcm, np.float32)


def levelled(pcm: Pcm) -> Pcm:
    """``pcm`` brought to the RMS of a voice, ``SPEECH_RMS``."""
    level = rms(pcm)
    return np.asarray(pcm * (SPEECH_RMS / level if level > 0.0 else 1.0), np.float32)


def draw_acoustics(rng: np.random.Generator, babble: bool = True, recording: bool = False) -> Acoustics:
    """A room and a noise: SNR 5 to 40 dB, gain -20 to 0 dB."""
    kinds = [*NOISE_KINDS, *(["babble"] if babble else []), *(["recording"] * 3 if recording else [])]
    return Acoustics(
        gain_db=float(rng.uniform(-20.0, 0.0)),
        snr_db=float(rng.uniform(5.0, 40.0)),
        noise=str(rng.choice(kinds)),
        impulse=draw_impulse(rng),
    )


def draw_impulse(rng: np.random.Generator) -> Pcm:
    """Impulse response of a synthetic room, seen through a microphone; first sample first, at most 0.5 s.

    Half of the rooms are dry. The others have a few early reflections and noise that decays by 60 dB in 0.1 to 0.5 s,
    3 to 18 dB below the direct sound, so that a word's end stays where the label says. Tilt (up to 6 dB from low to
    high) and, in one of four, a low-pass at 3.4 to 6.5 kHz follow.
    """
    if rng.random() < 0.5:
        impulse = np.ones(1)
    else:
        t60_s = rng.uniform(0.1, 0.5)
        length = int(t60_s * SAMPLE_RATE_HZ)
        time_s = np.arange(length) / SAMPLE_RATE_HZ
        tail = rng.standard_normal(length) * np.exp(-6.9 * time_s / t60_s)
        tail[: int(0.004 * SAMPLE_RATE_HZ)] = 0.0
        for delay in rng.integers(int(0.002 * SAMPLE_RATE_HZ), max(40, length // 4), 6):
            tail[delay] += rng.uniform(-3.0, 3.0)
        tail *= decibel(-rng.uniform(3.0, 18.0)) / np.sqrt(np.sum(tail**2))
        tail[0] = 1.0
        impulse = tail
    if rng.random() < 0.5:
        impulse = np.convolve(impulse, [1.0, rng.uniform(-0.35, 0.35)])
    if rng.random() < 0.25:
        impulse = np.convolve(impulse, _low_pass(rng.uniform(3400.0, 6500.0)))
    return np.asarray(impulse / np.sqrt(np.sum(impulse**2)), np.float32)


def _low_pass(cutoff_hz: float) -> NDArray[np.float64]:
    """A windowed-sinc low-pass, ``(65,)``: it delays by 2 ms."""
    taps = np.arange(-32, 33)
    response = np.sinc(2.0 * cutoff_hz / SAMPLE_RATE_HZ * taps) * np.hamming(65)
    return np.asarray(response / response.sum(), np.float64)


def apply_room(pcm: Pcm, impulse: Pcm) -> Pcm:
    """``pcm`` heard through the room, same shape."""
    if len(impulse) == 1:
        return np.asarray(pcm * impulse[0], np.float32)
    # Sizes of many small factors keep the transform fast.
    size = -(-(len(pcm) + len(impulse)) // 16_384) * 16_384
    spectrum = np.fft.rfft(pcm, size) * np.fft.rfft(impulse, size)
    return np.asarray(np.fft.irfft(spectrum, size)[: len(pcm)], np.float32)


def coloured(rng: np.random.Generator, samples: int, exponent: float) -> Pcm:
    """Noise whose power falls as ``1 / f ** exponent`` (0 white, 1 pink, 2 brown), ``(samples,)``, RMS 1."""
    size = -(-samples // 3200) * 3200
    white = rng.standard_normal(size, dtype=np.float32)
    if exponent > 0.0:
        spectrum = np.fft.rfft(white)
        hertz = np.maximum(np.arange(len(spectrum), dtype=np.float32) * SAMPLE_RATE_HZ / size, 30.0)
        white = np.fft.irfft(spectrum * hertz ** np.float32(-exponent / 2.0), size).astype(np.float32)
    return unit(white[:samples])


def hum(rng: np.random.Generator, samples: int) -> Pcm:
    """Mains or machine hum: 45 to 130 Hz with a few harmonics that waver slowly, RMS 1."""
    base_hz = rng.choice([50.0, 60.0, rng.uniform(45.0, 130.0)])
    time_s = np.arange(samples, dtype=np.float32) / np.float32(SAMPLE_RATE_HZ)
    waver = np.float32(rng.uniform(0.0, 0.02)) * np.sin(np.float32(2 * np.pi * rng.uniform(0.1, 1.0)) * time_s)
    phase = np.float32(2 * np.pi * base_hz) * time_s + waver
    sound = np.zeros(samples, np.float32)
    for harmonic in range(1, int(rng.integers(3, 7))):
        sound += np.float32(rng.uniform(0.2, 1.0) / harmonic) * np.sin(np.float32(harmonic) * phase)
    return unit(sound)


def music(rng: np.random.Generator, samples: int) -> Pcm:
    """Music-like sound: notes and chords of one scale with decaying harmonics, on a beat, RMS 1."""
    sound = np.zeros(samples, np.float32)
    beat = int(rng.uniform(0.2, 0.6) * SAMPLE_RATE_HZ)
    root_hz = rng.uniform(110.0, 330.0)
    scale = np.array([0, 2, 3, 5, 7, 8, 10, 12] if rng.random() < 0.5 else [0, 2, 4, 5, 7, 9, 11, 12])
    decay_s = rng.uniform(0.1, 0.8)
    harmonics = int(rng.integers(1, 5))
    position = 0
    while position < samples:
        length = min(int(beat * rng.choice([1, 1, 2, 4])), samples - position)
        time_s = np.arange(length, dtype=np.float32) / np.float32(SAMPLE_RATE_HZ)
        envelope = np.exp(-time_s / np.float32(decay_s)) * np.minimum(time_s * np.float32(100.0), 1.0)
        note = np.zeros(length, np.float32)
        for step in rng.choice(scale, int(rng.choice([1, 1, 3]))):
            pitch_hz = root_hz * 2.0 ** (float(step) / 12.0)
            for harmonic in range(1, harmonics + 1):
                if pitch_hz * harmonic < 7000.0:
                    note += np.sin(np.float32(2 * np.pi * pitch_hz * harmonic) * time_s) / np.float32(harmonic)
        sound[position : position + length] = note * envelope
        position += length
    return unit(sound)


def clicks(rng: np.random.Generator, samples: int) -> Pcm:
    """Keys, knocks and taps: short decaying bursts at random moments over a faint hiss, RMS 1."""
    sound = rng.standard_normal(samples, dtype=np.float32) * np.float32(0.01)
    for position in rng.integers(0, max(1, samples), max(1, int(samples / SAMPLE_RATE_HZ * rng.uniform(0.5, 6.0)))):
        length = min(int(rng.uniform(0.003, 0.06) * SAMPLE_RATE_HZ), samples - int(position))
        if length <= 0:
            continue
        burst = rng.standard_normal(length, dtype=np.float32)
        envelope = np.exp(-np.arange(length, dtype=np.float32) * np.float32(5.0 / length))
        sound[position : position + length] += np.float32(rng.uniform(0.2, 1.0)) * burst * envelope
    return unit(sound)


@lru_cache(maxsize=2 * FAR_VOICES)
def far_voice(split: Split, index: int) -> Pcm:
    """About six seconds of loose words by far voice number ``index`` of a split, RMS 1; the same every time."""
    rng = np.random.default_rng([FAR_VOICES, index, split == "train"])
    voice = draw_voice(rng, split)
    texts = (" ".join(loose_words(rng, 12)) for _ in range(2))
    pieces = [synthesise(voice, text, rate=rng.uniform(0.8, 1.25), pitch=rng.uniform(0.8, 1.25)).pcm for text in texts]
    return unit(apply_room(np.concatenate(pieces), draw_impulse(rng)))


def babble(rng: np.random.Generator, samples: int, voices_pcm: list[Pcm]) -> Pcm:
    """Far voices at once: each of ``voices_pcm`` repeated from a random moment, RMS 1."""
    sound = np.zeros(samples, np.float32)
    for pcm in voices_pcm:
        tiled = np.resize(np.roll(pcm, int(rng.integers(0, len(pcm)))), samples)
        sound += tiled * np.float32(rng.uniform(0.3, 1.0))
    return unit(sound)


def background(rng: np.random.Generator, kind: str, samples: int) -> Pcm:
    """Noise of one of ``NOISE_KINDS``, ``(samples,)``, RMS 1. Raises ``KeyError`` for another kind."""
    exponents = {"white": 0.0, "pink": 1.0, "brown": 2.0}
    if kind in exponents:
        return coloured(rng, samples, exponents[kind])
    return {"hum": hum, "music": music, "clicks": clicks}[kind](rng, samples)
