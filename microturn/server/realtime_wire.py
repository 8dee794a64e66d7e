"""The events of the realtime protocol as types: the part of ``openai.types.realtime`` that a voice client needs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct

from microturn.server.wire import AudioFormat, FromClient, Milliseconds, Strict, ToClient, Vocabulary

UNSUPPORTED = frozenset({"output_audio_buffer.clear"})
"""Events of the protocol that this server does not have: this one is for WebRTC alone."""

Modality = Literal["text", "audio"]
Modalities = Annotated[list[Modality], Meta(min_length=1, max_length=2)]
Status = Literal["in_progress", "completed", "cancelled", "incomplete"]

# What a session is made of. Fields that are not here are taken and have no effect: clients send what others have.


class AudioInput(Struct, frozen=True):
    format: AudioFormat | None = None
    turn_detection: Any = UNSET


class AudioOutput(Struct, frozen=True):
    format: AudioFormat | None = None


class Audio(Struct, frozen=True):
    input: AudioInput | None = None
    output: AudioOutput | None = None


class SessionConfig(Struct, frozen=True):
    type: Literal["realtime"] = "realtime"
    audio: Audio | None = None
    instructions: str | None = None
    model: str | None = None
    output_modalities: Modalities | None = None
    tools: list[Any] | None = None


class ResponseConfig(Struct, frozen=True):
    conversation: str | None = None
    input: list[Any] | None = None
    instructions: str | None = None
    metadata: dict[str, str] | None = None
    output_modalities: Modalities | None = None
    tools: list[Any] | None = None


class Part(Strict, frozen=True):
    """A piece of a message."""

    type: Literal["input_text", "input_audio", "input_image", "output_text", "output_audio"]
    text: str | None = None
    transcript: str | None = None
    audio: bytes | None = None
    image_url: str | None = None
    detail: Any = None


class OfConversation(Strict, frozen=True, kw_only=True, tag_field="type"):
    """What every item has."""

    id: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    object: Literal["realtime.item"] | None = None
    status: Literal["completed", "incomplete", "in_progress"] | None = None


class Message(OfConversation, frozen=True, kw_only=True, tag="message"):
    """What was said, typed or shown."""

    role: Literal["user", "assistant", "system"]
    content: Annotated[list[Part], Meta(max_length=64)]


class FunctionCall(OfConversation, frozen=True, kw_only=True, tag="function_call"):
    """What the model delegated to the client."""

    call_id: str
    name: str
    arguments: str


class FunctionCallOutput(OfConversation, frozen=True, kw_only=True, tag="function_call_output"):
    """What the client's function brought."""

    call_id: str
    output: str


Item = Message | FunctionCall | FunctionCallOutput


# From the client.


class UpdateSession(FromClient, frozen=True, tag="session.update"):
    session: SessionConfig


class Append(FromClient, frozen=True, tag="input_audio_buffer.append"):
    audio: bytes


class Commit(FromClient, frozen=True, tag="input_audio_buffer.commit"):
    pass


class Clear(FromClient, frozen=True, tag="input_audio_buffer.clear"):
    pass


class CreateItem(FromClient, frozen=True, tag="conversation.item.create"):
    item: Item
    previous_item_id: str | None = None


class RetrieveItem(FromClient, frozen=True, tag="conversation.item.retrieve"):
    item_id: str


class TruncateItem(FromClient, frozen=True, tag="conversation.item.truncate"):
    item_id: str
    audio_end_ms: Milliseconds
    content_index: int = 0


class DeleteItem(FromClient, frozen=True, tag="conversation.item.delete"):
    item_id: str


class CreateResponse(FromClient, frozen=True, tag="response.create"):
    response: ResponseConfig | None = None


class CancelResponse(FromClient, frozen=True, tag="response.cancel"):
    response_id: str | None = None


ClientEvent = (
    UpdateSession
    | Append
    | Commit
    | Clear
    | CreateItem
    | RetrieveItem
    | TruncateItem
    | DeleteItem
    | CreateResponse
    | CancelResponse
)
VOCABULARY: Vocabulary[ClientEvent] = Vocabulary(ClientEvent, UNSUPPORTED)


