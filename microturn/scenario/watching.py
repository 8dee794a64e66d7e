"""Watching practice: pictures of a figure that repeats its motion, and in every turn how far it is.

To count, the network must see when a repetition is over. The families say that once in ten turns, and only by what is
then said; here every picture is told (``Scenario.phases``), as every word is in listening practice.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np

from microturn.pictures.repcount import RepTiming
from microturn.pictures.repetitions import SEEN_LAG_MS, draw_count_video
from microturn.scenario.scenario import Scenario
from microturn.scenario.script import Script
from microturn.split import Split
from microturn.turn import TURN_MS

FAMILY = "watching"
MAX_VIDEO_MS = 16_000.0

NUM_QUARTERS = 4
NUM_PHASES = NUM_QUARTERS + 2
REST, DONE = 0, NUM_PHASES - 1
"""Phases: at rest, the four quarters of a repetition (1 to 4), and the turn in which its end can be seen."""


def watching(seed: int, split: Split, data: Path | None) -> Scenario:
    """Up to 16 s of video without any sound; ``Scenario.phases`` has the phase of every turn."""
    rng = np.random.default_rng((zlib.crc32(f"{FAMILY} {split}".encode()), seed))
    script = Script(rng, split, data=data, assistant=False, sound=False)
    video = draw_count_video(rng, split, script.timings, MAX_VIDEO_MS)
    script.show(video.frames, 0)
    scenario = script.finish(FAMILY, tail_ms=0.0)
    scenario.phases = {turn: phase_at(video.timing, turn) for turn in video.frames}
    return scenario


def phase_at(timing: RepTiming, turn: int) -> int:
    """The phase that turn ``turn`` of a video shows. A repetition's end is seen in the turn in which ``count`` would
    say its number."""
    now_ms = (turn + 1) * TURN_MS - SEEN_LAG_MS
    for start_ms, end_ms in zip(timing.start_ms, timing.end_ms, strict=True):
        if 0.0 <= now_ms - end_ms < TURN_MS:
            return DONE
        if start_ms <= now_ms < end_ms:
            return 1 + int(NUM_QUARTERS * (now_ms - start_ms) / (end_ms - start_ms))
    return REST
