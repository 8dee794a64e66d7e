"""``idle``: noise, music-like sound, talk to somebody else, pictures without a request; nothing is to be said."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from microturn.scenario import clips
from microturn.scenario.count import draw_idle_video
from microturn.scenario.noise import SPEECH_RMS, decibel
from microturn.scenario.sentences import aside
from microturn.scenario.timeline import Timeline
from microturn.turn import TURN_MS


def build(timeline: Timeline) -> None:
    """4 to 12 s; each of talk to others and pictures in some of the sessions."""
    rng = timeline.rng
    start_ms = timeline.now_ms
    duration_ms = rng.uniform(4000.0, 12_000.0)
    if rng.random() < 0.4:
        timeline.pause(200.0, 2000.0)
        while timeline.now_ms < start_ms + duration_ms - 2000.0:
            timeline.speak(aside(rng, timeline.split), matters=False)
            timeline.pause(500.0, 2500.0)
    else:
        timeline.noise_gain_db = float(rng.uniform(0.0, 12.0))
        if timeline.data is not None:
            _place_sounds(timeline, timeline.data, start_ms, duration_ms)
    if rng.random() < 0.35:
        timeline.show(draw_idle_video(rng, timeline.split, duration_ms), int(start_ms // TURN_MS) + 1)
    timeline.wait_until(start_ms + duration_ms)


def _place_sounds(timeline: Timeline, data: Path, start_ms: float, duration_ms: float) -> None:
    """None to two everyday sounds in the foreground."""
    rng = timeline.rng
    for _ in range(int(rng.integers(0, 3))):
        sound = clips.draw_sound(rng, data, timeline.split, float(rng.uniform(500.0, 5000.0)))
        level = np.float32(SPEECH_RMS * decibel(float(rng.uniform(-15.0, 3.0))))
        timeline.place_sound(sound * level, start_ms + float(rng.uniform(0.0, duration_ms - 500.0)))