# From the server.


class SessionResource(Struct, frozen=True, kw_only=True, tag_field="type", tag="realtime"):
    id: str
    object: str = "realtime.session"
    expires_at: int
    model: str
    instructions: str
    output_modalities: list[Modality]
    audio: dict[str, dict[str, Any]]
    tools: list[Any] = []
    tool_choice: str = "auto"
    max_output_tokens: str = "inf"
    truncation: str = "disabled"


class ResponseResource(Struct, frozen=True, kw_only=True):
    id: str
    object: str = "realtime.response"
    status: Status
    status_details: dict[str, str] | None
    output: list[Item]
    conversation_id: str
    output_modalities: list[Modality]
    metadata: dict[str, str] | None
    usage: None = None


class SessionCreated(ToClient, tag="session.created"):
    session: SessionResource


class SessionUpdated(ToClient, tag="session.updated"):
    session: SessionResource


class OfItem(ToClient):
    """Something about an item of the conversation."""

    item_id: str


class Committed(OfItem, tag="input_audio_buffer.committed"):
    previous_item_id: str | None = None


class Cleared(ToClient, tag="input_audio_buffer.cleared"):
    pass


class SpeechStarted(OfItem, tag="input_audio_buffer.speech_started"):
    audio_start_ms: int


class SpeechStopped(OfItem, tag="input_audio_buffer.speech_stopped"):
    audio_end_ms: int


class TranscriptionDelta(OfItem, tag="conversation.item.input_audio_transcription.delta"):
    content_index: int
    delta: str


class TranscriptionCompleted(OfItem, tag="conversation.item.input_audio_transcription.completed"):
    content_index: int
    transcript: str
    usage: dict[str, Any]


class ItemAdded(ToClient, tag="conversation.item.added"):
    item: Item
    previous_item_id: str | None = None


class ItemDone(ToClient, tag="conversation.item.done"):
    item: Item
    previous_item_id: str | None = None


class ItemRetrieved(ToClient, tag="conversation.item.retrieved"):
    item: Item


class ItemTruncated(OfItem, tag="conversation.item.truncated"):
    content_index: int
    audio_end_ms: int


class ItemDeleted(OfItem, tag="conversation.item.deleted"):
    pass


class ResponseCreated(ToClient, tag="response.created"):
    response: ResponseResource


class ResponseDone(ToClient, tag="response.done"):
    response: ResponseResource


class OfResponse(ToClient, kw_only=True):
    """Something about an item of a response."""

    response_id: str
    output_index: Annotated[int, Meta(ge=0)]


class OutputItemAdded(OfResponse, tag="response.output_item.added"):
    item: Item


class OutputItemDone(OfResponse, tag="response.output_item.done"):
    item: Item


class OfContent(OfResponse, kw_only=True):
    """Something about the one piece of what the model says."""

    item_id: str
    content_index: int


class ContentPart(Struct, frozen=True, omit_defaults=True):
    type: Modality
    transcript: str | None = None
    text: str | None = None


class ContentPartAdded(OfContent, tag="response.content_part.added"):
    part: ContentPart


class ContentPartDone(OfContent, tag="response.content_part.done"):
    part: ContentPart


class AudioDelta(OfContent, tag="response.output_audio.delta"):
    delta: bytes


class AudioDone(OfContent, tag="response.output_audio.done"):
    pass


class TranscriptDelta(OfContent, tag="response.output_audio_transcript.delta"):
    delta: str


class TranscriptDone(OfContent, tag="response.output_audio_transcript.done"):
    transcript: str


class TextDelta(OfContent, tag="response.output_text.delta"):
    delta: str


class TextDone(OfContent, tag="response.output_text.done"):
    text: str


class OfCall(OfResponse, kw_only=True):
    """Something about a function call of a response."""

    item_id: str
    call_id: str


class ArgumentsDelta(OfCall, tag="response.function_call_arguments.delta"):
    delta: str


class ArgumentsDone(OfCall, tag="response.function_call_arguments.done"):
    name: str
    arguments: str
