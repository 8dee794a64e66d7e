"""Does the model stop when somebody speaks into what it says (family ``interrupt``), and how soon?

Only interruptions of something that is being said count: whoever never speaks has never yielded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from microturn.bench.events import Said
from microturn.scenario.scenario import Scenario
from microturn.turn import TURN_MS

SOON_MS = 600.0
"""From the beginning of the user's first word to silence."""


@dataclass(frozen=True)
class YieldScore:
    """``None`` where nothing was interrupted."""

    num_interruptions: int
    """Times at which the user was to begin while the model speaks."""
    num_speaking: int
    """Of them, those at which it did."""
    yielded: float | None
    """Share of the latter after which it was silent within ``SOON_MS``."""
    silent_ms: float | None
    """From the beginning of the user's first word, median of all of them."""


def score_yielding(sessions: Sequence[Scenario], said: Sequence[Sequence[Said]]) -> YieldScore:
    """One list of what was said a session."""
    silent_ms = [
        (run.first_turn + run.num_turns + 1) * TURN_MS - start_ms
        for session, runs in zip(sessions, said, strict=True)
        for start_ms in session.interrupted_ms
        for run in runs
        if run.first_turn <= start_ms / TURN_MS - 1 < run.first_turn + run.num_turns
    ]
    return YieldScore(
        num_interruptions=sum(len(session.interrupted_ms) for session in sessions),
        num_speaking=len(silent_ms),
        yielded=sum(after_ms <= SOON_MS for after_ms in silent_ms) / len(silent_ms) if silent_ms else None,
        silent_ms=median(silent_ms) if silent_ms else None,
    )
