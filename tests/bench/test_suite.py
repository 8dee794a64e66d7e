"""The whole pipeline with answers that are known: the labels score 100 %, silence scores 0 %."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from microturn.bench.events import CountScore
from microturn.bench.suite import FAMILIES, score_family, sessions_of
from microturn.bench.systems import Played, SessionSource, System, labels, never_speak
from microturn.scenario.scenario import Scenario
from microturn.turn import TurnOutput

SESSIONS = 5
LABELS = System("labels", lambda session: labels)


@pytest.mark.parametrize("family", FAMILIES)
def test_labels_are_right_and_trivial_answers_are_not(family: str) -> None:
    played = []
    sources = sessions_of(family, SESSIONS)
    own, silent, talking, *constant = score_family(family, LABELS, sources, None, lambda: played.append(1))
    assert len(played) == SESSIONS
    assert own.system == "labels"
    events = own.by_lane.events
    assert events.session_accuracy == 1.0
    assert events.extra_words_per_minute == 0.0
    assert silent.by_lane.events.words_per_minute == 0.0
    assert talking.by_lane.events.words_per_minute > 30.0
    assert talking.by_lane.events.session_accuracy == 0.0
    if family == "idle":
        assert (events.num_events, events.event_accuracy, events.words_per_minute) == (0, None, 0.0)
    else:
        assert events.num_events >= SESSIONS
        assert events.event_accuracy == 1.0
        assert silent.by_lane.events.event_accuracy == 0.0
        assert talking.by_lane.events.event_accuracy != 1.0
    if family == "count":
        assert own.by_lane.counts == CountScore(1.0, 1.0, 0.0)
        assert silent.by_lane.counts is not None
        assert silent.by_lane.counts.off_by_one_accuracy == 0.0
        assert constant[0].by_lane.counts is not None
        assert 0.0 < constant[0].by_lane.counts.off_by_one_accuracy < 1.0
    else:
        assert own.by_lane.counts is None
        assert [row.system for row in constant] == (["always delegate, read out"] if family == "delegate" else [])
    assert (own.by_lane.delegation is not None) == (family == "delegate")
    if family in ("say", "cue"):
        assert events.reaction_ms is not None
        assert 100.0 <= events.reaction_ms <= 400.0, "labels answer within the bar"


def test_sessions_are_the_same_every_time() -> None:
    first, second = ([next(iter(source())) for source in sessions_of("say", 2)] for _ in range(2))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.user, other.user)
        assert one.events == other.events
    assert not np.array_equal(first[0].user[:16_000], first[1].user[:16_000])


def test_order_in_which_sessions_end_does_not_matter() -> None:
    class Backwards(System):
        def play(self, sessions: Sequence[SessionSource]) -> Iterator[Played]:
            return reversed(list(super().play(sessions)))

    sources = sessions_of("time", 3)
    rows = [
        score_family("time", system, sources, None, lambda: None)
        for system in (LABELS, Backwards(LABELS.name, LABELS.open))
    ]
    assert rows[0][0].by_lane == rows[1][0].by_lane


def half_deaf(scenario: Scenario) -> list[TurnOutput]:
    """Right in sessions with an even number of turns, silent in the others."""
    return never_speak(scenario) if scenario.num_turns % 2 else labels(scenario)


def test_a_share_of_right_sessions_is_that_share() -> None:
    sources = sessions_of("time", SESSIONS)
    sessions = [session for source in sources for session in source()]
    even = [session.num_turns % 2 == 0 for session in sessions]
    own = score_family("time", System("half", lambda session: half_deaf), sources, None, lambda: None)[0]
    assert own.by_lane.events.session_accuracy == sum(even) / SESSIONS
