"""Delegation over real sockets: a request, the agent's answer, the session's record; lost lines and killed servers."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from openai import AsyncOpenAI
from websockets.asyncio.client import ClientConnection, connect

import microturn
from microturn.background.offline import OfflineAgent
from microturn.background.package import decode_package
from microturn.background.tools import Tools
from microturn.session.replay import Recorded, replay
from tests.parity.small import small_model
from tests.server.conftest import running
from tests.server.delegating import delegating
from tests.server.jobs import Scripted
from tests.server.test_resuming import RESUMABLE, is_ready, of_kind, resume
from tests.server.test_serving import next_event, until, url

CREATED, STATE, RESULT = "session.delegation.created", "session.job.state", "session.job.result"


async def type_in(client: ClientConnection, text: str) -> None:
    await client.send(json.dumps({"type": "session.input_text.append", "text": text}))


async def until_over(client: ClientConnection) -> list[dict[str, Any]]:
    """What is told until a job is over."""
    events: list[dict[str, Any]] = []
    async with asyncio.timeout(30):
        while not (events and events[-1]["type"] == STATE and events[-1]["state"] != "running"):
            events.append(json.loads(await client.recv()))
    return events


def test_the_openai_package_hands_a_request_to_the_server_and_its_record_replays(tmp_path: Path) -> None:
    async def talk(port: int) -> list[Any]:
        client = AsyncOpenAI(api_key="none", base_url=f"http://127.0.0.1:{port}/v1")
        events: list[Any] = []
        async with asyncio.timeout(60), client.live.connect() as connection:
            await connection.send({"type": "session.start", "session": {"model": "small"}})
            typed: Any = {"type": "session.input_text.append", "text": "what is 6 times 7 please"}
            await connection.send(typed)
            async for event in connection:
                events.append(event)
                if getattr(event, "state", "") == "done":
                    break
        return events

    model = delegating(small_model())
    with running(model=model, record=tmp_path, agent=OfflineAgent(Tools())) as port:
        events = asyncio.run(talk(port))
    (created,) = [event for event in events if event.type == CREATED]
    assert created.delegation.target == "responses"
    assert created.delegation.microturn["task"] == "what is 6 times 7 please"
    (result,) = [event for event in events if event.type == RESULT]
    assert result.result == {"type": "spoken", "text": "The answer is forty two."}
    (folder,) = tmp_path.iterdir()
    lines = [json.loads(line) for line in (folder / "turns.jsonl").read_text().splitlines()]
    texts = [text for line in lines for text in line["texts"]]
    assert texts == [["typed", "what is 6 times 7 please"], ["job", "1 the answer is forty two"]]
    assert [line["act"] for line in lines if line["act"]] == ["delegate"]
    package = decode_package((folder / "packages" / f"{created.delegation.id}.json").read_bytes())
    assert package.task == "what is 6 times 7 please" and package.job == created.delegation.id
    kinds = [json.loads(line)["what"]["told"] for line in (folder / "jobs.jsonl").read_text().splitlines()]
    assert kinds == ["delegated", "state", "result", "state"]
    # What jobs said came in with turns: taken again, they give the same bits without any agent.
    replayed = replay(model, Recorded(folder))
    assert replayed.difference is None and replayed.num_turns == len(lines)


def test_a_job_goes_on_without_its_client_and_is_cancelled_by_voice() -> None:
    agent = Scripted()

    async def talk(port: int) -> None:
        async with connect(url(port)) as client:
            await client.send(json.dumps({"type": "session.start", "session": RESUMABLE}))
            session = (await next_event(client, "session.started"))["session"]
            assert session["delegation"] is None
            await type_in(client, "wait for it please")
            await next_event(client, CREATED)
            client.transport.abort()
        await asyncio.sleep(0.5)
        agent.go_on = True
        async with connect(url(port)) as client:
            await client.send(resume(session, 0))
            events = await until_over(client)
            assert [one["delegation"]["id"] for one in of_kind(events, CREATED)] == [events[-1]["job_id"]]
            texts = [one["result"]["text"] for one in of_kind(events, RESULT)]
            assert texts == ["first.", "done with for it please."] and events[-1]["state"] == "done"
            agent.go_on = False
            await type_in(client, "wait again please")
            await next_event(client, CREATED)
            await type_in(client, "never mind")
            events = await until_over(client)
            assert events[-1]["state"] == "cancelled" and len(of_kind(events, STATE)) == 2
            agent.go_on = True
            await type_in(client, "sum please")
            events = await until_over(client)
            assert [one["result"]["text"] for one in of_kind(events, RESULT)] == ["done with please."]

    with running(model=delegating(small_model()), agent=agent) as port:
        asyncio.run(talk(port))
        until(lambda: agent.num_ended == 3)


@contextmanager
def process(port: int, record: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.server.delegating", str(port), str(record)]
    root = Path(microturn.__file__).parent.parent
    environment = {**os.environ, "PYTHONPATH": str(root)}
    with subprocess.Popen(command, env=environment, cwd=root, text=True, stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None and server.stdout.readline() == "ready\n"
            until(lambda: is_ready(port), 60)
            yield server
        finally:
            server.kill()


def test_a_killed_server_does_nothing_twice(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    async def begin(server: subprocess.Popen[str]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        async with connect(url(port)) as client:
            await client.send(json.dumps({"type": "session.start", "session": RESUMABLE}))
            session = (await next_event(client, "session.started"))["session"]
            await type_in(client, "sum please")
            events = await until_over(client)
            await type_in(client, "wait for it please")
            while not any(one["result"]["text"] == "first." for one in of_kind(events, RESULT)):
                events.append(json.loads(await client.recv()))
            # A turn that was told of was written before, and what became of jobs with it.
            for _ in range(3):
                await next_event(client, "session.turn")
            server.kill()
        return session, events

    async def go_on(session: dict[str, Any]) -> list[dict[str, Any]]:
        async with connect(url(port)) as client:
            await client.send(resume(session, 0))
            events = [json.loads(await client.recv())]
            while [one["state"] for one in of_kind(events, STATE)][-1:] != ["failed"]:
                events.append(json.loads(await client.recv()))
            await client.send(json.dumps({"type": "session.close"}))
            await next_event(client, "session.closed")
        return events

    with process(port, tmp_path) as server:
        session, before = asyncio.run(begin(server))
    with process(port, tmp_path):
        after = asyncio.run(go_on(session))
    told = [(one["type"], one.get("state"), one.get("result")) for one in after if "job" in one["type"]]
    first, second = [one["delegation"]["id"] for one in of_kind(before, CREATED)]
    assert told == [
        (STATE, "running", None),
        (RESULT, None, {"type": "spoken", "text": "done with please."}),
        (STATE, "done", None),
        (STATE, "running", None),
        (RESULT, None, {"type": "spoken", "text": "first."}),
        (STATE, "failed", None),
    ]
    assert [one["delegation"]["id"] for one in of_kind(after, CREATED)] == [first, second]
    (folder,) = tmp_path.iterdir()
    texts = [text for line in (folder / "turns.jsonl").read_text().splitlines() for text in json.loads(line)["texts"]]
    said = [text for source, text in texts if source == "job"]
    assert said == ["1 done with please", "1 first", "1 that failed the server was restarted"]
    assert replay(delegating(small_model()), Recorded(folder)).difference is None


def test_a_timer_goes_on_repeating_when_the_server_was_killed(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    async def begin(server: subprocess.Popen[str]) -> dict[str, Any]:
        async with connect(url(port)) as client:
            await client.send(json.dumps({"type": "session.start", "session": RESUMABLE}))
            session: dict[str, Any] = (await next_event(client, "session.started"))["session"]
            await type_in(client, "drip please")
            while (await next_event(client, RESULT))["result"]["type"] != "spoken":
                pass
            for _ in range(5):
                await next_event(client, "session.turn")
            server.kill()
        return session

    async def go_on(session: dict[str, Any]) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = []
        async with connect(url(port)) as client:
            await client.send(resume(session, 0))
            while len([one for one in of_kind(events, RESULT) if one["result"]["type"] == "spoken"]) < 3:
                events.append(json.loads(await client.recv()))
            await type_in(client, "never mind")
            events += await until_over(client)
        return events

    with process(port, tmp_path) as server:
        session = asyncio.run(begin(server))
    with process(port, tmp_path):
        events = asyncio.run(go_on(session))
    assert events[-1]["state"] == "cancelled"
    (folder,) = tmp_path.iterdir()
    timer, *rung = [
        (line["turn"] + 1 + line["skipped_turns"], line["what"]["result"])
        for line in map(json.loads, (folder / "jobs.jsonl").read_text().splitlines())
        if line["what"]["told"] == "result"
    ]
    assert [one["result"] for one in of_kind(events, RESULT)] == [timer[1], *(result for _, result in rung)]
    # Its times are 25 turns apart; what came while no turn was taken is said after the next one.
    lines = map(json.loads, (folder / "turns.jsonl").read_text().splitlines())
    passed = [line["turn"] + 1 + line["skipped_turns"] - timer[1]["due_ms"] // 200 for line in lines]
    due = [after for before, after in pairwise(passed) if after // 25 > before // 25]
    assert [at - timer[1]["due_ms"] // 200 for at, _ in rung] == due[:3] and len(rung) == 3


@pytest.mark.parametrize("task", ["flood", "huge", "block", "break", "hostile"])
def test_turns_go_on_whatever_an_agent_does(task: str) -> None:
    async def talk(port: int) -> list[dict[str, Any]]:
        async with connect(url(port)) as client:
            await client.send(json.dumps({"type": "session.start", "session": RESUMABLE}))
            for number in range(4):
                await type_in(client, f"{task} {number} please")
                await next_event(client, CREATED)
            events: list[dict[str, Any]] = []
            while len(of_kind(events, "session.turn")) < 15:
                events.append(json.loads(await client.recv()))
        return of_kind(events, "session.turn")

    with running(model=delegating(small_model()), agent=Scripted()) as port:
        turns = asyncio.run(talk(port))
    assert [one["turn"] for one in turns] == list(range(turns[0]["turn"], turns[0]["turn"] + 15))
    assert median(one["compute_ms"] for one in turns) < 150, "one turn may be slow where the machine is busy"
