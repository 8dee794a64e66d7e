"""The page in Chromium against the real server with the default weights: what was heard, said and played."""

from __future__ import annotations

import json
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import microturn
from microturn.turn import SAMPLE_RATE_HZ, TURN_MS
from tests.server.page.browser import FAKE_DEVICES, Browser, served

pytestmark = pytest.mark.needs_browser

TIMER = Path(microturn.__file__).parent / "samples" / "timer.wav"
MOST_LATE = 0.1


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served() as address:
        yield address


def recorded(page: Browser, folder: Path) -> tuple[NDArray[np.float64], list[dict[str, Any]]]:
    """Stop recording: what was played (samples,), and the turns."""
    page.click("#record-button")
    page.download("#recording-sound", folder / "sound.wav")
    page.download("#recording-turns", folder / "turns.jsonl")
    with wave.open(str(folder / "sound.wav")) as file:
        pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)
    turns = [json.loads(line) for line in (folder / "turns.jsonl").read_text().splitlines()[1:]]
    late = sum(turn["margin_ms"] < 0 for turn in turns)
    if late > MOST_LATE * len(turns):
        pytest.skip(f"this machine is too busy to be in time: {late} of {len(turns)} turns were late")
    return pcm[:, 1] / 32768, turns


def begin(page: Browser, selector: str) -> None:
    page.click(selector)
    page.until("['live', 'ended'].includes(document.querySelector('#status').dataset.state)", 20)
    if "try again" in (why := page.text("#alert")) or "deadline" in why:
        pytest.skip(f"this machine is too busy: {why}")
    assert page.text("#status") == "Live", why
    page.click("#record-button")


def played_at_ms(sound: NDArray[np.float64]) -> NDArray[np.floating]:
    """The times at which something was heard, from the beginning of the recording."""
    window = SAMPLE_RATE_HZ // 100
    loud = np.abs(sound[: len(sound) // window * window]).reshape(-1, window).max(axis=1) > 0.02
    return np.flatnonzero(loud) * 10.0


LINES = {"WebRTC": "", "WebSocket": "#line=websocket"}


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("way", ["microphone", "sample"])
def test_a_timer_that_was_asked_for_aloud_is_kept_and_heard(url: str, way: str, line: str, tmp_path: Path) -> None:
    devices = [*FAKE_DEVICES, f"--use-file-for-fake-audio-capture={TIMER}%noloop"]
    with Browser(url + LINES[line], args=devices) as page:
        begin(page, {"microphone": "#microphone-button", "sample": "[data-sample]"}[way])
        assert page.text("#figure-line") == line
        # Until "sandwich" was said, at 8.4 s of the file; it begins when the session has begun, or a little before.
        page.until("/Modelsandwich/.test(document.querySelector('#transcript').textContent)", 20)
        page.evaluate("new Promise((resolve) => setTimeout(resolve, 1500))")
        sound, turns = recorded(page, tmp_path)
        heard = "".join(turn["hear"] for turn in turns)
        assert "four seconds" in heard and "sandwich" in heard
        assert "".join(turn["say"] for turn in turns).startswith(" sandwich"), turns
        said = [turn for turn in turns if turn["say"]]
        asked = [turn for turn in turns if turn["hear"].endswith("sandwich")]
        assert abs(said[0]["end_ms"] - asked[0]["end_ms"] - 4000) <= 2 * TURN_MS
        played_ms = played_at_ms(sound)
        assert len(played_ms) >= 20, "said, but not heard"
        assert 0 <= played_ms[0] - said[0]["sound_ms"] < 500
        assert page.problems() == []


@pytest.mark.parametrize("line", LINES)
def test_what_is_typed_is_answered_aloud_and_the_server_knows_what_was_heard(
    url: str, line: str, tmp_path: Path
) -> None:
    with Browser(url + LINES[line]) as page:
        begin(page, "[data-say^=say]")
        assert page.text("#figure-line") == line
        page.until("/Modelred and blue/.test(document.querySelector('#transcript').textContent)", 20)
        page.evaluate("new Promise((resolve) => setTimeout(resolve, 1500))")
        sound, turns = recorded(page, tmp_path)
        assert "".join(turn["say"] for turn in turns) == " red and blue"
        assert not any(turn["gap"] for turn in turns[5:]), "the page sends silence where there is no microphone"
        spoke_ms = TURN_MS * sum(turn["speaking"] for turn in turns)
        played_ms = played_at_ms(sound)
        assert 0.5 * spoke_ms < played_ms[-1] - played_ms[0] < spoke_ms + 200
        assert page.problems() == []


def test_without_webrtc_the_same_session_goes_on_by_the_websocket(url: str) -> None:
    """The offer is answered, and then no packet comes through."""
    with Browser(url) as page:
        page.evaluate("RTCPeerConnection.prototype.setRemoteDescription = async () => {}")
        begin(page, "[data-say^=say]")
        assert page.text("#figure-line") == "WebSocket"
        page.until("/Modelred and blue/.test(document.querySelector('#transcript').textContent)", 20)
        assert page.problems() == []
