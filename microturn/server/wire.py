"""Every event of the live protocol (docs/protocol.md) as a type; the types are the schema.

Events and fields are those of ``openai.types.live``; what is ours in addition is marked so in the protocol's text.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Generic, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from microturn.errors import InputError
from microturn.media.wire import SoundFormat
from microturn.session.playback import Heard

MAX_SEED = 2**31 - 1
UNSUPPORTED = frozenset(
    {
        "decision.create",
        "decision.item.create",
        "decision.item.delete",
        "response.create",
        "response.item.create",
        "session.output_audio.fixture.play",
        "transport.dtmf.send",
    }
)
"""Events of the Live protocol, or of a later day, that this server answers with ``unsupported``."""

CODINGS: dict[str, Literal["pcm", "pcmu", "pcma"]] = {"audio/pcm": "pcm", "audio/pcmu": "pcmu", "audio/pcma": "pcma"}

Code = Literal[
    "invalid_json",
    "unknown_event",
    "unsupported",
    "unknown_parameter",
    "missing_parameter",
    "invalid_value",
    "model_not_found",
    "session_not_started",
    "session_already_started",
    "session_not_found",
    "delegation_not_found",
    "delegation_cancelled",
    "item_not_found",
    "item_retrieve_invalid_item_id",
    "item_truncate_invalid_item_id",
    "item_delete_invalid_item_id",
    "input_audio_buffer_commit_empty",
    "conversation_already_has_active_response",
    "response_cancel_not_active",
    "session_expired",
    "text_too_long",
    "invalid_picture",
    "invalid_offer",
    "rate_limit_exceeded",
    "busy",
    "stopping",
    "slow_reader",
    "internal_error",
]
SERVER_CODES: frozenset[Code] = frozenset({"busy", "stopping", "slow_reader", "internal_error"})
EventT = TypeVar("EventT")
Milliseconds = Annotated[int, Meta(ge=0, le=2**53)]


class EventError(InputError):
    """An event that cannot be accepted: what the ``error`` event will say."""

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        param: str | None = None,
        client_event_id: str | None = None,
        retry_after_ms: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code: Code = code
        self.param = param
        self.client_event_id = client_event_id
        self.retry_after_ms = retry_after_ms


# What a session is made of.


class Strict(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Unknown fields are errors; fields that are not set are not sent."""


class AudioFormat(Strict, frozen=True):
    type: Literal["audio/pcm", "audio/pcmu", "audio/pcma"]
    rate: Literal[8000, 16000, 24000] | None = None

    def resolved(self, param: str = "session.audio.format") -> AudioFormat:
        """The same with its rate. Raises ``EventError`` for a rate that the coding does not have."""
        is_pcm = self.type == "audio/pcm"
        rate = self.rate or (24000 if is_pcm else 8000)
        if is_pcm == (rate == 8000):
            raise EventError("invalid_value", f"{self.type} does not come at {rate} Hz", param=f"{param}.rate")
        return AudioFormat(self.type, rate)

    @property
    def sound_format(self) -> SoundFormat:
        """What a resolved format means."""
        assert self.rate is not None
        return SoundFormat(CODINGS[self.type], self.rate)


class CustomVoice(Strict, frozen=True):
    id: str


class AudioOutput(Strict, frozen=True):
    voice: str | CustomVoice | None = None


class Audio(Strict, frozen=True):
    format: AudioFormat | None = None
    output: AudioOutput | None = None


class Delegation(Struct, frozen=True):
    """Who does what the model delegates: the client. Without this the server does, if it has a background model."""

    type: str


class TextPart(Strict, frozen=True):
    text: str
    type: Literal["input_text", "text", "output_text"] = "input_text"


class InitialItem(Strict, frozen=True):
    """A message from before the session."""

    role: Literal["developer", "user", "assistant"]
    content: Annotated[list[TextPart], Meta(min_length=1, max_length=1)]
    id: str | None = None
    status: Literal["incomplete", "completed"] | None = None
    type: Literal["message"] = "message"


class Extras(Strict, frozen=True):
    """What is ours in a session's configuration."""

    turns: bool = False
    seed: Annotated[int, Meta(ge=0, le=MAX_SEED)] = 0
    resumable: bool = False
    packages: bool = False


class SessionConfig(Strict, frozen=True):
    model: str
    audio: Audio = Audio()
    client: dict[str, Any] | None = None
    delegation: Delegation | None = None
    input: Annotated[list[InitialItem], Meta(max_length=128)] | None = None
    instructions: str | None = None
    safety_identifier: str | None = None
    store: bool | None = None
    triggers: list[dict[str, Any]] | None = None
    microturn: Extras = Extras()


