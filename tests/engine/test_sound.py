"""Sound in chunks of any length and at any time becomes turns: nothing is lost or invented but silence."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from microturn.engine.sound import (
    CUSHION_SAMPLES,
    CUSHION_STEP_SAMPLES,
    LONG_CUSHION_SAMPLES,
    MAX_WAITING_SAMPLES,
    PATIENCE_TURNS,
    SoundQueue,
)
from microturn.turn import SAMPLE_RATE_HZ, TURN_SAMPLES, Pcm

CHUNK = CUSHION_SAMPLES
"""20 ms."""


def pushed(queue: SoundQueue, pcm: Pcm) -> None:
    """In chunks, as clients send sound."""
    for start in range(0, len(pcm), CHUNK):
        assert queue.push(pcm[start : start + CHUNK])


def counted(first: int, num_samples: int) -> Pcm:
    """Loud samples that all differ."""
    return np.arange(first + 1, first + num_samples + 1, dtype=np.float32)


def test_nothing_is_a_gap() -> None:
    assert SoundQueue().take() is None


def test_chunks_of_no_length_are_not_kept() -> None:
    queue = SoundQueue()
    assert all(queue.push(np.zeros(0, np.float32)) for _ in range(1000))
    assert not queue._chunks and queue.take() is None


def test_sound_that_begins_in_the_middle_of_a_turn_is_preceded_by_silence() -> None:
    queue = SoundQueue()
    queue.push(counted(0, 2000))
    turn = queue.take()
    assert turn is not None
    there = 2000 - LONG_CUSHION_SAMPLES
    assert not turn[: TURN_SAMPLES - there].any()
    assert np.array_equal(turn[TURN_SAMPLES - there :], counted(0, there))
    assert queue.waiting_samples == LONG_CUSHION_SAMPLES


def test_sound_that_has_only_just_begun_waits() -> None:
    queue = SoundQueue()
    queue.push(counted(0, LONG_CUSHION_SAMPLES))
    assert queue.take() is None
    queue.push(counted(LONG_CUSHION_SAMPLES, TURN_SAMPLES))
    turn = queue.take()
    assert turn is not None and np.array_equal(turn, counted(0, TURN_SAMPLES))


def test_a_late_chunk_makes_a_gap_and_what_is_there_waits() -> None:
    queue = SoundQueue()
    queue.push(counted(0, TURN_SAMPLES))
    assert queue.take() is not None
    queue.push(counted(0, 1000))
    assert queue.take() is None
    queue.push(counted(1000, 3000))
    turn = queue.take()
    assert turn is not None and np.array_equal(turn, counted(0, TURN_SAMPLES))
    assert queue.waiting_samples == 4000 - TURN_SAMPLES


def test_sound_that_ends_in_the_middle_of_a_turn_is_completed_with_silence() -> None:
    queue = SoundQueue()
    queue.push(counted(0, TURN_SAMPLES + 1000))
    queue.take()
    turn = queue.take()
    assert turn is not None
    assert np.array_equal(turn[:1000], counted(TURN_SAMPLES, 1000)) and not turn[1000:].any()
    assert queue.take() is None


def late_queue(late_samples: int, *, loud: bool) -> tuple[SoundQueue, int]:
    """A queue in which ``late_samples`` more than a turn have waited for as long as is borne; and what it left out."""
    queue = SoundQueue()
    queue.push(np.zeros(late_samples, np.float32) + loud)
    for _ in range(PATIENCE_TURNS):
        queue.push(np.zeros(TURN_SAMPLES, np.float32) + loud)
        assert queue.take() is not None
    return queue, queue.trimmed_samples


def test_quiet_sound_that_waits_in_vain_is_left_out() -> None:
    queue, trimmed = late_queue(2000, loud=False)
    assert trimmed == 2000 - LONG_CUSHION_SAMPLES and queue.waiting_samples == LONG_CUSHION_SAMPLES


def test_loud_sound_is_not_cut_for_less_than_a_turn() -> None:
    assert late_queue(2000, loud=True)[1] == 0


def test_sound_that_is_seconds_late_is_cut() -> None:
    queue, trimmed = late_queue(3 * SAMPLE_RATE_HZ, loud=True)
    assert trimmed == 3 * SAMPLE_RATE_HZ - LONG_CUSHION_SAMPLES and queue.waiting_samples == LONG_CUSHION_SAMPLES


def test_what_is_quiet_at_first_and_then_loud_is_cut_up_to_there() -> None:
    queue = SoundQueue()
    queue.push(np.zeros(1000, np.float32))
    for _ in range(PATIENCE_TURNS):
        # The 1,000 samples that wait are the last ones of every turn: 300 quiet, the rest loud.
        queue.push(np.concatenate([np.ones(TURN_SAMPLES - 700), np.zeros(300), np.ones(400)]).astype(np.float32)[::-1])
        queue.take()
    assert queue.trimmed_samples == 0
    queue.push(np.zeros(TURN_SAMPLES, np.float32))
    queue.take()
    queue.push(np.zeros(TURN_SAMPLES, np.float32))
    queue.take()
    assert queue.trimmed_samples == 1000 - LONG_CUSHION_SAMPLES


@pytest.mark.parametrize("late_ms", [10, 30, 60, 90])
def test_the_cushion_grows_until_late_chunks_are_no_gaps(late_ms: int) -> None:
    """Chunks of 20 ms, each of them up to ``late_ms`` late, none before the one before it."""
    rng = np.random.default_rng(late_ms)
    queue = SoundQueue()
    arrival_ms = np.maximum.accumulate(20.0 * np.arange(1, 9000) + rng.uniform(0.0, late_ms, 8999))
    gaps = []
    arrived = 0
    for turn in range(800):
        now_arrived = int(np.searchsorted(arrival_ms, 200.0 * (turn + 1) + 3.0))
        pushed(queue, np.ones(CHUNK * (now_arrived - arrived), np.float32))
        arrived = now_arrived
        gaps.append(queue.take() is None)
    assert sum(gaps[:100]) <= 6, "a second or so until it is large enough"
    assert sum(gaps[100:]) <= 7, "now and then it is tried with less"
    assert queue.cushion_samples <= (late_ms + 40) * 16


def test_a_cushion_that_is_not_needed_any_more_shrinks() -> None:
    queue = SoundQueue()
    pushed(queue, np.zeros(TURN_SAMPLES + CHUNK, np.float32))
    queue.take()
    for _ in range(3):
        pushed(queue, np.zeros(CHUNK, np.float32))
        assert queue.take() is None
    grown = queue.cushion_samples
    assert grown == CUSHION_SAMPLES + 3 * CUSHION_STEP_SAMPLES
    for _ in range(30 * PATIENCE_TURNS):
        pushed(queue, np.zeros(TURN_SAMPLES, np.float32))
        queue.take()
    assert queue.cushion_samples == CUSHION_SAMPLES == queue.waiting_samples


def test_more_than_may_wait_is_refused() -> None:
    queue = SoundQueue()
    assert queue.push(np.zeros(MAX_WAITING_SAMPLES, np.float32))
    assert not queue.push(np.zeros(1, np.float32))
    assert queue.waiting_samples == MAX_WAITING_SAMPLES


@pytest.mark.parametrize("chunk_ms", [10, 20, 32, 40, 60, 100, 200])
@pytest.mark.parametrize("phase_ms", [0, 1, 5, 55, 99, 150, 199])
def test_sound_in_real_time_has_no_gap_after_its_first_turns(chunk_ms: int, phase_ms: int) -> None:
    queue = SoundQueue()
    gaps = []
    arrived = 0
    for turn in range(20):
        due = (turn + 1) * 200
        while phase_ms + (arrived + 1) * chunk_ms <= due:
            queue.push(np.ones(chunk_ms * 16, np.float32))
            arrived += 1
        gaps.append(queue.take() is None)
    assert not any(gaps[2:])
    assert queue.waiting_samples < TURN_SAMPLES


@given(st.lists(st.lists(st.integers(0, 5000), max_size=4), max_size=30))
def test_what_comes_out_is_what_went_in_and_silence(arrivals: list[list[int]]) -> None:
    queue = SoundQueue()
    pushed = 0
    out: list[float] = []
    for chunks in arrivals:
        for num_samples in chunks:
            if queue.push(counted(pushed, num_samples)):
                pushed += num_samples
        turn = queue.take()
        assert turn is None or (turn.shape == (TURN_SAMPLES,) and turn.dtype == np.float32)
        out += [] if turn is None else turn[turn > 0].tolist()
    assert out == sorted(out)
    assert len(out) + queue.waiting_samples + queue.trimmed_samples == pushed
    if not queue.trimmed_samples:
        assert out == counted(0, len(out)).tolist()
