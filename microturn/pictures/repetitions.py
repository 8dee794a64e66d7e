"""The pictures of the families ``count`` and ``idle``: a figure that repeats a motion, and pictures that ask nothing.

The motion follows the times of ``repcount``. A repetition is over when the figure is back at rest, or once round; the
picture shows it by the end of the repetition, never long before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from microturn.pictures.drawing import Camera, Look, draw_look
from microturn.pictures.figures import Point, Pose
from microturn.pictures.repcount import MAX_COUNT, MIN_CYCLE_MS, RepTiming, sample_timing
from microturn.split import Split
from microturn.turn import TURN_MS, Frame

EXPOSURE_LEAD_MS = 20.0
"""The picture of a turn was taken this long before the turn's end: it is the newest one that has arrived."""
SEEN_LAG_MS = 120.0
"""A repetition is over for certain this long after its end."""
LEAD_MS = (300.0, 900.0)
"""Rest before the first repetition beyond what the timing has: what is rest must have been seen."""
TAIL_MS = (1_200.0, 4_000.0)
"""Rest after the last repetition, shortest and longest."""
LONGEST_WAY_MS = 1_800.0
"""A figure takes at most this long to go out and as long to come back; slow repetitions wait at rest or far out."""
LONGEST_END_REST_SHARE = 0.08
LONGEST_END_REST_MS = 100.0
"""A figure that is back must not wait long for its repetition to be over: nobody could see the difference."""


@dataclass(frozen=True)
class CountVideo:
    """A drawn video of repetitions. Times are relative to its start.

    ``exercise`` is what one says ("squats"); ``frames`` has one picture for every turn from 0 to
    ``duration_ms / TURN_MS - 1``, uint8 (80, 80, 3); ``timing`` says when the repetitions are.
    """

    exercise: str
    frames: dict[int, Frame]
    timing: RepTiming
    duration_ms: float


@dataclass(frozen=True)
class Profile:
    """How a repetition goes: shares of its time at rest first, going out, staying out, coming back, at rest last
    (together 1), and how softly a way begins and ends (0 even, 1 a half cosine)."""

    wait: float
    out: float
    stay: float
    back: float
    soft: float


def draw_profile(rng: np.random.Generator) -> Profile:
    """A profile: short or long waits, out and back alike or not.

    A tenth of the time at rest is the least: of a quick repetition, five pictures a second would else miss it.
    """
    wait, stay = rng.uniform(0.1, 0.3), rng.choice([0.0, 1.0]) * rng.uniform(0.0, 0.3)
    last = rng.uniform(0.0, LONGEST_END_REST_SHARE)
    moving = 1.0 - wait - stay - last
    out = moving * rng.uniform(0.35, 0.65)
    return Profile(wait, out, stay, moving - out, rng.uniform(0.4, 1.0))


def _eased(share: float, soft: float) -> float:
    return (1.0 - soft) * share + soft * 0.5 * (1.0 - math.cos(math.pi * share))


def pose_within(profile: Profile, since_ms: float, cycle_ms: float, side: int = 1) -> Pose:
    """The pose ``since_ms`` after the start of a repetition that takes ``cycle_ms``."""
    last = min((1.0 - profile.wait - profile.out - profile.stay - profile.back) * cycle_ms, LONGEST_END_REST_MS)
    out = min(profile.out * cycle_ms, LONGEST_WAY_MS)
    back = min(profile.back * cycle_ms, LONGEST_WAY_MS)
    still = cycle_ms - last - out - back
    wait = still * (profile.wait / (profile.wait + profile.stay) if profile.wait + profile.stay > 0 else 0.5)
    moved = since_ms - wait
    turn = _eased(float(np.clip(moved / (cycle_ms - last - wait), 0.0, 1.0)), profile.soft)
    if moved <= 0.0:
        extension = 0.0
    elif moved < out:
        extension = _eased(moved / out, profile.soft)
    elif since_ms < cycle_ms - last - back:
        extension = 1.0
    else:
        extension = _eased(float(np.clip((cycle_ms - last - since_ms) / back, 0.0, 1.0)), profile.soft)
    return Pose(extension, turn, side)


