"""Whole scenarios through the real page: a cue that is spoken, repetitions that are shown.

Both are such as the packaged weights answer right when the same sound and pictures go through ``microturn talk``
(looked for here, for other weights answer others): the browser and the server must lose nothing of them on the way.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from microturn import load
from microturn.media.writer import WavWriter
from microturn.scenario.generate import generate
from microturn.scenario.scenario import Scenario
from microturn.session.session import Session
from microturn.turn import SAMPLE_RATE_HZ, TURN_MS, TURN_SAMPLES, Frame, Pcm, TextIn, TextSource, TurnInput
from tests.server.page.browser import FAKE_DEVICES, Browser, served
from tests.server.page.test_real_server import LINES, begin, played_at_ms, recorded

pytestmark = pytest.mark.needs_browser

MAX_SEEDS = 150
"""So many scenarios are tried until one is answered right."""
SHIFTS_MS = (0, 23, 51, 77)
"""Where the sound lies within its 100 ms is chance: the cue has to be answered wherever it does."""
STILL_TURNS = 25
"""Time before the exercise in which the request is typed."""
FRAMES_A_SECOND = 15
LIMITED = [[16 + round(level * steps / 255) for level in range(256)] for steps in (219, 224)]
"""Brightness and colour as a video has them, of a picture's."""
TRIES = 3
"""The browser's own changes of the sound are never the same."""


