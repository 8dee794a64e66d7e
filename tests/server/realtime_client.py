"""A client of the realtime protocol without a socket, whose every answer is one of the openai package's events."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

from openai.types.realtime.realtime_server_event import RealtimeServerEvent
from PIL import Image
from pydantic import TypeAdapter

from microturn.server import wire
from microturn.server.realtime import Realtime
from tests.server.conftest import FakeHost, service
from tests.server.test_live import turn_of

OPENAI: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)
SOUND = base64.b64encode(bytes(9600)).decode()
PIECES = ["created", "output_item.added", "item.added", "content_part.added"]


def data_url() -> str:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def message(*content: dict[str, Any], role: str = "user", **fields: Any) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": list(content), **fields}


def picture(url: str) -> dict[str, Any]:
    return {"type": "input_image", "image_url": url}


TYPED = {"type": "input_text", "text": "say red"}
EXAMPLES: dict[str, dict[str, Any]] = {
    "session.update": {"session": {"type": "realtime", "instructions": "be brief"}},
    "input_audio_buffer.append": {"audio": SOUND},
    "input_audio_buffer.commit": {},
    "input_audio_buffer.clear": {},
    "conversation.item.create": {"item": message(TYPED)},
    "conversation.item.retrieve": {"item_id": "item_1"},
    "conversation.item.truncate": {"item_id": "item_1", "content_index": 0, "audio_end_ms": 100},
    "conversation.item.delete": {"item_id": "item_1"},
    "response.create": {},
    "response.cancel": {},
}
"""One legal event of every kind."""


def plain(event: wire.ToClient) -> dict[str, Any]:
    """An event as a client reads it, which is one of the openai package's."""
    text = wire.encode(event)
    assert OPENAI.validate_json(text).type == json.loads(text)["type"]
    found: dict[str, Any] = json.loads(text)
    return found


def send(realtime: Realtime, kind: str, **fields: Any) -> list[dict[str, Any]]:
    return [plain(event) for event in realtime.receive(json.dumps({"type": kind, **fields}))]


def take(realtime: Realtime, turn: int, **made: Any) -> list[dict[str, Any]]:
    return [plain(event) for event in realtime.take(turn_of(turn, **made))]


def begun(host: FakeHost, max_session_ms: int = 60_000) -> Realtime:
    realtime = Realtime(service(max_session_ms), host)
    (created,) = [plain(event) for event in realtime.greet()]
    assert created["type"] == "session.created"
    return realtime


def short(events: list[dict[str, Any]]) -> list[str]:
    """Types without what most of them begin with."""
    prefixes = ("input_audio_buffer.", "conversation.", "response.")
    return [
        next((one["type"].removeprefix(p) for p in prefixes if one["type"].startswith(p)), one["type"])
        for one in events
    ]


def error_of(events: list[dict[str, Any]]) -> dict[str, Any]:
    (event,) = events
    assert event["type"] == "error"
    error: dict[str, Any] = event["error"]
    return error


ITEM = ["item.added", "item.done"]
YIELD = [
    "output_audio.done",
    "output_audio_transcript.done",
    "content_part.done",
    "output_item.done",
    "item.done",
    "done",
]
NO_ITEM, NO_SOUND, NO_RESPONSE = (
    "item_retrieve_invalid_item_id",
    "input_audio_buffer_commit_empty",
    "response_cancel_not_active",
)
