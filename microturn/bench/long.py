"""Long sessions: is the last part of an hour as good as the first?

Scenarios of all families are strung together into sessions of an hour (held-out voices and wordings). The events of
the scenarios that lie in the first minutes are compared with those in the last minutes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from microturn.bench.events import EventScore, SessionScore, said_runs, score_session, summarise
from microturn.bench.suite import FIRST_SEED, Advance
from microturn.bench.systems import System
from microturn.errors import InputError
from microturn.scenario.generate import string_parts
from microturn.scenario.scenario import Scenario
from microturn.turn import TURN_MS


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
