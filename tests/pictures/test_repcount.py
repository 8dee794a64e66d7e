"""Repetition times: parsing of messy tables, sampling within limits, and closeness of the fit to the real videos."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microturn.errors import InputError
from microturn.pictures.repcount import (
    MAX_PAUSE_MS,
    DrawnTiming,
    RepTiming,
    drawn_timing,
    load_timings,
    sample_timing,
    slowed,
)

DATA = os.environ.get("MICROTURN_DATA")
needs_data = pytest.mark.skipif(DATA is None, reason="MICROTURN_DATA does not name a folder of real data")

TABLE = """,Unnamed: 0,type,name,count,L1,L2,L3,L4,L5,L6,fps,duration
0,0,squant,a.mp4,2.0,10.0,40.0,50,80,,,10.0,9.0
1,1,jump_jack,b.mp4,1,0.0,15.0,nan,NaN,,,30,2.0
2,2,pullups,c.mp4,0.0,,,,,,,30,2.0
3,3,situp,d.mp4,1.0,20,10,,,,,30,2.0
4,4,situp,e.mp4,,20,40,,,,,,2.0
5,5,pull_up,f.mp4,1.0,20,40,60,,,,30,2.0
6,6,hula_hoop,g.mp4,2.0,0,25,25,50,,,25,2.0
"""


def test_messy_rows_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_text(TABLE)
    timings = load_timings(path)
    assert timings == [
        RepTiming((1000.0, 5000.0), (4000.0, 8000.0)),
        RepTiming((0.0,), (500.0,)),
        RepTiming((0.0, 1000.0), (1000.0, 2000.0)),
    ]
    assert timings[0].cycles_ms == (3000.0, 3000.0)
    assert timings[0].gaps_ms == (1000.0, 1000.0)
    assert timings[2].gaps_ms == (0.0, 0.0)


@pytest.mark.parametrize("content", [None, "", "a,b\n1,2\n", b"\xff\xfe\x00type,L1"])
def test_a_table_without_repetitions_is_an_error_that_names_it(tmp_path: Path, content: str | bytes | None) -> None:
    path = tmp_path / "nothing.csv"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match="nothing.csv"):
        load_timings(path)


def test_a_quick_video_is_slowed_as_a_whole_and_its_shortest_cycles_are_lengthened() -> None:
    quick = RepTiming((100.0, 700.0, 1200.0), (400.0, 1000.0, 1650.0))
    slow = slowed(quick)
    assert slow.cycles_ms == pytest.approx((900.0, 900.0, 1350.0))
    assert slow.gaps_ms == pytest.approx((100.0, 900.0, 600.0))
    assert slowed(slow) == slow


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    max_duration_ms=st.floats(900.0, 60_000.0),
    max_count=st.integers(1, 30),
    real=st.booleans(),
)
def test_samples_keep_every_limit(seed: int, max_duration_ms: float, max_count: int, real: bool) -> None:
    rng = np.random.default_rng(seed)
    rows = [drawn_timing(rng, 60) for _ in range(3)] if real else None
    timing = sample_timing(rng, rows, max_duration_ms, max_count)
    assert 1 <= len(timing.end_ms) == len(timing.start_ms) <= max_count
    assert timing.end_ms[-1] <= max_duration_ms + 1e-3
    assert min(timing.cycles_ms) >= 900.0 - 1e-3
    assert min(timing.gaps_ms) >= -1e-6
    assert max(timing.gaps_ms) <= MAX_PAUSE_MS + 1e-3


def test_too_short_a_video_is_an_error() -> None:
    with pytest.raises(InputError, match="no repetition"):
        sample_timing(np.random.default_rng(0), None, 500.0)


def test_a_long_row_gives_many_different_counts() -> None:
    row = RepTiming(tuple(1000.0 * i for i in range(60)), tuple(1000.0 * i + 1000.0 for i in range(60)))
    rng = np.random.default_rng(3)
    counts = {len(sample_timing(rng, [row], 20_000.0).end_ms) for _ in range(200)}
    assert len(counts) > 8


def _medians_s(timings: list[RepTiming]) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.array([np.median(timing.cycles_ms) for timing in timings]) / 1000.0


def test_drawn_videos_have_the_fitted_statistics() -> None:
    rng = np.random.default_rng(0)
    fit = DrawnTiming()
    drawn = [drawn_timing(rng, 200) for _ in range(3000)]
    logs = np.log(_medians_s(drawn))
    assert logs.mean() == pytest.approx(fit.cycle_log_mean, abs=0.06)
    assert logs.std() == pytest.approx(fit.cycle_log_std, abs=0.06)
    assert np.log([len(timing.end_ms) for timing in drawn]).mean() == pytest.approx(fit.count_log_mean, abs=0.1)
    late = [timing.gaps_ms[0] > 0 for timing in drawn]
    assert np.mean(late) == pytest.approx(1 - fit.delay_zero_share, abs=0.03)


@needs_data
def test_the_fit_is_near_the_real_training_videos() -> None:
    real = load_timings(Path(DATA or "") / "video/repcount/train_with_fps.csv")
    rng = np.random.default_rng(0)
    drawn = [drawn_timing(rng, 200) for _ in range(3000)]
    assert len(real) == 755
    for share in (0.25, 0.5, 0.75):
        assert np.quantile(_medians_s(drawn), share) == pytest.approx(np.quantile(_medians_s(real), share), rel=0.25)
        counts = [np.quantile([len(timing.end_ms) for timing in part], share) for part in (drawn, real)]
        assert counts[0] == pytest.approx(counts[1], rel=0.35)
    paused = [np.mean([any(gap > 300 for gap in timing.gaps_ms[1:]) for timing in part]) for part in (drawn, real)]
    assert paused[0] == pytest.approx(paused[1], abs=0.08)


@needs_data
def test_real_test_rows_are_read_whole() -> None:
    real = load_timings(Path(DATA or "") / "video/repcount/test_with_fps.csv")
    assert len(real) == 150
    sit_ups_ms = pytest.approx((59 / 14 * 1000, 95 / 14 * 1000, 133 / 14 * 1000))
    assert any(timing.end_ms == sit_ups_ms for timing in real)
