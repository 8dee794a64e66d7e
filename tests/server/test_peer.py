"""A WebRTC client that falls silent, a recording that is slow, and packets in any order."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiortc.rtp import RtpPacket

from microturn.background.offline import OfflineAgent
from microturn.background.package import decode_package
from microturn.background.tools import Tools
from microturn.server.held import HeldSession
from microturn.server.prompt_buffer import PACKETS, Frames, PromptBuffer
from microturn.session import recording
from tests.parity.small import small_model
from tests.server.caller import Caller, Microphone, calling, silence
from tests.server.conftest import running
from tests.server.delegating import delegating
from tests.server.test_resuming import resume
from tests.server.test_serving import metric, until


@pytest.fixture(autouse=True)
def _loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's side too needs no other address than this machine's own."""
    monkeypatch.setattr("aioice.ice.get_host_addresses", lambda use_ipv4, use_ipv6: ["127.0.0.1"])


@contextmanager
def unplugged(caller: Caller) -> Iterator[None]:
    """Not a packet goes out and none comes in."""
    transport: Any = caller.connection.sctp
    protocols = transport.transport.transport._connection._protocols
    names = ("send_stun", "send_data", "datagram_received")

    async def nothing(*_: object) -> None:
        pass

    for protocol in protocols:
        for name in names:
            setattr(protocol, name, nothing if name == "send_data" else lambda *_: None)
    try:
        yield
    finally:
        for protocol in protocols:
            for name in names:
                delattr(protocol, name)


