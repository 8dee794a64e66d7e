"""Long sessions: a system that stays good, and one that does not."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain, repeat

import pytest

from microturn.bench import suite
from microturn.bench.suite import LongConfig, num_parts, score_long
from microturn.bench.systems import Answer, System, labels, never_speak
from microturn.errors import InputError

CONFIG = LongConfig(num_sessions=1, minutes=2.5, edge_minutes=0.6)


def tiring(session: int) -> Answer:
    """Right in the first scenario of a session, silent ever after."""
    answers = chain([labels], repeat(never_speak))
    return lambda scenario: next(answers)(scenario)


def test_labels_are_as_good_at_the_end_and_a_tiring_system_is_not() -> None:
    played: list[int] = []
    result = score_long(System("labels", lambda session: labels), CONFIG, lambda: played.append(1))
    assert result.first.event_accuracy == result.last.event_accuracy == 1.0
    assert result.points_lost == 0.0
    assert result.first.num_sessions + result.last.num_sessions < len(played), "the middle belongs to neither"
    tired = score_long(System("tiring", tiring), CONFIG, lambda: None)
    assert (tired.first.num_events, tired.last.num_events) == (result.first.num_events, result.last.num_events)
    assert tired.last.event_accuracy == 0.0
    assert tired.points_lost is not None
    assert tired.points_lost > 50.0


def test_number_of_parts_is_for_the_progress_bar() -> None:
    assert num_parts(LongConfig()) == 288
    assert suite.LongConfig().num_sessions == 4


@pytest.mark.parametrize(
    "make",
    [lambda: LongConfig(minutes=9.0), lambda: LongConfig(num_sessions=0), lambda: LongConfig(edge_minutes=0.0)],
)
def test_edges_must_fit(make: Callable[[], LongConfig]) -> None:
    with pytest.raises(InputError, match="edges"):
        make()
