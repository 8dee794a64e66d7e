"""Admission: by what turns cost."""

from __future__ import annotations

import pytest

from microturn.engine.admission import BUDGET_MS, RECENT_TICKS, Admission


def test_what_the_curve_says_counts_before_anything_was_measured() -> None:
    admission = Admission({1: 20.0, 4: 50.0, 8: 90.0})
    assert admission.expected_ms(4) == 50.0
    assert admission.expected_ms(6) == pytest.approx(70.0)
    assert admission.expected_ms(16) == 180.0
    assert admission.retry_after_ms(8) == 0
    assert admission.retry_after_ms(16) > 0


def test_dear_turns_close_the_door_and_cheap_ones_open_it_again() -> None:
    admission = Admission({1: 20.0, 8: 90.0})
    for _ in range(RECENT_TICKS):
        admission.measured(4, 130.0)
    assert admission.expected_ms(4) == pytest.approx(130.0) and admission.retry_after_ms(4) == 0
    assert admission.expected_ms(5) > BUDGET_MS and admission.retry_after_ms(5) > 0
    for _ in range(RECENT_TICKS):
        admission.measured(4, 50.0)
    assert admission.retry_after_ms(5) == 0


def test_one_dear_turn_does_not() -> None:
    admission = Admission({1: 20.0, 8: 90.0})
    for tick in range(RECENT_TICKS):
        admission.measured(1, 500.0 if tick == 50 else 20.0)
    assert admission.retry_after_ms(2) == 0


def test_an_empty_engine_forgets_what_it_measured() -> None:
    admission = Admission({1: 20.0})
    admission.measured(1, 500.0)
    assert admission.retry_after_ms(1) > 0
    admission.measured(0, 0.1)
    assert admission.retry_after_ms(1) == 0
