"""The page in Chromium, against a server that does what no real session does at will: yield, leave gaps, be late."""

from __future__ import annotations

import base64
import io
import json
import re
import time
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import microturn
from microturn.turn import SAMPLE_RATE_HZ, TURN_MS
from tests.server.page.browser import FAKE_DEVICES, Browser
from tests.server.page.fake_server import FakeServer, FakeSession

pytestmark = pytest.mark.needs_browser

TIMER = Path(microturn.__file__).parent / "samples" / "timer.wav"
DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 360, "height": 740}
LIVE = "document.querySelector('#status').dataset.state === 'live'"


@pytest.fixture(scope="module")
def server() -> Iterator[FakeServer]:
    with FakeServer() as server:
        yield server


@pytest.fixture
def page(server: FakeServer) -> Iterator[Browser]:
    """A page whose microphone hears ``timer.wav`` and whose camera sees Chromium's test picture."""
    devices = [*FAKE_DEVICES, f"--use-file-for-fake-audio-capture={TIMER}"]
    with Browser(server.url, args=devices, viewport=DESKTOP) as page:
        yield page
        # That the test cuts the line is no problem of the page.
        assert [one for one in page.problems() if "code: 403" not in one] == []


def wait_for(condition: Callable[[], Any], timeout_s: float = 10.0) -> Any:
    deadline_s = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline_s, "waited in vain"
        time.sleep(0.02)
    return value


def talk(page: Browser, server: FakeServer) -> FakeSession:
    page.click("#microphone-button")
    page.until(LIVE)
    return server.session


def type_in(page: Browser, text: str) -> None:
    page.type("#text", text)
    page.press("Enter")


def sound_of(session: FakeSession) -> NDArray[np.int16]:
    """All that came in, as PCM16."""
    parts = [base64.b64decode(event["audio"]) for event in session.of("session.input_audio.append")]
    return np.frombuffer(b"".join(parts), "<i2")


def recorded(page: Browser, folder: Path) -> tuple[NDArray[np.float64], list[dict[str, Any]]]:
    """Stop recording and download: both voices ``(samples, 2)`` and the lines."""
    page.click("#record-button")
    assert page.download("#recording-sound", folder / "sound.wav") == "microturn.wav"
    assert page.download("#recording-turns", folder / "turns.jsonl") == "microturn.jsonl"
    with wave.open(str(folder / "sound.wav")) as file:
        assert (file.getnchannels(), file.getframerate()) == (2, SAMPLE_RATE_HZ)
        pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    lines = (folder / "turns.jsonl").read_text().splitlines()
    return pcm.reshape(-1, 2) / 32768, [json.loads(line) for line in lines]


