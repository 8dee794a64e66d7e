"""Sessions outlive connections: a client whose line was cut takes its session up again and misses nothing."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

import microturn
from microturn.cli import main
from microturn.engine.admission import Admission
from microturn.engine.engine import Engine
from microturn.engine.inbox import Inbox
from microturn.errors import BusyError
from microturn.server import held, wire
from microturn.server.dialect import Phase
from microturn.server.live import Live
from microturn.server.metrics import Metrics
from microturn.session.recording import FORMAT, RecordedSession
from microturn.session.replay import Restored
from microturn.turn import TURN_SAMPLES
from tests.parity.small import small_model
from tests.server.conftest import ALWAYS, FakeHost, running, service, small_weights
from tests.server.test_serving import PCM_16K, get, metric, next_event, until, url

RESUMABLE = {"model": "default", "audio": PCM_16K, "microturn": {"turns": True, "resumable": True}}
NOISE = np.random.default_rng(0).integers(-3000, 3000, TURN_SAMPLES).astype("<i2").tobytes()


async def start(client: ClientConnection) -> dict[str, Any]:
    await client.send(json.dumps({"type": "session.start", "session": RESUMABLE}))
    session: dict[str, Any] = (await next_event(client, "session.started"))["session"]
    return session


def resume(session: dict[str, Any], received_ms: int) -> str:
    token = session["microturn"]["resume_token"]
    event = {"type": "session.resume", "session_id": session["id"], "resume_token": token, "received_ms": received_ms}
    return json.dumps({**event, "event_id": "again"})


async def say(client: ClientConnection) -> None:
    await client.send(json.dumps({"type": "session.input_audio.append", "audio": base64.b64encode(NOISE).decode()}))


async def until_turn(client: ClientConnection, turn: int, *, speak: bool = True) -> list[dict[str, Any]]:
    """Events up to that of ``turn``, with noise sent meanwhile."""
    events: list[dict[str, Any]] = []
    while not events or events[-1].get("turn", -1) < turn:
        events.append(json.loads(await client.recv()))
        if speak and events[-1]["type"] == "session.turn":
            await say(client)
    return events


def of_kind(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [event for event in events if event["type"] == kind]


def test_a_session_goes_on_without_its_client(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def talk(port: int) -> tuple[list[dict[str, Any]], int]:
        async with connect(url(port)) as client:
            session = await start(client)
            await client.send(json.dumps({"type": "session.input_text.append", "text": "say red and blue"}))
            events = await until_turn(client, 5)
            received_ms = of_kind(events, "session.turn")[-1]["end_ms"]
            # Two more turns are sent to the client, which never gets to read them.
            await asyncio.sleep(0.5)
            client.transport.abort()
        await asyncio.sleep(1.0)
        async with connect(url(port)) as client:
            await client.send(resume(session, received_ms))
            started = json.loads(await client.recv())
            assert started["type"] == "session.started" and started["client_event_id"] == "again"
            assert started["session"] == session
            events += await until_turn(client, 18)
            await client.send(json.dumps({"type": "session.close"}))
            events.append(await next_event(client, "session.closed"))
        return events, received_ms

    with running(weights=small_weights(tmp_path / "weights"), record=tmp_path / "live") as port:
        events, received_ms = asyncio.run(talk(port))
        until(lambda: metric(port, "microturn_active_sessions") == 0)
    turns = of_kind(events, "session.turn")
    assert [turn["turn"] for turn in turns] == list(range(len(turns)))
    gone = received_ms // 200
    assert not all(turn["gap"] for turn in turns[:gone]) and all(turn["gap"] for turn in turns[gone + 3 : gone + 6])
    assert not turns[-1]["gap"]
    ids = [event["event_id"] for event in events if event["type"] != "error"]
    assert len(ids) == len(set(ids))
    for kind, lane in (("session.input_transcript.delta", "hear"), ("session.output_transcript.delta", "say")):
        assert [one["delta"] for one in of_kind(events, kind)] == [one[lane] for one in turns if one[lane]]
    times = [one["start_ms"] for one in of_kind(events, "session.output_audio.delta")]
    assert times == sorted(times) and {turn["end_ms"] for turn in turns if turn["speaking"]} <= set(times)
    assert main(["replay", str(tmp_path / "live")]) == 0
    assert "the same bits" in capsys.readouterr().out


@contextmanager
def process(port: int, weights: Path, record: Path) -> Iterator[subprocess.Popen[str]]:
    """``microturn serve`` in a process of its own; killed when the block ends."""
    command = [sys.executable, "-m", "microturn", "serve", "--port", str(port), "--weights", str(weights)]
    environment = {**os.environ, "PYTHONPATH": str(Path(microturn.__file__).parent.parent)}
    with subprocess.Popen(
        [*command, "--record", str(record)], env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as server:
        try:
            assert server.stdout is not None and server.stdout.readline().startswith("http")
            until(lambda: is_ready(port), 60)
            yield server
        finally:
            server.kill()


def is_ready(port: int) -> bool:
    with suppress(OSError):
        return get(port, "/readyz")[0] == 200
    return False


def test_a_killed_server_goes_on_with_its_sessions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights, record = small_weights(tmp_path / "weights"), tmp_path / "live"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    async def begin(
        server: subprocess.Popen[str], ready: asyncio.Barrier
    ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        async with connect(url(port)) as client:
            session = await start(client)
            events = await until_turn(client, 58)
            async with ready:
                server.kill()
            with pytest.raises(ConnectionClosed):
                await until_turn(client, 1000, speak=False)
        return session, events

    async def both(server: subprocess.Popen[str]) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
        ready = asyncio.Barrier(2)
        return list(await asyncio.gather(begin(server, ready), begin(server, ready)))

    async def go_on(session: dict[str, Any], events: list[dict[str, Any]], close: bool) -> None:
        # A client may have got less than it was sent before the server was killed.
        events[:] = [event for event in events if event.get("end_ms", 0) <= 55 * 200 or event["type"] != "session.turn"]
        async with connect(url(port)) as client:
            await client.send(resume(session, 55 * 200))
            started = json.loads(await client.recv())
            assert started["type"] == "session.started" and started["session"] == session
            events += await until_turn(client, 64)
            if close:
                await client.send(json.dumps({"type": "session.close"}))
                await next_event(client, "session.closed")
            else:
                client.transport.abort()

    with process(port, weights, record) as server:
        begun = asyncio.run(both(server))
    before = {path.parent.name: path.read_text().splitlines() for path in record.glob("*/turns.jsonl")}
    for session, events in begun:
        # Whatever a client was told of is recorded.
        assert len(before[session["id"]]) >= len(of_kind(events, "session.turn"))
    with process(port, weights, record) as server:
        for index, (session, events) in enumerate(begun):
            told = of_kind(events, "session.turn")
            asyncio.run(go_on(session, events, close=index == 0))
            turns = of_kind(events, "session.turn")
            assert [turn["turn"] for turn in turns] == list(range(len(turns)))
            again = turns[55 : len(told)]
            assert again and [[one[lane] for lane in ("hear", "say", "speaking", "gap")] for one in again] == [
                [one[lane] for lane in ("hear", "say", "speaking", "gap")] for one in told[55:]
            ]
            sounds = of_kind(events, "session.output_audio.delta")
            assert len({(one["start_ms"], one["delta"]) for one in sounds}) == len({one["start_ms"] for one in sounds})
            assert any(event.get("code") == "turns_skipped" for event in events)
    after = {path.parent.name: path.read_text().splitlines() for path in record.glob("*/turns.jsonl")}
    for name, lines in before.items():
        assert len(after[name]) > len(lines) and after[name][: len(lines)] == lines
    assert main(["replay", str(record)]) == 0
    assert capsys.readouterr().out.count("the same bits") == 2


LONG = " ".join(f"word{number}" for number in range(480))
"""Too much to be taken in at once: most of it waits for many turns."""


def taken(record: Path) -> str:
    """All text that was taken in by turns that are recorded."""
    (path,) = record.glob("*/turns.jsonl")
    return " ".join(text for line in path.read_text().splitlines() for _, text in json.loads(line)["texts"])


@pytest.mark.parametrize("at_start", [True, False])
def test_what_was_acknowledged_waits_again_when_the_server_was_killed(
    tmp_path: Path, at_start: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Killed as soon as its text is acknowledged, then perhaps once more while it is taken in: every word comes to a
    turn, in its order, and once. A session that was muted still is."""
    weights, record = small_weights(tmp_path / "weights"), tmp_path / "live"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    sent = LONG if at_start else f"{LONG} and {LONG}"

    async def begin(server: subprocess.Popen[str]) -> dict[str, Any]:
        config = {**RESUMABLE, "instructions": LONG} if at_start else RESUMABLE
        async with connect(url(port)) as client:
            await client.send(json.dumps({"type": "session.start", "session": config}))
            session: dict[str, Any] = (await next_event(client, "session.started"))["session"]
            if not at_start:
                await client.send(json.dumps({"type": "session.instructions.append", "content": LONG}))
                await next_event(client, "session.instructions.appended")
                # Nothing answers typed text; but what is answered after it was received after it.
                await client.send(json.dumps({"type": "session.input_text.append", "text": f"and {LONG}"}))
                await client.send(json.dumps({"type": "session.input_audio.mute"}))
                await next_event(client, "session.input_audio.muted")
            server.kill()
        return session

    async def go_on(session: dict[str, Any], kill: Callable[[], None] | None) -> dict[str, Any]:
        async with connect(url(port)) as client:
            await client.send(resume(session, 0))
            assert (await next_event(client, "session.started"))["session"] == session
            for _ in range(4 if kill else 400):
                turn = await next_event(client, "session.turn")
                if len(taken(record)) >= len(sent):
                    break
            if kill is None:
                await client.send(json.dumps({"type": "session.close"}))
                await next_event(client, "session.closed")
            else:
                kill()
        return turn

    with process(port, weights, record) as server:
        session = asyncio.run(begin(server))
    assert len(taken(record)) < len(sent) / 2
    if not at_start:
        with process(port, weights, record) as server:
            asyncio.run(go_on(session, server.kill))
        assert len(taken(record)) < len(sent)
    with process(port, weights, record):
        turn = asyncio.run(go_on(session, None))
    assert taken(record) == sent and turn["gap"] is at_start
    assert main(["replay", str(record)]) == 0
    assert "the same bits" in capsys.readouterr().out


