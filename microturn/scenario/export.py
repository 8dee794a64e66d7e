"""A scenario as files a person can listen to and look at: both voices, pictures, labels, and a picture.

The folder is an input of ``microturn talk`` (``user.wav`` and ``frames/``).
"""

from __future__ import annotations

import json
import wave
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from microturn.errors import MediaError
from microturn.media.writer import atomic_folder
from microturn.scenario.scenario import Scenario
from microturn.turn import SAMPLE_RATE_HZ, TURN_MS, TURN_SAMPLES, Pcm


def export(scenario: Scenario, folder: Path, draw: Callable[[Scenario, Path], None]) -> None:
    """Write ``user.wav``, ``model.wav`` (as heard: one turn after it is made), ``labels.json``, ``timeline.png`` (which
    ``draw`` draws) and, with pictures, ``frames/MILLISECONDS.png`` into ``folder``.

    The files appear together or not at all. Raises ``MediaError`` if they cannot be written, or would mix with the
    pictures of another scenario.
    """
    if (folder / "frames").exists():
        raise MediaError(f"{folder}: holds the pictures of another scenario")
    with atomic_folder(folder) as target:
        path = target.path
        write_wav(path / "user.wav", scenario.user)
        write_wav(path / "model.wav", np.concatenate([np.zeros(TURN_SAMPLES, np.float32), scenario.model_pcm()]))
        (path / "labels.json").write_text(json.dumps(labels(scenario), indent=1) + "\n")
        if scenario.frames:
            (path / "frames").mkdir()
        for turn, frame in scenario.frames.items():
            Image.fromarray(frame).save(path / "frames" / f"{turn * TURN_MS:06d}.png")
        draw(scenario, path / "timeline.png")
        target.commit(sorted(item.name for item in path.iterdir()))


def write_wav(path: Path, pcm: Pcm) -> None:
    """``pcm`` as 16-bit mono at 16 kHz."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        file.writeframes((np.clip(pcm, -1.0, 1.0) * 32767.0).astype("<i2").tobytes())


def labels(scenario: Scenario) -> dict[str, Any]:
    """Everything that is known about the scenario except sound and pictures, as plain JSON values."""
    return {
        "family": scenario.family,
        "turn_ms": TURN_MS,
        "num_turns": scenario.num_turns,
        "heard": [asdict(word) for word in scenario.heard],
        "unlabelled_ms": [list(stretch) for stretch in scenario.unlabelled_ms],
        "said": [
            {"turn": item.turn, "num_turns": item.num_turns, "words": [asdict(word) for word in item.speech.words]}
            for item in scenario.said
        ],
        "hear_labels": {str(turn): words for turn, words in sorted(scenario.hear_labels().items())},
        "say_labels": {str(turn): words for turn, words in sorted(scenario.say_labels().items())},
        "acts": {str(turn): act.value for turn, act in scenario.act_labels().items()},
        "speaking": [int(speaks) for speaks in scenario.speaking()],
        "texts": {str(turn): [asdict(text) for text in texts] for turn, texts in scenario.texts.items()},
        "frame_turns": list(scenario.frames),
        "gaps": sorted(scenario.gaps),
        "events": [asdict(event) for event in scenario.events],
        "dues": [asdict(due) for due in scenario.dues],
        "interrupted_ms": scenario.interrupted_ms,
        "phases": {str(turn): phase for turn, phase in scenario.phases.items()},
        "true_count": scenario.true_count,
        "penultimate_end_ms": scenario.penultimate_end_ms,
    }
