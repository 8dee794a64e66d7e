"""A scenario as files a person can listen to and look at: both voices, pictures, labels, and a drawn timeline.

The folder is an input of ``microturn talk`` (``user.wav`` and ``frames/``).
"""

from __future__ import annotations

import json
import wave
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from microturn.errors import MediaError
from microturn.media.writer import atomic_folder
from microturn.scenario.scenario import Scenario
from microturn.turn import SAMPLE_RATE_HZ, TURN_MS, TURN_SAMPLES, Pcm

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROW_S = 20.0
"""Seconds in one row of the picture."""
USER_COLOUR, MODEL_COLOUR, NOTE_COLOUR = "#3b6ea5", "#c0552d", "#8a8a8a"


def export(scenario: Scenario, folder: Path) -> None:
    """Write ``user.wav``, ``model.wav`` (as heard: one turn after it is made), ``labels.json``, ``timeline.png`` and,
    with pictures, ``frames/MILLISECONDS.png`` into ``folder``.

    The files appear together or not at all. Raises ``MediaError`` if they cannot be written, or would mix with the
    pictures of another scenario.
    """
    if (folder / "frames").exists():
        raise MediaError(f"{folder}: holds the pictures of another scenario")
    with atomic_folder(folder) as target:
        _write(scenario, target.path)
        target.commit(sorted(path.name for path in target.path.iterdir()))


def _write(scenario: Scenario, folder: Path) -> None:
    write_wav(folder / "user.wav", scenario.user)
    write_wav(folder / "model.wav", heard_model_pcm(scenario))
    (folder / "labels.json").write_text(json.dumps(labels(scenario), indent=1) + "\n")
    if scenario.frames:
        (folder / "frames").mkdir()
    for turn, frame in scenario.frames.items():
        Image.fromarray(frame).save(folder / "frames" / f"{turn * TURN_MS:06d}.png")
    draw_scenario(scenario, folder / "timeline.png")