def _frame_times(duration_ms: float) -> NDArray[np.float64]:
    """When the picture of every whole turn is taken, (turns,)."""
    return np.arange(1, int(duration_ms // TURN_MS) + 1, dtype=np.float64) * TURN_MS - EXPOSURE_LEAD_MS


def _film(rng: np.random.Generator, look: Look, timing: RepTiming, duration_ms: float) -> dict[int, Frame]:
    """Pictures of a figure that repeats its motion at the given times and rests, swaying a little, in between."""
    camera = Camera(rng, look)
    profile = draw_profile(rng)
    reaches = rng.uniform(0.85, 1.0, len(timing.end_ms))
    sway, sway_ms, sway_start = rng.uniform(0.0, 0.03), rng.uniform(1_500, 5_000), rng.uniform(0, 6.28)
    first_ms = timing.start_ms[0] if timing.start_ms else duration_ms
    enters_ms = first_ms - 400.0 if first_ms > 1_200.0 and rng.random() < 0.15 else 0.0
    enters_from = float(rng.choice([-1.0, 1.0])) * rng.uniform(0.3, 1.5)
    starts = np.asarray(timing.start_ms)
    frames: dict[int, Frame] = {}
    for turn, t_ms in enumerate(_frame_times(duration_ms)):
        swaying = sway * math.sin(sway_start + 2 * math.pi * t_ms / sway_ms)
        rep = int(np.searchsorted(starts, t_ms, side="right")) - 1
        if rep >= 0 and t_ms < timing.end_ms[rep]:
            side = 1 if rep % 2 == 0 else -1
            pose = pose_within(profile, t_ms - timing.start_ms[rep], timing.cycles_ms[rep], side)
            pose = replace(pose, extension=pose.extension * reaches[rep])
        else:
            pose = Pose(abs(swaying), swaying / 6)
        shift: Point = (swaying / 2, 0.0)
        if t_ms < enters_ms:
            shift = (enters_from * (1.0 - _eased(t_ms / enters_ms, 1.0)), 0.0)
        frames[turn] = camera.shoot(pose, t_ms, shift)
    return frames


def draw_count_video(
    rng: np.random.Generator,
    split: Split,
    timings: Sequence[RepTiming] | None,
    max_duration_ms: float,
    max_count: int = MAX_COUNT,
) -> CountVideo:
    """A video of 1 to ``max_count`` repetitions, at most ``max_duration_ms`` long, that ends with 1.2 to 4 s of rest.

    ``timings`` are real repetition times to draw from, ``None`` for the fit to them. Raises ``InputError`` if
    ``max_duration_ms`` is too short for one repetition and the rest after it.
    """
    tail_ms = rng.uniform(*TAIL_MS)
    lead_ms = rng.uniform(*LEAD_MS)
    tail_ms = max(TAIL_MS[0], min(tail_ms, max_duration_ms - lead_ms - 2 * MIN_CYCLE_MS))
    timing = sample_timing(rng, timings, max_duration_ms - lead_ms - tail_ms, max_count)
    start_ms = tuple(start + lead_ms for start in timing.start_ms)
    timing = RepTiming(start_ms, tuple(end + lead_ms for end in timing.end_ms))
    duration_ms = min(math.ceil((timing.end_ms[-1] + tail_ms) / TURN_MS), max_duration_ms // TURN_MS) * TURN_MS
    look = draw_look(rng, split)
    frames = _film(rng, look, timing, duration_ms)
    return CountVideo(look.figure.spoken, frames, timing, float(duration_ms))


def draw_idle_video(rng: np.random.Generator, split: Split, duration_ms: float) -> dict[int, Frame]:
    """Pictures nobody asked about, one for every whole turn of ``duration_ms``.

    A still picture, a figure at rest, an empty scene seen by a moving camera, a figure that is pushed about, or one
    that exercises though nobody asked to count.
    """
    kind = ("still", "rest", "empty", "drift", "exercise")[int(rng.integers(5))]
    look = draw_look(rng, split)
    if kind == "exercise" and duration_ms >= 2 * MIN_CYCLE_MS:
        return _film(rng, look, sample_timing(rng, None, duration_ms), duration_ms)
    if kind in ("rest", "exercise"):
        return _film(rng, look, RepTiming((), ()), duration_ms)
    camera = Camera(rng, look)
    pose = Pose(float(rng.random()), float(rng.random()))
    if kind == "still":
        picture = camera.shoot(pose, 0.0)
        return dict.fromkeys(range(len(_frame_times(duration_ms))), picture)
    way = rng.normal(0.0, 0.6, 2)
    frames: dict[int, Frame] = {}
    for turn, t_ms in enumerate(_frame_times(duration_ms)):
        share = t_ms / duration_ms - 0.5
        shown = None if kind == "empty" else pose
        frames[turn] = camera.shoot(shown, t_ms, (way[0] * share, way[1] * share))
    return frames
