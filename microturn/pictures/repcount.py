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

from microturn.errors import InputError

MIN_CYCLE_MS = 900.0
"""A number must fit between the ends of two repetitions."""
MAX_COUNT = 30
MAX_PAUSE_MS = 6_000.0
"""Longer pauses (one in eight of the real ones) are cut to this: they would only show rest."""
MAX_DELAY_MS = 3_000.0
"""Longer rests before the first repetition (28 % of the real ones) are cut to a random length below this."""

SPOKEN_NAMES = {
    "situp": "sit ups",
    "squat": "squats",
    "squant": "squats",
    "bench_pressing": "bench presses",
    "benchpressing": "bench presses",
    "pull_up": "pull ups",
    "pullups": "pull ups",
    "push_up": "push ups",
    "pushups": "push ups",
    "pommelhorse": "circles",
    "front_raise": "front raises",
    "frontraise": "front raises",
    "jump_jack": "jumping jacks",
    "jumpjacks": "jumping jacks",
    "battle_rope": "rope waves",
    "others": "repetitions",
}
"""The types of RepCount-A, all spellings, as one says them."""


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


@dataclass(frozen=True)
class AnnotatedVideo:
    """One row of RepCount-A: ``exercise`` as spoken, ``name`` of the video file."""

    exercise: str
    name: str
    timing: RepTiming


def _number(cell: str | None) -> float | None:
    """The finite number in a cell, or ``None`` for an empty or unreadable one."""
    try:
        value = float(cell or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _parse_row(row: dict[str, str | None]) -> AnnotatedVideo | None:
    """A row with at least one repetition, whole pairs, growing times and a frame rate; else ``None``."""
    fps = _number(row.get("fps"))
    marks = [value for key, cell in row.items() if key[:1] == "L" and key[1:].isdigit()
             if (value := _number(cell)) is not None]  # fmt: skip
    if not fps or fps <= 0 or len(marks) < 2 or len(marks) % 2:
        return None
    start_ms = tuple(mark * 1000.0 / fps for mark in marks[::2])
    end_ms = tuple(mark * 1000.0 / fps for mark in marks[1::2])
    timing = RepTiming(start_ms, end_ms)
    if min(timing.cycles_ms) <= 0 or min(timing.gaps_ms) < 0:
        return None
    kind = row.get("type") or "others"
    return AnnotatedVideo(SPOKEN_NAMES.get(kind, kind.replace("_", " ")), row.get("name") or "", timing)


def load_timings(path: Path) -> list[AnnotatedVideo]:
    """Read a RepCount-A table (``train_with_fps.csv``, ``test_with_fps.csv``).

    Rows that cannot be used (no frame rate, no repetition, an end before its start) are left out: 3 of the 758
    training rows and 2 of the 152 test rows. Raises ``InputError`` if the file cannot be read or has no usable row.
    """
    try:
        with path.open(newline="") as file:
            reader = csv.DictReader(file)
            videos = [video for row in reader if (video := _parse_row(row)) is not None]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot read repetition times: {error}") from error
    if not videos:
        raise InputError(f"{path}: no row with repetition times (columns type, L1, L2, ..., fps)")
    return videos


def _joined(gaps_ms: Sequence[float], cycles_ms: Sequence[float]) -> RepTiming:
    """Timing from the rest before every cycle and the cycles' lengths."""
    lengths = np.stack([np.asarray(gaps_ms, float), np.asarray(cycles_ms, float)], axis=1).ravel()
    marks = np.cumsum(lengths)
    return RepTiming(tuple(marks[::2].tolist()), tuple(marks[1::2].tolist()))


def slowed(timing: RepTiming, min_cycle_ms: float = MIN_CYCLE_MS) -> RepTiming:
    """The same repetitions, none shorter than ``min_cycle_ms``.

    A video whose median cycle is too short is slowed as a whole (90 of 755 training rows, 10 of 150 test rows); cycles
    that are still too short are then lengthened one by one (202 training rows and 40 test rows have at least one cycle
    below 900 ms to begin with). The delay before the first repetition stays.
    """
    cycles = np.asarray(timing.cycles_ms)
    gaps = np.asarray(timing.gaps_ms)
    factor = max(1.0, min_cycle_ms / float(np.median(cycles)))
    gaps[1:] *= factor
    return _joined(gaps.tolist(), np.maximum(cycles * factor, min_cycle_ms).tolist())


def drawn_timing(rng: np.random.Generator, max_count: int = MAX_COUNT, fit: DrawnTiming | None = None) -> RepTiming:
    """Draw one video's repetitions from the fit to RepCount-A; neither slowed nor cut to a length."""
    fit = fit or DrawnTiming()
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
    return _joined((gaps_s * 1000.0).tolist(), (cycles_s * 1000.0).tolist())


def sample_timing(
    rng: np.random.Generator,
    timings: Sequence[RepTiming] | None,
    max_duration_ms: float,
    min_cycle_ms: float = MIN_CYCLE_MS,
    max_count: int = MAX_COUNT,
) -> RepTiming:
    """Repetitions for one video of at most ``max_duration_ms`` (the last repetition ends within it).

    A real row of ``timings`` (or a drawn one) is slowed so that no cycle is shorter than ``min_cycle_ms``, given a
    tempo of its own (a tenth up or down), and, if it is too long, cut to a stretch that starts at a random repetition.
    Long pauses and delays are shortened. Always 1 to ``max_count`` repetitions. Raises ``InputError`` if not even one
    fits.
    """
    if max_duration_ms < min_cycle_ms or max_count < 1:
        raise InputError(f"no repetition of {min_cycle_ms:.0f} ms fits into {max_duration_ms:.0f} ms of video")
    source = drawn_timing(rng) if timings is None else timings[int(rng.integers(len(timings)))]
    tempo = float(np.exp(rng.uniform(-0.1, 0.1)))
    cycles = np.asarray(source.cycles_ms) * tempo
    gaps = np.asarray(source.gaps_ms) * tempo
    timing = slowed(_joined(gaps.tolist(), cycles.tolist()), min_cycle_ms)
    cycles = np.minimum(np.asarray(timing.cycles_ms), max_duration_ms)
    gaps = np.minimum(np.asarray(timing.gaps_ms), MAX_PAUSE_MS)
    if gaps[0] > MAX_DELAY_MS:
        gaps[0] = rng.uniform(0.0, MAX_DELAY_MS)
    if len(cycles) > max_count or gaps.sum() + cycles.sum() > max_duration_ms:
        first = int(rng.integers(len(cycles)))
        cycles, gaps = cycles[first:], np.concatenate([gaps[:1], gaps[first + 1 :]])
    gaps[0] = min(gaps[0], max_duration_ms - cycles[0])
    timing = _joined(gaps.tolist(), cycles.tolist())
    kept = min(max_count, sum(end <= max_duration_ms + 1e-6 for end in timing.end_ms))
    return RepTiming(timing.start_ms[:kept], timing.end_ms[:kept])