def levels(pcm: NDArray[Any], window_ms: int = 10, rate_hz: int = SAMPLE_RATE_HZ) -> NDArray[np.float64]:
    """Loudest sample of each ``window_ms``."""
    window = rate_hz * window_ms // 1000
    peaks: NDArray[np.float64] = np.abs(pcm[: len(pcm) // window * window]).reshape(-1, window).max(axis=1)
    return peaks


# First visit and typing.


def test_a_first_visit_explains_itself_once(page: Browser, server: FakeServer) -> None:
    welcome = "document.querySelector('#welcome').hidden"
    assert page.evaluate(welcome) is False
    assert "listens while it speaks" in page.text("#welcome")
    assert page.evaluate("document.querySelectorAll('#tries [data-say]').length") == 3
    page.click("#tries button")
    page.until(LIVE)
    wait_for(lambda: server.session.of("session.input_text.append"))
    assert server.session.of("session.input_text.append")[0]["text"] == "in three seconds say blue"
    page.until("document.querySelector('#transcript').textContent.includes('Typedin three seconds say blue')")
    page.reload()
    assert page.evaluate(welcome) is True


def test_a_refused_microphone_is_said_and_typing_still_works(server: FakeServer) -> None:
    devices = ["--use-fake-device-for-media-stream", "--deny-permission-prompts"]
    with Browser(server.url, args=devices, permissions=[]) as page:
        page.click("#microphone-button")
        page.until("document.querySelector('#alert').textContent !== ''")
        assert re.search(r"microphone was refused.*Typing still works", page.text("#alert"))
        page.click("#camera-button")
        page.until("document.querySelector('#alert').textContent.includes('camera')")
        type_in(page, "say red")
        wait_for(lambda: server.session.of("session.input_text.append"))
        server.session.say("red", 3)
        page.until("[...document.querySelectorAll('#transcript li')].at(-1)?.textContent.includes('Modelred')")
        # The model hears quiet, not gaps: the page sends silence in the microphone's place.
        assert wait_for(lambda: len(sound_of(server.session)) > SAMPLE_RATE_HZ)
        assert not sound_of(server.session).any()


def test_without_any_device_the_page_says_so(server: FakeServer) -> None:
    with Browser(server.url, args=[]) as page:
        page.click("#microphone-button")
        page.until("/No microphone was found.*Typing still works/.test(document.querySelector('#alert').textContent)")
        assert page.evaluate("document.querySelector('#microphone-choice').textContent") == "None found"


def test_a_session_that_is_refused_says_why(page: Browser, server: FakeServer) -> None:
    server.refuses = "All places are taken; try again in 20 s."
    try:
        page.click("#tries button")
        page.until("document.querySelector('#alert').textContent.includes('try again in 20 s')")
        assert page.text("#status") == "Ended"
    finally:
        server.refuses = ""
    page.click("#tries button")
    page.until(LIVE)


# Sound.


def test_the_microphone_arrives_as_it_sounds_in_small_chunks(page: Browser, server: FakeServer) -> None:
    session = talk(page, server)
    wait_for(lambda: len(sound_of(session)) > 7 * SAMPLE_RATE_HZ, 15)
    sizes = {len(base64.b64decode(event["audio"])) // 2 for event in session.of("session.input_audio.append")}
    assert sizes == {SAMPLE_RATE_HZ * 20 // 1000}
    assert likeness(session) > 0.8, "echo cancellation and automatic gain change a little"


def likeness(session: FakeSession) -> float:
    """The best correlation of the envelope of what came in with that of a stretch of ``timer.wav``."""
    with wave.open(str(TIMER)) as file:
        pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        wanted = levels(pcm.reshape(-1, file.getnchannels())[:, 0], 50, file.getframerate())
    heard = levels(sound_of(session), 50)
    looped = np.concatenate([wanted, wanted])
    length = min(len(heard), len(wanted))
    stretches = np.lib.stride_tricks.sliding_window_view(looped, length)
    return max(float(np.corrcoef(heard[:length], stretch)[0, 1]) for stretch in stretches if stretch.std() > 0)


def test_a_sample_is_played_in_for_those_without_a_microphone(server: FakeServer) -> None:
    with Browser(server.url, args=[]) as page:
        page.click("[data-sample]")
        page.until(LIVE)
        session = server.session
        wait_for(lambda: len(sound_of(session)) > 7 * SAMPLE_RATE_HZ, 15)
        assert page.text("[data-sample] b") == "Stop the recording"
        assert likeness(session) > 0.85
        page.click("[data-sample]")
        before = len(sound_of(session))
        wait_for(lambda: len(sound_of(session)) > before + SAMPLE_RATE_HZ)
        assert not sound_of(session)[before + SAMPLE_RATE_HZ // 2 :].any(), "a second click does not stop it"


def test_the_voice_plays_without_gaps_or_clicks_and_is_recorded(
    page: Browser, server: FakeServer, tmp_path: Path
) -> None:
    session = talk(page, server)
    page.click("#record-button")
    session.say("one two three four five six", 3)
    time.sleep(18 * TURN_MS / 1000 + 2)
    sound, lines = recorded(page, tmp_path)
    voice = levels(sound[:, 1]) > 0.2
    assert abs(int(voice.sum()) * 10 - 18 * TURN_MS) < 100, "as long as it was said"
    pauses = int((np.diff(voice.astype(int)) == -1).sum()) - 1
    assert pauses <= lines[0]["late_times"] <= 4, "only what comes too late makes a pause, and teaches to wait"
    # A sine of 330 Hz and 0.4 changes by 0.052 from sample to sample; a click would be a jump.
    assert np.abs(np.diff(sound[:, 1])).max() < 0.08
    assert levels(sound[:, 0]).max() > 0.05, "the microphone stands on the left"
    turns = lines[1:]
    assert lines[0]["rate_hz"] == SAMPLE_RATE_HZ
    assert [line["turn"] for line in turns] == list(range(turns[0]["turn"], turns[0]["turn"] + len(turns)))
    assert "".join(line.get("say", "") for line in turns) == " one two three four five six"


def test_when_the_model_yields_the_page_falls_silent_and_tells_what_was_heard(
    page: Browser, server: FakeServer, tmp_path: Path
) -> None:
    session = talk(page, server)
    session.ahead_turns = 4
    page.click("#record-button")
    session.say("a long answer that nobody wants to hear to its end", 3)
    # The user, timer.wav, speaks from 1.5 to 4.5 s.
    wait_for(lambda: levels(sound_of(session)[-SAMPLE_RATE_HZ // 2 :]).max(initial=0) > 5000)
    time.sleep(0.5)
    session.to_say = []
    ack = wait_for(lambda: next((one for one in session.of("session.playback.ack") if one["dropped"]), None))
    time.sleep(0.8)
    sound, lines = recorded(page, tmp_path)
    voice = np.flatnonzero(levels(sound[:, 1]) > 0.1)
    heard_ms = (voice[-1] - voice[0] + 1) * 10
    assert session.said_from_ms is not None and session.sent_to_ms - ack["heard_until_ms"] > 2 * TURN_MS
    assert abs((ack["heard_until_ms"] - session.said_from_ms) - heard_ms) < 60, "the server knows what was heard"
    spoke = max(i for i, line in enumerate(lines) if line.get("speaking"))
    assert voice[-1] * 10 - lines[spoke + 1]["sound_ms"] < 100 + 100, "100 ms, and as much for a busy machine"


def test_a_word_that_ends_by_itself_is_heard_to_its_end(server: FakeServer, tmp_path: Path) -> None:
    with Browser(server.url, viewport=DESKTOP, args=[]) as page:
        type_in(page, "say red")
        page.until(LIVE)
        page.click("#record-button")
        server.session.say("red", 4)
        time.sleep(2)
        sound, _ = recorded(page, tmp_path)
        # Counted, not spanned: a busy machine may be late once, and then there is a pause.
        assert abs(int((levels(sound[:, 1]) > 0.1).sum()) * 10 - 4 * TURN_MS) < 50
        assert not any(one["dropped"] for one in server.session.of("session.playback.ack"))
        assert server.session.of("session.playback.ack")[-1]["heard_until_ms"] > 0


def test_what_is_said_while_paused_counts_as_not_heard(page: Browser, server: FakeServer) -> None:
    session = talk(page, server)
    page.click("#pause-button")
    session.say("red", 3)
    time.sleep(1.2)
    page.click("#pause-button")
    ack = wait_for(lambda: next((one for one in session.of("session.playback.ack") if one["dropped"]), None))
    assert session.said_from_ms is not None and ack["heard_until_ms"] <= session.said_from_ms


# The controls.


def test_mute_and_pause(page: Browser, server: FakeServer) -> None:
    session = talk(page, server)
    appends = "session.input_audio.append"
    page.click("#microphone-button")
    wait_for(lambda: session.of("session.input_audio.mute"))
    assert page.text("#microphone-button span") == "Unmute"
    time.sleep(0.3)
    before = len(session.of(appends))
    time.sleep(0.5)
    assert len(session.of(appends)) == before, "muted, and still sending"
    page.click("#microphone-button")
    wait_for(lambda: session.of("session.input_audio.unmute"))
    wait_for(lambda: len(session.of(appends)) > before + 5)
    page.click("#pause-button")
    assert page.text("#status") == "Paused"
    time.sleep(0.3)
    before = len(session.of(appends))
    time.sleep(0.5)
    assert len(session.of(appends)) == before, "paused, and still sending"
    page.click("#pause-button")
    wait_for(lambda: len(session.of(appends)) > before + 5)
    assert page.text("#status") == "Live"


def test_end_closes_the_session_and_the_devices(page: Browser, server: FakeServer) -> None:
    session = talk(page, server)
    page.click("#end-button")
    page.until("document.querySelector('#status').textContent === 'Ended'")
    assert session.of("session.close")
    assert page.text("#microphone-button span") == "Start talking"
    talk(page, server)
    assert server.session is not session


def test_the_camera_gives_small_pictures_five_a_second_at_most(page: Browser, server: FakeServer) -> None:
    session = talk(page, server)
    page.click("#camera-button")
    wait_for(lambda: len(session.of("session.input_video.append")) >= 20, 20)
    times_ms = [event["at_ms"] for event in session.of("session.input_video.append")]
    assert (len(times_ms) - 1) * 1000 / (times_ms[-1] - times_ms[0]) < 5.6
    event = session.of("session.input_video.append")[-1]
    picture = Image.open(io.BytesIO(base64.b64decode(event["image"])))
    assert picture.format == "JPEG" and max(picture.size) == 160
    assert abs(event["at_ms"] - session.turn * TURN_MS) < 1000
    page.click("#camera-button")
    page.until("document.querySelector('#preview').hidden")


def test_a_lost_line_is_taken_up_again_and_nothing_typed_is_lost(page: Browser, server: FakeServer) -> None:
    session = talk(page, server)
    time.sleep(0.5)
    server.accepts = False
    server.lose_the_line()
    page.until("document.querySelector('#status').dataset.state === 'resuming'")
    type_in(page, "say green")
    time.sleep(0.5)
    server.accepts = True
    page.until(LIVE)
    assert server.session is session and session.connections == 2
    wait_for(lambda: any(event["text"] == "say green" for event in session.of("session.input_text.append")))
    before = len(session.received)
    wait_for(lambda: len(session.received) > before + 20)


# What it looks like.


def _pixels(page: Browser, script: str) -> int:
    """How many pixels of the timeline ``script(red, green, blue)`` holds for."""
    return int(
        page.evaluate(
            f"""(() => {{
              const canvas = document.querySelector('#timeline');
              const {{ data }} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
              let count = 0;
              for (let i = 0; i < data.length; i += 4) {{
                const [red, green, blue, alpha] = data.slice(i, i + 4);
                if (alpha > 200 && {script}) count++;
              }}
              return count;
            }})()"""
        )
    )


def test_voices_gaps_and_late_turns_are_drawn(page: Browser, server: FakeServer) -> None:
    accent = "red > 150 && green < 110 && blue < 60"
    session = talk(page, server)
    time.sleep(1)
    quiet = _pixels(page, accent)
    session.say("red", 4)
    time.sleep(2)
    spoken = _pixels(page, accent)
    assert spoken > quiet + 2000
    before = _pixels(page, "red > 200 && red < 215 && blue > 205")
    session.gap, session.late = True, True
    time.sleep(1)
    session.gap, session.late = False, False
    time.sleep(0.4)
    assert _pixels(page, "red > 200 && red < 215 && blue > 205") > before + 300, "no hatching where a gap was"
    assert _pixels(page, accent) > spoken + 1000, "no bar where a turn was late"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read(server: FakeServer, scheme: str, tmp_path: Path) -> None:
    with Browser(server.url, viewport=DESKTOP, colorScheme=scheme) as page:
        names = ["paper", "raised", "ink", "soft", "accent", "on-accent"]
        values = {
            name: page.evaluate(f"getComputedStyle(document.documentElement).getPropertyValue('--{name}').trim()")
            for name in names
        }
        for pair in ("ink paper", "soft paper", "soft raised", "accent paper", "on-accent accent"):
            front, back = pair.split()
            assert _contrast(values[front], values[back]) >= 4.5, f"{front} on {back}"
        page.screenshot(tmp_path / "page.png")
        corner = Image.open(tmp_path / "page.png").convert("L").getpixel((2, 2))
        assert isinstance(corner, int | float) and (corner > 200) == (scheme == "light")


def _contrast(one: str, other: str) -> float:
    """WCAG's contrast ratio of two colours written as ``#rrggbb``."""

    def luminance(colour: str) -> float:
        parts = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    dark, light = sorted([luminance(one), luminance(other)])
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("width", [320, 360, 720, 1920])
def test_everything_fits_and_can_be_touched(server: FakeServer, width: int) -> None:
    with Browser(server.url, viewport={"width": width, "height": 740}) as page:
        talk(page, server)
        page.click("#camera-button")
        page.until("document.querySelector('#preview').videoWidth > 0")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        small = page.evaluate(
            """[...document.querySelectorAll('button, input')].filter((one) => {
              const { left, right, width, height } = one.getBoundingClientRect();
              return width && (left < 0 || right > innerWidth || width < 32 || height < 32);
            }).map((one) => one.id)"""
        )
        assert small == []


def test_keyboard_alone(page: Browser, server: FakeServer) -> None:
    reached: list[str] = []
    for _ in range(11):
        page.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()"))
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid", f"no visible focus on {reached[-1]}"
    assert {"stage", "text", "microphone-button", "camera-button", "devices-button"} <= {*reached}
    page.evaluate("document.querySelector('#text').focus()")
    type_in(page, "say red")
    page.until(LIVE)
    wait_for(lambda: server.session.of("session.input_text.append"))


def test_the_timeline_moves_back_and_comes_to_now_again(server: FakeServer) -> None:
    with Browser(server.url, viewport=PHONE) as page:
        session = talk(page, server)
        wait_for(lambda: session.turn > 30, 15)
        page.evaluate("document.querySelector('#stage').focus()")
        page.press("ArrowLeft")
        page.until("!document.querySelector('#now').hidden")
        page.press("End")
        page.until("document.querySelector('#now').hidden")


def test_a_screen_reader_meets_names_and_no_chatter(page: Browser, server: FakeServer) -> None:
    session = talk(page, server)
    session.heard += ["good", "morning"]
    session.say("good morning")
    page.until("document.querySelectorAll('#transcript li').length >= 2")
    tree = page.accessibility()
    for line in (
        'heading "microturn"', "status: Live", 'button "Mute"', 'button "Send"', 'textbox "Type to the model"',
        'group "Session"', 'log "Transcript"', 'button "Record"',
    ):  # fmt: skip
        assert line in tree, f"{line} is not in\n{tree}"
    assert not re.search(r"- (button|textbox|combobox)(:|$| \[)", tree, re.MULTILINE), f"something has no name:\n{tree}"
    kinds = "[role=status],[role=alert],[aria-live=polite],[aria-live=assertive]"
    live = page.evaluate(f"[...document.querySelectorAll('{kinds}')].map((one) => one.id)")
    assert live == ["status", "alert"], "only states are announced: words would be heard twice, and by the microphone"


def test_less_motion_moves_in_steps(server: FakeServer) -> None:
    with Browser(server.url, viewport=PHONE, reducedMotion="reduce") as page:
        session = talk(page, server)
        wait_for(lambda: session.turn > 30, 15)
        steps = page.evaluate(
            """new Promise((resolve) => {
              const seen = new Set();
              const canvas = document.querySelector('#timeline');
              const start = performance.now();
              const look = () => {
                const { data } = canvas.getContext('2d').getImageData(0, canvas.height - 18, canvas.width, 12);
                seen.add(data.join());
                if (performance.now() - start < 1000) requestAnimationFrame(look);
                else resolve(seen.size);
              };
              look();
            })"""
        )
        assert steps <= 8
