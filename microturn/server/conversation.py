"""The items of a realtime conversation: what clients may ask for again. The model remembers by itself."""

from __future__ import annotations

import binascii
from base64 import b64decode
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from microturn.server import realtime_wire as rt
from microturn.server.wire import Code, EventError

MAX_ITEMS = 256
MAX_CHARACTERS = 256 * 1024
"""Of all items together; the oldest are forgotten."""

SLACK_MS = 10
"""A client that counts samples comes out a resampler's milliseconds beside us."""


@dataclass
class Utterance:
    """What the user says, until its transcript is complete."""

    item_id: str
    is_open: bool = True
    """Whether more is expected to be said, or only late words to be written."""
    until_turn: int = 0
    """Once it is not open: when no late word comes any more."""
    words: str = ""
    last_turn: int = 0
    start_ms: int = 0
    end_ms: int = 0


@dataclass
class Asked:
    """A response that the client asked for and that has not begun."""

    until_turn: int
    metadata: dict[str, str] | None
    modality: rt.Modality | None


@dataclass(eq=False)
class Spoken:
    """What the model says from when it begins until it yields: a response with one item, and what it delegates."""

    response_id: str
    item_id: str
    modality: rt.Modality
    start_ms: int
    is_asked: bool
    """Whether it answers a request of the client's."""
    metadata: dict[str, str] | None = None
    status: Literal["in_progress", "completed", "incomplete"] = "in_progress"
    sound_ms: int = 0
    calls: list[rt.FunctionCall] = field(default_factory=list)
    heard_ms: int | None = None
    """How much of the sound was heard, if the client said that not all was."""
    _said: list[tuple[int, str]] = field(default_factory=list)

    def say(self, at_ms: int, words: str) -> str:
        """Add words that begin to sound at ``at_ms``; returns what they add to the transcript."""
        delta = words if self._said else words.lstrip()
        self._said.append((at_ms - self.start_ms, delta))
        return delta

    @property
    def words(self) -> str:
        """All of it."""
        return "".join(words for _, words in self._said)

    @property
    def place(self) -> dict[str, Any]:
        """Which item of which response."""
        return {"response_id": self.response_id, "output_index": 0}

    @property
    def content(self) -> dict[str, Any]:
        """Which piece of which item of which response."""
        return {**self.place, "item_id": self.item_id, "content_index": 0}

    @property
    def part(self) -> rt.ContentPart:
        if self.modality == "audio":
            return rt.ContentPart("audio", transcript=self.words)
        return rt.ContentPart("text", text=self.words)

    @property
    def message(self) -> rt.Message:
        """The item, as far as it was heard."""
        heard = "".join(words for at_ms, words in self._said if self.heard_ms is None or at_ms < self.heard_ms)
        audio = rt.Part("output_audio", transcript=heard)
        part = audio if self.modality == "audio" else rt.Part("output_text", text=heard)
        return rt.Message(
            role="assistant",
            content=[] if self.status == "in_progress" else [part],
            id=self.item_id,
            object="realtime.item",
            status=self.status,
        )


@dataclass
class Entry:
    """An item, and what the model said if it is the model's."""

    item: rt.Item
    spoken: Spoken | None


