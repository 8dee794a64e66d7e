"""Recordings: files to samples, where in them somebody speaks, and the voices and sounds around a user.

A data folder may have ``speech/read/*.opus`` and ``speech/overlap/*/*.opus`` (far voices, two at once in the latter)
and ``sounds/KIND/*.opus`` (everyday noises); ``people`` has those whose words are known. Nothing of it comes with the
package.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from microturn.errors import InputError, MediaError
from microturn.media.decode import MonoResampler, describe, open_container
from microturn.split import SPLITS, Split
from microturn.turn import SAMPLE_RATE_HZ, Pcm
from microturn.voices.noise import levelled, unit
from microturn.voices.wordtimes import frame_levels

OVERLAP = "overlap"
"""The corpus in which two people read at once, each pair in a folder."""
HELDOUT_SHARE = 0.25
"""Share of the read utterances and the sounds kept for testing, by a hash of the file's name."""

FRAME_MS = 5.0
_FRAME_SAMPLES = SAMPLE_RATE_HZ // 200
_SMOOTH_FRAMES = 5
_PAUSE_FRAMES = 50
"""Quiet of up to 250 ms may lie within one or between two words of a clip."""
_THRESHOLD = 0.4
"""Where speech begins, as a share of the way (in decibels) from the floor to the loudest frame."""
_RANGE_DB = 50.0
"""Speech is looked for within this much of the loudest frame ..."""
_LEAST_RANGE_DB = 15.0
"""... and at least within this much, however loud the background is."""
_LONG_S = 1.2
_SPLIT_SEARCH_MS = 90.0


def check_data(data: Path) -> None:
    """Raises ``InputError`` if a data folder has nothing that is looked for in one."""
    if not data.is_dir():
        raise InputError(f"{data}: not a folder")
    if not any((data / name).is_dir() for name in ("speech", "sounds", "video/repcount")):
        raise InputError(f"{data}: none of speech/, sounds/ and video/repcount/ there")


def read_files(data: Path, split: Split) -> tuple[Path, ...]:
    """Far voices, whose words do not matter: read speech and, for training alone, two people who read at once. There
    may be none."""
    found = _files(data / "speech" / "read", "*.opus", split)
    if split == "train":
        for part in SPLITS:
            found += _files(data / "speech" / OVERLAP, "*/*.opus", part)
    return found


def sound_files(data: Path | None, split: Split) -> tuple[Path, ...]:
    """Everyday sounds. There may be none."""
    return () if data is None else _files(data / "sounds", "*/*.opus", split)


def file_split(path: Path) -> Split:
    """The split of a file by a stable hash of its folder's and its own name."""
    share = zlib.crc32(f"{path.parent.name}/{path.name}".encode()) / 2**32
    return "heldout" if share < HELDOUT_SHARE else "train"


@lru_cache(maxsize=16)
def _files(folder: Path, pattern: str, split: Split) -> tuple[Path, ...]:
    return tuple(path for path in sorted(folder.glob(pattern)) if file_split(path) == split)


def load_pcm(path: Path) -> Pcm:
    """The whole sound of a file, (samples,) at 16 kHz mono. Raises ``MediaError`` naming the file and the cause."""
    resampler = MonoResampler(path)
    pieces: list[Pcm] = []
    with open_container(path) as container:
        if not container.streams.audio:
            raise MediaError(f"{path}: has no audio")
        try:
            for frame in container.decode(container.streams.audio[0]):
                pieces += resampler.push(frame)
        except (av.FFmpegError, OSError) as error:
            raise MediaError(f"{path}: cannot be decoded ({describe(error)})") from error
    pieces += resampler.flush()
    if not sum(map(len, pieces)):
        raise MediaError(f"{path}: has no sound")
    return np.concatenate(pieces)


_kept_pcm = lru_cache(maxsize=300)(load_pcm)


