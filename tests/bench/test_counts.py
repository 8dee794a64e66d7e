"""The RepCount rule on answers whose scores are known."""

from __future__ import annotations

import numpy as np
import pytest

from microturn.bench.events import Said, SaidWord, counted, numbers_said, score_counts
from microturn.scenario.scenario import Scenario


def said(turn: int, text: str) -> Said:
    return Said(turn, 3, tuple(SaidWord(word, turn + place) for place, word in enumerate(text.split())))


def session(penultimate_end_ms: float | None) -> Scenario:
    return Scenario("count", 50, np.zeros(0, np.float32), true_count=3, penultimate_end_ms=penultimate_end_ms)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("seven", [7]),
        ("twenty one", [21]),
        ("nineteen twenty twenty one", [19, 20, 21]),
        ("one hundred five", [105]),
        ("that is three", [3]),
        ("red car", []),
    ],
)
def test_numbers_in_words(text: str, numbers: list[int]) -> None:
    assert [number for _, number in numbers_said([said(4, text)])] == numbers


def test_time_of_a_number_is_its_first_sound() -> None:
    assert numbers_said([said(4, "one two")]) == [(1000.0, 1), (1200.0, 2)]


def test_last_number_after_the_last_repetition_but_one_counts() -> None:
    runs = [said(4, "one"), said(9, "two"), said(14, "three")]
    assert counted(session(1_900.0), runs) == 3
    assert counted(session(1_900.0), runs[:2]) == 2, "said at 2,000 ms"
    assert counted(session(2_001.0), runs[:2]) is None, "said too early to be the answer"
    assert counted(session(None), runs[:1]) == 1, "a single repetition has none before it"


def test_scores() -> None:
    score = score_counts([(10, 10), (9, 10), (None, 1), (2, 4)])
    assert score.exact_accuracy == 0.25
    assert score.off_by_one_accuracy == 0.5, "no number is wrong, even next to a count of one"
    assert score.normalised_error == pytest.approx((0 + 1 / 10.1 + 1 / 1.1 + 2 / 4.1) / 4)
