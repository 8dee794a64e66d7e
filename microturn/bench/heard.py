"""Words heard right: the hear lane against what was really said, by kind of voice.

Word accuracy is 1 - (substitutions + deletions + insertions) / words by the cheapest alignment (Levenshtein), over
all sessions of a group: in running speech every word counts, wherever it was written. Words that sound alike ("two",
"to") count as different.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from microturn.bench.events import SaidWord, add_words
from microturn.bench.systems import Recipe
from microturn.errors import VoiceError
from microturn.scenario.families import FAMILIES
from microturn.scenario.lexicon import UNSEEN
from microturn.scenario.noise import levelled
from microturn.scenario.recordings import Recording, digit_files, load_speech, wake_word_files
from microturn.scenario.scenario import Scenario, Word
from microturn.scenario.timeline import Timeline
from microturn.scenario.voices import Voice, voices
from microturn.turn import SAMPLE_RATE_HZ, TURN_SAMPLES, Pcm, TurnOutput

SEEN_ENGINE = "unseen voices of a seen engine"
UNSEEN_ENGINE = "voices of an unseen engine"
UNSEEN_WORDS = "words never trained on"
REAL_DIGITS = "real digits"
REAL_WAKE_WORDS = "real wake words"

HELDOUT_ENGINE = "festival"
CLIPS_PER_SESSION = 8
"""Clips of one speaker (digits) or of several people (wake words) in a session, with pauses."""
MAX_CLIPS = 480
"""Clips scored of a group."""
PAUSE_MS = (300.0, 900.0)
MICROPHONE_RMS = 1e-4
"""Faint noise of a microphone, so that the pauses between recordings are not digital silence."""
TAIL_TURNS = 5
VOICE_STRIDE = 41


@dataclass(frozen=True)
class HeardScore:
    """Errors against ``words`` true words."""

    words: int
    substitutions: int
    deletions: int
    insertions: int

    @property
    def accuracy(self) -> float:
        """1 - errors / words; below zero when more was written than said."""
        return 1.0 - (self.substitutions + self.deletions + self.insertions) / max(1, self.words)

    def __add__(self, other: HeardScore) -> HeardScore:
        return HeardScore(
            self.words + other.words,
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
        )


@dataclass(frozen=True)
class HeardGroup:
    """Sessions of one kind of voice: ``make(index)`` for ``index`` below ``num_sessions``."""

    name: str
    num_sessions: int
    make: Callable[[int], Scenario]

    def sessions(self) -> list[Recipe]:
        """All sessions of the group."""
        return [partial(_session, self.make, index) for index in range(self.num_sessions)]


def _session(make: Callable[[int], Scenario], index: int) -> list[Scenario]:
    return [make(index)]


def groups(num_sessions: int, data: Path | None) -> list[HeardGroup]:
    """The groups that can be measured here; real people only with ``data``. Raises ``VoiceError`` if the unseen
    engine is not installed, ``InputError`` if ``data`` has no recordings."""
    heldout = voices("heldout")
    seen = [voice for voice in heldout if voice.engine != HELDOUT_ENGINE]
    unseen = [voice for voice in heldout if voice.engine == HELDOUT_ENGINE]
    if not unseen:
        raise VoiceError(f"the unseen engine ({HELDOUT_ENGINE}) is not installed: run `make voices`")
    found = [
        HeardGroup(SEEN_ENGINE, num_sessions, _FreeSpeech(tuple(seen))),
        HeardGroup(UNSEEN_ENGINE, num_sessions, _FreeSpeech(tuple(unseen))),
        HeardGroup(UNSEEN_WORDS, max(1, num_sessions // 4), _UnseenWords(tuple(seen))),
    ]
    if data is not None:
        count = min(MAX_CLIPS, num_sessions * CLIPS_PER_SESSION)
        for name, files in ((REAL_DIGITS, digit_files(data, "heldout")),
                            (REAL_WAKE_WORDS, wake_word_files(data, "heldout"))):  # fmt: skip
            recorded = _Recorded(name, _sample(files, count))
            found.append(HeardGroup(name, -(-len(recorded.files) // CLIPS_PER_SESSION), recorded))
    return found


@dataclass(frozen=True)
class _FreeSpeech:
    """``free`` sessions of held-out wordings without gaps (a lost word is nobody's error), over all of ``voices``."""

    voices: tuple[Voice, ...]

    def __call__(self, index: int) -> Scenario:
        timeline = _timeline(SEEN_ENGINE, index, _pick(self.voices, index))
        FAMILIES["free"](timeline)
        return timeline.finish("free", tail_ms=1000.0, gap_probability=0.0)


@dataclass(frozen=True)
class _UnseenWords:
    """Runs of words that training never had."""

    voices: tuple[Voice, ...]

    def __call__(self, index: int) -> Scenario:
        timeline = _timeline(UNSEEN_WORDS, index, _pick(self.voices, index))
        for _ in range(3):
            timeline.pause(300.0, 1200.0)
            words = timeline.rng.choice(UNSEEN, int(timeline.rng.integers(1, 5)), replace=False)
            timeline.speak(" ".join(str(word) for word in words))
        return timeline.finish("free", tail_ms=1000.0, gap_probability=0.0)


@dataclass(frozen=True)
class _Recorded:
    """Recordings of real people as they are, some to a session, with pauses between them."""

    name: str
    files: tuple[Recording, ...]

    def __call__(self, index: int) -> Scenario:
        rng = _generator(self.name, index)
        pieces: list[Pcm] = []
        heard: list[Word] = []
        for file in self.files[index * CLIPS_PER_SESSION : (index + 1) * CLIPS_PER_SESSION]:
            clip = load_speech(file)
            pieces.append(np.zeros(int(rng.uniform(*PAUSE_MS)) * SAMPLE_RATE_HZ // 1000, np.float32))
            start_ms = sum(map(len, pieces)) * 1000.0 / SAMPLE_RATE_HZ
            pieces.append(levelled(clip.pcm))
            heard += [Word(word.text, word.start_ms + start_ms, word.end_ms + start_ms) for word in clip.words]
        num_turns = -(-sum(map(len, pieces)) // TURN_SAMPLES) + TAIL_TURNS
        user = rng.normal(0.0, MICROPHONE_RMS, num_turns * TURN_SAMPLES).astype(np.float32)
        speech = np.concatenate(pieces)
        user[: len(speech)] += speech
        return Scenario("free", num_turns, user, heard)


def _generator(name: str, index: int) -> np.random.Generator:
    return np.random.default_rng([zlib.crc32(name.encode()), index])


def _timeline(name: str, index: int, voice: Voice) -> Timeline:
    timeline = Timeline(_generator(name, index), "heldout", voice=voice, assistant=False)
    timeline.kind = "free"
    return timeline


def _pick(choices: tuple[Voice, ...], index: int) -> Voice:
    """The voice of a session: a stride over the list, so that few sessions too have many kinds of voices."""
    return choices[index * VOICE_STRIDE % len(choices)]


def _sample(files: Sequence[Recording], count: int) -> tuple[Recording, ...]:
    """``count`` files in a fixed random order."""
    order = np.random.default_rng(0).permutation(len(files))[:count]
    return tuple(files[int(place)] for place in order)


def score_heard(scenario: Scenario, outputs: Iterable[TurnOutput]) -> HeardScore:
    """One session: the words of the hear lane against the words said, both in order."""
    words: list[SaidWord] = []
    for output in outputs:
        words = add_words(words, output.turn, output.hear)
    return align([word.text for word in scenario.heard], [word.text for word in words])


def align(truth: Sequence[str], written: Sequence[str]) -> HeardScore:
    """Count the errors of the cheapest alignment of ``written`` with ``truth``."""
    # row[j]: (cost, substitutions, deletions, insertions) of truth so far against written[:j]
    row = [(j, 0, 0, j) for j in range(len(written) + 1)]
    for i, word in enumerate(truth, start=1):
        previous, row = row, [(i, 0, i, 0)]
        for j, other in enumerate(written, start=1):
            wrong = int(word != other)
            cost, sub, dele, ins = previous[j - 1]
            best = (cost + wrong, sub + wrong, dele, ins)
            cost, sub, dele, ins = previous[j]
            best = min(best, (cost + 1, sub, dele + 1, ins))
            cost, sub, dele, ins = row[j - 1]
            row.append(min(best, (cost + 1, sub, dele, ins + 1)))
    _, substitutions, deletions, insertions = row[-1]
    return HeardScore(len(truth), substitutions, deletions, insertions)