class SessionUpdate(Strict, frozen=True):
    delegation: Delegation | None = None
    triggers: list[dict[str, Any]] | None = None


# From the client.


class WebRtc(Strict, frozen=True):
    """How a session is to be had."""

    sdp: str
    type: Literal["webrtc"]


class Offer(Strict, frozen=True):
    """What is posted for a session over WebRTC: its transport, and what its first event has beside the type."""

    transport: WebRtc
    session: dict[str, Any] | None = None
    resume: dict[str, Any] | None = None

    @property
    def event(self) -> bytes:
        """The first event. Raises ``EventError``."""
        if (self.session is None) == (self.resume is None):
            raise EventError("missing_parameter", "an offer has a session or a resume", param="session")
        if self.resume is not None:
            return msgspec.json.encode({**self.resume, "type": Resume.__struct_config__.tag})
        return msgspec.json.encode({"type": Start.__struct_config__.tag, "session": self.session})


class FromClient(Strict, frozen=True, kw_only=True, tag_field="type"):
    event_id: Annotated[str, Meta(max_length=512)] | None = None


class Start(FromClient, frozen=True, tag="session.start"):
    session: SessionConfig


class Update(FromClient, frozen=True, tag="session.update"):
    session: SessionUpdate


class AppendAudio(FromClient, frozen=True, tag="session.input_audio.append"):
    audio: bytes


class Mute(FromClient, frozen=True, tag="session.input_audio.mute"):
    pass


class Unmute(FromClient, frozen=True, tag="session.input_audio.unmute"):
    pass


class AppendContext(FromClient, frozen=True):
    content: str
    delegation_id: str | None = None


class AppendInstructions(AppendContext, frozen=True, tag="session.instructions.append"):
    pass


class AppendThinking(AppendContext, frozen=True, tag="session.thinking.append"):
    pass


class AppendCommentary(AppendContext, frozen=True, tag="session.commentary.append"):
    pass


class Close(FromClient, frozen=True, tag="session.close"):
    pass


class AppendVideo(FromClient, frozen=True, tag="session.input_video.append"):
    image: bytes
    at_ms: Milliseconds | None = None


class AppendText(FromClient, frozen=True, tag="session.input_text.append"):
    text: str


class AckPlayback(FromClient, frozen=True, tag="session.playback.ack"):
    heard_until_ms: Milliseconds
    dropped: bool = False


class Resume(FromClient, frozen=True, tag="session.resume"):
    session_id: str
    resume_token: str
    received_ms: Milliseconds = 0


ClientEvent = (
    Start
    | Resume
    | Update
    | AppendAudio
    | Mute
    | Unmute
    | AppendInstructions
    | AppendThinking
    | AppendCommentary
    | Close
    | AppendVideo
    | AppendText
    | AckPlayback
)


# From the server.


class ToClient(Struct, kw_only=True, omit_defaults=True, tag_field="type"):
    event_id: str
    client_event_id: str | None = None


class ExtrasResource(Struct, frozen=True, kw_only=True, omit_defaults=True):
    turns: bool
    seed: int
    turn_ms: int
    resume_token: str | None = None
    playback: Heard | None = None


class SessionResource(Struct, frozen=True, kw_only=True, tag_field="status", tag="active"):
    id: str
    expires_at: int
    model: str
    audio: Audio
    delegation: Delegation | None
    microturn: ExtrasResource
    instructions: str | None = None


class Usage(Struct, frozen=True):
    seconds: float


class Started(ToClient, tag="session.started"):
    session: SessionResource


class Updated(ToClient, tag="session.updated"):
    session: SessionResource


class Muted(ToClient, tag="session.input_audio.muted"):
    pass


class Unmuted(ToClient, tag="session.input_audio.unmuted"):
    pass


class Spanning(ToClient):
    """Something with a place on the session's timeline."""

    start_ms: int
    end_ms: int


class InstructionsAppended(Spanning, tag="session.instructions.appended"):
    pass


class ThinkingAppended(Spanning, tag="session.thinking.appended"):
    pass


class CommentaryAppended(Spanning, tag="session.commentary.appended"):
    pass


class InputTranscript(Spanning, tag="session.input_transcript.delta"):
    delta: str


class OutputTranscript(Spanning, tag="session.output_transcript.delta"):
    delta: str


class OutputAudio(Spanning, tag="session.output_audio.delta"):
    delta: bytes


