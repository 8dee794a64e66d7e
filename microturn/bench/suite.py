"""The open suite: held-out sessions of every family, played by the model and by trivial answers, and their scores.

Sessions are fixed by family and seed; they use voices, wordings, combinations of words and figures that training does
not. Scenarios of all families are also strung together into sessions of an hour: is its last part as good as its first?
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial

from microturn.bench.delegation import Acts, DelegationScore, acts_of, score_delegation
from microturn.bench.events import (
    CountScore,
    EventScore,
    Said,
    SessionScore,
    counted,
    said_runs,
    score_counts,
    score_session,
    summarise,
)
from microturn.bench.heard import NOTHING_SAID, HeardResult, groups, score_heard, trivial_answers
from microturn.bench.sound import Clip, SoundScore, clips_of, hear_clips, score_sound, vocabularies
from microturn.bench.systems import Answer, SessionSource, System, baselines
from microturn.bench.yielding import YieldScore, score_yielding
from microturn.errors import InputError
from microturn.scenario.generate import generate, string_parts
from microturn.scenario.scenario import Scenario
from microturn.turn import TURN_MS

FAMILIES = ("say", "time", "cue", "count", "idle", "delegate", "interrupt")
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
    delegation: DelegationScore | None = None
    yielding: YieldScore | None = None


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
    played: dict[int, tuple[Scenario, list[Said], list[Clip], Acts]] = {}
    for one in system.play(sources):
        said = said_runs(one.outputs)
        played[one.session] = one.scenario, said, clips_of(said, one.outputs), acts_of(one.outputs)
        advance()
    sessions, runs, clips, acts = zip(*(played[index] for index in sorted(played)), strict=True)
    result = FamilyResult(family, system.name, figures(sessions, runs, acts))
    everything = [clip for some in clips for clip in some]
    if listeners is not None and everything:
        vocabulary = vocabularies(family, (event.words for session in sessions for event in session.events))
        heard = hear_clips(everything, vocabulary, listeners)
        rest = iter(heard)
        by_session = [[next(rest) for _ in some] for some in clips]
        sound = score_sound([run for run, _ in everything], heard, vocabulary, listeners)
        result = replace(result, by_sound=figures(sessions, by_session, acts), sound=sound)
    return [result, *(_trivial(family, name, answer, sessions) for name, answer in baselines(family, sessions).items())]


def _trivial(family: str, name: str, answer: Answer, sessions: Sequence[Scenario]) -> FamilyResult:
    outputs = [answer(session) for session in sessions]
    said, acts = [said_runs(one) for one in outputs], [acts_of(one) for one in outputs]
    return FamilyResult(family, name, figures(sessions, said, acts))


def figures(sessions: Sequence[Scenario], said: Sequence[Sequence[Said]], acts: Sequence[Acts] = ()) -> FamilyFigures:
    """Scores of ``said``, and of ``acts`` where they are due, one list of each a session (no media are needed)."""
    pairs = list(zip(sessions, said, strict=True))
    events = summarise([score_session(session.events, session.num_turns, runs) for session, runs in pairs])
    counts = [(counted(session, runs), session.true_count) for session, runs in pairs if session.true_count is not None]
    delegation = score_delegation(sessions, said, acts) if any(session.dues for session in sessions) else None
    yielding = score_yielding(sessions, said) if any(session.interrupted_ms for session in sessions) else None
    return FamilyFigures(events, score_counts(counts) if counts else None, delegation, yielding)


def score_listening(system: System, num_sessions: int, advance: Advance) -> list[HeardResult]:
    """Words heard right: of every group of synthesised voices the system's row, then the trivial answers'. Raises as
    ``heard.groups``."""
    results: list[HeardResult] = []
    for group, sources in groups(num_sessions).items():
        score, said = NOTHING_SAID, []
        for played in system.play(sources):
            score += score_heard(played.scenario, played.outputs)
            said.append([word.text for word in played.scenario.heard])
            advance()
        rows = [(system.name, score), *trivial_answers(said)]
        results += [HeardResult(group, name, found) for name, found in rows]
    return results


@dataclass(frozen=True, kw_only=True)
class LongConfig:
    """``num_sessions`` sessions of ``minutes``, of which the first and the last ``edge_minutes`` are compared."""

    num_sessions: int = 4
    minutes: float = 60.0
    edge_minutes: float = 5.0

    def __post_init__(self) -> None:
        if self.num_sessions < 1 or self.edge_minutes <= 0.0 or 2 * self.edge_minutes > self.minutes:
            raise InputError(f"a session of {self.minutes:g} minutes has no two edges of {self.edge_minutes:g} minutes")


@dataclass(frozen=True)
class LongResult:
    """Events in the scenarios at the beginning and at the end of long sessions."""

    config: LongConfig
    first: EventScore
    last: EventScore

    @property
    def points_lost(self) -> float | None:
        """Event accuracy of the first minutes less that of the last, in percentage points."""
        if self.first.event_accuracy is None or self.last.event_accuracy is None:
            return None
        return 100.0 * (self.first.event_accuracy - self.last.event_accuracy)


def num_parts(config: LongConfig) -> int:
    """Roughly how many scenarios strung together ``score_long`` plays (for a progress bar)."""
    return round(config.num_sessions * config.minutes * 60_000 / 50_000)


def score_long(system: System, config: LongConfig, advance: Advance) -> LongResult:
    """Play the sessions; a part (about 50 s) belongs to an edge when any of it lies within."""
    edge_turns = config.edge_minutes * 60_000 / TURN_MS
    last_from = config.minutes * 60_000 / TURN_MS - edge_turns
    first: list[SessionScore] = []
    last: list[SessionScore] = []
    turns = [0] * config.num_sessions
    for played in system.play([partial(_parts, config, seed) for seed in range(config.num_sessions)]):
        start = turns[played.session]
        end = turns[played.session] = start + played.scenario.num_turns
        score = score_session(played.scenario.events, played.scenario.num_turns, said_runs(played.outputs))
        if start < edge_turns:
            first.append(score)
        elif end > last_from:
            last.append(score)
        advance()
    return LongResult(config, summarise(first), summarise(last))


def _parts(config: LongConfig, seed: int) -> Iterator[Scenario]:
    target_ms = config.minutes * 60_000
    return (part for _, part in string_parts(FIRST_SEED + seed, "heldout", target_ms, assistant=False))
