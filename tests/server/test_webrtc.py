"""WebRTC over loopback: sound, pictures and events both ways; bad offers, full servers, lost lines, nothing left."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import threading
import wave
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest
from aiortc import RTCPeerConnection
from aiortc.jitterbuffer import JitterFrame
from av import CodecContext
from av.error import FFmpegError
from av.video.frame import VideoFrame
from numpy.typing import NDArray
from PIL import Image
from websockets.asyncio.client import connect

from microturn.engine.slots import Turn
from microturn.model.weights import load
from microturn.server import wire
from microturn.server.access import Access
from microturn.server.connection import Connection
from microturn.server.guarded_video import GuardedVp8
from microturn.server.limits import MAX_OFFER_BYTES
from microturn.server.live import Live
from microturn.server.metrics import Metrics
from microturn.server.peer import Peer
from microturn.server.prompt_buffer import Frames
from microturn.server.voice import CUSHION_MS, FRAME_SAMPLES, MAX_QUEUED_MS, VoiceTrack
from microturn.turn import SAMPLE_RATE_HZ, TURN_SAMPLES, TurnInput
from tests.server.caller import CONFIG, RATE_HZ, Caller, Camera, Microphone, calling, post, silence
from tests.server.conftest import FakeHost, running, small_weights
from tests.server.test_live import turn_of
from tests.server.test_resuming import resume
from tests.server.test_serving import KEY, metric, next_event, until, url

TONE_HZ = 440
BLUE = (40, 60, 200)


@pytest.fixture(autouse=True)
def _loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's side too needs no other address than this machine's own."""
    monkeypatch.setattr("aioice.ice.get_host_addresses", lambda use_ipv4, use_ipv6: ["127.0.0.1"])


def tone(seconds: float) -> NDArray[np.int16]:
    times_s = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    return (8000 * np.sin(2 * np.pi * TONE_HZ * times_s)).astype(np.int16)


def sound_of(path: Path) -> NDArray[np.float64]:
    with wave.open(str(path)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float64)


def likeness(found: NDArray[np.float64], wanted: NDArray[np.float64]) -> float:
    """The correlation of ``wanted`` with that place of ``found`` which it is most like."""
    size = 1 << (len(found) + len(wanted)).bit_length()
    product = np.fft.irfft(np.fft.rfft(found, size) * np.conj(np.fft.rfft(wanted, size)), size)
    at = int(np.argmax(product[: len(found)]))
    there = found[at : at + len(wanted)]
    wanted = wanted[: len(there)]
    return float(there @ wanted / (np.linalg.norm(there) * np.linalg.norm(wanted) + 1e-9))


