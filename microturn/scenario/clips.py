"""Recordings of a data folder as scenarios use them: drawn at random, decoded once a process, a few kept in memory."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from microturn.scenario import recordings
from microturn.scenario.noise import levelled, rms
from microturn.scenario.recordings import Recording
from microturn.scenario.scenario import Speech, Split
from microturn.turn import SAMPLE_RATE_HZ, Pcm


@lru_cache(maxsize=8)
def _digits(data: Path, split: Split) -> dict[str, tuple[Recording, ...]]:
    files = recordings.digit_files(data, split)
    return {kind: tuple(file for file in files if file.kind == kind) for kind in sorted({file.kind for file in files})}


@lru_cache(maxsize=8)
def _wake_words(data: Path, split: Split) -> tuple[Recording, ...]:
    return recordings.wake_word_files(data, split)


@lru_cache(maxsize=8)
def _read(data: Path, split: Split) -> tuple[Recording, ...]:
    return recordings.read_files(data, split)


@lru_cache(maxsize=8)
def _sounds(data: Path, split: Split) -> tuple[Recording, ...]:
    return recordings.sound_files(data, split)


@lru_cache(maxsize=4096)
def _speech(recording: Recording) -> Speech:
    speech = recordings.load_speech(recording)
    return Speech(levelled(speech.pcm), speech.words)


@lru_cache(maxsize=300)
def _pcm(path: Path) -> Pcm:
    return recordings.load_pcm(path)


def draw_digits(rng: np.random.Generator, data: Path, split: Split, count: int) -> list[Speech]:
    """``count`` spoken digits of one person, at ``noise.SPEECH_RMS``."""
    people = _digits(data, split)
    files = people[sorted(people)[int(rng.integers(len(people)))]]
    return [_speech(files[int(place)]) for place in rng.integers(len(files), size=count)]


def draw_wake_word(rng: np.random.Generator, data: Path, split: Split) -> Speech:
    """One wake word, at ``noise.SPEECH_RMS``."""
    files = _wake_words(data, split)
    return _speech(files[int(rng.integers(len(files)))])


def draw_read_speech(rng: np.random.Generator, data: Path, split: Split, length_ms: float) -> Pcm:
    """Up to ``length_ms`` of read speech of unknown words, at ``noise.SPEECH_RMS``."""
    files = _read(data, split)
    return levelled(_part(rng, _pcm(files[int(rng.integers(len(files)))].path), length_ms))


def draw_sound(rng: np.random.Generator, data: Path, split: Split, length_ms: float) -> Pcm:
    """Up to ``length_ms`` of an everyday sound, RMS 1."""
    files = _sounds(data, split)
    part = _part(rng, _pcm(files[int(rng.integers(len(files)))].path), length_ms)
    level = rms(part)
    return part / np.float32(level if level > 0.0 else 1.0)


def _part(rng: np.random.Generator, pcm: Pcm, length_ms: float) -> Pcm:
    samples = min(len(pcm), int(length_ms * SAMPLE_RATE_HZ / 1000))
    start = int(rng.integers(len(pcm) - samples + 1))
    return pcm[start : start + samples]
