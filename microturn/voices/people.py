"""Real people in a data folder: which recordings there are, who speaks, what is said, and when.

The folder is laid out as ``speech/CORPUS/...``. A corpus of any name may have an ``index.tsv`` (path, speaker,
transcript); ``digits`` and ``wake_words`` tell it by the names of their files, and ``UNWRITTEN`` do not tell: a
recogniser does. What is not there is left out. The split is by speaker, never by clip. Nobody wrote down when a word is
said: single words are what is loud, sentences are aligned with a synthesised reading.
"""

from __future__ import annotations

import csv
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from microturn.errors import InputError, MediaError
from microturn.language.lexicon import NUMBERS
from microturn.split import Split
from microturn.turn import SAMPLE_RATE_HZ, Pcm
from microturn.voices import moonshine
from microturn.voices.align import align
from microturn.voices.catalogue import Voice, synthesise
from microturn.voices.recordings import FRAME_MS, OVERLAP, file_split, load_pcm, loud_frames, speech_span, word_cuts
from microturn.voices.speech import Speech, Word

HELDOUT_SHARE = 1 / 3
"""Share of the speakers that are kept for testing."""
INDEX_NAME = "index.tsv"
NAMED = ("digits", "wake_words")
"""Corpora whose files are named after what is said in them."""
UNWRITTEN = ("read", "requests")
"""Corpora whose words nobody wrote down. Nobody noted who speaks in ``requests`` either, and in ``read`` every file is
of another person: the split is by file."""
ALIGNED_WORDS = 3
"""From so many words on a recording is aligned with a reading."""
MARGIN_MS = 50.0
"""Sound kept before and after the words."""
SOFT_MS = 40.0
"""Words may begin and end so much softer than the threshold of what is loud."""
HELDOUT_DIGIT_SPEAKER = "yweweler"
"""The one speaker of digits that is kept for testing."""
WAKE_WORDS: dict[str, tuple[str, ...]] = {
    "alexa": ("alexa",),
    "computer": ("computer",),
    "jarvis": ("jarvis",),
    "smart_mirror": ("smart", "mirror"),
    "snowboy": ("snowboy",),
    "view_glass": ("view", "glass"),
}
"""Folder of the clips and the words said in them."""
_PLAIN = re.compile(r"[a-z]+(?:'[a-z]+)?")


@dataclass(frozen=True)
class Clip:
    """One recording of one person; ``words`` are lower case."""

    path: Path
    corpus: str
    speaker: str
    words: tuple[str, ...]

    @property
    def split(self) -> Split:
        """Where its speaker belongs."""
        if self.corpus == "digits":
            return "heldout" if self.speaker == HELDOUT_DIGIT_SPEAKER else "train"
        share = zlib.crc32(f"{self.corpus.removesuffix('_small')}/{self.speaker}".encode()) / 2**32
        return "heldout" if share < HELDOUT_SHARE else "train"


def written(data: Path) -> tuple[str, ...]:
    """The corpora whose words are known, by name."""
    indexed = {index.parent.name for index in (data / "speech").glob(f"*/{INDEX_NAME}")} - {*NAMED, *UNWRITTEN, OVERLAP}
    return (*sorted(indexed), *(corpus for corpus in NAMED if (data / "speech" / corpus).is_dir()))


def clips_of(data: Path, corpus: str) -> Iterator[Clip]:
    """The recordings of one of the corpora ``written``, of both splits. Raises ``InputError`` for an index that cannot
    be read."""
    readers = {"digits": _digits, "wake_words": _wake}
    return readers.get(corpus, _indexed)(data / "speech" / corpus)


def clips(data: Path) -> Iterator[Clip]:
    """All recordings whose words are known, of both splits. Raises ``InputError`` for a folder without any."""
    found = False
    for corpus in written(data):
        for clip in clips_of(data, corpus):
            found = True
            yield clip
    if not found:
        raise InputError(f"{data}: no recordings of people there")


def unwritten(data: Path, corpus: str, split: Split) -> Iterator[Clip]:
    """Recordings of one of ``UNWRITTEN`` with the words that Moonshine hears, those in which it hears only words.
    Files that cannot be read are left out."""
    for path in sorted((data / "speech" / corpus).glob("*.opus")):
        if file_split(path) == split:
            try:
                pcm = load_pcm(path)
            except MediaError:
                continue
            if words := plain_transcript(moonshine.transcript(pcm)):
                yield Clip(path, corpus, f"{corpus}/{path.stem}", words)


