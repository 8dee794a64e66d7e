"""A server on a real socket: the openai package as it is, keys, slow readers, sudden ends, and a proper end."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import numpy as np
import pytest
from openai import AsyncOpenAI
from PIL import Image
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from microturn.server.access import HEADERS, Access
from microturn.session.session import Session
from microturn.turn import TURN_SAMPLES, TurnInput
from tests.parity.small import small_model
from tests.server.conftest import running

KEY = "a-key-of-sixteen-letters"
PCM_16K = {"format": {"type": "audio/pcm", "rate": 16000}}


def url(port: int, path: str = "/v1/live/sessions") -> str:
    return f"ws://127.0.0.1:{port}{path}"


def get(port: int, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read()


def metric(port: int, name: str) -> float:
    lines = get(port, "/metrics")[2].decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.split("{")[0].split(" ")[0] == name)


def until(holds: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait until something holds."""
    end_s = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end_s
        time.sleep(0.05)


async def next_event(client: ClientConnection, kind: str = "") -> dict[str, Any]:
    """The next event, or the next of its kind."""
    while True:
        event: dict[str, Any] = json.loads(await client.recv())
        if kind in ("", event["type"]):
            return event


@asynccontextmanager
async def session(port: int, **config: Any) -> AsyncIterator[ClientConnection]:
    """A session that has begun."""
    async with connect(url(port)) as client:
        config = {"model": "small", "audio": PCM_16K, "microturn": {"turns": True}, **config}
        await client.send(json.dumps({"type": "session.start", "session": config}))
        assert (await next_event(client))["type"] == "session.started"
        yield client


async def turns(client: ClientConnection, count: int) -> list[dict[str, Any]]:
    return [await next_event(client, "session.turn") for _ in range(count)]


def test_routes(port: int) -> None:
    assert json.loads(get(port, "/healthz")[2]) == {"status": "ok"}
    assert get(port, "/readyz")[0] == 200
    assert json.loads(get(port, "/v1/models")[2])["data"][0]["id"] == "small"
    status, headers, body = get(port, "/samples/cue.wav")
    assert status == 200 and body[:4] == b"RIFF"
    assert {name: headers[name.lower()] for name in HEADERS} == HEADERS
    assert get(port, "/samples/../errors.py")[0] == 404
    assert get(port, "/healthz", Origin="http://evil.example")[0] == 403
    assert b"microturn_tick_seconds_bucket" in get(port, "/metrics")[2]


