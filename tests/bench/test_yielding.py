"""When silence comes after an interruption, and which interruptions count."""

from __future__ import annotations

import numpy as np
import pytest

from microturn.bench.events import Said
from microturn.bench.yielding import score_yielding
from microturn.scenario.scenario import Scenario


def interrupted(*start_ms: float) -> Scenario:
    return Scenario("interrupt", 60, np.zeros(0, np.float32), interrupted_ms=list(start_ms))


def spoke(first_turn: int, num_turns: int) -> Said:
    return Said(first_turn, num_turns, ())


def test_silence_is_timed_from_the_first_word() -> None:
    """Turns 4 to 9 are heard from 1.0 to 2.2 s."""
    score = score_yielding([interrupted(1800.0)], [[spoke(4, 6)]])
    assert (score.num_interruptions, score.num_speaking) == (1, 1)
    assert score.silent_ms == pytest.approx(400.0) and score.yielded == 1.0
    assert score_yielding([interrupted(1500.0)], [[spoke(4, 6)]]).yielded == 0.0


def test_only_what_is_being_said_can_be_interrupted() -> None:
    score = score_yielding([interrupted(900.0, 2300.0), interrupted()], [[spoke(4, 6)], [spoke(4, 6)]])
    assert (score.num_interruptions, score.num_speaking, score.yielded, score.silent_ms) == (2, 0, None, None)