def test_what_cannot_be_taken_up() -> None:
    async def talk(port: int) -> None:
        async with connect(url(port)) as client:
            session = await start(client)
            client.transport.abort()
        for wrong in ({"id": "live_1"}, {"microturn": {"resume_token": "é"}}):
            async with connect(url(port)) as client:
                await client.send(resume({**session, **wrong}, 0))
                answer = json.loads(await client.recv())
                assert answer["error"]["code"] == "session_not_found" and answer["client_event_id"] == "again"
                # Another session is better than none.
                assert (await start(client))["id"] != session["id"]
                await client.send(resume(session, 0))
                assert (await next_event(client, "error"))["error"]["code"] == "session_already_started"
        # Those have left properly: they are gone. The first one waits.
        await asyncio.to_thread(until, lambda: metric(port, "microturn_active_sessions") == 1)
        async with connect(url(port)) as client:
            await client.send(resume(session, 0))
            assert (await next_event(client))["session"]["id"] == session["id"]

    with running() as port:
        asyncio.run(talk(port))
        until(lambda: metric(port, "microturn_active_sessions") == 0)


def test_a_second_connection_takes_over() -> None:
    async def talk(port: int) -> None:
        async with connect(url(port)) as first, connect(url(port)) as second:
            session = await start(first)
            await until_turn(first, 2)
            await second.send(resume(session, 0))
            turns = of_kind(await until_turn(second, 5), "session.turn")
            assert [turn["turn"] for turn in turns] == [*range(len(turns))]
            with pytest.raises(ConnectionClosed):
                await until_turn(first, 1000, speak=False)
            await until_turn(second, 8)

    with running(max_sessions=1) as port:
        asyncio.run(talk(port))