def _indexed(folder: Path) -> Iterator[Clip]:
    index = folder / INDEX_NAME
    if not index.exists():
        return
    with index.open(encoding="utf-8", newline="") as lines:
        rows = csv.DictReader(lines, delimiter="\t")
        missing = {"path", "speaker", "transcript"} - set(rows.fieldnames or ())
        if missing:
            raise InputError(f"{index}: has no column {', '.join(sorted(missing))} (separated by tabs)")
        found = [(row, plain_transcript(row["transcript"] or "")) for row in rows]
        if found and not any(words for _, words in found):
            raise InputError(f"{index}: no transcript there is of words alone (numbers are to be written as words)")
        for row, words in found:
            if words:
                yield Clip(folder / row["path"], folder.name, row["speaker"], words)


def _digits(folder: Path) -> Iterator[Clip]:
    for path in sorted(folder.glob("*/*.flac")):
        yield Clip(path, "digits", path.parent.name, (NUMBERS[int(path.name.split("_")[0])],))


def _wake(folder: Path) -> Iterator[Clip]:
    for path in sorted(folder.glob("*/*.opus")):
        if path.parent.name in WAKE_WORDS:
            # Nobody noted who speaks: every file is a speaker of its own.
            yield Clip(path, "wake_words", f"{path.parent.name}/{path.stem}", WAKE_WORDS[path.parent.name])


def plain_transcript(text: str) -> tuple[str, ...]:
    """Lower-case words of a transcript; empty if something in it is not spelt as it is said (a number, a sign)."""
    words = re.sub(r"[^a-z0-9' ]+", " ", text.lower().replace("\u2019", "'")).split()
    words = [word.strip("'") for word in words]
    return tuple(words) if all(_PLAIN.fullmatch(word) for word in words) else ()


def timed(clip: Clip) -> Speech:
    """The spoken part of a clip with word times. Raises ``MediaError`` for a file that cannot be read and
    ``InputError`` for words that cannot be spoken."""
    pcm = load_pcm(clip.path)
    if len(clip.words) < ALIGNED_WORDS:
        spans = list(pairwise(word_cuts(pcm, *speech_span(pcm), clip.words)))
    else:
        spans = aligned(pcm, clip.words)
    first = max(0, int((spans[0][0] - MARGIN_MS) * SAMPLE_RATE_HZ / 1000))
    last = min(len(pcm), int((spans[-1][1] + MARGIN_MS) * SAMPLE_RATE_HZ / 1000))
    shift_ms = first * 1000 / SAMPLE_RATE_HZ
    words = tuple(
        Word(text, start - shift_ms, max(end, start + 20.0) - shift_ms)
        for text, (start, end) in zip(clip.words, spans, strict=True)
    )
    return Speech(np.ascontiguousarray(pcm[first:last]), words)


def aligned(pcm: Pcm, words: tuple[str, ...]) -> list[tuple[float, float]]:
    """(start, end) in ms of every word of a sentence: those of a synthesised reading, warped to fit, without the
    silences that the reading does not have. Raises ``InputError`` for words that cannot be spoken."""
    loud = np.flatnonzero(loud_frames(pcm) | loud_frames(np.diff(pcm, prepend=pcm[:1])))
    start_ms, end_ms = float(loud[0]) * FRAME_MS, float(loud[-1] + 1) * FRAME_MS
    part = pcm[int(start_ms * SAMPLE_RATE_HZ / 1000) : int(end_ms * SAMPLE_RATE_HZ / 1000)]
    reading = synthesise(Voice("espeak/en-us", "espeak", "", "en-us"), " ".join(words))
    found: list[tuple[float, float]] = []
    for start, end in align(part, reading.pcm, [(word.start_ms, word.end_ms) for word in reading.words]):
        inside = loud[(loud >= (start_ms + start) / FRAME_MS) & (loud < (start_ms + end) / FRAME_MS)]
        if len(inside):
            start = max(start, float(inside[0]) * FRAME_MS - start_ms - SOFT_MS)
            end = min(end, float(inside[-1] + 1) * FRAME_MS - start_ms + SOFT_MS)
        found.append((start + start_ms, end + start_ms))
    return found