class Conversation:
    """Items in their order."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._num_ids = 0

    def new_id(self) -> str:
        """An id for an item."""
        self._num_ids += 1
        item_id = f"item_{self._num_ids}"
        return self.new_id() if item_id in self._ids else item_id

    def find(self, item_id: str, code: Code) -> Entry:
        """Raises ``EventError`` of this code."""
        return self._entries[self._place(item_id, code)]

    def check(self, item_id: str | None, previous_item_id: str | None) -> None:
        """Raise ``EventError`` unless an item with this id can be added behind the other one."""
        if item_id is not None and item_id in self._ids:
            raise EventError("invalid_value", f"there is an item {item_id} already", param="item.id")
        if previous_item_id is not None and previous_item_id != "root":
            self._place(previous_item_id, "item_not_found", "previous_item_id")

    def add(self, item: rt.Item, previous_item_id: str | None = None, spoken: Spoken | None = None) -> str | None:
        """Add an item at the end or behind another one; returns the id of the item before it."""
        place = len(self._entries)
        if previous_item_id is not None:
            place = 0 if previous_item_id == "root" else self._place(previous_item_id, "item_not_found") + 1
        self._entries.insert(place, Entry(item, spoken))
        previous = self._entries[place - 1].item.id if place else None
        while len(self._entries) > 1 and (len(self._entries) > MAX_ITEMS or self._size > MAX_CHARACTERS):
            del self._entries[0]
        return previous

    def delete(self, item_id: str) -> None:
        """Raises ``EventError``."""
        del self._entries[self._place(item_id, "item_delete_invalid_item_id")]

    def transcribe(self, item_id: str, words: str) -> None:
        """What was heard in a user's item, if it is still there."""
        entry = self.find(item_id, "item_not_found") if item_id in self._ids else None
        if entry is not None and isinstance(entry.item, rt.Message):
            content = [
                msgspec.structs.replace(part, transcript=words) if part.type == "input_audio" else part
                for part in entry.item.content
            ]
            entry.item = msgspec.structs.replace(entry.item, content=content)

    def finish(self, spoken: Spoken) -> str | None:
        """The model has said it; returns the id of the item before it, if it is still there."""
        if spoken.item_id not in self._ids:
            return None
        place = self._ids.index(spoken.item_id)
        self._entries[place].item = spoken.message
        return self._entries[place - 1].item.id if place else None

    def truncate(self, item_id: str, content_index: int, heard_ms: int) -> Spoken:
        """Only ``heard_ms`` of what the model said were heard. Raises ``EventError``."""
        entry = self.find(item_id, "item_truncate_invalid_item_id")
        spoken = entry.spoken
        if spoken is None or spoken.modality != "audio":
            raise EventError("invalid_value", "only the model's voice can be truncated", param="item_id")
        if content_index != 0:
            raise EventError("invalid_value", "there is one part, 0", param="content_index")
        if heard_ms > spoken.sound_ms + SLACK_MS:
            raise EventError("invalid_value", f"only {spoken.sound_ms} ms of sound were sent", param="audio_end_ms")
        spoken.heard_ms = heard_ms
        entry.item = spoken.message
        return spoken

    @property
    def _ids(self) -> list[str | None]:
        return [entry.item.id for entry in self._entries]

    @property
    def _size(self) -> int:
        return sum(_num_characters(entry.item) for entry in self._entries)

    def _place(self, item_id: str, code: Code, param: str = "item_id") -> int:
        try:
            return self._ids.index(item_id)
        except ValueError:
            raise EventError(code, f"there is no item {item_id[:64]}", param=param) from None


def _num_characters(item: rt.Item) -> int:
    match item:
        case rt.FunctionCall():
            return len(item.arguments)
        case rt.FunctionCallOutput():
            return len(item.output)
    return sum(len(part.text or "") + len(part.transcript or "") for part in item.content)


def image_of(part: rt.Part, path: str) -> bytes:
    """The file in a part's data URL. Raises ``EventError``."""
    head, _, data = (part.image_url or "").partition(",")
    param = f"{path}.image_url"
    if not head.startswith("data:image/") or not head.endswith(";base64"):
        raise EventError("invalid_value", "a picture is a data URL: data:image/...;base64,...", param=param)
    try:
        return b64decode(data, validate=True)
    except binascii.Error as error:
        raise EventError("invalid_value", f"not base64 ({error})", param=param) from error


def text_of(part: rt.Part, path: str) -> str:
    """What a part has to be read. Raises ``EventError``."""
    text = part.transcript if part.type == "output_audio" else part.text
    if text is None or part.type in ("input_image", "input_audio"):
        raise EventError("invalid_value", f"{part.type} has no text that could be taken", param=path)
    return text