def test_sound_goes_both_ways_and_events_by_the_channel(tmp_path: Path) -> None:
    async def talk(port: int) -> Caller:
        async with calling(port, Microphone(tone(3.0))) as caller:
            await caller.until_turn(8)
            caller.send("session.input_text.append", text="say red and blue")
            caller.send("session.input_audio.mute", event_id="quiet")
            assert (await caller.next("session.input_audio.muted"))["client_event_id"] == "quiet"
            await caller.until_turn(14)
            caller.send("session.close")
            await caller.next("session.closed")
            await caller.closed()
            return caller

    with running(weights=small_weights(tmp_path / "weights"), record=tmp_path / "live") as port:
        caller = asyncio.run(talk(port))
        until(lambda: metric(port, "microturn_active_sessions") == 0)
        assert metric(port, "microturn_received_bytes_total") > 10_000
        assert metric(port, "microturn_sent_bytes_total") > 10_000
    turns = caller.of_kind("session.turn")
    assert [one["turn"] for one in turns] == list(range(len(turns)))
    assert not caller.of_kind("error") and not caller.of_kind("session.output_audio.delta")
    ids = [event["event_id"] for event in caller.events]
    assert len(ids) == len(set(ids))
    (folder,) = (tmp_path / "live").iterdir()
    heard = sound_of(folder / "user.wav")
    loud = np.flatnonzero(np.abs(heard) > 2000)
    assert len(loud) > SAMPLE_RATE_HZ // 2, "the tone has not reached the engine"
    stretch = heard[loud[0] : loud[0] + SAMPLE_RATE_HZ]
    strongest = np.argmax(np.abs(np.fft.rfft(stretch * np.hanning(len(stretch))))) * SAMPLE_RATE_HZ / len(stretch)
    assert strongest == pytest.approx(TONE_HZ, abs=5)
    said = sound_of(folder / "model.wav")
    received = np.concatenate(caller.heard).astype(np.float64)[::3]
    assert any(one["speaking"] for one in turns) and np.abs(received).max() > 1000
    start = int(np.flatnonzero(np.abs(said) > 500)[0])
    assert likeness(received, said[start : start + SAMPLE_RATE_HZ // 5]) > 0.8
    playback = caller.of_kind("session.closed")[0]["session"]["microturn"]["playback"]
    spoke_ms = 200 * sum(one["speaking"] for one in turns)
    assert 0 < playback["heard_ms"] <= playback["sent_ms"] and playback["sent_ms"] >= spoke_ms
    assert playback["heard_ms"] > 0.5 * spoke_ms


def test_pictures_are_taken_from_the_video_one_a_turn(tmp_path: Path) -> None:
    async def talk(port: int) -> list[dict[str, Any]]:
        async with calling(port, silence(), Camera(BLUE)) as caller:
            await caller.until_turn(15)
            return caller.of_kind("session.turn")

    with running(weights=small_weights(tmp_path / "weights"), record=tmp_path / "live") as port:
        turns = asyncio.run(talk(port))
        assert metric(port, "microturn_errors_total") == 0
    assert sum(one["picture"] for one in turns[5:]) >= 5
    files = sorted((tmp_path / "live").glob("*/frames/*.png"))
    assert len(files) >= 5
    with Image.open(files[-1]) as image:
        assert image.size == (128, 96)
        assert np.abs(np.asarray(image).reshape(-1, 3).mean(axis=0) - BLUE).max() < 12


def test_bad_offers_are_named(port: int) -> None:
    async def sdp(caller: Caller) -> str:
        text = await caller.offer()
        await caller.leave()
        return text

    async def offers() -> tuple[str, str, str, str]:
        good, deaf, twice, plain = Caller(silence()), Caller(), Caller(silence(), silence()), Caller(silence())
        return await sdp(good), await sdp(deaf), await sdp(twice), (await sdp(plain)).split("m=application")[0]

    good, deaf, twice, plain = asyncio.run(offers())
    session = {"model": "small"}

    def refused(body: bytes | dict[str, Any]) -> tuple[int, str, str]:
        status, answer = post(port, body if isinstance(body, bytes) else json.dumps(body).encode())
        error = answer["error"]
        assert set(error) >= {"type", "code", "message"}
        return status, error["code"], error.get("param", "")

    def with_sdp(text: str, **more: Any) -> dict[str, Any]:
        return {"session": session, "transport": {"type": "webrtc", "sdp": text}, **more}

    bad_sdp = (400, "invalid_offer", "transport.sdp")
    for text in ("", "v=0", "no sdp at all", good[:200], deaf, twice, plain, good.replace("opus", "unknown")):
        assert refused(with_sdp(text)) == bad_sdp, text
    candidate = next(line for line in good.splitlines() if line.startswith("a=candidate"))
    assert refused(with_sdp(good.replace(candidate, "\r\n".join([candidate] * 65)))) == bad_sdp
    assert refused(with_sdp(good.replace("a=max-message-size:262144", "a=max-message-size:1023"))) == bad_sdp
    assert refused(with_sdp(good.replace("a=ice-pwd", "a=ice-nothing"))) == bad_sdp
    assert refused(b"{")[:2] == (400, "invalid_value")
    assert refused({"session": session})[:2] == (400, "invalid_value")
    assert refused(with_sdp(good, more=1))[:2] == (400, "invalid_value")
    assert refused(with_sdp(good, session=None)) == (400, "missing_parameter", "session")
    assert refused(with_sdp(good, session={})) == (400, "missing_parameter", "session.model")
    assert refused(with_sdp(good, session={"model": "large"})) == (404, "model_not_found", "session.model")
    unknown = {"session_id": "live_1", "resume_token": "secret"}
    assert refused(with_sdp(good, session=None, resume=unknown))[:2] == (404, "session_not_found")
    assert refused(b" " * (MAX_OFFER_BYTES + 1))[:2] == (413, "text_too_long")
    rng = np.random.default_rng(0)
    for _ in range(100):
        cut = bytearray(good.encode())
        for at in rng.integers(0, len(cut), 8):
            cut[at] = rng.integers(32, 127)
        post(port, json.dumps(with_sdp(cut.decode())).encode())
    # Some of those are offers still; nobody comes to them.
    assert metric(port, "microturn_errors_total") > 15


def test_a_full_server_refuses_and_keys_are_asked_for() -> None:
    async def talk(port: int) -> None:
        config = {"session": {"model": "small"}}
        async with calling(port, **config):
            second = Caller(silence())
            second.first = config
            status, answer = await second.call(port)
            assert (status, answer["error"]["code"]) == (503, "busy") and answer["error"]["retry_after_ms"] > 0
            await second.leave()
        await asyncio.to_thread(until, lambda: metric(port, "microturn_active_sessions") == 0)
        async with calling(port, **config):
            pass

    with running(max_sessions=1) as port:
        asyncio.run(talk(port))

    async def knock(port: int) -> list[int]:
        found = []
        for headers in ({}, {"Authorization": f"Bearer {KEY}", "Origin": "http://evil.example"}):
            caller = Caller(silence())
            found.append((await caller.call(port, **headers))[0])
            await caller.leave()
        caller = Caller(silence())
        found.append((await caller.call(port, Authorization=f"Bearer {KEY}"))[0])
        await caller.next("session.started")
        await caller.leave()
        return found

    with running(access=Access(keys=frozenset({KEY}))) as port:
        assert asyncio.run(knock(port)) == [401, 403, 201]


@pytest.mark.parametrize("way", ["webrtc", "websocket"])
def test_a_lost_peer_is_waited_for(way: str) -> None:
    async def talk(port: int) -> list[dict[str, Any]]:
        async with calling(port, Microphone(tone(60))) as caller:
            session = (caller.events[0])["session"]
            await caller.until_turn(4)
        received_ms = caller.of_kind("session.turn")[-1]["end_ms"]
        await asyncio.sleep(1.0)
        again = json.loads(resume(session, received_ms))
        if way == "websocket":
            async with connect(url(port)) as client:
                await client.send(json.dumps(again))
                assert (await next_event(client))["session"] == session
                turns = [await next_event(client, "session.turn") for _ in range(6)]
            return caller.of_kind("session.turn") + turns
        del again["type"]
        async with calling(port, Microphone(tone(60)), resume=again) as other:
            assert other.events[0]["session"] == session and other.events[0]["client_event_id"] == "again"
            await other.until_turn(18)
            other.send("session.close")
            await other.next("session.closed")
        return caller.of_kind("session.turn") + other.of_kind("session.turn")

    with running() as port:
        turns = asyncio.run(talk(port))
        until(lambda: metric(port, "microturn_active_sessions") == 0)
    assert [one["turn"] for one in turns] == list(range(len(turns)))
    assert any(one["gap"] for one in turns[6:])
    if way == "webrtc":
        assert not turns[-1]["gap"]


def test_a_websocket_session_is_taken_over_by_a_peer() -> None:
    async def talk(port: int) -> None:
        async with connect(url(port)) as client:
            await client.send(json.dumps({"type": "session.start", "session": CONFIG}))
            session = (await next_event(client, "session.started"))["session"]
            again = json.loads(resume(session, 0))
            del again["type"]
            async with calling(port, Microphone(tone(60)), resume=again) as caller:
                await caller.until_turn(12)
                assert not caller.of_kind("session.turn")[-1]["gap"]
                assert max(np.abs(one).max() for one in caller.heard) > 1000
            await client.wait_closed()

    with running(max_sessions=1) as port:
        asyncio.run(talk(port))


def test_a_peer_that_never_comes_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("microturn.server.peer.CONNECT_SECONDS", 1.0)

    async def talk(port: int) -> None:
        caller = Caller(silence())
        offer = {"session": {"model": "small"}, "transport": {"type": "webrtc", "sdp": await caller.offer()}}
        assert (await asyncio.to_thread(post, port, json.dumps(offer).encode()))[0] == 201
        await caller.leave()
        assert metric(port, "microturn_active_sessions") == 1

    with running() as port:
        asyncio.run(talk(port))
        until(lambda: metric(port, "microturn_active_sessions") == 0)


def test_a_server_that_stops_closes_its_peers() -> None:
    ports: SimpleQueue[int] = SimpleQueue()
    stop = threading.Event()

    def serve() -> None:
        with running() as port:
            ports.put(port)
            stop.wait()

    async def talk() -> None:
        # The client goes on in this thread while the server stops in another.
        server = asyncio.create_task(asyncio.to_thread(serve))
        try:
            async with calling(await asyncio.to_thread(ports.get)) as caller:
                stop.set()
                assert (await caller.next("session.closed"))["reason"] == "remote_hangup"
                await caller.closed()
        finally:
            stop.set()
            await server

    asyncio.run(talk())


def test_many_peers_leave_nothing_behind() -> None:
    async def talk(port: int, count: int) -> None:
        for number in range(count):
            tracks = [silence(), Camera(BLUE)] if number % 2 else [silence()]
            async with calling(port, *tracks, session={"model": "small"}) as caller:
                if number % 3 == 0:
                    caller.send("session.close")
                    await caller.next("session.closed")

    def kept() -> tuple[int, int]:
        """Threads but those of the loop's pool, which grows to its size and stays, and open files."""
        threads = [one for one in threading.enumerate() if not one.name.startswith(("asyncio", "uvloop"))]
        return len(threads), len(os.listdir("/proc/self/fd"))

    def left() -> list[Peer | Connection]:
        gc.collect()
        return [one for one in gc.get_objects() if type(one) in (Peer, Connection)]

    with running(max_sessions=2) as port:
        asyncio.run(talk(port, 1))
        until(lambda: metric(port, "microturn_active_sessions") == 0)
        before = kept()
        asyncio.run(talk(port, 12))
        until(lambda: metric(port, "microturn_active_sessions") == 0)
        until(lambda: kept()[0] <= before[0] and kept()[1] <= before[1], 60.0)
        assert metric(port, "microturn_sessions_total") == 13
        until(lambda: not left(), 60.0)


def test_a_typed_request_is_answered_aloud() -> None:
    async def talk(port: int) -> Caller:
        async with calling(port, silence(), session={**CONFIG, "model": "default"}) as caller:
            await caller.until_turn(2)
            caller.send("session.input_text.append", text="say red and blue")
            await caller.until_turn(20)
            return caller

    with running(model=load("nano")) as port:
        caller = asyncio.run(talk(port))
    turns = caller.of_kind("session.turn")
    assert "".join(turn["say"] for turn in turns) == " red and blue", turns
    received = np.concatenate(caller.heard)
    loud = np.abs(received[: len(received) // 480 * 480].reshape(-1, 480)).max(axis=1) > 700
    spoke_ms = 200 * sum(turn["speaking"] for turn in turns)
    assert 0.4 * spoke_ms < 10 * loud.sum() <= spoke_ms + 200


def test_a_video_bomb_is_refused_before_it_is_decoded() -> None:
    codec: Any = CodecContext.create("libvpx", "w")
    codec.width, codec.height, codec.pix_fmt = 64, 48, "yuv420p"
    frame = VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), "rgb24")
    packets = codec.encode(frame.reformat(format="yuv420p"))
    data = bytes((packets or codec.encode(None))[0])

    class Encoded:
        def __init__(self, data: bytes) -> None:
            self.data, self.timestamp = data, 0

    decoder: Any = GuardedVp8()
    assert [frame.width for frame in decoder.decode(Encoded(data))] == [64]
    huge = data[:6] + (16_000).to_bytes(2, "little") * 2 + data[10:]
    with pytest.raises(FFmpegError):
        decoder.decode(Encoded(huge))


def test_pictures_that_come_at_once_are_all_decoded() -> None:
    codec: Any = CodecContext.create("libvpx", "w")
    codec.width, codec.height, codec.pix_fmt = 64, 48, "yuv420p"
    codec.options = {"deadline": "realtime", "lag-in-frames": "0"}
    coded = []
    for number in range(3):
        frame = VideoFrame.from_ndarray(np.full((48, 64, 3), 60 * number, np.uint8), "rgb24")
        frame = frame.reformat(format="yuv420p")
        frame.pts = number
        coded += [bytes(one) for one in codec.encode(frame)]
    pictures = [JitterFrame(data, 3000 * number) for number, data in enumerate(coded)]
    decoder = GuardedVp8()
    found = decoder.decode(Frames(pictures[:2])) + decoder.decode(Frames(pictures[2:]))
    assert [one.pts for one in found] == [0, 3000, 6000]


def test_the_voice_waits_a_moment_is_cut_softly_and_knows_what_was_heard() -> None:
    async def play(voice: VoiceTrack, frames: int) -> NDArray[np.int16]:
        return np.concatenate([(await voice.recv()).to_ndarray()[0] for _ in range(frames)])

    async def listen() -> None:
        voice = VoiceTrack()
        assert not (await play(voice, 2)).any() and voice.heard_until_ms == 0
        voice.push(np.full(TURN_SAMPLES, 0.5, np.float32), 400, 600)
        voice.push(np.full(TURN_SAMPLES, 0.5, np.float32), 600, 800)
        sound = await play(voice, 8)
        begun = int(np.flatnonzero(sound)[0])
        assert begun == CUSHION_MS * SAMPLE_RATE_HZ // 1000 and sound[begun:].all()
        assert voice.heard_until_ms == 500 and voice.queued_ms == 300
        assert voice.keep(150) and not voice.keep(150)
        assert voice.queued_ms == pytest.approx(150) and voice.ends_ms == pytest.approx(650)
        rest = (await play(voice, 9)).astype(int)
        assert np.abs(np.diff(rest)).max() < 500 and not rest[-FRAME_SAMPLES:].any()
        assert voice.heard_until_ms == pytest.approx(650) and voice.queued_ms == 0
        for turn in range(20):
            voice.push(np.full(TURN_SAMPLES, 0.5, np.float32), 1000 + 200 * turn, 1200 + 200 * turn)
        assert voice.queued_ms <= MAX_QUEUED_MS
        assert voice.keep(0) and voice.queued_ms == 0

    asyncio.run(listen())


@pytest.mark.parametrize("interrupted", [True, False])
def test_when_the_model_yields_to_the_user_what_waits_is_dropped(
    live: Live, host: FakeHost, monkeypatch: pytest.MonkeyPatch, interrupted: bool
) -> None:
    async def follow() -> None:
        peer = Peer(RTCPeerConnection(), Metrics())
        monkeypatch.setattr(host, "drop_sound", peer.drop_sound)

        def step(turn: Turn) -> None:
            peer.take_turn(turn)
            for event in live.take(turn):
                assert peer.take(event) == isinstance(event, wire.OutputAudio)
            played = peer.played()
            assert played is not None
            live.played(*played)

        (answer,) = live.receive(json.dumps({"type": "session.start", "session": {"model": "small"}}))
        assert not peer.take(answer)
        for turn in range(3):
            step(turn_of(turn, speaking=True))
        assert peer.voice.queued_ms == pytest.approx(600, abs=5)
        user = np.full(TURN_SAMPLES, 0.5 if interrupted else 0.0, np.float32)
        step(turn_of(3, sound=0, given=TurnInput(audio=user)))
        if interrupted:
            assert peer.voice.queued_ms == pytest.approx(100, abs=1)
            assert live.playback.heard.dropped_ms == pytest.approx(500, abs=5)
        else:
            assert peer.voice.queued_ms == pytest.approx(600, abs=5) and live.playback.heard.dropped_ms == 0
            assert not live.receive(json.dumps({"type": "session.playback.ack", "heard_until_ms": 0, "dropped": True}))
            assert peer.voice.queued_ms == 0
            step(turn_of(4, sound=0))
            assert live.playback.heard.dropped_ms == pytest.approx(600, abs=5)
        await peer.release()

    asyncio.run(follow())
