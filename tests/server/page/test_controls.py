"""The page's controls in Chromium where something is in their way: a prompt that stays open, a device that fails."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from microturn.turn import SAMPLE_RATE_HZ
from tests.server.page.browser import FAKE_DEVICES, Browser
from tests.server.page.fake_server import FakeServer
from tests.server.page.test_page import DESKTOP, LIVE, TIMER, likeness, sound_of, talk, type_in, wait_for

pytestmark = pytest.mark.needs_browser

ENDED = "document.querySelector('#status').textContent === 'Ended'"
KEPT = """
window.streams = [];
const given = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
navigator.mediaDevices.getUserMedia = async (wanted) => {
  window.streams.push(await given(wanted));
  return window.streams.at(-1);
};
"""
"""What was given is kept."""
PROMPT = """
const given = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
navigator.mediaDevices.getUserMedia = (wanted) => new Promise((resolve) => {
  window.allow = async () => resolve((window.stream = await given(wanted)));
});
"""
"""A device is given only when the test says so."""
SPEAKERS = """
const devices = ["desk", "gone"].map((deviceId) => ({ kind: "audiooutput", deviceId, label: deviceId }));
navigator.mediaDevices.enumerateDevices = async () => devices;
window.speakers = [];
AudioContext.prototype.setSinkId = async (id) => {
  window.speakers.push(id);
  if (id === "gone") throw new DOMException("", "NotFoundError");
};
"""
NO_STORAGE = "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('', 'SecurityError'); } })"
NO_SOUND_AT_FIRST = """
const { addModule } = AudioWorklet.prototype;
AudioWorklet.prototype.addModule = function () {
  AudioWorklet.prototype.addModule = addModule;
  return Promise.reject(new Error("no worklet"));
};
"""


@pytest.fixture(scope="module")
def server() -> Iterator[FakeServer]:
    with FakeServer() as server:
        yield server


def choose(page: Browser, list_id: str, value: str = "") -> None:
    page.evaluate(
        f"""(() => {{
          const list = document.querySelector('#{list_id}');
          list.value = {value!r};
          list.dispatchEvent(new Event('change'));
        }})()"""
    )


def test_another_microphone_stays_muted(server: FakeServer) -> None:
    devices = [*FAKE_DEVICES, f"--use-file-for-fake-audio-capture={TIMER}"]
    with Browser(server.url, args=devices, before=KEPT) as page:
        session = talk(page, server)
        page.click("#microphone-button")
        wait_for(lambda: session.of("session.input_audio.mute"))
        time.sleep(0.3)
        before = len(sound_of(session))
        choose(page, "microphone-choice")
        page.until("window.streams.length === 2 && window.streams[1].getAudioTracks()[0].enabled === false")
        assert page.text("#microphone-button span") == "Unmute"
        time.sleep(0.5)
        assert not session.of("session.input_audio.unmute") and len(sound_of(session)) == before
        page.click("#microphone-button")
        wait_for(lambda: len(sound_of(session)) > before + SAMPLE_RATE_HZ // 2)


@pytest.mark.parametrize("device", ["microphone", "camera"])
def test_a_device_that_is_allowed_after_the_end_is_closed_again(server: FakeServer, device: str) -> None:
    with Browser(server.url, before=PROMPT) as page:
        page.click(f"#{device}-button")
        page.until(f"{LIVE} && window.allow !== undefined")
        page.click("#end-button")
        page.until(ENDED)
        page.evaluate("window.allow()")
        page.until("window.stream.getTracks().every((one) => one.readyState === 'ended')")
        assert page.text("#microphone-button span") == "Start talking"
        assert page.evaluate("document.querySelector('#camera-button').getAttribute('aria-pressed')") == "false"
        assert page.problems() == []


def test_a_browser_that_keeps_nothing_has_a_page_that_works(server: FakeServer) -> None:
    with Browser(server.url, before=NO_STORAGE) as page:
        type_in(page, "say red")
        page.until(LIVE)
        wait_for(lambda: server.session.of("session.input_text.append"))
        assert page.problems() == []


def test_the_loudspeaker_that_was_chosen_before_there_is_sound_is_used(server: FakeServer) -> None:
    with Browser(server.url, before=SPEAKERS) as page:
        page.until("document.querySelectorAll('#speaker-choice option').length === 3")
        choose(page, "speaker-choice", "desk")
        type_in(page, "say red")
        page.until("window.speakers.join() === 'desk'")
        choose(page, "speaker-choice", "gone")
        page.until("/No loudspeaker was found/.test(document.querySelector('#alert').textContent)")
        assert page.problems() == []


def test_where_no_loudspeaker_can_be_chosen_there_is_no_choice(server: FakeServer) -> None:
    with Browser(server.url, before="delete AudioContext.prototype.setSinkId") as page:
        page.click("#devices-button")
        shown = "[...document.querySelectorAll('#devices-panel > *')].filter((one) => one.checkVisibility())"
        names = page.evaluate(f"{shown}.map((one) => one.id || one.htmlFor)")
        assert names == [name for device in ("microphone", "camera") for name in [f"{device}-choice"] * 2]


def test_a_sound_system_that_failed_is_tried_again(server: FakeServer) -> None:
    with Browser(server.url, before=NO_SOUND_AT_FIRST, viewport=DESKTOP) as page:
        page.click("#microphone-button")
        page.until("/there is no sound system.*Typing still works/.test(document.querySelector('#alert').textContent)")
        page.click("#microphone-button")
        page.until("document.querySelector('#microphone-button span').textContent === 'Mute'")
        assert page.text("#alert") == ""
        wait_for(lambda: len(sound_of(server.session)) > SAMPLE_RATE_HZ // 2)


def test_a_recording_is_heard_by_the_model_of_one_who_is_muted(server: FakeServer) -> None:
    with Browser(server.url) as page:
        session = talk(page, server)
        page.click("#microphone-button")
        wait_for(lambda: session.of("session.input_audio.mute"))
        time.sleep(0.3)
        session.received.clear()
        # The second click comes before it has begun to play: it is played once all the same.
        page.evaluate("(() => { for (const _ of [1, 2]) document.querySelector('[data-sample]').click(); })()")
        wait_for(lambda: len(sound_of(session)) > 7 * SAMPLE_RATE_HZ, 15)
        assert likeness(session) > 0.85
        assert page.text("[data-sample] b") == "Stop the recording"
        assert page.text("#microphone-button span") == "Unmute"
        page.click("[data-sample]")
        wait_for(lambda: session.of("session.input_audio.mute"))
        assert page.text("[data-sample] b") == "Play a recording"


def test_a_recording_that_is_still_loaded_at_the_end_is_not_played(server: FakeServer) -> None:
    load = "const load = fetch; window.fetch = (url) => new Promise((give) => (window.go = () => give(load(url))));"
    with Browser(server.url, before=load) as page:
        page.click("[data-sample]")
        page.until(f"{LIVE} && window.go !== undefined")
        page.click("#end-button")
        page.until(ENDED)
        page.evaluate("window.go()")
        page.until("document.querySelector('[data-sample] b').textContent === 'Play a recording'", 3)


def test_names_say_what_a_button_does_and_the_focus_is_kept(server: FakeServer) -> None:
    with Browser(server.url, viewport=DESKTOP) as page:
        session = talk(page, server)
        page.click("#record-button")
        page.click("#pause-button")
        page.until("/^0:0[1-9]/.test(document.querySelector('#record-time').textContent)")
        lines = [line.strip() for line in page.accessibility().splitlines()]
        assert {'- button "Resume"', '- button "Stop"'} <= {*lines}, lines
        page.click("#record-button")
        page.evaluate("document.querySelector('#end-button').focus()")
        page.press("Enter")
        page.until(ENDED)
        assert session.of("session.close")
        assert page.evaluate("document.activeElement.id") == "microphone-button"
