"""The realtime protocol: every event in every state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import pytest
from openai.types.realtime.realtime_client_event import RealtimeClientEvent

from microturn.server.dialect import Phase
from microturn.server.realtime import QUIET_TURNS, Realtime
from microturn.server.realtime_wire import UNSUPPORTED, VOCABULARY
from tests.server.conftest import FakeHost
from tests.server.realtime_client import (
    EXAMPLES,
    ITEM,
    NO_RESPONSE,
    NO_SOUND,
    SOUND,
    TYPED,
    YIELD,
    begun,
    error_of,
    message,
    send,
    short,
    take,
)
from tests.server.test_wire import type_of


@pytest.fixture
def realtime(host: FakeHost) -> Realtime:
    return begun(host)


# Every event in every state.


def quiet(realtime: Realtime) -> None:
    take(realtime, 0)


def user_speaks(realtime: Realtime) -> None:
    send(realtime, "input_audio_buffer.append", audio=SOUND)
    take(realtime, 0, hear=" hello")


def user_was_heard(realtime: Realtime) -> None:
    user_speaks(realtime)
    for turn in range(1, QUIET_TURNS + 1):
        take(realtime, turn)


def model_speaks(realtime: Realtime) -> None:
    take(realtime, 0, speaking=True, say=" red")


def model_yielded(realtime: Realtime) -> None:
    model_speaks(realtime)
    take(realtime, 1)


def asked(realtime: Realtime) -> None:
    send(realtime, "response.create")


def answers(realtime: Realtime) -> None:
    asked(realtime)
    model_speaks(realtime)


def hushed(realtime: Realtime) -> None:
    model_speaks(realtime)
    send(realtime, "response.cancel")


def over(realtime: Realtime) -> None:
    realtime.stop()


STATES = [quiet, user_speaks, user_was_heard, model_speaks, model_yielded, asked, answers, hushed, over]
ALWAYS = {
    "session.update": ["session.updated"],
    "input_audio_buffer.append": [],
    "input_audio_buffer.clear": ["cleared"],
    "conversation.item.create": ITEM,
}
IN_STATE: dict[str, dict[str, list[str] | str]] = {
    "input_audio_buffer.commit": {"user_speaks": ["speech_stopped", "committed", *ITEM], "": NO_SOUND},
    "conversation.item.retrieve": {
        **dict.fromkeys(["user_was_heard", "model_speaks", "model_yielded", "answers", "hushed"], ["item.retrieved"]),
        "": "item_retrieve_invalid_item_id",
    },
    "conversation.item.truncate": {
        "user_was_heard": "invalid_value",
        **dict.fromkeys(["model_speaks", "model_yielded", "answers", "hushed"], ["item.truncated"]),
        "": "item_truncate_invalid_item_id",
    },
    "conversation.item.delete": {
        **dict.fromkeys(["user_was_heard", "model_speaks", "model_yielded", "answers", "hushed"], ["item.deleted"]),
        "": "item_delete_invalid_item_id",
    },
    "response.create": {**dict.fromkeys(["asked", "answers"], "conversation_already_has_active_response"), "": []},
    "response.cancel": {
        **dict.fromkeys(["model_speaks", "answers"], YIELD),
        "asked": ["created", "done"],
        "": NO_RESPONSE,
    },
}
"""What is answered in a state, or otherwise: types, or the code of an error."""


def test_every_event_of_the_openai_package_is_known_or_unsupported() -> None:
    types = {type_of(model) for model in get_args(get_args(RealtimeClientEvent)[0])}
    assert len(types) == 11 and types == VOCABULARY.known | UNSUPPORTED
    assert EXAMPLES.keys() == VOCABULARY.known == ALWAYS.keys() | IN_STATE.keys()


@pytest.mark.parametrize("kind", sorted(EXAMPLES))
@pytest.mark.parametrize("reach", STATES)
def test_every_event_in_every_state(realtime: Realtime, reach: Callable[[Realtime], None], kind: str) -> None:
    reach(realtime)
    found = send(realtime, kind, event_id="mine", **EXAMPLES[kind])
    if reach is over:
        assert found == [] and realtime.phase is Phase.OVER
        return
    expected = ALWAYS.get(kind) if kind in ALWAYS else IN_STATE[kind].get(reach.__name__, IN_STATE[kind][""])
    if isinstance(expected, str):
        error = error_of(found)
        assert (error["code"], error["event_id"]) == (expected, "mine")
    else:
        assert short(found) == expected
    assert realtime.phase is Phase.LIVE


def test_what_is_not_supported_says_so(realtime: Realtime) -> None:
    events: list[tuple[str, dict[str, Any]]] = [
        ("output_audio_buffer.clear", {}),
        ("session.update", {"session": {"type": "realtime", "tools": [{"type": "function", "name": "a"}]}}),
        (
            "conversation.item.create",
            {"item": {"type": "function_call", "call_id": "a", "name": "b", "arguments": "{}"}},
        ),
        ("response.create", {"response": {"conversation": "none"}}),
        ("response.create", {"response": {"input": [message(TYPED)]}}),
        ("response.create", {"response": {"tools": [{"type": "function", "name": "a"}]}}),
    ]
    for kind, fields in events:
        assert error_of(send(realtime, kind, **fields))["code"] == "unsupported"