def write_wav(path: Path, pcm: Pcm) -> None:
    """``pcm`` as 16-bit mono at 16 kHz."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        file.writeframes((np.clip(pcm, -1.0, 1.0) * 32767.0).astype("<i2").tobytes())


def heard_model_pcm(scenario: Scenario) -> Pcm:
    """The model's sound on the session's clock: what turn *t* makes is heard from ``(t + 1) * TURN_MS``."""
    return np.concatenate([np.zeros(TURN_SAMPLES, np.float32), scenario.model_pcm()])


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
        "speaking": [int(speaks) for speaks in scenario.speaking()],
        "texts": {str(turn): [asdict(text) for text in texts] for turn, texts in scenario.texts.items()},
        "frame_turns": list(scenario.frames),
        "gaps": sorted(scenario.gaps),
        "events": [asdict(event) for event in scenario.events],
        "true_count": scenario.true_count,
        "penultimate_end_ms": scenario.penultimate_end_ms,
    }


def draw_scenario(scenario: Scenario, path: Path) -> None:
    """Both voices, words heard and said, event windows, gaps, typed text and pictures, ``ROW_S`` seconds a row."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    length_s = (scenario.num_turns + 1) * TURN_MS / 1000.0
    rows = max(1, int(-(-length_s // ROW_S)))
    figure = Figure(figsize=(18.0, 4.2 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    for row, axes in enumerate(figure.subplots(rows, 1, squeeze=False)[:, 0]):
        _draw_row(axes, scenario, row * ROW_S, min((row + 1) * ROW_S, max(length_s, row * ROW_S + 1.0)))
    title = f"{scenario.family}: {scenario.num_turns} turns"
    if scenario.true_count is not None:
        title += f", {scenario.true_count} repetitions"
    figure.suptitle(title)
    figure.savefig(path, dpi=80)


def _draw_row(axes: Axes, scenario: Scenario, start_s: float, end_s: float) -> None:
    axes.set_xlim(start_s, end_s)
    axes.set_ylim(-2.6, 2.6)
    axes.set_yticks([1.0, -1.0], ["user", "model"])
    axes.set_xticks(np.arange(start_s, end_s, 1.0))
    axes.set_xlabel("seconds")
    for turn in range(int(start_s * 1000 // TURN_MS), int(end_s * 1000 // TURN_MS) + 1):
        axes.axvline(turn * TURN_MS / 1000.0, color="#eeeeee", linewidth=0.6, zorder=0)
    _draw_wave(axes, scenario.user, 1.0, USER_COLOUR, start_s, end_s)
    _draw_wave(axes, heard_model_pcm(scenario), -1.0, MODEL_COLOUR, start_s, end_s)
    for word in scenario.heard:
        _draw_word(axes, word.text, word.start_ms, word.end_ms, 1.9, USER_COLOUR)
    for item in scenario.said:
        for word in item.speech.words:
            start_ms = (item.turn + 1) * TURN_MS
            _draw_word(axes, word.text, start_ms + word.start_ms, start_ms + word.end_ms, -1.9, MODEL_COLOUR)
    for event in scenario.events:
        window_s = ((event.at_ms - event.early_ms) / 1000.0, (event.at_ms + event.late_ms) / 1000.0)
        axes.axvspan(*window_s, 0.02, 0.06, color="#4c9f50", alpha=0.5)
        axes.plot([event.at_ms / 1000.0], [-2.45], marker="^", color="#2d6b31", clip_on=True)
    for from_ms, until_ms in scenario.unlabelled_ms:
        axes.axvspan(from_ms / 1000.0, until_ms / 1000.0, 0.5, 0.95, color=NOTE_COLOUR, alpha=0.2)
    for turn in scenario.gaps:
        axes.axvspan(turn * TURN_MS / 1000.0, (turn + 1) * TURN_MS / 1000.0, 0.5, 1.0, color="#d33", alpha=0.25)
    for turn, texts in scenario.texts.items():
        if start_s <= turn * TURN_MS / 1000.0 < end_s:
            note = " / ".join(f'{text.source.value}: "{text.text}"' for text in texts)
            axes.text(turn * TURN_MS / 1000.0, 2.35, note, fontsize=8, color="#555555")
    _draw_frames(axes, scenario, start_s, end_s)


def _draw_wave(axes: Axes, pcm: Pcm, middle: float, colour: str, start_s: float, end_s: float) -> None:
    part = pcm[int(start_s * SAMPLE_RATE_HZ) : int(end_s * SAMPLE_RATE_HZ)]
    hop = 80
    if len(part) < hop:
        return
    blocks = part[: len(part) // hop * hop].reshape(-1, hop)
    peak = max(float(np.abs(pcm).max()), 1e-6)
    time_s = start_s + np.arange(len(blocks)) * hop / SAMPLE_RATE_HZ
    low, high = middle + 0.7 * blocks.min(1) / peak, middle + 0.7 * blocks.max(1) / peak
    axes.fill_between(time_s, low, high, color=colour, linewidth=0.4)


def _draw_word(axes: Axes, text: str, start_ms: float, end_ms: float, height: float, colour: str) -> None:
    axes.plot([start_ms / 1000.0, end_ms / 1000.0], [height - 0.08] * 2, color=colour, linewidth=2, clip_on=True)
    axes.text(start_ms / 1000.0, height, text, fontsize=7, color=colour, rotation=25, clip_on=True)


def _draw_frames(axes: Axes, scenario: Scenario, start_s: float, end_s: float) -> None:
    """One picture a second along the middle."""
    step = 1000 // TURN_MS
    for turn, frame in scenario.frames.items():
        time_s = turn * TURN_MS / 1000.0
        if turn % step == 0 and start_s <= time_s < end_s:
            inset = axes.inset_axes((time_s, -0.35, 0.9, 0.7), transform=axes.transData)
            inset.imshow(frame)
            inset.axis("off")
