"""Words heard right of real people whom training does not know, and words written where nobody speaks.

People are met as a user's microphone would bring them: recordings as they are, with half a second of faint noise before
each and a second after it. Single words of one person come one after the other in a session, and a word has to be
written within a second and a half of its end; a sentence is a session of its own. Beside every figure stand the trivial
answers: nothing, and the most frequent word once for every word said.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest
from pathlib import Path

import numpy as np

from microturn.bench.events import SaidWord
from microturn.bench.heard import NOTHING_SAID, HeardScore, score_words, trivial_answers
from microturn.bench.hearing import hear
from microturn.bench.suite import Advance
from microturn.language import lexicon
from microturn.language.tokenizer import TextTokenizer
from microturn.model.hearing import Hearing
from microturn.turn import SAMPLE_RATE_HZ, TURN_MS, TURN_SAMPLES, Pcm
from microturn.voices import noise, people
from microturn.voices.people import Clip
from microturn.voices.recordings import load_pcm, sound_files, speech_span

COMMAND_WORDS = "command words"
DIGITS = "digits"
WAKE_WORDS = "wake words"
NATIVE_SENTENCES = "sentences, native"
NEW_SENTENCES = "sentences, native, of new texts"
OTHER_SENTENCES = "sentences, non-native"

EVERYDAY_SOUNDS = "everyday sounds"
NOISE = "noise"
QUIET = "quiet"

CLIPS_PER_SESSION = 8
LEAD_MS, TAIL_MS = 500, 1000
WITHIN_MS = 1500.0
"""A single word that is written later than this after its end is not heard right."""
MICROPHONE_RMS = 1e-3
"""Faint noise of a microphone, -60 dBFS: nothing is digital silence."""
NOISE_RMS = noise.SPEECH_RMS * noise.decibel(-10.0)
NOISE_SECONDS = 60
"""Of quiet, and of every kind of noise; of everyday sounds, all that are kept for testing."""
SESSIONS_AT_ONCE = 64

KNOWN_WORDS = frozenset({*lexicon.CONTENT, *lexicon.FUNCTION, *lexicon.LETTERS, *lexicon.COMMANDS, *lexicon.COMMON})
"""Words that the hear lane writes whole. Only these are asked for; others that people read out need not be written."""


@dataclass(frozen=True)
class PeopleGroup:
    """Recordings of one kind. ``strung`` single words come several to a session, sentences alone."""

    name: str
    corpora: tuple[str, ...]
    strung: bool
    people_known: bool = True
    """Whether somebody noted who speaks. Otherwise what is held out is files, and their speakers may be known."""
    new_texts: bool = False
    """Only what nobody reads in training: a passage that everybody reads is known by heart."""

    def heldout(self, clips: Sequence[Clip]) -> list[Clip]:
        """Of ``clips`` those of people whom training does not know."""
        own = [clip for clip in clips if clip.corpus in self.corpora]
        known = {clip.words for clip in own if clip.split == "train"} if self.new_texts else set()
        return [clip for clip in own if clip.split == "heldout" and clip.words not in known]


GROUPS = (
    PeopleGroup(COMMAND_WORDS, ("commands", "commands_small"), strung=True),
    PeopleGroup(DIGITS, ("digits",), strung=True),
    PeopleGroup(WAKE_WORDS, ("wake_words", "wake_words_more"), strung=True, people_known=False),
    PeopleGroup(NATIVE_SENTENCES, ("natives",), strung=False),
    PeopleGroup(NEW_SENTENCES, ("natives",), strung=False, new_texts=True),
    PeopleGroup(OTHER_SENTENCES, ("sentences",), strung=False),
)


@dataclass(frozen=True)
class PeopleResult:
    """One row of the table: one system and one group, by ``num_clips`` recordings of ``num_people``."""

    group: str
    system: str
    num_clips: int
    num_people: int | None
    """``None`` where nobody noted who speaks."""
    score: HeardScore


@dataclass(frozen=True)
class NoiseResult:
    """Words written while nobody spoke."""

    sound: str
    seconds: float
    words: int

    @property
    def words_per_minute(self) -> float:
        return 60.0 * self.words / self.seconds


@dataclass(frozen=True)
class Spoken:
    """What somebody says from ``start_ms`` on, to be written by ``due_ms``."""

    words: tuple[str, ...]
    start_ms: float
    due_ms: float


@dataclass(frozen=True)
class PeopleSession:
    """Sound of whole turns, (samples,), and what is said in it, in order of time."""

    sound: Pcm
    spoken: tuple[Spoken, ...]


def score_people(
    system: str, hearing: Hearing, tokenizer: TextTokenizer, data: Path, num_clips: int, seed: int, advance: Advance
) -> tuple[list[PeopleResult], list[NoiseResult]]:
    """Rows of every group with recordings in ``data``: the system's, then the trivial answers'; and of every noise.

    ``num_clips`` recordings of each group are heard (fewer if there are fewer); ``seed`` chooses them. ``advance`` is
    called once a session. Raises ``InputError`` for a folder without people, ``MediaError`` for a recording that
    cannot be read.
    """
    clips = list(people.clips(data))
    groups: list[PeopleResult] = []
    for group in GROUPS:
        chosen = choose(group.heldout(clips), num_clips, group, seed)
        if not chosen:
            continue
        score = NOTHING_SAID
        spoken: list[Spoken] = []
        sessions = sessions_of(group, chosen, seed)
        while some := list(islice(sessions, SESSIONS_AT_ONCE)):
            written = hear(hearing, tokenizer, [session.sound for session in some])
            for session, words in zip(some, written, strict=True):
                score += score_session(session.spoken, words)
                spoken += session.spoken
                advance()
        num_people = len({clip.speaker for clip in chosen}) if group.people_known else None
        rows = [(system, score), *trivial_answers([one.words for one in spoken], KNOWN_WORDS)]
        groups += [PeopleResult(group.name, name, len(chosen), num_people, found) for name, found in rows]
    quiet = [
        NoiseResult(name, sum(map(len, sounds)) / SAMPLE_RATE_HZ, sum(map(len, hear(hearing, tokenizer, sounds))))
        for name, sounds in noises(data, seed)
    ]
    return groups, quiet


def choose(clips: Iterable[Clip], num_clips: int, group: PeopleGroup, seed: int) -> list[Clip]:
    """``num_clips`` of ``clips``, spread over the speakers: a random one of each, then a second one, ..."""
    rng = _generator("clips", group.name, seed)
    by_speaker = sorted(_by_speaker(clips).items())
    speakers = [by_speaker[place][1] for place in rng.permutation(len(by_speaker))]
    shuffled = [[own[place] for place in rng.permutation(len(own))] for own in speakers]
    in_turn = [clip for one_of_each in zip_longest(*shuffled) for clip in one_of_each if clip is not None]
    return in_turn[:num_clips]


def _by_speaker(clips: Iterable[Clip]) -> dict[str, list[Clip]]:
    found: dict[str, list[Clip]] = {}
    for clip in clips:
        found.setdefault(clip.speaker, []).append(clip)
    return found


def sessions_of(group: PeopleGroup, clips: Iterable[Clip], seed: int) -> Iterator[PeopleSession]:
    """The sessions of ``clips``, made one by one: those of one speaker together, or each alone."""
    rng = _generator("microphone", group.name, seed)
    together, within_ms = (CLIPS_PER_SESSION, WITHIN_MS) if group.strung else (1, math.inf)
    for own in _by_speaker(clips).values():
        for first in range(0, len(own), together):
            yield _session(own[first : first + together], within_ms, rng)


def _session(clips: Sequence[Clip], within_ms: float, rng: np.random.Generator) -> PeopleSession:
    lead, tail = (np.zeros(length_ms * SAMPLE_RATE_HZ // 1000, np.float32) for length_ms in (LEAD_MS, TAIL_MS))
    pieces: list[Pcm] = []
    spoken: list[Spoken] = []
    for clip in clips:
        pcm = load_pcm(clip.path)
        pieces.append(lead)
        start_ms = sum(map(len, pieces)) * 1000.0 / SAMPLE_RATE_HZ
        spoken.append(Spoken(clip.words, start_ms, start_ms + speech_span(pcm)[1] + within_ms))
        pieces += [pcm, tail]
    return PeopleSession(_through_microphone(np.concatenate(pieces), rng), tuple(spoken))


def _through_microphone(pcm: Pcm, rng: np.random.Generator) -> Pcm:
    """``pcm`` over a microphone's noise, which goes on to the end of the last turn."""
    sound = noise.coloured(rng, -(-len(pcm) // TURN_SAMPLES) * TURN_SAMPLES, 0.0) * np.float32(MICROPHONE_RMS)
    sound[: len(pcm)] += pcm
    return sound


def score_session(spoken: Sequence[Spoken], written: Sequence[SaidWord]) -> HeardScore:
    """What was written against what was said: each thing said has the words from its start to the start of the next.

    A word is written when its turn is over. What is written before anything is said, or too late, nobody said.
    """
    total = HeardScore(0, 0, 0, unsaid=len(written))
    starts_ms = [one.start_ms for one in spoken]
    for one, next_ms in zip(spoken, [*starts_ms[1:], math.inf], strict=True):
        until_ms = min(one.due_ms, next_ms)
        words = [word.text for word in written if one.start_ms < (word.turn + 1) * TURN_MS <= until_ms]
        total += score_words(one.words, words, KNOWN_WORDS) + HeardScore(0, 0, 0, unsaid=-len(words))
    return total


def noises(data: Path, seed: int) -> Iterator[tuple[str, list[Pcm]]]:
    """(name, sounds of up to ``NOISE_SECONDS``) of each kind; everyday sounds, as recorded and without pauses, only
    where ``data`` has some that training does not know."""
    samples = NOISE_SECONDS * SAMPLE_RATE_HZ
    rng = _generator("noise", QUIET, seed)
    yield QUIET, [_through_microphone(np.zeros(samples, np.float32), rng)]
    kinds = [noise.background(rng, kind, samples) * np.float32(NOISE_RMS) for kind in noise.NOISE_KINDS]
    yield NOISE, [_through_microphone(pcm, rng) for pcm in kinds]
    files = sound_files(data, "heldout")
    if files:
        everything = np.concatenate([load_pcm(files[place]) for place in rng.permutation(len(files))])
        parts = [everything[first : first + samples] for first in range(0, len(everything), samples)]
        yield EVERYDAY_SOUNDS, [_through_microphone(part, rng) for part in parts]


def _generator(purpose: str, name: str, seed: int) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(f"{purpose}/{name}".encode())])
