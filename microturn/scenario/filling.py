"""Fills a voice bank: people's recordings cut and timed, and synthesised voices saying what the families' users say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from microturn.errors import InputError, MediaError, VoiceError
from microturn.language.common import common_sentence
from microturn.language.lexicon import COMMANDS, COMMON, NUMBERS, UNSEEN
from microturn.language.wordings import aside, loose_words, pick, plain_sentence
from microturn.scenario.families import FAMILIES
from microturn.scenario.generate import generate
from microturn.split import Split
from microturn.voices import kokoro, moonshine, people, piper
from microturn.voices.bank import write_part
from microturn.voices.catalogue import Voice, draw_kokoro_voice, draw_piper_voice, draw_voice, synthesise
from microturn.voices.noise import levelled
from microturn.voices.speech import Speech, Word
from microturn.voices.workers import done_beside, never

PART_UTTERANCES = 400
KOKORO_PART_UTTERANCES = 100
"""Fewer to a part: Kokoro takes minutes for them."""
REQUEST_PAUSE_MS = 300.0
"""A pause of this length in a rehearsal separates two utterances."""
SPEED_RANGE = (0.8, 1.25)
PITCH_RANGE = (0.8, 1.25)
KOKORO_PITCH_RANGE = (0.9, 1.12)
"""Narrower, as Kokoro's formants move with its pitch."""

DrawVoice = Callable[[np.random.Generator, Split], Voice]
_UNSEEN = frozenset(UNSEEN)


@dataclass(frozen=True, kw_only=True)
class BankConfig:
    """What a bank holds: so many utterances of synthesised voices, of Kokoro's and Piper's where they are installed,
    and all people of ``data``."""

    num_synthesised: int = 12_000
    """Like the others, rounded up to whole parts."""
    num_kokoro: int = 0
    num_piper: int = 0
    """For training: Piper has one voice."""
    split: Split = "train"
    seed: int = 0


@dataclass(frozen=True)
class _Kind:
    """How parts of one kind of voices are made."""

    name: str
    num_utterances: int
    part_utterances: int
    draw: DrawVoice
    pitch_range: tuple[float, float]
    stream: tuple[int, ...] = ()
    """Last of a part's seeds, so that its texts are not those of the other kinds' part of that number."""


def fill(
    bank: Path, config: BankConfig, data: Path | None, workers: int | None = None, stop: Callable[[], bool] = never
) -> Iterator[Path]:
    """Make what is missing, part by part, until ``stop``; yields each part as it is done. The same arguments give the
    same bank. Raises ``InputError`` for a corpus whose index cannot be read."""
    bank.mkdir(parents=True, exist_ok=True)
    kinds = [_Kind("synthesised", config.num_synthesised, PART_UTTERANCES, draw_voice, PITCH_RANGE)]
    if kokoro.installed():
        count = config.num_kokoro
        kinds.append(_Kind("kokoro", count, KOKORO_PART_UTTERANCES, draw_kokoro_voice, KOKORO_PITCH_RANGE, (1,)))
    if piper.installed() and config.split == "train":
        kinds.append(_Kind("piper", config.num_piper, PART_UTTERANCES, draw_piper_voice, PITCH_RANGE, (2,)))
    jobs: list[Callable[[], Path | None]] = [
        partial(_voices_part, bank, config, kind, number)
        for kind in kinds
        for number in range(-(-kind.num_utterances // kind.part_utterances))
    ]
    if data is not None:
        corpora = (*people.written(data), *(people.UNWRITTEN if moonshine.installed() else ()))
        jobs = [*(partial(_people_part, bank, config, data, corpus) for corpus in corpora), *jobs]
    yield from (path for path in done_beside(jobs, workers, stop) if path is not None)


def _part(path: Path, said: Iterable[tuple[str, str, Speech]]) -> Path:
    if not path.exists():
        with threadpool_limits(1):
            write_part(path, said)
    return path


def _voices_part(bank: Path, config: BankConfig, kind: _Kind, number: int) -> Path:
    rng = np.random.default_rng([config.seed, number, config.split == "train", *kind.stream])
    said = (_synthesised(rng, config.split, kind.draw, kind.pitch_range) for _ in range(kind.part_utterances))
    return _part(bank / f"{kind.name}-{config.split}-{number:04d}", said)


def _people_part(bank: Path, config: BankConfig, data: Path, corpus: str) -> Path | None:
    path = bank / f"people-{config.split}-{corpus}"
    if path.exists():
        return path
    if corpus in people.UNWRITTEN:
        clips = people.unwritten(data, corpus, config.split)
    else:
        clips = (clip for clip in people.clips_of(data, corpus) if clip.split == config.split)
    found = [clip for clip in clips if config.split == "heldout" or not _has_unseen(clip.words)]
    return _part(path, _timed(found)) if found else None


def _synthesised(
    rng: np.random.Generator,
    split: Split,
    draw: DrawVoice,
    pitch_range: tuple[float, float],
) -> tuple[str, str, Speech]:
    while True:
        voice = draw(rng, split)
        rate, pitch = (float(np.exp(rng.uniform(*np.log(span)))) for span in (SPEED_RANGE, pitch_range))
        try:
            speech = synthesise(voice, draw_text(rng, split), rate=rate, pitch=pitch)
        except VoiceError:
            continue  # an engine that swallows a word has no times for it
        return voice.engine, voice.name, Speech(levelled(speech.pcm), speech.words)


def draw_text(rng: np.random.Generator, split: Split) -> str:
    """Something that a user of the families may say, or anything else: words, digits, sentences."""
    kind = rng.random()
    if kind < 0.28:
        return _request(rng, split)
    if kind < 0.36:
        return " ".join(pick(rng, COMMANDS) for _ in range(int(rng.integers(1, 5))))
    if kind < 0.44:
        return " ".join(pick(rng, COMMON) for _ in range(int(rng.integers(2, 8))))
    if kind < 0.52:
        return " ".join(loose_words(rng, int(rng.integers(1, 9))))
    if kind < 0.58:
        return " ".join(str(word) for word in rng.choice(NUMBERS[:10], int(rng.integers(1, 7))))
    if kind < 0.68:
        return aside(rng, split) if kind < 0.62 else plain_sentence(rng, split)
    while _has_unseen((text := common_sentence(rng, int(rng.integers(3, 15)))).split()):
        pass
    return text


def _request(rng: np.random.Generator, split: Split) -> str:
    """One utterance of a rehearsal of some family."""
    while True:
        family = pick(rng, tuple(FAMILIES))
        scenario = generate(family, int(rng.integers(1 << 30)), split, assistant=False, sound=False)
        said: list[list[str]] = []
        end_ms = -1e9
        for word in scenario.heard:
            if word.start_ms - end_ms > REQUEST_PAUSE_MS:
                said.append([])
            said[-1].append(word.text)
            end_ms = word.end_ms
        if said:
            return " ".join(said[int(rng.integers(len(said)))])


def _has_unseen(words: Iterable[str]) -> bool:
    """Whether one of the words is kept out of training."""
    return not _UNSEEN.isdisjoint(words)


def _timed(found: list[people.Clip]) -> Iterator[tuple[str, str, Speech]]:
    for clip in found:
        try:
            speech = people.timed(clip)
        except (InputError, MediaError, VoiceError):
            continue  # a word that no synthesiser reads, or a damaged file
        words = tuple(Word(word.text, word.start_ms, word.end_ms) for word in speech.words)
        yield clip.corpus, f"{clip.corpus}/{clip.speaker}", Speech(levelled(speech.pcm), words)
