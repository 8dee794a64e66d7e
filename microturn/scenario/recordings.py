"""Real people and real sounds from a data folder: spoken digits, wake words, read speech, everyday noises.

The folder has ``speech/digits/SPEAKER/DIGIT_N.flac``, ``speech/wake_words/WORD/*.opus``, ``speech/read/*.opus`` and
``sounds/KIND/*.opus``. Nothing of it comes with the package. Word times are found by energy, for each clip holds one
or two words in quiet.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from microturn.errors import InputError, MediaError
from microturn.media.decode import MonoResampler, describe, open_container
from microturn.scenario.lexicon import NUMBERS
from microturn.scenario.scenario import Speech, Split, Word
from microturn.scenario.wordtimes import frame_levels
from microturn.turn import SAMPLE_RATE_HZ, Pcm

HELDOUT_DIGIT_SPEAKER = "yweweler"
HELDOUT_SHARE = 0.25
"""Share of the wake-word clips, the read utterances and the sounds kept for testing, by a hash of the file's name."""
WAKE_WORDS: dict[str, tuple[str, ...]] = {
    "alexa": ("alexa",),
    "computer": ("computer",),
    "jarvis": ("jarvis",),
    "smart_mirror": ("smart", "mirror"),
    "snowboy": ("snowboy",),
    "view_glass": ("view", "glass"),
}
"""Folder of the clips and the words said in them."""

_FRAME_MS = 5.0
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
_MARGIN_MS = 50.0
_SPLIT_SEARCH_MS = 90.0


@dataclass(frozen=True)
class Recording:
    """A file with known words (lower case), or with ``words`` empty when nobody wrote them down. ``kind`` is the
    speaker of digits, the folder of wake words and sounds, ``"read"`` for read speech."""

    path: Path
    kind: str
    words: tuple[str, ...]


def digit_files(data: Path, split: Split) -> tuple[Recording, ...]:
    """Spoken digits of the split's speakers. Raises ``InputError`` if the folder is missing."""
    files = _files(data / "speech" / "digits", "*/*.flac")
    return tuple(
        Recording(path, path.parent.name, (NUMBERS[int(path.name.split("_")[0])],))
        for path in files
        if (path.parent.name == HELDOUT_DIGIT_SPEAKER) == (split == "heldout")
    )


def wake_word_files(data: Path, split: Split) -> tuple[Recording, ...]:
    """Wake-word clips of the split. Raises ``InputError`` if the folder is missing."""
    files = _files(data / "speech" / "wake_words", "*/*.opus")
    return tuple(
        Recording(path, path.parent.name, WAKE_WORDS[path.parent.name])
        for path in files
        if path.parent.name in WAKE_WORDS and file_split(path) == split
    )


def read_files(data: Path, split: Split) -> tuple[Recording, ...]:
    """Read speech without transcripts. Raises ``InputError`` if the folder is missing."""
    files = _files(data / "speech" / "read", "*.opus")
    return tuple(Recording(path, "read", ()) for path in files if file_split(path) == split)


def sound_files(data: Path, split: Split) -> tuple[Recording, ...]:
    """Everyday sounds. Raises ``InputError`` if the folder is missing."""
    files = _files(data / "sounds", "*/*.opus")
    return tuple(Recording(path, path.parent.name, ()) for path in files if file_split(path) == split)


def digit_recordings(data: Path, split: Split) -> Iterator[tuple[str, Speech]]:
    """(speaker, speech) of every digit of the split; raises ``InputError`` or ``MediaError``."""
    return ((file.kind, load_speech(file)) for file in digit_files(data, split))


def wake_word_recordings(data: Path, split: Split) -> Iterator[tuple[str, Speech]]:
    """(folder, speech) of every wake-word clip of the split; raises ``InputError`` or ``MediaError``."""
    return ((file.kind, load_speech(file)) for file in wake_word_files(data, split))


def read_recordings(data: Path, split: Split = "train") -> Iterator[Pcm]:
    """Samples of every read utterance of the split; raises ``InputError`` or ``MediaError``."""
    return (load_pcm(file.path) for file in read_files(data, split))


def sound_recordings(data: Path, split: Split = "train") -> Iterator[tuple[str, Pcm]]:
    """(kind, samples) of every sound of the split; raises ``InputError`` or ``MediaError``."""
    return ((file.kind, load_pcm(file.path)) for file in sound_files(data, split))


def file_split(path: Path) -> Split:
    """The split of a file by a stable hash of its folder's and its own name."""
    share = zlib.crc32(f"{path.parent.name}/{path.name}".encode()) / 2**32
    return "heldout" if share < HELDOUT_SHARE else "train"


def _files(folder: Path, pattern: str) -> list[Path]:
    found = sorted(folder.glob(pattern))
    if not found:
        raise InputError(f"{folder}: no recordings ({pattern}) there")
    return found


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


def load_speech(recording: Recording) -> Speech:
    """The spoken part of a recording whose words are known, cut to 50 ms before and after it, with its word times.

    Raises ``InputError`` for a recording without words and ``MediaError`` for a file that cannot be read.
    """
    if not recording.words:
        raise InputError(f"{recording.path}: its words are not known")
    pcm = load_pcm(recording.path)
    start_ms, end_ms = speech_span(pcm)
    first = max(0, int((start_ms - _MARGIN_MS) * SAMPLE_RATE_HZ / 1000))
    last = min(len(pcm), int((end_ms + _MARGIN_MS) * SAMPLE_RATE_HZ / 1000))
    offset_ms = first * 1000 / SAMPLE_RATE_HZ
    part = np.ascontiguousarray(pcm[first:last])
    cuts = word_cuts(part, start_ms - offset_ms, end_ms - offset_ms, recording.words)
    words = tuple(Word(text, *span) for text, span in zip(recording.words, pairwise(cuts), strict=True))
    return Speech(part, words)


def speech_span(pcm: Pcm) -> tuple[float, float]:
    """Start and end in milliseconds of the stretch of (samples,) that holds most of the energy above the floor.

    Pauses of up to 250 ms are bridged; a click or a breath apart from the words is left out.
    """
    # The first difference finds the hiss of "s" and "f", the sound itself the quiet end of a vowel.
    plain, hiss = _loud(pcm), _loud(np.diff(pcm, prepend=pcm[:1]))
    loud = np.flatnonzero(plain | hiss)
    levels = frame_levels(pcm)
    runs = np.split(loud, np.flatnonzero(np.diff(loud) > _PAUSE_FRAMES) + 1)
    best = max(runs, key=lambda run: float(np.square(levels[run]).sum()))
    length_ms = len(pcm) * 1000 / SAMPLE_RATE_HZ
    return float(best[0]) * _FRAME_MS, min(float(best[-1] + 1) * _FRAME_MS, length_ms)


def _loud(pcm: Pcm) -> NDArray[np.bool_]:
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
        low = max(int(cuts[-1] // _FRAME_MS) + 1, int((guess_ms - _SPLIT_SEARCH_MS) // _FRAME_MS))
        high = min(int(end_ms // _FRAME_MS), int((guess_ms + _SPLIT_SEARCH_MS) // _FRAME_MS))
        cuts.append((low + int(levels[low:high].argmin())) * _FRAME_MS if high > low else guess_ms)
    return [*cuts, end_ms]
