"""The voice bank: many utterances with word times, on disk, of which sessions are strung together anew each time.

Synthesising and decoding take longer than learning from the sound, so both are done once. A bank is a folder of parts;
a part holds the samples of its utterances in one file that is mapped into memory, shared by all processes, and a list
of who says what when.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from microturn.errors import CorpusError
from microturn.voices.speech import Speech, Word

SAMPLES_NAME = "samples.i16"
INDEX_NAME = "utterances.msgpack"
UNFINISHED = (".partial", ".anew", ".old")
"""How the name of a part ends that is being written, is to take another one's place, or has lost it."""


class Entry(msgspec.Struct, frozen=True):
    """Where one utterance lies among a part's samples, and its words with times in ms from its first sample."""

    source: str
    """Engine or corpus."""
    speaker: str
    first: int
    samples: int
    words: list[tuple[str, float, float]]


class Part:
    """One part of a bank. Raises ``CorpusError`` if its files are missing or damaged."""

    def __init__(self, folder: Path) -> None:
        try:
            self.utterances = msgspec.msgpack.decode((folder / INDEX_NAME).read_bytes(), type=list[Entry])
            self._samples: NDArray[np.int16] = np.zeros(0, np.int16)
            if self.utterances:  # an empty file cannot be mapped
                self._samples = np.memmap(folder / SAMPLES_NAME, np.int16, mode="r")
        except (OSError, ValueError, msgspec.DecodeError) as error:
            raise CorpusError(f"{folder}: not a part of a voice bank ({error})") from error
        if self.utterances and self.utterances[-1].first + self.utterances[-1].samples != len(self._samples):
            raise CorpusError(f"{folder}: not a part of a voice bank ({SAMPLES_NAME} is cut short)")

    def __len__(self) -> int:
        return len(self.utterances)

    def speech(self, index: int) -> Speech:
        """Entry ``index``."""
        found = self.utterances[index]
        pcm = self._samples[found.first : found.first + found.samples].astype(np.float32) / np.float32(32767.0)
        return Speech(pcm, tuple(Word(*word) for word in found.words))


def part_folders(bank: Path, pattern: str) -> list[Path]:
    """The parts of a bank whose names fit, in order."""
    return sorted(folder for folder in bank.glob(pattern) if not folder.name.endswith(UNFINISHED))


def write_part(folder: Path, utterances: Iterable[tuple[str, str, Speech]]) -> None:
    """Write (source, speaker, speech) as a part; it appears when it is whole."""
    partial = folder.with_name(folder.name + UNFINISHED[0])
    partial.mkdir(parents=True, exist_ok=True)
    index: list[Entry] = []
    first = 0
    with (partial / SAMPLES_NAME).open("wb") as samples:
        for source, speaker, speech in utterances:
            scaled = np.clip(np.rint(speech.pcm * 32767.0), -32767, 32767).astype("<i2")
            samples.write(scaled.tobytes())
            words = [(word.text, word.start_ms, word.end_ms) for word in speech.words]
            index.append(Entry(source, speaker, first, len(scaled), words))
            first += len(scaled)
    (partial / INDEX_NAME).write_bytes(msgspec.msgpack.encode(index))
    partial.rename(folder)