@dataclass(frozen=True)
class Server:
    url: str
    record: Path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that records, as people start it."""
    record = tmp_path_factory.mktemp("record")
    with served("--record", str(record)) as url:
        yield Server(url, record)


@dataclass(frozen=True)
class Exercise:
    """A picture a turn, first of somebody who stands still; the request, which is typed; what is to be said."""

    shown: list[Frame]
    request: str
    expected: list[str]


@lru_cache(maxsize=1)
def cue() -> Scenario:
    """The first scenario of which every cue is answered, and nothing else said."""
    for seed in range(MAX_SEEDS):
        scenario = generate("cue", seed, "heldout", assistant=False)
        expected = [event.words for event in scenario.events]
        turns = scenario.num_turns + 10
        shifted = (np.pad(scenario.user, (shift * SAMPLE_RATE_HZ // 1000, 0)) for shift in SHIFTS_MS)
        if len(expected) > 1 and all(answer(sound, {}, {}, turns + 1) == expected for sound in shifted):
            return scenario
    pytest.skip(f"of {MAX_SEEDS} cue scenarios the packaged weights answer none right")


@lru_cache(maxsize=1)
def exercise() -> Exercise:
    """The first scenario of which the repetitions are counted, its request typed."""
    for seed in range(MAX_SEEDS):
        scenario = generate("count", seed, "heldout", assistant=False)
        shown = [scenario.frames[turn] for turn in sorted(scenario.frames)]
        request = " ".join(word.text for word in scenario.heard)
        expected = [event.words for event in scenario.events]
        found = Exercise([shown[0]] * STILL_TURNS + shown, request, expected)
        typed = {5: (TextIn(TextSource.TYPED, request),)}
        turns = len(found.shown) + 10
        if answer(np.zeros(0, np.float32), dict(enumerate(found.shown)), typed, turns) == expected:
            return found
    pytest.skip(f"of {MAX_SEEDS} count scenarios the packaged weights answer none right")


def answer(sound: Pcm, shown: Mapping[int, Frame], texts: Mapping[int, tuple[TextIn, ...]], turns: int) -> list[str]:
    """What ``microturn talk`` says."""
    session = Session.open(load("nano"))
    quiet = np.zeros(turns * TURN_SAMPLES, np.float32)
    quiet[: len(sound)] = sound[: len(quiet)]
    inputs = quiet.reshape(turns, TURN_SAMPLES)
    return words(session.step(TurnInput(inputs[i], shown.get(i), texts.get(i, ()))).say for i in range(turns))


def words(says: Iterable[str]) -> list[str]:
    return "".join(says).split()


def folder_of(server: Server, before: set[Path]) -> tuple[Path, list[dict[str, Any]]]:
    """The session that was recorded since, and its turns."""
    (folder,) = set(server.record.iterdir()) - before
    deadline_s = time.monotonic() + 10
    while json.loads((folder / "session.json").read_bytes())["end"] is None:
        assert time.monotonic() < deadline_s
        time.sleep(0.1)
    return folder, [json.loads(line) for line in (folder / "turns.jsonl").read_text().splitlines()]


def levels(sound: NDArray[np.float64]) -> NDArray[np.float64]:
    """How loud each 20 ms are."""
    window = TURN_SAMPLES // 10
    loudness: NDArray[np.float64] = np.sqrt((sound[: len(sound) // window * window].reshape(-1, window) ** 2).mean(1))
    return loudness


def likeness(found: NDArray[np.float64], wanted: NDArray[np.float64]) -> float:
    """The best correlation of how loud both are, wherever ``wanted`` lies in ``found``."""
    found, wanted = levels(found), levels(wanted)
    found = np.pad(found, (25, 25))
    stretches = np.lib.stride_tricks.sliding_window_view(found, len(wanted) - 50)
    return max(float(np.corrcoef(wanted[25:-25], stretch)[0, 1]) for stretch in stretches)


def sound_of(path: Path) -> NDArray[np.float64]:
    return np.frombuffer(path.read_bytes()[44:], "<i2") / 32768


@pytest.mark.parametrize("line", LINES)
def test_a_cue_is_heard_and_answered(server: Server, line: str, tmp_path: Path) -> None:
    scenario = cue()
    writer = WavWriter(tmp_path / "user.wav")
    writer.write(scenario.user, scenario.user)
    writer.close()
    devices = [*FAKE_DEVICES, f"--use-file-for-fake-audio-capture={tmp_path / 'user.wav'}%noloop"]
    expected = [event.words for event in scenario.events]
    for attempt in range(1, TRIES + 1):
        before = set(server.record.iterdir())
        with Browser(server.url + LINES[line], args=devices) as page:
            begin(page, "#microphone-button")
            assert page.text("#figure-line") == line
            time.sleep(scenario.num_turns * TURN_MS / 1000 + 2)
            sound, turns = recorded(page, tmp_path)
            page.click("#end-button")
            page.until("document.querySelector('#status').textContent === 'Ended'")
            assert page.problems() == []
        folder, kept = folder_of(server, before)
        assert not any(turn["sound"] is None for turn in kept[5:-10]), "there are gaps"
        heard = sound_of(folder / "user.wav")
        assert likeness(heard, scenario.user.astype(np.float64)) > 0.9
        said = words(turn["say"] for turn in kept)
        assert said == words(turn["say"] for turn in kept if turn["turn"] >= turns[0]["turn"])
        if said == expected or attempt == TRIES:
            break
    assert said == expected, "".join(turn["hear"] for turn in kept)
    check_played(sound, turns, kept, sound_of(folder / "model.wav"))
    begun = [turn["turn"] for turn in kept if turn["say"]]
    wanted_turns = [round(event.at_ms / TURN_MS) for event in scenario.events]
    assert abs((begun[1] - begun[0]) - (wanted_turns[1] - wanted_turns[0])) <= 2


def check_played(
    sound: NDArray[np.float64], turns: list[dict[str, Any]], kept: list[dict[str, Any]], model: NDArray[np.float64]
) -> None:
    """What the page has played is what the session has said, and begins when it does."""
    assert likeness(sound, model[turns[0]["turn"] * TURN_SAMPLES :][: len(sound)]) > 0.8
    starts = [one for last, one in zip(turns, turns[1:], strict=False) if one["speaking"] and not last["speaking"]]
    played_ms = played_at_ms(sound)
    for one in starts:
        after = played_ms[played_ms >= one["sound_ms"]]
        assert len(after) and after[0] - one["sound_ms"] < 600, "said, but not heard"
    assert sum(turn["speaking"] for turn in kept) >= len(starts)


def film(path: Path, shown: list[Frame]) -> None:
    """A camera: the pictures at their time, then the last of them."""
    height, width = shown[0].shape[:2]
    with path.open("wb") as file:
        file.write(f"YUV4MPEG2 W{width} H{height} F{FRAMES_A_SECOND}:1 Ip A1:1 C420jpeg\n".encode())
        for frame in shown + [shown[-1]] * 100:
            planes = Image.fromarray(frame).convert("YCbCr").split()
            small = [plane.resize((width // 2, height // 2), Image.Resampling.BOX) for plane in planes[1:]]
            limited = (planes[0].point(LIMITED[0]), *(plane.point(LIMITED[1]) for plane in small))
            data = b"".join(plane.tobytes() for plane in limited)
            file.write((b"FRAME\n" + data) * (FRAMES_A_SECOND * TURN_MS // 1000))


@pytest.mark.parametrize("line", LINES)
def test_repetitions_are_seen_and_counted_aloud(server: Server, line: str, tmp_path: Path) -> None:
    found = exercise()
    shown = found.shown
    film(tmp_path / "camera.y4m", shown)
    devices = [*FAKE_DEVICES, f"--use-file-for-fake-video-capture={tmp_path / 'camera.y4m'}"]
    before = set(server.record.iterdir())
    with Browser(server.url + LINES[line], args=devices) as page:
        begin(page, "#camera-button")
        assert page.text("#figure-line") == line
        page.type("#text", found.request)
        page.press("Enter")
        time.sleep(len(shown) * TURN_MS / 1000 + 2)
        sound, turns = recorded(page, tmp_path)
        page.click("#end-button")
        page.until("document.querySelector('#status').textContent === 'Ended'")
        assert page.problems() == []
    folder, kept = folder_of(server, before)
    said = words(turn["say"] for turn in kept)
    # A codec's pictures, each a little early or late, are not the scenario's: the weights may lose count of them.
    assert said == found.expected[: len(said)] and 2 * len(said) >= len(found.expected)
    check_played(sound, turns, kept, sound_of(folder / "model.wav"))
    seen = [turn for turn in kept[10:] if turn["picture"]]
    assert len(seen) > 0.6 * len(kept[10:])
    with Image.open(sorted((folder / "frames").glob("*.png"))[8]) as picture:
        difference = np.abs(np.asarray(picture.convert("RGB")).astype(int) - shown[0])
    assert difference.mean() < 8, "the picture is not what the camera saw"