def test_a_peer_that_vanishes_is_missed_within_seconds_and_a_bad_second_is_borne(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held_s: list[float] = []
    park = HeldSession.park

    def parked(session: HeldSession) -> bool:
        held_s.append(time.monotonic())
        return park(session)

    monkeypatch.setattr(HeldSession, "park", parked)

    async def talk(port: int) -> list[dict[str, Any]]:
        async with calling(port, Microphone(np.full(48_000 * 60, 5000, np.int16))) as caller:
            for turn in (6, 20):
                await caller.until_turn(turn)
                with unplugged(caller):
                    await asyncio.sleep(1.5)
            await caller.until_turn(40)
            assert not held_s
            with unplugged(caller):
                gone_s = time.monotonic()
                while not held_s:
                    await asyncio.sleep(0.2)
                assert 2 < held_s[0] - gone_s < 9
                before = caller.of_kind("session.turn")
                again = json.loads(resume(caller.events[0]["session"], before[-1]["end_ms"]))
                del again["type"]
                async with calling(port, silence(), resume=again) as other:
                    await other.until_turn(before[-1]["turn"] + 40)
                    other.send("session.close")
                    await other.next("session.closed")
        return before + other.of_kind("session.turn")

    with running() as port:
        turns = asyncio.run(talk(port))
        until(lambda: metric(port, "microturn_active_sessions") == 0)
    assert [one["turn"] for one in turns] == list(range(len(turns)))


def test_an_offer_is_answered_once_its_session_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = recording.write_whole

    def slowly(path: Path, data: bytes) -> None:
        time.sleep(1.0)
        write(path, data)

    async def talk(port: int) -> None:
        caller = Caller(silence())
        status, answer = await caller.call(port)
        assert status == 201
        folder = tmp_path / answer["session"]["id"]
        assert (folder / "session.json").exists() and (folder / "arrived.jsonl").exists()
        await caller.next("session.started")
        await caller.leave()

    monkeypatch.setattr(recording, "write_whole", slowly)
    with running(record=tmp_path) as port:
        asyncio.run(talk(port))


def test_an_offer_is_answered_with_how_the_voice_is_to_be_sent(port: int) -> None:
    async def answer() -> str:
        caller = Caller(silence())
        sdp: str = (await caller.call(port))[1]["transport"]["sdp"]
        await caller.leave()
        return sdp

    sdp = asyncio.run(answer())
    (payload,) = re.findall(r"a=rtpmap:(\d+) opus/48000/2", sdp)
    assert f"a=fmtp:{payload} maxplaybackrate=16000;maxaveragebitrate=64000" in sdp.splitlines()


TASK = '\N{GRINNING FACE} what is "6 × 7" please'


@pytest.mark.parametrize("max_message", ["", "a=max-message-size:16384\r\n", "a=max-message-size:0\r\n"])
def test_an_event_that_is_too_long_for_a_message_comes_in_parts(max_message: str) -> None:
    noise = np.random.default_rng(0).integers(-3000, 3000, 48_000 * 20, np.int16)

    async def talk(port: int) -> None:
        caller = Caller(Microphone(noise))
        caller.first = {"session": {"model": "small", "microturn": {"turns": True, "packages": True}}}
        caller.max_message = max_message
        assert (await caller.call(port))[0] == 201
        await caller.until_turn(20)
        caller.send("session.input_text.append", text=TASK)
        async with asyncio.timeout(30):
            event = await caller.next("session.delegation.package")
        package = decode_package(json.dumps(event["package"]).encode())
        assert package.task == TASK
        assert package.sound is not None and len(package.sound.wav) > 2 * 16_000 * 4
        size = len(json.dumps(event))
        most_bytes = {"": 65_536, "a=max-message-size:16384\r\n": 16_384}.get(max_message, 2 * size)
        assert most_bytes >= caller.longest_bytes and (most_bytes < size or caller.longest_bytes > 65_536)
        await caller.until_turn(caller.of_kind("session.turn")[-1]["turn"] + 5)
        await caller.leave()

    with running(model=delegating(small_model()), agent=OfflineAgent(Tools())) as port:
        asyncio.run(talk(port))


def packet(number: int, timestamp: int, *, last: bool = True) -> RtpPacket:
    one = RtpPacket(sequence_number=number % 65_536, timestamp=timestamp, marker=int(last))
    vars(one)["_data"] = bytes([number % 256])
    return one


def test_packets_wait_for_those_before_them_and_for_nothing_else() -> None:
    sound = PromptBuffer("audio")

    def heard(number: int) -> bytes | None:
        frame = sound.add(packet(number, number * 960, last=False))[1]
        return None if frame is None else frame.data

    assert [heard(number) for number in (65_534, 65_535, 65_536)] == [b"\xfe", b"\xff", b"\x00"]
    assert [heard(number) for number in (65_538, 65_537)] == [None, b"\x01"], "in their order"
    assert heard(65_539) == b"\x02"
    lost = [heard(65_541 + number) for number in range(PACKETS["audio"])]
    assert any(lost), "what never comes is not waited for"
    pictures = PromptBuffer("video")
    parts = [(0, False), (1, False), (2, True), (3, True)]
    frames = [pictures.add(packet(number, 6000 * (number > 2), last=last))[1] for number, last in parts]
    assert [None if frame is None else frame.data for frame in frames] == [None, None, b"\0\1\2", b"\3"]


def test_a_late_packet_makes_no_later_picture_late() -> None:
    pictures = PromptBuffer("video")

    def shown(number: int, data: bytes | None = None, *, last: bool = True) -> list[tuple[bytes, int]]:
        one = packet(number, number * 3000, last=last)
        vars(one)["_data"] = vars(one)["_data"] if data is None else data
        frame = pictures.add(one)[1]
        if frame is None:
            return []
        assert isinstance(frame, Frames)
        return [(frame.data, 0), *frame.following]

    assert [shown(number) for number in (0, 2, 3)] == [[(b"\0", 0)], [], []]
    assert shown(1) == [(b"\1", 0), (b"\2", 3000), (b"\3", 6000)]
    assert shown(4) == [(b"\4", 0)]
    # Packets that only fill the line are no pictures.
    assert shown(5, b"") == [] and shown(6, b"", last=False) == []
    assert shown(7) == [(b"\7", 0)]
    sound = PromptBuffer("audio")
    filler = packet(1, 960)
    vars(filler)["_data"] = b""
    heard = [sound.add(one)[1] for one in (packet(0, 0), filler, packet(2, 1920))]
    assert [None if frame is None else frame.data for frame in heard] == [b"\0", None, b"\2"]
