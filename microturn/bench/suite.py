"""The open suite: held-out sessions of every family, played by the model and by trivial answers, and their scores.

Sessions are fixed by family and seed; they use voices, wordings, combinations of words and figures that training does
not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial

from microturn.bench.baselines import always_speak, constant_count, never_speak
from microturn.bench.counts import CountScore, counted, score_counts
from microturn.bench.events import EventScore, Said, SessionScore, said_runs, score_session, summarise
from microturn.bench.heard import NOTHING_SAID, HeardScore, groups, score_heard
from microturn.bench.sound import Clips, SoundScore, recognise, recognised_run, score_sound, vocabularies
from microturn.bench.systems import SessionSource, System
from microturn.scenario.generate import generate
from microturn.scenario.scenario import Scenario

FAMILIES = ("say", "time", "cue", "count", "idle")
"""Families with events, and the one in which nothing is to be said. ``free`` is scored by what was heard."""
FIRST_SEED = 1_000_000
"""Far from the seeds that figures during training use."""
NUM_SESSIONS = 200

Advance = Callable[[], None]
"""Called when one more session has been played."""


@dataclass(frozen=True, kw_only=True)
class SuiteConfig:
    """What is scored: ``num_sessions`` of each of ``families``; ``sound`` has the model's sound recognised."""

    families: tuple[str, ...] = FAMILIES
    num_sessions: int = NUM_SESSIONS
    sound: bool = True
    words_given: bool = False
    """The user's words are given in place of his sound: what would be right if everything were heard right."""


@dataclass(frozen=True)
class FamilyFigures:
    """Scores of one system in one family, from words: those of the say lane, or those a recogniser heard."""

    events: EventScore
    counts: CountScore | None


@dataclass(frozen=True)
class FamilyResult:
    """One row of the table. ``by_sound`` and ``sound`` are ``None`` for trivial answers, which have no voice."""

    family: str
    system: str
    by_lane: FamilyFigures
    by_sound: FamilyFigures | None = None
    sound: SoundScore | None = None


@dataclass(frozen=True)
class HeardResult:
    """Words heard right by one group of voices."""

    group: str
    score: HeardScore


def sessions_of(family: str, num_sessions: int, *, words_given: bool = False) -> list[SessionSource]:
    """The suite's sessions of a family, in order."""
    return [partial(_make, family, words_given, index) for index in range(num_sessions)]


def _make(family: str, words_given: bool, index: int) -> list[Scenario]:
    # What is scored does not depend on the assistant's side, so its voice need not be installed.
    return [generate(family, FIRST_SEED + index, "heldout", assistant=False, sound=not words_given)]


def score_family(
    family: str, system: System, config: SuiteConfig, workers: Executor, advance: Advance
) -> list[FamilyResult]:
    """The system's row, then the trivial answers' rows, all on the same sessions. ``workers`` recognise the sound."""
    sessions: dict[int, Scenario] = {}
    said: dict[int, list[Said]] = {}
    clips = Clips()
    for played in system.play(sessions_of(family, config.num_sessions, words_given=config.words_given)):
        sessions[played.session] = played.scenario
        said[played.session] = said_runs(played.outputs)
        clips.add(said[played.session], played.outputs)
        advance()
    order = sorted(sessions)
    ordered = [sessions[index] for index in order]
    result = FamilyResult(family, system.name, figures(ordered, [said[index] for index in order]))
    if config.sound and clips.said:
        result = _with_sound(result, ordered, said, order, clips, workers)
    return [result, *score_baselines(family, ordered)]


def score_baselines(family: str, sessions: Sequence[Scenario]) -> list[FamilyResult]:
    """Trivial answers on ``sessions`` (their media are not needed)."""
    systems = [never_speak(), always_speak(sessions)]
    if family == "count":
        systems.append(constant_count(sessions))
    return [
        FamilyResult(family, system.name, figures(sessions, [said_runs(system.answer(one)) for one in sessions]))
        for system in systems
    ]


def figures(sessions: Sequence[Scenario], said: Sequence[Sequence[Said]]) -> FamilyFigures:
    """Scores of ``said``, one list of runs a session."""
    scores: list[SessionScore] = [
        score_session(session.events, session.num_turns, runs) for session, runs in zip(sessions, said, strict=True)
    ]
    counts = [
        (counted(session, runs), session.true_count)
        for session, runs in zip(sessions, said, strict=True)
        if session.true_count is not None
    ]
    if not counts:
        return FamilyFigures(summarise(scores), None)
    answers, true_counts = zip(*counts, strict=True)
    return FamilyFigures(summarise(scores), score_counts(answers, true_counts))


def _with_sound(
    result: FamilyResult,
    sessions: Sequence[Scenario],
    said: dict[int, list[Said]],
    order: Sequence[int],
    clips: Clips,
    workers: Executor,
) -> FamilyResult:
    vocabulary = vocabularies(result.family, (event.words for session in sessions for event in session.events))
    words = recognise(clips.pcm, vocabulary, workers)
    heard = [recognised_run(run, found) for run, found in zip(clips.said, words, strict=True)]
    by_run = {id(run): other for run, other in zip(clips.said, heard, strict=True)}
    by_session = [[by_run[id(run)] for run in said[index] if run.num_turns] for index in order]
    return replace(
        result,
        by_sound=figures(sessions, by_session),
        sound=score_sound(clips.said, heard, vocabulary, workers),
    )


def score_listening(system: System, config: SuiteConfig, advance: Advance) -> list[HeardResult]:
    """Words heard right, by group of synthesised voices. Raises as ``heard.groups``."""
    results = []
    for group in groups(config.num_sessions):
        total = NOTHING_SAID
        for played in system.play(group.sessions()):
            total += score_heard(played.scenario, played.outputs)
            advance()
        results.append(HeardResult(group.name, total))
    return results