class TurnDone(Spanning, tag="session.turn"):
    turn: int
    hear: str
    say: str
    act: str | None
    speaking: bool
    sound_end_ms: int
    gap: bool
    picture: bool
    waiting_ms: int
    compute_ms: float
    margin_ms: float
    sessions: int


class UsageUpdated(ToClient, tag="session.usage.updated"):
    usage: Usage


class Closed(ToClient, tag="session.closed"):
    reason: Literal["close_requested", "expired", "content", "remote_hangup", "connection_lost"]
    session: SessionResource
    usage: Usage


class Info(ToClient, tag="info"):
    code: Literal["input_audio_trimmed", "turns_skipped"]
    message: str


class ErrorDetail(Struct, frozen=True, omit_defaults=True):
    type: str
    code: Code
    message: str
    param: str | None = None
    client_event_id: str | None = None
    """As the Live protocol names it."""
    event_id: str | None = None
    """As the Realtime protocol names it."""
    retry_after_ms: int | None = None


class Error(ToClient, tag="error"):
    error: ErrorDetail


def detail_of(error: EventError, *, client_event_id: str | None = None, event_id: str | None = None) -> ErrorDetail:
    """What a client is told of an error."""
    kind = "invalid_request_error"
    if error.code == "rate_limit_exceeded":
        kind = "rate_limit_error"
    elif error.code in SERVER_CODES:
        kind = "server_error"
    return ErrorDetail(kind, error.code, str(error), error.param, client_event_id, event_id, error.retry_after_ms)


class _Envelope(Struct):
    type: str
    event_id: Any = None


_ENVELOPE = msgspec.json.Decoder(_Envelope)
_ENCODER = msgspec.json.Encoder()


class Part(Struct, frozen=True, tag="session.part"):
    """A piece of an event that is longer than a message may be: the texts of all ``count`` of them are the event."""

    index: int
    count: int
    text: str


def encode(event: ToClient | FromClient | Part) -> str:
    """One event as it is sent."""
    return _ENCODER.encode(event).decode()


class Vocabulary(Generic[EventT]):
    """The client events of a protocol."""

    def __init__(self, union: Any, unsupported: frozenset[str]) -> None:
        """``union`` of the event types; ``unsupported`` are those that are known and not had."""
        self.known = frozenset(str(kind.__struct_config__.tag) for kind in union.__args__)
        self._unsupported = unsupported
        self._decoder: msgspec.json.Decoder[EventT] = msgspec.json.Decoder(union)

    def decode(self, message: str | bytes) -> EventT:
        """One event as it came. Raises ``EventError``."""
        try:
            return self._decoder.decode(message)
        except (msgspec.ValidationError, msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise self._explained(message, str(error)) from error

    def _explained(self, message: str | bytes, cause: str) -> EventError:
        """Why it is no event; ``cause`` is what msgspec says: "Expected `int`, got `str` - at `$.a.b`"."""
        try:
            envelope = _ENVELOPE.decode(message)
        except (msgspec.ValidationError, msgspec.DecodeError, UnicodeError, RecursionError):
            return EventError("invalid_json", "a message is one JSON object with a type")
        event_id = envelope.event_id if isinstance(envelope.event_id, str) else None
        name = envelope.type[:64]
        if envelope.type in self._unsupported:
            return EventError("unsupported", f"{name} is not supported here", client_event_id=event_id)
        if envelope.type not in self.known:
            return EventError("unknown_event", f"{name} is not an event of this protocol", client_event_id=event_id)
        place = re.search(r"at `\$\.?([^`]*)`$", cause)
        path = place[1] if place else ""
        field = re.search(r"(unknown|required) field `([^`]*)`", cause)
        if field:
            path = f"{path}.{field[2]}" if path else field[2]
        code: Code = "invalid_value"
        if field:
            code = "unknown_parameter" if field[1] == "unknown" else "missing_parameter"
        return EventError(code, f"{name}: {cause.split(' - at ')[0]}", param=path or None, client_event_id=event_id)


_OFFER = msgspec.json.Decoder(Offer)


def decode_offer(body: bytes) -> Offer:
    """What was posted. Raises ``EventError``."""
    try:
        return _OFFER.decode(body)
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise EventError("invalid_value", f"this is no offer: {error}") from error


_LIVE: Vocabulary[ClientEvent] = Vocabulary(ClientEvent, UNSUPPORTED)
KNOWN = _LIVE.known


def decode(message: str | bytes) -> ClientEvent:
    """One event of the live protocol as it came. Raises ``EventError``."""
    return _LIVE.decode(message)
