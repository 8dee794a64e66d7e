"""The agent with a language model: pydantic-ai's test models, a real HTTP server, real MCP servers."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic_ai.messages import ModelMessage, ModelRequest, UserPromptPart
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, FunctionModel
from pydantic_ai.models.test import TestModel

from microturn.background import job as jobs
from microturn.background.agent import MAX_TOOL_CHARACTERS, Endpoint, Limits, ModelAgent, described, read_servers
from microturn.background.job import Budget, Job, Jobs, State
from microturn.background.package import ContextPackage, Line, OpenJob, OpenTimer, Picture, build_package
from microturn.background.results import Html, Question, Result, Spoken, Table, Timer, TimerCancelled
from microturn.background.tools import Tools
from microturn.errors import InputError
from tests.background.chat_server import ChatServer, serving

TOOLS = Tools(now=lambda: datetime(2026, 11, 25, 9, 30))
TOOL_SERVER = Path(__file__).with_name("tool_server.py")


def package(**more: Any) -> ContextPackage:
    return build_package(job="a", task="plan the baking", at_ms=9000, **more)


async def finished(agent: ModelAgent, given: ContextPackage | None = None, budget: Budget | None = None) -> Job:
    job = Jobs(agent).start(given or package(), budget)
    while not job.over:
        await asyncio.sleep(0.01)
    return job


async def results(job: Job) -> list[Result]:
    return [one async for one in job]


def said(found: list[Result]) -> str:
    return " ".join(one.text for one in found if isinstance(one, Spoken))


def over_http(model: str, limits: Limits | None = None, **more: Any) -> tuple[Job, list[Result], ChatServer]:
    limits = limits or Limits(request_seconds=5, retries=0)

    async def session() -> tuple[Job, list[Result], ChatServer]:
        async with serving() as chat:
            given, budget = more.pop("given", None), more.pop("budget", None)
            agent = ModelAgent(Endpoint(chat.url, model, "secret"), TOOLS, limits=limits, **more)
            job = await finished(agent, given, budget)
            return job, await results(job), chat

    return asyncio.run(session())


def test_every_tool_is_called_as_its_schema_says() -> None:
    async def session() -> None:
        job = await finished(ModelAgent(TestModel(custom_output_text="All 12 done."), TOOLS))
        found = await results(job)
        assert job.state is State.DONE and said(found) == "All twelve done."
        assert sorted(type(one).__name__ for one in found) == ["Chart", "Html", "Markdown", "Spoken", "Table"]

    asyncio.run(session())


def test_a_correction_goes_into_the_run() -> None:
    seen: list[str] = []
    begun = asyncio.Event()

    async def stream(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str]:
        prompts = [part.content for one in messages if isinstance(one, ModelRequest)
                   for part in one.parts if isinstance(part, UserPromptPart)]  # fmt: skip
        seen.append(str(prompts[-1]))
        if len(seen) == 1:
            yield "I book Monday. "
            begun.set()
            await asyncio.sleep(0.1)
        yield "It is booked." if len(seen) == 1 else "Tuesday it is."

    async def session() -> None:
        job = Jobs(ModelAgent(FunctionModel(stream_function=stream), TOOLS)).start(package())
        await begun.wait()
        job.correct("make that Tuesday")
        assert said(await results(job)) == "I book Monday. It is booked. Tuesday it is."
        assert len(seen) == 2 and "make that Tuesday" in seen[1]
        assert job.state is State.DONE

    asyncio.run(session())


def test_cards_come_in_their_place() -> None:
    async def stream(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str | dict[int, DeltaToolCall]]:
        if len(messages) == 1:
            rows = {"title": "Prices", "columns": ["a", "b"], "rows": [["1", "2"]]}
            yield {0: DeltaToolCall("show_table", json.dumps(rows))}
            yield {1: DeltaToolCall("show_html", json.dumps({"title": "x", "fragment": "<script>fetch('/')</script>"}))}
        else:
            yield "See the card."

    async def session() -> None:
        found = await results(Jobs(ModelAgent(FunctionModel(stream_function=stream), TOOLS)).start(package()))
        assert Table("Prices", ("a", "b"), (("1", "2"),)) in found[:2]
        assert Html("x", "<script>fetch('/')</script>") in found[:2]
        assert found[2:] == [Spoken("See the card.")]

    asyncio.run(session())


def test_an_answer_streams_from_a_server_as_sentences() -> None:
    job, found, chat = over_http("plain")
    assert found == [
        Spoken("It takes two point five hours."),
        Spoken("Bring three kilograms of flour, for example rye."),
    ]
    assert (job.state, chat.keys) == (State.DONE, ["Bearer secret"])
    (body,) = chat.bodies
    assert body["stream"] is True and "plan the baking" in json.dumps(body["messages"])
    assert {one["function"]["name"] for one in body["tools"]} >= {"calculate", "convert_units", "show_table"}


def test_our_tools_answer_the_server() -> None:
    job, found, chat = over_http('call/convert_units {"amount": "5", "from_unit": "miles", "to_unit": "km"}')
    assert (job.state, said(found)) == (State.DONE, "I got, eight point zero four six seven two kilometers.")
    job, found, chat = over_http('call/calculate {"expression": "1/0"}')
    assert job.state is State.DONE and "divides by zero" in chat.bodies[1]["messages"][-1]["content"]


def test_timers_are_set_and_cancelled_by_the_model() -> None:
    job, found, _ = over_http('call/set_timer {"label": "call Anna", "seconds": 300}')
    assert job.state is State.DONE and said(found) == "I got, I will remind you in five minutes, call Anna."
    assert Timer("call Anna", 309_000, "A reminder, call Anna.") in found
    given = package(timers=[OpenTimer("tea", 12_000)])
    _, found, _ = over_http('call/cancel_timer {"label": "tea"}', given=given)
    assert TimerCancelled("tea", 12_000) in found
    _, found, _ = over_http('call/set_timer {"label": "drink", "seconds": 300, "repeat": true}')
    assert said(found) == "I got, I will remind you every five minutes, drink."
    assert Timer("drink", 309_000, "A reminder, drink.", 300_000) in found
    _, found, _ = over_http('call/set_alarm {"label": "", "time": "18:30"}')
    assert said(found) == "I got, Alarm set for six thirty P M."
    assert Timer("18:30", 9 * 3_600_000 + 9000, "It is six thirty P M.") in found
    _, found, chat = over_http('call/set_alarm {"label": "", "time": "half past six"}')
    assert "is no time of day, HH:MM" in chat.bodies[1]["messages"][-1]["content"]
    job, found, chat = over_http('call/set_alarm {"label": "", "time": "10:00"}', given=package(ends_ms=1_000_000))
    assert job.state is State.DONE and not any(isinstance(one, Timer) for one in found)
    assert "this conversation ends before that" in chat.bodies[1]["messages"][-1]["content"]
    job, found, chat = over_http('call/set_timer {"label": "", "seconds": 0}')
    assert job.state is State.DONE and "one second at least" in chat.bodies[1]["messages"][-1]["content"]


def test_sound_and_pictures_go_along_when_the_model_takes_them() -> None:
    given = package(
        sound=np.zeros(16_000, np.float32),
        pictures=[Picture.of(np.zeros((20, 30, 3), np.uint8), 8800)],
    )
    _, _, chat = over_http("plain", given=given)
    assert "input_audio" not in json.dumps(chat.bodies) and "image_url" not in json.dumps(chat.bodies)
    _, _, chat = over_http("plain", given=given, takes_sound=True, takes_pictures=True)
    content = chat.bodies[0]["messages"][-1]["content"]
    (sound,) = [one["input_audio"] for one in content if one["type"] == "input_audio"]
    (picture,) = [one["image_url"]["url"] for one in content if one["type"] == "image_url"]
    assert sound["format"] == "wav" and sound["data"].startswith("UklGR") and picture.startswith("data:image/jpeg")


@pytest.mark.parametrize(
    "model, limits, budget, reason",
    [
        ("refuse", Limits(retries=0), None, "the background model does not answer"),
        ("hang", Limits(request_seconds=0.3, retries=0), None, "the background model does not answer"),
        ("hang", Limits(retries=0), Budget(seconds=0.5), "it took too long"),
        ("flood", Limits(retries=0), Budget(characters=20_000), "the answer grew too long"),
        ("forever", Limits(requests=3), None, "the model asked for more than a job may use"),
        ("garbage", Limits(retries=0), None, "something went wrong|the background model does not answer"),
    ],
)
def test_a_server_that_misbehaves_fails_the_job(model: str, limits: Limits, budget: Budget | None, reason: str) -> None:
    job, _, _ = over_http(model, limits, budget=budget)
    assert job.state is State.FAILED and "\n" not in job.reason
    assert any(job.reason.startswith(one) for one in reason.split("|")), job.reason


def test_a_request_that_fails_is_tried_again() -> None:
    job, found, chat = over_http("unsteady", Limits(retries=2))
    assert job.state is State.DONE and found and len(chat.bodies) == 3
    job, found, chat = over_http("unsteady", Limits(retries=1))
    assert job.state is State.FAILED and len(chat.bodies) == 2


def servers_file(path: Path, **servers: Any) -> Path:
    file = path / "mcp.json"
    file.write_text(json.dumps({"mcpServers": servers}))
    return file


def test_tools_of_an_mcp_server_over_stdio(tmp_path: Path) -> None:
    file = servers_file(tmp_path, stock={"command": sys.executable, "args": [str(TOOL_SERVER)]})
    job, found, chat = over_http('call/stock_count_in_stock {"item": "rye"}', servers=read_servers(file))
    assert (job.state, said(found)) == (State.DONE, "I got, twenty one pieces of rye.")
    job, found, chat = over_http("call/stock_flood {}", servers=read_servers(file))
    assert job.state is State.DONE
    assert len(chat.bodies[1]["messages"][-1]["content"]) < MAX_TOOL_CHARACTERS + 100
    job, found, chat = over_http("call/stock_broken {}", servers=read_servers(file))
    assert job.state is State.DONE and "Error executing tool broken" in chat.bodies[1]["messages"][-1]["content"]


@pytest.mark.parametrize(
    ("call", "question", "answer", "outcome"),
    [
        (
            'order {"item": "rye", "pieces": 20}',
            "Shall I stock order, item rye, pieces twenty?",
            "yes please",
            "on their",
        ),
        ('order {"item": "rye", "pieces": 20}', "Shall I stock order, item rye, pieces twenty?", "no", "not agree, no"),
        ("clear {}", "Shall I stock clear?", "yes but not today", "not agree, yes but not today"),
        ("clear {}", "Shall I stock clear?", None, "not agree, no answer"),
    ],
)
def test_a_tool_that_may_change_something_is_called_once_the_user_agrees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, question: str, answer: str | None, outcome: str
) -> None:
    monkeypatch.setattr(jobs, "ANSWER_SECONDS", 0.2 if answer is None else 10.0)
    file = servers_file(tmp_path, stock={"command": sys.executable, "args": [str(TOOL_SERVER)]})

    async def session() -> list[Result]:
        async with serving() as chat:
            endpoint = Endpoint(chat.url, f"call/stock_{call}", "secret")
            job = Jobs(ModelAgent(endpoint, TOOLS, servers=read_servers(file))).start(package())
            found: list[Result] = []
            async for one in job:
                found.append(one)
                if isinstance(one, Question) and answer is not None:
                    job.answer(answer)
            assert job.state is State.DONE
            return found

    found = asyncio.run(session())
    assert found[0] == Question(question)
    assert outcome in said(found)


def test_what_counts_as_agreement() -> None:
    agreed = ("yes", "Yes, please do", "okay", "um sure", "go ahead", "of course", "do it")
    refused = ("", "no", "yes but not now", "okay wait", "sure, don't", "what", "maybe yes", "yesterday")
    assert all(map(jobs.agrees, agreed)) and not any(map(jobs.agrees, refused))


def test_tools_of_an_mcp_server_over_http(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, str(TOOL_SERVER), str(port)], stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        file = servers_file(tmp_path, stock={"url": f"http://127.0.0.1:{port}/mcp"})
        job, found, _ = over_http('call/stock_count_in_stock {"item": "oats"}', servers=read_servers(file))
        assert (job.state, said(found)) == (State.DONE, "I got, twenty eight pieces of oats.")
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.parametrize("server", [{"command": "/no/such/program"}, {"url": "http://127.0.0.1:9/mcp"}])
def test_a_tool_server_that_is_not_there_fails_the_job(tmp_path: Path, server: dict[str, str]) -> None:
    job, found, _ = over_http("plain", servers=read_servers(servers_file(tmp_path, gone=server)))
    assert job.state is State.FAILED and job.reason.startswith("a tool server cannot be reached")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"mcpServers": {"a": {}}}', '{"mcpServers": {"a": {"command": 1}}}'])
def test_a_bad_file_of_servers_is_one_line(tmp_path: Path, text: str) -> None:
    file = tmp_path / "mcp.json"
    file.write_text(text)
    with pytest.raises(InputError, match=r"^[^\n]*mcp\.json: [^\n]+$"):
        read_servers(file)


def test_the_package_is_described_whole() -> None:
    text = described(
        package(
            lines=[
                Line("user", "how long do I bake it", 1000, 2400),
                Line("model", "let me think", 2600, 3000, unheard=" about that"),
                Line("user", "rye", 4000, 4200, typed=True),
            ],
            instructions=["answer in short words"],
            timers=[OpenTimer("tea", 12_000), OpenTimer("drink", 14_000, 60_000)],
            jobs=[OpenJob("b", "find a recipe", "running")],
        )
    )
    assert text == (
        "Task: plan the baking\nAsked for at 9.0 s of the conversation.\nStanding instructions of the user:\n"
        "- answer in short words\nConversation so far:\n[1.0-2.4 s] user: how long do I bake it\n"
        "[2.6-3.0 s] model: let me think [cut off, not heard by the user:  about that]\n[4.0-4.2 s] user (typed): rye\n"
        "Open timer: tea, due at 12.0 s\nOpen timer: drink, due at 14.0 s, then every 60.0 s\n"
        "Other job (running): find a recipe"
    )
