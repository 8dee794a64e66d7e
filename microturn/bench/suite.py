"""The open suite: held-out sessions of every family, played by the model and by trivial answers, and their scores.

Sessions are fixed by family and seed; they use voices, wordings, combinations of words and figures that training does
not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial

from microturn.bench.counts import CountScore, counted, score_counts
from microturn.bench.events import EventScore, Said, said_runs, score_session, summarise
from microturn.bench.heard import NOTHING_SAID, HeardScore, groups, score_heard
from microturn.bench.sound import Clip, SoundScore, clips_of, hear_clips, score_sound, vocabularies
from microturn.bench.systems import SessionSource, System, always_speak, constant_count, never_speak
from microturn.scenario.generate import generate
from microturn.scenario.scenario import Scenario

FAMILIES = ("say", "time", "cue", "count", "idle")
"""Families with events, and the one in which nothing is to be said. ``free`` is scored by what was heard."""
FIRST_SEED = 1_000_000
"""Far from the seeds that figures during training use."""

Advance = Callable[[], None]
"""Called when one more session has been played."""


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


def sessions_of(family: str, num_sessions: int, *, words_given: bool = False) -> list[SessionSource]:
    """The suite's sessions of a family, in order; with the user's words in place of his sound if they are given: what
    would be right if everything were heard right."""
    return [partial(_make, family, words_given, index) for index in range(num_sessions)]


def _make(family: str, words_given: bool, index: int) -> list[Scenario]:
    # What is scored does not depend on the assistant's side, so its voice need not be installed.
    return [generate(family, FIRST_SEED + index, "heldout", assistant=False, sound=not words_given)]


def score_family(
    family: str, system: System, sources: Sequence[SessionSource], listeners: Executor | None, advance: Advance
) -> list[FamilyResult]:
    """The system's row, then the trivial answers' rows, all on the same sessions. What is said is recognised by
    ``listeners`` too, if there are any."""
    played: dict[int, tuple[Scenario, list[Said], list[Clip]]] = {}
    for one in system.play(sources):
        said = said_runs(one.outputs)
        played[one.session] = one.scenario, said, clips_of(said, one.outputs)
        advance()
    sessions, runs, clips = zip(*(played[index] for index in sorted(played)), strict=True)
    result = FamilyResult(family, system.name, figures(sessions, runs))
    everything = [clip for some in clips for clip in some]
    if listeners is not None and everything:
        vocabulary = vocabularies(family, (event.words for session in sessions for event in session.events))
        heard = hear_clips(everything, vocabulary, listeners)
        rest = iter(heard)
        by_session = [[next(rest) for _ in some] for some in clips]
        sound = score_sound([run for run, _ in everything], heard, vocabulary, listeners)
        result = replace(result, by_sound=figures(sessions, by_session), sound=sound)
    trivial = [never_speak(), always_speak(sessions)]
    if family == "count":
        trivial.append(constant_count(sessions))
    return [
        result,
        *(
            FamilyResult(family, one.name, figures(sessions, [said_runs(one.answer(session)) for session in sessions]))
            for one in trivial
        ),
    ]


def figures(sessions: Sequence[Scenario], said: Sequence[Sequence[Said]]) -> FamilyFigures:
    """Scores of ``said``, one list of runs a session (their media are not needed)."""
    pairs = list(zip(sessions, said, strict=True))
    events = summarise([score_session(session.events, session.num_turns, runs) for session, runs in pairs])
    counts = [(counted(session, runs), session.true_count) for session, runs in pairs if session.true_count is not None]
    return FamilyFigures(events, score_counts(counts) if counts else None)


def score_listening(system: System, num_sessions: int, advance: Advance) -> dict[str, HeardScore]:
    """Words heard right, by group of synthesised voices. Raises as ``heard.groups``."""
    scores = {}
    for group, sources in groups(num_sessions).items():
        scores[group] = NOTHING_SAID
        for played in system.play(sources):
            scores[group] += score_heard(played.scenario, played.outputs)
            advance()
    return scores
