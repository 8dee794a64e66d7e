"""When repetitions happen: cycle lengths, pauses and counts of real exercise videos, or drawn like them.

The real ones are the annotations of RepCount-A (Hu et al. 2022, "TransRAC: Encoding Multi-scale Temporal Correlation
with Transformers for Repetitive Action Counting", section 3): for every video the first and the last frame of each
repetition. Without the file, ``drawn_timing`` draws from distributions fitted to its training part.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from microturn.errors import InputError

MIN_CYCLE_MS = 900.0
"""A number must fit between the ends of two repetitions."""
MAX_COUNT = 30
MAX_PAUSE_MS = 6_000.0
"""Longer pauses (one in eight of the real ones) are cut to this: they would only show rest."""
MAX_DELAY_MS = 3_000.0
"""Longer rests before the first repetition (28 % of the real ones) are cut to a random length below this."""


@dataclass(frozen=True)
class DrawnTiming:
    """Parameters of ``drawn_timing``, fitted to 755 usable rows of RepCount-A's training part.

    ``cycle_*``: mean and standard deviation, over videos, of the log of the median cycle in seconds (median 1.93 s,
    5 to 95 %: 0.70 to 4.90 s). ``spread_*``: the same of the log of the within-video standard deviation of log cycle
    length (videos of four cycles or more; median 0.12). ``pause_*``: a pause is a gap of more than 0.3 s between two
    cycles; 30 % of the videos have one, and in these 24 % of the gaps are pauses, whose log length in seconds is
    normal. ``delay_*``: 15 % of the videos start with a repetition within 0.1 s, the log delay of the others is
    normal. ``count_*``: log of the number of repetitions. All by moments; lengths of neighbouring cycles are drawn
    independently (their median correlation is 0.14).
    """

    cycle_log_mean: float = 0.611
    cycle_log_std: float = 0.652
    spread_log_mean: float = -2.039
    spread_log_std: float = 0.688
    pause_video_share: float = 0.301
    pause_gap_share: float = 0.244
    pause_log_mean: float = 0.790
    pause_log_std: float = 1.080
    delay_zero_share: float = 0.155
    delay_log_mean: float = 0.423
    delay_log_std: float = 1.389
    count_log_mean: float = 2.250
    count_log_std: float = 0.971


@dataclass(frozen=True)
class RepTiming:
    """Start and end of every repetition, milliseconds from the video's start, in order and without overlap."""

    start_ms: tuple[float, ...]
    end_ms: tuple[float, ...]

    @property
    def cycles_ms(self) -> tuple[float, ...]:
        """Length of every repetition."""
        return tuple(end - start for start, end in zip(self.start_ms, self.end_ms, strict=True))

    @property
    def gaps_ms(self) -> tuple[float, ...]:
        """Rest before every repetition; the first is the delay from the video's start."""
        before = (0.0, *self.end_ms[:-1])
        return tuple(start - end for start, end in zip(self.start_ms, before, strict=True))


