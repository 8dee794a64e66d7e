"""What the model delegates as a function call of the realtime protocol: by itself, and through the openai package."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any, cast

import pytest
from openai import AsyncOpenAI

from microturn.background.office import Office
from microturn.server.realtime import Realtime
from microturn.turn import Act, TextSource
from tests.parity.small import small_model
from tests.server.conftest import FakeHost, running, service
from tests.server.delegating import delegating
from tests.server.jobs import Scripted
from tests.server.realtime_client import ITEM, PIECES, begun, error_of, plain, send, short, take

TEXT = {"type": "string", "description": "what to do"}


def tool(name: str = "delegate", required: tuple[str, ...] = ("task",), **properties: Any) -> dict[str, Any]:
    """A function; without ``properties`` it takes a task."""
    parameters = {"type": "object", "properties": properties or {"task": TEXT}, "required": list(required)}
    return {"type": "function", "name": name, "description": "does things", "parameters": parameters}


CALL = ["output_item.added", "item.added", "function_call_arguments.delta", "function_call_arguments.done"]
CALLED = [*CALL, "output_item.done", "item.done"]


@pytest.fixture
def realtime(host: FakeHost) -> Realtime:
    return with_tools(begun(host), tool())


def with_tools(realtime: Realtime, *tools: dict[str, Any]) -> Realtime:
    (updated,) = send(realtime, "session.update", session={"type": "realtime", "tools": list(tools)})
    assert updated["type"] == "session.updated", updated
    assert updated["session"]["tools"] == [tool for tool in tools if tool["name"] == "delegate" or len(tools) == 1]
    return realtime


@pytest.mark.parametrize(
    ("tools", "name", "argument"),
    [
        ([tool("ask", ("what",), what=TEXT)], "ask", "what"),
        ([tool("ask", ("task",), task=TEXT, why=TEXT, number={"type": "integer"})], "ask", "task"),
        ([tool("weather", ("city",), city=TEXT), tool()], "delegate", "task"),
        ([tool("ask", (), what=TEXT, number={"type": "integer"})], "ask", "what"),
    ],
)
def test_the_function_that_stands_for_it(host: FakeHost, tools: list[Any], name: str, argument: str) -> None:
    realtime = with_tools(begun(host), *tools)
    events = take(realtime, 0, hear=" how far", act=Act.DELEGATE)
    (done,) = [one for one in events if one["type"] == "response.function_call_arguments.done"]
    assert (done["name"], json.loads(done["arguments"])) == (name, {argument: "how far"})


@pytest.mark.parametrize(
    "tools",
    [
        [tool("a"), tool("b")],
        [tool(), tool()],
        [tool("ask", ("what", "number"), what=TEXT, number={"type": "integer"})],
        [tool("ask", (), one=TEXT, two=TEXT)],
        [tool("ask", (), number={"type": "integer"})],
        [{"type": "function", "name": "ask"}],
        [{"type": "mcp", "server_label": "a"}],
        ["ask"],
    ],
)
def test_tools_that_cannot_stand_for_it(host: FakeHost, tools: list[Any]) -> None:
    error = error_of(send(begun(host), "session.update", session={"type": "realtime", "tools": tools}))
    assert (error["code"], error["param"]) == ("unsupported", "session.tools")


def test_tools_are_bounded(host: FakeHost) -> None:
    tools = [tool("ask", (), what={**TEXT, "description": "x" * 20_000})]
    error = error_of(send(begun(host), "session.update", session={"type": "realtime", "tools": tools}))
    assert error["code"] == "text_too_long"


def test_a_call_is_a_response_and_its_output_is_read_once(realtime: Realtime, host: FakeHost) -> None:
    events = take(realtime, 0, hear=" how far", act=Act.DELEGATE)
    assert short(events)[2:] == ["created", *CALLED, "done"]
    call = events[-1]["response"]["output"][0]
    assert (call["type"], call["name"], json.loads(call["arguments"])) == (
        "function_call",
        "delegate",
        {"task": "how far"},
    )
    (item,) = send(realtime, "conversation.item.retrieve", item_id=call["id"])
    assert item["item"] == call
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "it is 42 km"}
    added, _ = send(realtime, "conversation.item.create", item=output)
    assert added["item"]["output"] == "it is 42 km" and added["previous_item_id"]
    assert [(one.source, one.text) for one in host.inbox.take(1024).texts] == [
        (TextSource.JOB, "1 it is forty two kilometers")
    ]
    assert error_of(send(realtime, "conversation.item.create", item=output))["code"] == "invalid_value"
    unknown = {**output, "call_id": "dlg_9"}
    error = error_of(send(realtime, "conversation.item.create", item=unknown))
    assert (error["code"], error["param"]) == ("item_not_found", "item.call_id")
    assert host.inbox.take(1024).texts == ()


def test_a_call_while_the_model_speaks_belongs_to_what_it_says(realtime: Realtime) -> None:
    take(realtime, 0, hear=" how far")
    events = take(realtime, 1, speaking=True, say=" moment", act=Act.DELEGATE)
    events += take(realtime, 2, speaking=True, say=" please")
    assert short(events)[-9:-2] == ["output_audio.delta", *CALLED]
    call = next(one for one in events if one["type"] == "response.function_call_arguments.done")
    assert (call["output_index"], call["response_id"]) == (1, events[-1]["response_id"])
    done = take(realtime, 3)[-1]
    assert [one["type"] for one in done["response"]["output"]] == ["message", "function_call"]


def test_a_call_answers_a_request(realtime: Realtime) -> None:
    send(realtime, "response.create", response={"metadata": {"a": "b"}})
    done = take(realtime, 0, hear=" how far", act=Act.DELEGATE)[-1]
    assert done["response"]["metadata"] == {"a": "b"}
    assert send(realtime, "response.create") == []
    assert short(take(realtime, 1, speaking=True))[-5:] == [*PIECES, "output_audio.delta"]


def test_the_output_of_a_call_that_was_cancelled_is_not_read(realtime: Realtime, host: FakeHost) -> None:
    call = take(realtime, 0, hear=" how far", act=Act.DELEGATE)[-1]["response"]["output"][0]
    take(realtime, 1, hear=" never mind", act=Act.CANCEL)
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "it is far"}
    assert short(send(realtime, "conversation.item.create", item=output)) == ITEM
    assert host.inbox.take(1024).texts == ()


def test_a_long_output_is_refused_and_can_be_sent_shorter(realtime: Realtime, host: FakeHost) -> None:
    call = take(realtime, 0, hear=" how far", act=Act.DELEGATE)[-1]["response"]["output"][0]
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "far " * 1001}
    assert error_of(send(realtime, "conversation.item.create", item=output))["code"] == "text_too_long"
    assert short(send(realtime, "conversation.item.create", item={**output, "output": "far"})) == ITEM


@pytest.fixture
def office() -> Iterator[Office]:
    office = Office(Scripted())
    yield office
    office.close()


def test_without_functions_the_server_does_it(office: Office) -> None:
    host = FakeHost()
    realtime = Realtime(service(600_000, office), host)
    realtime.greet()
    take(realtime, 0, hear=" sums", act=Act.DELEGATE)
    texts: list[str] = []
    for turn in range(1, 200):
        texts += [one.text for one in host.inbox.take(1024).texts]
        if texts:
            break
        assert "response.created" not in [plain(one)["type"] for one in realtime.take(_quiet(turn))]
        asyncio.run(asyncio.sleep(0.01))
    assert texts == ["1 done with sums"]


def _quiet(turn: int) -> Any:
    from tests.server.test_live import turn_of

    return turn_of(turn)


def test_the_openai_package_calls_its_function() -> None:
    async def talk(port: int) -> tuple[Any, list[Any]]:
        client = AsyncOpenAI(api_key="none", base_url=f"http://127.0.0.1:{port}/v1")
        events: list[Any] = []
        async with asyncio.timeout(60), client.realtime.connect(model="small") as connection:
            session = {"type": "realtime", "tools": [tool()], "tool_choice": "auto"}
            await connection.session.update(session=cast(Any, session))
            item = {"type": "message", "role": "user"}
            content = [{"type": "input_text", "text": "how far is berlin please"}]
            await connection.conversation.item.create(item=cast(Any, {**item, "content": content}))
            call: Any = None
            async for event in connection:
                events.append(event)
                if event.type == "response.done" and not call:
                    (call,) = [one for one in event.response.output or [] if one.type == "function_call"]
                    output = {"type": "function_call_output", "call_id": call.call_id, "output": "600 km"}
                    await connection.conversation.item.create(item=cast(Any, output))
                elif event.type == "conversation.item.done" and event.item.type == "function_call_output":
                    break
        return call, events

    with running(model=delegating(small_model())) as port:
        call, events = asyncio.run(talk(port))
    assert (call.name, json.loads(call.arguments)) == ("delegate", {"task": "how far is berlin please"})
    assert not [event for event in events if event.type == "error"]
    assert events[-1].item.output == "600 km"