def draw_read_speech(rng: np.random.Generator, data: Path, split: Split, length_ms: float) -> Pcm:
    """Up to ``length_ms`` of read speech of unknown words, at ``noise.SPEECH_RMS``."""
    return levelled(_draw_part(rng, read_files(data, split), length_ms))


def draw_sound(rng: np.random.Generator, data: Path, split: Split, length_ms: float) -> Pcm:
    """Up to ``length_ms`` of an everyday sound, RMS 1."""
    return unit(_draw_part(rng, sound_files(data, split), length_ms))


def _draw_part(rng: np.random.Generator, files: Sequence[Path], length_ms: float) -> Pcm:
    path = files[int(rng.integers(len(files)))]
    try:
        pcm = _kept_pcm(path)
    except MediaError:
        others = [file for file in files if file != path]
        if not others:
            raise
        return _draw_part(rng, others, length_ms)  # one damaged file among many is no reason to end a run of hours
    samples = min(len(pcm), int(length_ms * SAMPLE_RATE_HZ / 1000))
    start = int(rng.integers(len(pcm) - samples + 1))
    return pcm[start : start + samples]


def speech_span(pcm: Pcm) -> tuple[float, float]:
    """Start and end in milliseconds of the stretch of (samples,) that holds most of the energy above the floor.

    Pauses of up to 250 ms are bridged; a click or a breath apart from the words is left out.
    """
    # The first difference finds the hiss of "s" and "f", the sound itself the quiet end of a vowel.
    plain, hiss = loud_frames(pcm), loud_frames(np.diff(pcm, prepend=pcm[:1]))
    loud = np.flatnonzero(plain | hiss)
    levels = frame_levels(pcm)
    runs = np.split(loud, np.flatnonzero(np.diff(loud) > _PAUSE_FRAMES) + 1)
    best = max(runs, key=lambda run: float(np.square(levels[run]).sum()))
    length_ms = len(pcm) * 1000 / SAMPLE_RATE_HZ
    return float(best[0]) * FRAME_MS, min(float(best[-1] + 1) * FRAME_MS, length_ms)


def loud_frames(pcm: Pcm) -> NDArray[np.bool_]:
    """Which 5-ms frames of (samples,) stand out from the background, shape (frames,)."""
    levels = np.convolve(frame_levels(pcm), np.full(_SMOOTH_FRAMES, 1 / _SMOOTH_FRAMES))
    level_db = 20 * np.log10(levels[_SMOOTH_FRAMES // 2 :][: -(-len(pcm) // _FRAME_SAMPLES)] + 1e-6)
    top_db = float(level_db.max())
    # In a long clip most frames hold the background; one cut tightly around its word may have none at all.
    background_db = float(np.median(level_db)) if len(pcm) > _LONG_S * SAMPLE_RATE_HZ else top_db - _RANGE_DB
    floor_db = min(max(background_db, top_db - _RANGE_DB), top_db - _LEAST_RANGE_DB)
    loud: NDArray[np.bool_] = level_db >= floor_db + _THRESHOLD * (top_db - floor_db)
    return loud


def word_cuts(pcm: Pcm, start_ms: float, end_ms: float, words: Sequence[str]) -> list[float]:
    """Borders in milliseconds of the words between ``start_ms`` and ``end_ms``: in proportion to their letters, moved
    to the lowest energy within 90 ms."""
    levels = frame_levels(pcm)
    letters = np.cumsum([len(word) for word in words])
    cuts = [start_ms]
    for share in letters[:-1] / letters[-1]:
        guess_ms = start_ms + (end_ms - start_ms) * float(share)
        low = max(int(cuts[-1] // FRAME_MS) + 1, int((guess_ms - _SPLIT_SEARCH_MS) // FRAME_MS))
        high = min(int(end_ms // FRAME_MS), int((guess_ms + _SPLIT_SEARCH_MS) // FRAME_MS))
        cuts.append((low + int(levels[low:high].argmin())) * FRAME_MS if high > low else guess_ms)
    return [*cuts, end_ms]
