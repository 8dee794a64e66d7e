"""Recordings of a data folder as scenarios use them: drawn at random, decoded once a process, a few kept in memory."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from microturn.split import Split
from microturn.turn import SAMPLE_RATE_HZ, Pcm
from microturn.voices import recordings
from microturn.voices.noise import levelled, rms


@lru_cache(maxsize=8)
def _read(data: Path, split: Split) -> tuple[Path, ...]:
    return recordings.read_files(data, split)


@lru_cache(maxsize=8)
def _sounds(data: Path, split: Split) -> tuple[Path, ...]:
    return recordings.sound_files(data, split)


@lru_cache(maxsize=300)
def _pcm(path: Path) -> Pcm:
    return recordings.load_pcm(path)


def draw_read_speech(rng: np.random.Generator, data: Path, split: Split, length_ms: float) -> Pcm:
    """Up to ``length_ms`` of read speech of unknown words, at ``noise.SPEECH_RMS``."""
    files = _read(data, split)
    return levelled(_part(rng, _pcm(files[int(rng.integers(len(files)))]), length_ms))


def draw_sound(rng: np.random.Generator, data: Path, split: Split, length_ms: float) -> Pcm:
    """Up to ``length_ms`` of an everyday sound, RMS 1."""
    files = _sounds(data, split)
    part = _part(rng, _pcm(files[int(rng.integers(len(files)))]), length_ms)
    level = rms(part)
    return part / np.float32(level if level > 0.0 else 1.0)


def _part(rng: np.random.Generator, pcm: Pcm, length_ms: float) -> Pcm:
    samples = min(len(pcm), int(length_ms * SAMPLE_RATE_HZ / 1000))
    start = int(rng.integers(len(pcm) - samples + 1))
    return pcm[start : start + samples]
