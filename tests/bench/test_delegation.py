"""What is handed over, scored on sessions made by hand, and on the labels of real ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

import numpy as np
import pytest

from microturn.bench.delegation import ACT_LATE_MS, DelegationScore, acts_of, score_delegation
from microturn.bench.events import said_runs
from microturn.bench.suite import sessions_of
from microturn.bench.systems import always_delegate, labels, never_speak
from microturn.scenario.families.delegate import DELEGATE, HOLD
from microturn.scenario.scenario import Due, Event, Scenario
from microturn.turn import TURN_MS, TURN_SAMPLES, Act, TurnOutput

SILENCE = np.zeros(TURN_SAMPLES, np.float32)
REQUEST, REMARK = Due(Act.DELEGATE, 1000.0, 2000.0), Due(None, 5000.0, 6000.0)
CORRECTION, CANCEL = Due(Act.DELEGATE, 5000.0, 6000.0, corrects=True), Due(Act.CANCEL, 5000.0, 6000.0)
RESULT = Event(DELEGATE, "red car park", 8000.0, 0.0, 1000.0, 8000.0)


def score(
    dues: list[Due], acts: list[tuple[float, Act]], said: dict[float, str] | None = None, *events: Event
) -> DelegationScore:
    """Acts by the end of their turn; what is said by its moment, each text in one turn."""
    said = said or {}
    outputs = []
    for turn in range(60):
        now_ms = (turn + 1.0) * TURN_MS
        act = next((act for at_ms, act in acts if at_ms == now_ms), None)
        text = said.get(now_ms)
        outputs.append(TurnOutput(turn, "", f" {text}" if text else "", act, text is not None, SILENCE))
    session = Scenario(DELEGATE, 60, np.zeros(0, np.float32), events=list(events), dues=dues)
    return score_delegation([session], [said_runs(outputs)], [acts_of(outputs)])


@pytest.mark.parametrize(
    ("acts", "handed_over", "left"),
    [
        ([(2200.0, Act.DELEGATE)], 1.0, 1.0),
        ([], 0.0, 1.0),
        ([(2200.0, Act.CANCEL)], 0.0, 1.0),
        ([(1800.0, Act.DELEGATE)], 0.0, 1.0),
        ([(3600.0, Act.DELEGATE)], 1.0, 1.0),
        ([(3800.0, Act.DELEGATE)], 0.0, 1.0),
        ([(2200.0, Act.DELEGATE), (3000.0, Act.DELEGATE)], 0.0, 1.0),
        ([(2200.0, Act.DELEGATE), (6200.0, Act.DELEGATE)], 1.0, 0.0),
        ([(2200.0, Act.DELEGATE), (5400.0, Act.CANCEL)], 1.0, 0.0),
        ([(200.0, Act.DELEGATE), (2200.0, Act.DELEGATE)], 0.0, 1.0),
    ],
)
def test_one_act_after_what_asks_for_it_and_none_after_anything_else(
    acts: list[tuple[float, Act]], handed_over: float, left: float
) -> None:
    assert ACT_LATE_MS == 1600.0
    found = score([REQUEST, REMARK], acts)
    assert (found.num_requests, found.handed_over, found.num_others, found.left) == (1, handed_over, 1, left)


@pytest.mark.parametrize(
    ("said", "in_time", "right"),
    [
        ({8200.0: "red car park"}, 1.0, 1.0),
        ({8200.0: "red car bark"}, 1.0, 0.0),
        ({8200.0: "red"}, 0.0, 0.0),
        ({8200.0: "let me see"}, 0.0, 0.0),
        ({7800.0: "red car park"}, 0.0, 0.0),
        ({9200.0: "red car park"}, 0.0, 0.0),
        ({}, 0.0, 0.0),
    ],
)
def test_a_result_is_to_be_begun_in_its_window(said: dict[float, str], in_time: float, right: float) -> None:
    found = score([REQUEST], [], said, RESULT)
    assert (found.num_results, found.in_time, found.results_right) == (1, in_time, right)
    assert found.num_follow_ups == 0 and found.followed is None


def test_answers_given_meanwhile_are_follow_ups_and_words_that_hold_the_line_are_not() -> None:
    events = [
        Event(HOLD, "one moment", 2200.0, 200.0, 1000.0, 2000.0),
        Event("say", "blue", 6200.0, 200.0, 900.0, 6000.0),
    ]
    found = score([REQUEST, REMARK], [], {2200.0: "one moment", 6400.0: "blue"}, *events)
    assert (found.num_follow_ups, found.followed, found.num_results) == (1, 1.0, 0)
    assert score([REQUEST, REMARK], [], {}, *events).followed == 0.0


def test_corrections_are_handed_over_and_cancellations_heeded() -> None:
    for due, act in ((CORRECTION, Act.DELEGATE), (CANCEL, Act.CANCEL)):
        assert score([REQUEST, due], [(6200.0, act)]).changed == 1.0
        assert score([REQUEST, due], []).changed == 0.0
    okay = Event(HOLD, "okay", 6200.0, 200.0, 1000.0, 6000.0)
    for said, heeded in (({6200.0: "okay"}, 1.0), ({6200.0: "okay", 8200.0: "red car park"}, 0.0)):
        found = score([REQUEST, CANCEL], [(6200.0, Act.CANCEL)], said, okay)
        assert (found.num_changes, found.changed) == (1, heeded)
    assert score([REQUEST, CANCEL], [(6200.0, Act.DELEGATE)]).changed == 0.0


def test_labels_are_right_silence_is_not_and_reading_out_at_once_is_not_enough() -> None:
    sessions = [session for source in sessions_of(DELEGATE, 30, words_given=True) for session in source()]

    def of(answer: Callable[[Scenario], list[TurnOutput]]) -> DelegationScore:
        outputs = [answer(session) for session in sessions]
        return score_delegation(sessions, [said_runs(one) for one in outputs], [acts_of(one) for one in outputs])

    counts = [field.name for field in fields(DelegationScore) if field.name.startswith("num_")]
    shares = [field.name for field in fields(DelegationScore) if not field.name.startswith("num_")]
    right, silent, eager = of(labels), of(never_speak), of(always_delegate)
    assert all(getattr(right, name) == getattr(silent, name) == getattr(eager, name) > 3 for name in counts)
    assert all(getattr(right, name) == 1.0 for name in shares)
    assert {name: getattr(silent, name) for name in shares} == {
        "handed_over": 0.0, "left": 1.0, "followed": 0.0, "in_time": 0.0, "results_right": 0.0, "changed": 0.0,
    }  # fmt: skip
    assert eager.handed_over == 1.0 and eager.left is not None and eager.left < 0.2
    assert eager.in_time is not None and 0.3 < eager.in_time < 0.85