def test_the_openai_package_as_it_is(port: int) -> None:
    async def talk() -> list[Any]:
        client = AsyncOpenAI(api_key="none", base_url=f"http://127.0.0.1:{port}/v1")
        noise = np.random.default_rng(0).integers(-3000, 3000, 24_000 // 5).astype("<i2").tobytes()
        events = []
        async with client.live.connect() as connection:
            await connection.session.start(session={"model": "small", "instructions": "be brief"})
            events.append(await connection.recv())
            await connection.session.input_audio.mute()
            await connection.session.input_audio.unmute()
            await connection.session.instructions.append(content="speak", delegation_id=None)
            for _ in range(12):
                await connection.session.input_audio.append(audio=base64.b64encode(noise).decode())
                await asyncio.sleep(0.2)
            await connection.session.close()
            async for event in connection:
                events.append(event)
        return events

    events = asyncio.run(talk())
    types = {event.type for event in events}
    assert {
        "session.started",
        "session.input_audio.muted",
        "session.input_audio.unmuted",
        "session.instructions.appended",
        "session.input_transcript.delta",
        "session.output_audio.delta",
        "session.closed",
    } <= types
    assert events[-1].reason == "close_requested" and events[-1].usage.seconds > 2.0
    assert "error" not in types


def test_turns_come_on_the_clock_and_gaps_are_told(port: int) -> None:
    async def talk() -> list[dict[str, Any]]:
        async with session(port) as client:
            sound = {"type": "session.input_audio.append", "audio": base64.b64encode(bytes(6400)).decode()}
            await client.send(json.dumps(sound))
            begun_s = time.monotonic()
            done = await turns(client, 8)
            assert time.monotonic() - begun_s == pytest.approx(8 * 0.2, abs=0.6)
            return done

    done = asyncio.run(talk())
    assert [one["turn"] for one in done] == list(range(8))
    assert [one["gap"] for one in done] == [False] + [True] * 7


def test_pictures_are_seen_and_bad_ones_named(port: int) -> None:
    async def talk() -> None:
        file = io.BytesIO()
        Image.new("RGB", (64, 48)).save(file, "JPEG")
        async with session(port) as client:
            for image in (file.getvalue(), b"no picture"):
                event = {
                    "type": "session.input_video.append",
                    "image": base64.b64encode(image).decode(),
                    "event_id": "i",
                }
                await client.send(json.dumps(event))
            error = (await next_event(client, "error"))["error"]
            assert (error["code"], error["client_event_id"]) == ("invalid_picture", "i")
            assert any(one["picture"] for one in await turns(client, 4))

    asyncio.run(talk())


def test_a_full_server_refuses_and_takes_the_next_when_one_has_gone(port: int) -> None:
    async def talk() -> None:
        async with session(port), session(port), connect(url(port)) as client:
            start = json.dumps({"type": "session.start", "session": {"model": "small"}, "event_id": "me"})
            async with session(port):
                await client.send(start)
                error = (await next_event(client))["error"]
                assert error["code"] == "busy" and error["retry_after_ms"] > 0 and error["client_event_id"] == "me"
                assert (await asyncio.to_thread(get, port, "/readyz"))[0] == 503
            while True:
                await asyncio.sleep(0.1)
                await client.send(start)
                if (await next_event(client))["type"] == "session.started":
                    return

    asyncio.run(talk())


def test_a_message_that_is_too_large_closes_the_connection(port: int) -> None:
    async def talk() -> None:
        async with session(port) as client:
            await client.send("x" * (2**20 + 1))
            with pytest.raises(ConnectionClosed) as closed:
                while True:
                    await client.recv()
            assert closed.value.rcvd is not None and closed.value.rcvd.code == 1009

    asyncio.run(talk())
    until(lambda: metric(port, "microturn_active_sessions") == 0)


def bad_messages(rng: np.random.Generator, count: int) -> list[str | bytes]:
    """Garbage, halves of events, events out of order, and huge ones."""
    start = json.dumps({"type": "session.start", "session": {"model": "small"}})
    kinds: list[Callable[[], str | bytes]] = [
        lambda: rng.bytes(int(rng.integers(0, 200))),
        lambda: start[: int(rng.integers(0, len(start)))],
        lambda: json.dumps({"type": f"session.{rng.integers(1000)}"}),
        lambda: json.dumps({"type": "session.input_audio.append", "audio": "A" * int(rng.integers(0, 50_000))}),
        lambda: json.dumps({"type": "session.input_video.append", "image": "iVBORw0KGgo="}),
        lambda: '{"type":' * 2000,
        lambda: start,
    ]
    return [kinds[int(rng.integers(len(kinds)))]() for _ in range(count)]


def test_ten_thousand_bad_events_cost_nobody_else_anything() -> None:
    rng = np.random.default_rng(0)
    samples = rng.integers(-3000, 3000, 12 * TURN_SAMPLES).astype("<i2")

    async def attack(port: int, few: asyncio.Semaphore) -> None:
        async with few:
            with suppress(ConnectionClosed):
                client = await connect(url(port), max_size=None)
                for message in bad_messages(rng, 100):
                    await client.send(message)
                await client.send("x" * (2**20 + 1))
                async for _ in client:
                    pass

    async def talk(port: int) -> list[dict[str, Any]]:
        async with session(port) as client:
            data = base64.b64encode(samples.tobytes()).decode()
            few = asyncio.Semaphore(10)
            await client.send(json.dumps({"type": "session.input_audio.append", "audio": data}))
            attacks = asyncio.gather(*(attack(port, few) for _ in range(100)))
            done = await turns(client, 12)
            await attacks
            return done

    with running() as port:
        done = asyncio.run(talk(port))
        assert get(port, "/healthz")[0] == 200
        until(lambda: metric(port, "microturn_active_sessions") == 0)
    alone = Session.open(small_model())
    for turn, pcm in zip(done, np.split((samples / 32768).astype(np.float32), 12), strict=True):
        output = alone.step(TurnInput(audio=pcm))
        assert [turn["hear"], turn["say"], turn["speaking"]] == [output.hear, output.say, output.speaking]


def test_there_is_no_socket_elsewhere(port: int) -> None:
    async def talk(path: str) -> None:
        with pytest.raises(InvalidStatus) as refused:
            async with connect(url(port, path)):
                pass
        assert refused.value.response.status_code == 404

    for path in ("/", "/samples/cue.wav", "/v1/live"):
        asyncio.run(talk(path))


def test_keys_and_origins() -> None:
    async def status(port: int, **options: Any) -> int:
        try:
            async with connect(url(port), **options) as client:
                assert client.subprotocol in (None, "microturn")
                return 101
        except InvalidStatus as refused:
            return refused.response.status_code

    async def talk(port: int) -> None:
        assert await status(port) == 401
        assert await status(port, additional_headers={"Authorization": "Bearer wrong-key-of-sixteen"}) == 401
        right = {"additional_headers": {"Authorization": f"Bearer {KEY}"}}
        assert await status(port, **right) == 101
        assert await status(port, **right, origin="http://evil.example") == 403
        assert await status(port, **right, origin=f"http://127.0.0.1:{port}") == 101
        assert await status(port, subprotocols=["microturn", f"openai-insecure-api-key.{KEY}"]) == 101

    with running(access=Access(keys=frozenset({KEY}))) as port:
        asyncio.run(talk(port))
        assert get(port, "/metrics")[0] == 401 and get(port, "/healthz")[0] == 200
        assert get(port, "/v1/models", Authorization=f"Bearer {KEY}")[0] == 200


def test_a_server_that_stops_closes_its_sessions() -> None:
    async def talk() -> list[str]:
        with running() as port:
            client = await connect(url(port))
            await client.send(json.dumps({"type": "session.start", "session": {"model": "small"}}))
            await next_event(client)
            waiting = await connect(url(port))
        # The server has stopped: what it said before is still to be read.
        closed = await next_event(client, "session.closed")
        assert closed["reason"] == "remote_hangup"
        assert (await next_event(waiting))["error"]["code"] == "stopping"
        for one in (client, waiting):
            with pytest.raises(ConnectionClosed) as ended:
                await one.recv()
            assert ended.value.rcvd is not None and ended.value.rcvd.code == 1012
        return []

    asyncio.run(talk())


def test_a_session_has_its_time() -> None:
    async def talk(port: int) -> None:
        async with session(port) as client:
            assert (await next_event(client, "session.closed"))["reason"] == "expired"

    with running(max_session_ms=1000) as port:
        asyncio.run(talk(port))


def raw_session(port: int, **config: Any) -> socket.socket:
    """A session on a raw socket, of which nobody reads more than the greeting."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.connect(("127.0.0.1", port))
    raw.sendall(
        f"GET /v1/live/sessions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    assert b"101" in raw.recv(64)
    send_raw(raw, {"type": "session.start", "session": {"model": "small", **config}})
    return raw


def send_raw(raw: socket.socket, event: dict[str, Any]) -> None:
    data = json.dumps(event).encode()
    size = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + len(data).to_bytes(2, "big")
    raw.sendall(b"\x81" + size + bytes(4) + data)


def test_a_slow_reader_loses_its_session_and_nobody_else_notices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("microturn.engine.slots.MAX_UNREAD_TURNS", 5)

    async def talk(port: int) -> None:
        async with session(port) as client:
            raw = raw_session(port, instructions="a " * 16_000)
            await asyncio.to_thread(until, lambda: metric(port, "microturn_active_sessions") == 2)
            raw.settimeout(1.0)
            with suppress(TimeoutError):
                # The answers are long, and nobody reads them, until the server reads nothing more either.
                for _ in range(150):
                    send_raw(raw, {"type": "session.update", "session": {}})
            begun = (await turns(client, 1))[0]["turn"]
            ended = "microturn_sessions_total"
            await asyncio.to_thread(until, lambda: metric(port, ended) == 1)
            assert (
                b'microturn_sessions_total{end="slow_reader"} 1.0'
                in (await asyncio.to_thread(get, port, "/metrics"))[2]
            )
            after = await turns(client, 5)
            assert [one["turn"] for one in after] == list(range(begun + 1, begun + 6))
            raw.close()

    with running() as port:
        asyncio.run(talk(port))


def test_a_thousand_sudden_ends_leave_nothing_behind() -> None:
    with running(max_sessions=4) as port:
        for number in range(1000):
            raw = socket.create_connection(("127.0.0.1", port))
            if number % 4:
                raw.close()
                raw = raw_session(port)
            if number % 4 == 2:
                send_raw(raw, {"type": "session.input_audio.append", "audio": "AAAA"})
            if number % 4 == 3:
                raw.sendall(b"\x81\xff\x00")
            # Reset, not closed: what was sent is thrown away.
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
            raw.close()
        until(lambda: metric(port, "microturn_active_sessions") == 0)
        until(lambda: get(port, "/readyz")[0] == 200)

        async def talk() -> None:
            async with session(port) as client:
                assert [one["turn"] for one in await turns(client, 3)] == [0, 1, 2]

        asyncio.run(talk())
