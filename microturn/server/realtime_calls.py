"""What the model delegates, as a function call of the realtime protocol.

The client's function stands for it: the one that is named ``delegate``, or the only one. It takes one text, in the
parameter ``task`` or the only one that is a string, and nothing else that is required. The model does not choose
between functions, and has no way to fill in more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from microturn.server import realtime_wire as rt
from microturn.server.wire import EventError, ToClient

NAME, ARGUMENT = "delegate", "task"
MAX_TOOLS_BYTES = 16 * 1024


class _Parameters(msgspec.Struct):
    properties: dict[str, dict[str, Any]]
    required: list[str] = []


class _Tool(msgspec.Struct):
    type: str
    name: str
    parameters: _Parameters


@dataclass(frozen=True)
class Function:
    """The function of the client that is called with what the model delegates."""

    name: str
    argument: str
    tool: dict[str, Any]
    """As the client described it."""

    def call(self, item_id: str, call_id: str, task: str) -> rt.FunctionCall:
        """The call, as an item that is complete."""
        arguments = msgspec.json.encode({self.argument: task}).decode()
        return rt.FunctionCall(
            id=item_id,
            call_id=call_id,
            name=self.name,
            arguments=arguments,
            object="realtime.item",
            status="completed",
        )


def called(
    call: rt.FunctionCall, previous: str | None, place: dict[str, Any]
) -> Iterator[tuple[type[ToClient], dict[str, Any]]]:
    """The events, and their fields, that tell of a call which is the item behind ``previous``."""
    begun = msgspec.structs.replace(call, arguments="", status="in_progress")
    of_call = {**place, "item_id": call.id, "call_id": call.call_id}
    yield rt.OutputItemAdded, {**place, "item": begun}
    yield rt.ItemAdded, {"item": begun, "previous_item_id": previous}
    yield rt.ArgumentsDelta, {**of_call, "delta": call.arguments}
    yield rt.ArgumentsDone, {**of_call, "name": call.name, "arguments": call.arguments}
    yield rt.OutputItemDone, {**place, "item": call}
    yield rt.ItemDone, {"item": call, "previous_item_id": previous}


def function_of(tools: list[Any], param: str) -> Function | None:
    """The function among ``tools``, if there are any. Raises ``EventError`` if none can stand for what is delegated."""
    if not tools:
        return None
    if len(msgspec.json.encode(tools)) > MAX_TOOLS_BYTES:
        raise EventError("text_too_long", f"tools have at most {MAX_TOOLS_BYTES} bytes", param=param)
    named = [one for one in tools if isinstance(one, dict) and one.get("name") == NAME]
    if len(named or tools) != 1:
        raise EventError("unsupported", f"there is one function here, or one of the name {NAME}", param=param)
    (chosen,) = named or tools
    try:
        tool = msgspec.convert(chosen, _Tool)
    except msgspec.ValidationError as error:
        raise EventError("unsupported", f"no function with parameters: {error}", param=param) from error
    texts = [name for name, schema in tool.parameters.properties.items() if schema.get("type") == "string"]
    argument = ARGUMENT if ARGUMENT in texts else texts[0] if len(texts) == 1 else ""
    if tool.type != "function" or not argument or not {argument}.issuperset(tool.parameters.required):
        message = f"a function here takes one text, {ARGUMENT} or the only one, and nothing else that is required"
        raise EventError("unsupported", message, param=param)
    return Function(tool.name, argument, chosen)
