"""Cost of a turn, on a clock that the test owns: constant cost is found constant, growing cost is found out."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from microturn.bench import cost
from microturn.bench.cost import TURNS_PER_MINUTE, busy_turns, measure_cost, resident_mb
from microturn.errors import InputError
from microturn.session.session import Session
from microturn.turn import TURN_SAMPLES, TurnInput, TurnOutput


class Clock:
    """A clock that only sessions move."""

    now_s = 0.0


class Worker(Session):
    """A session whose turn ``n`` takes ``cost_ms(n)``; every hundredth takes 50 ms more. From turn ``speaks_from`` on
    it speaks in three turns of four, each of which takes 10 ms more."""

    def __init__(self, clock: Clock, cost_ms: Callable[[int], float], speaks_from: int | None = None) -> None:
        self._clock = clock
        self._cost_ms = cost_ms
        self._turn = 0
        self._speaks_from = speaks_from

    def step(self, turn_input: TurnInput) -> TurnOutput:
        turn_input.check(self._turn)
        speaks = self._speaks_from is not None and self._turn >= self._speaks_from and self._turn % 4 > 0
        cost_ms = self._cost_ms(self._turn) + 10.0 * speaks + (50.0 if self._turn % 100 == 50 else 0.0)
        self._clock.now_s += cost_ms / 1000.0
        self._turn += 1
        return TurnOutput(self._turn - 1, "", "", None, speaks, np.zeros(TURN_SAMPLES, np.float32))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    own = Clock()
    monkeypatch.setattr("microturn.bench.cost.time.perf_counter", lambda: own.now_s)
    silent = TurnInput(np.zeros(TURN_SAMPLES, np.float32), np.zeros((8, 8, 3), np.uint8))

    def turns(workers: object) -> Iterator[TurnInput]:
        while True:
            yield silent

    monkeypatch.setattr(cost, "busy_turns", turns)
    return own


def test_constant_cost(clock: Clock) -> None:
    minutes = []
    with ThreadPoolExecutor(1) as workers:
        result = measure_cost(lambda: Worker(clock, lambda turn: 10.0), 3, workers, lambda: minutes.append(1))
    assert len(minutes) == 3
    assert result.num_turns == 3 * TURNS_PER_MINUTE
    assert result.p50_ms == pytest.approx(10.0)
    assert 10.0 < result.p99_ms <= 60.0 + 1e-6
    assert result.ratio == pytest.approx(1.0)
    assert result.last_minute_mb > 0.0


def test_growing_cost(clock: Clock) -> None:
    with ThreadPoolExecutor(1) as workers:
        result = measure_cost(lambda: Worker(clock, lambda turn: 10.0 + turn / 300.0), 3, workers, lambda: None)
    assert result.first_minute_ms == pytest.approx(10.5, abs=0.1)
    assert result.last_minute_ms == pytest.approx(12.5, abs=0.1)
    assert result.ratio > 1.05


def test_that_an_old_session_says_more_is_no_growth(clock: Clock) -> None:
    last_minute = 2 * TURNS_PER_MINUTE
    with ThreadPoolExecutor(1) as workers:
        result = measure_cost(lambda: Worker(clock, lambda turn: 10.0, last_minute), 3, workers, lambda: None)
    assert result.p99_ms >= 20.0 and result.ratio == pytest.approx(1.0)


def test_too_short_a_session(clock: Clock) -> None:
    with ThreadPoolExecutor(1) as workers, pytest.raises(InputError, match="first and last minute"):
        measure_cost(lambda: Worker(clock, lambda turn: 1.0), 1, workers, lambda: None)


def test_every_turn_has_sound_and_a_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "PARTS_AT_A_TIME", 1)
    monkeypatch.setattr(cost, "PART_MS", 5_000.0)
    with ThreadPoolExecutor(1) as workers:
        turns = busy_turns(workers)
        for turn in range(40):
            given = next(turns)
            given.check(turn)
            assert given.audio is not None
            assert given.frame is not None


def test_memory_is_seen() -> None:
    before_mb = resident_mb()
    # Not an array: it may lie in memory that the process has kept of earlier ones.
    with mmap.mmap(-1, 50 * 2**20) as block:
        for _ in range(50):
            block.write(bytes([1]) * 2**20)
        assert 40.0 < resident_mb() - before_mb < 80.0
