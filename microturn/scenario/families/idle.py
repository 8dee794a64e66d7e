"""``idle``: noise, music-like sound, talk to somebody else, pictures without a request; nothing is to be said."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from microturn.language.wordings import aside
from microturn.pictures.repetitions import draw_idle_video
from microturn.scenario.script import Script
from microturn.turn import TURN_MS
from microturn.voices import recordings
from microturn.voices.noise import SPEECH_RMS, decibel


def build(script: Script) -> None:
    """4 to 12 s; each of talk to others and pictures in some of the sessions."""
    rng = script.rng
    start_ms = script.now_ms
    duration_ms = rng.uniform(4000.0, 12_000.0)
    if rng.random() < 0.4:
        script.pause(200.0, 2000.0)
        while script.now_ms < start_ms + duration_ms - 2000.0:
            script.speak(aside(rng, script.split), matters=False)
            script.pause(500.0, 2500.0)
    else:
        script.noise_gain_db = float(rng.uniform(0.0, 12.0))
        if script.data is not None and recordings.sound_files(script.data, script.split):
            _place_sounds(script, script.data, start_ms, duration_ms)
    if rng.random() < 0.35:
        script.show(draw_idle_video(rng, script.split, duration_ms), int(start_ms // TURN_MS) + 1)
    script.wait_until(start_ms + duration_ms)


def _place_sounds(script: Script, data: Path, start_ms: float, duration_ms: float) -> None:
    """None to two everyday sounds in the foreground."""
    rng = script.rng
    for _ in range(int(rng.integers(0, 3))):
        sound = recordings.draw_sound(rng, data, script.split, float(rng.uniform(500.0, 5000.0)))
        level = np.float32(SPEECH_RMS * decibel(float(rng.uniform(-15.0, 3.0))))
        script.place_sound(sound * level, start_ms + float(rng.uniform(0.0, duration_ms - 500.0)))
