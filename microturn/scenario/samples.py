"""Makes the bundled sample sessions: a timer, a cue and a counting video, from held-out scenarios with fixed seeds."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from microturn.media.writer import FilmWriter, WavWriter
from microturn.scenario.generate import generate
from microturn.scenario.scenario import Scenario
from microturn.turn import TURN_SAMPLES
from microturn.voices.catalogue import voices

SAMPLES = {"timer": ("time", 5), "cue": ("cue", 1), "count": ("count", 0)}
"""Name -> family and seed. The user is a voice that training has never heard."""


def sample(name: str) -> Scenario:
    family, seed = SAMPLES[name]
    speakers = [voice for voice in voices("heldout") if voice.engine == "espeak" and voice.accent == "en-us"]
    return generate(family, seed, "heldout", voice=speakers[seed % len(speakers)], assistant=False)


def write(folder: Path) -> None:
    """``timer.wav``, ``cue.wav`` and ``count.mp4``: the user's side alone."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in SAMPLES:
        scenario = sample(name)
        if not scenario.frames:
            writer = WavWriter(folder / f"{name}.wav")
            writer.write(scenario.user, scenario.user)
            writer.close()
            continue
        first = next(iter(scenario.frames.values()))
        film = FilmWriter(folder / f"{name}.mp4", (first.shape[1], first.shape[0]))
        for turn in range(scenario.num_turns):
            sound = scenario.user[turn * TURN_SAMPLES : (turn + 1) * TURN_SAMPLES]
            film.write(scenario.frames.get(turn, np.zeros_like(first)), sound, sound)
        film.close()


if __name__ == "__main__":
    write(Path(sys.argv[1]))