def _number(cell: str | None) -> float | None:
    """The finite number in a cell, or ``None`` for an empty or unreadable one."""
    try:
        value = float(cell or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _parse_row(row: dict[str, str | None]) -> RepTiming | None:
    """A row with at least one repetition, whole pairs, growing times and a frame rate; else ``None``."""
    fps = _number(row.get("fps"))
    marks = [value for key, cell in row.items() if key[:1] == "L" and key[1:].isdigit()
             if (value := _number(cell)) is not None]  # fmt: skip
    if not fps or fps <= 0 or len(marks) < 2 or len(marks) % 2:
        return None
    start_ms = tuple(mark * 1000.0 / fps for mark in marks[::2])
    end_ms = tuple(mark * 1000.0 / fps for mark in marks[1::2])
    timing = RepTiming(start_ms, end_ms)
    return timing if min(timing.cycles_ms) > 0 and min(timing.gaps_ms) >= 0 else None


def load_timings(path: Path) -> list[RepTiming]:
    """Every video's repetitions in a RepCount-A table (``train_with_fps.csv``, ``test_with_fps.csv``).

    Rows that cannot be used (no frame rate, no repetition, an end before its start) are left out: 3 of the 758
    training rows and 2 of the 152 test rows. Raises ``InputError`` if the file cannot be read or has no usable row.
    """
    try:
        with path.open(newline="") as file:
            timings = [timing for row in csv.DictReader(file) if (timing := _parse_row(row)) is not None]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot read repetition times: {error}") from error
    if not timings:
        raise InputError(f"{path}: no row with repetition times (columns type, L1, L2, ..., fps)")
    return timings


def _joined(gaps_ms: NDArray[np.float64], cycles_ms: NDArray[np.float64]) -> RepTiming:
    """Timing from the rest before every cycle and the cycles' lengths, (N,) each."""
    marks = np.cumsum(np.stack([gaps_ms, cycles_ms], axis=1))
    return RepTiming(tuple(marks[::2].tolist()), tuple(marks[1::2].tolist()))


def slowed(timing: RepTiming) -> RepTiming:
    """The same repetitions, none shorter than ``MIN_CYCLE_MS``.

    A video whose median cycle is too short is slowed as a whole (90 of 755 training rows, 10 of 150 test rows); cycles
    that are still too short are then lengthened one by one (202 training rows and 40 test rows have at least one cycle
    below 900 ms to begin with). The delay before the first repetition stays.
    """
    cycles = np.asarray(timing.cycles_ms)
    gaps = np.asarray(timing.gaps_ms)
    factor = max(1.0, MIN_CYCLE_MS / float(np.median(cycles)))
    gaps[1:] *= factor
    return _joined(gaps, np.maximum(cycles * factor, MIN_CYCLE_MS))


def drawn_timing(rng: np.random.Generator, max_count: int = MAX_COUNT) -> RepTiming:
    """Draw one video's repetitions from the fit to RepCount-A; neither slowed nor cut to a length."""
    fit = DrawnTiming()
    count = int(np.clip(round(rng.lognormal(fit.count_log_mean, fit.count_log_std)), 1, max_count))
    # Tails are cut at what the real videos contain: cycles of 0.3 to 10 s, spreads up to a half.
    median_s = float(np.clip(rng.lognormal(fit.cycle_log_mean, fit.cycle_log_std), 0.3, 10.0))
    spread = min(0.5, rng.lognormal(fit.spread_log_mean, fit.spread_log_std))
    cycles_s = median_s * rng.lognormal(0.0, spread, count)
    gaps_s = np.zeros(count)
    if rng.random() < fit.pause_video_share:
        paused = rng.random(count) < fit.pause_gap_share
        gaps_s = np.where(paused, np.maximum(0.3, rng.lognormal(fit.pause_log_mean, fit.pause_log_std, count)), 0.0)
    late = rng.random() >= fit.delay_zero_share
    gaps_s[0] = rng.lognormal(fit.delay_log_mean, fit.delay_log_std) if late else 0.0
    return _joined(gaps_s * 1000.0, cycles_s * 1000.0)


def sample_timing(
    rng: np.random.Generator,
    timings: Sequence[RepTiming] | None,
    max_duration_ms: float,
    max_count: int = MAX_COUNT,
) -> RepTiming:
    """Repetitions for one video of at most ``max_duration_ms`` (the last repetition ends within it).

    A real row of ``timings`` (or a drawn one) is slowed so that no cycle is shorter than ``MIN_CYCLE_MS``, given a
    tempo of its own (a tenth up or down), and, if it is too long, cut to a stretch that starts at a random repetition.
    Long pauses and delays are shortened. Always 1 to ``max_count`` repetitions. Raises ``InputError`` if not even one
    fits.
    """
    if max_duration_ms < MIN_CYCLE_MS or max_count < 1:
        raise InputError(f"no repetition of {MIN_CYCLE_MS:.0f} ms fits into {max_duration_ms:.0f} ms of video")
    source = drawn_timing(rng) if timings is None else timings[int(rng.integers(len(timings)))]
    tempo = float(np.exp(rng.uniform(-0.1, 0.1)))
    timing = slowed(_joined(np.asarray(source.gaps_ms) * tempo, np.asarray(source.cycles_ms) * tempo))
    cycles = np.minimum(np.asarray(timing.cycles_ms), max_duration_ms)
    gaps = np.minimum(np.asarray(timing.gaps_ms), MAX_PAUSE_MS)
    if gaps[0] > MAX_DELAY_MS:
        gaps[0] = rng.uniform(0.0, MAX_DELAY_MS)
    if len(cycles) > max_count or gaps.sum() + cycles.sum() > max_duration_ms:
        first = int(rng.integers(len(cycles)))
        cycles, gaps = cycles[first:], np.concatenate([gaps[:1], gaps[first + 1 :]])
    gaps[0] = min(gaps[0], max_duration_ms - cycles[0])
    timing = _joined(gaps, cycles)
    kept = min(max_count, sum(end <= max_duration_ms + 1e-6 for end in timing.end_ms))
    return RepTiming(timing.start_ms[:kept], timing.end_ms[:kept])