def test_who_waits_makes_room_and_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    async def lose(port: int) -> dict[str, Any]:
        async with connect(url(port)) as client:
            session = await start(client)
            client.transport.abort()
            return session

    async def talk(port: int) -> None:
        first = await lose(port)
        await asyncio.sleep(0.3)
        async with connect(url(port)) as client:
            assert (await start(client))["id"] != first["id"]
        monkeypatch.setattr(held, "HOLD_SECONDS", 0.5)
        await asyncio.to_thread(until, lambda: metric(port, "microturn_active_sessions") == 0)
        await lose(port)
        await asyncio.sleep(0.2)
        assert metric(port, "microturn_active_sessions") == 1
        await asyncio.to_thread(until, lambda: metric(port, "microturn_active_sessions") == 0, 3.0)
        assert metric(port, "microturn_sessions_total") == 3

    with running(max_sessions=1) as port:
        asyncio.run(talk(port))


def test_nobody_is_ended_where_that_makes_no_room() -> None:
    """Turns have become too dear for even one session."""
    engine = Engine(small_model(), 2, admission=(admission := Admission({1: 1.0}, budget_ms=100.0)))

    async def session() -> None:
        sessions = held.Sessions(engine, Metrics())
        there = [one_more(sessions, wire.SessionConfig("small")) for _ in range(2)]
        for one in there:
            one.dialect.phase = Phase.LIVE
            assert one.park()
        for _ in range(100):
            admission.measured(1, 1000.0)
        with pytest.raises(BusyError):
            one_more(sessions, None)
        assert all(one.is_parked for one in there) and engine.num_sessions == 2
        for _ in range(100):
            admission.measured(1, 1.0)
        one_more(sessions, None)
        assert engine.num_sessions == 2 and sessions.find(there[0].session_id, str(there[0].token)) is None

    asyncio.run(session())


def one_more(sessions: held.Sessions, waits: wire.SessionConfig | None) -> held.HeldSession:
    dialect = Live(service(), FakeHost())
    return sessions.open(service(), dialect, 0, Inbox(), waits)


def test_a_session_that_another_version_recorded_is_lost_alone(caplog: pytest.LogCaptureFixture) -> None:
    client = {"config": {"model": "small", "later": 1}, "opened": {"session_id": "live_1", "expires_at": 1}}
    about = RecordedSession(FORMAT, "live_1", "weights", "fingerprint", 0, client)
    engine = Engine(small_model(), 1, admission=ALWAYS)
    state = small_model().initial_state(1)
    with caplog.at_level(logging.INFO):
        held.Sessions(engine, Metrics()).go_on(service(), FakeHost(), Restored(about, 1, state, [], [], False, []), 0)
    assert "session_lost" in caplog.text and engine.num_sessions == 0
