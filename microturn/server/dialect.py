"""What the protocols of a live session have in common: limits, sound and pictures on their way in, errors, ends.

A dialect is a state machine: events of the client and turns of the model in, events of the server out. It knows no
socket and no time but what it is given. Its states, and what moves between them:

    NEW       the client is connected       -> LIVE    a session is admitted
    LIVE      turns are being taken         -> OVER    the client ends it, expiry, end of the server, a fault
    OVER      nothing is accepted or sent; ``close_code`` says how the connection is to be closed
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import Enum
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from microturn.background.office import Office
from microturn.engine.inbox import Inbox
from microturn.engine.slots import End, Turn
from microturn.errors import BusyError, InputError
from microturn.media.wire import SoundDecoder, SoundEncoder
from microturn.server import limits, wire
from microturn.server.delegation import MAX_SPOKEN_CHARACTERS, Delegation
from microturn.server.limits import Allowance
from microturn.server.wire import EventError
from microturn.session.playback import Playback
from microturn.turn import SAMPLE_RATE_HZ, TURN_MS, Pcm, TextIn, TextSource

VOICE = "microturn"
TAIL_STEP_SAMPLES = SAMPLE_RATE_HZ // 100
NORMAL, POLICY, FAULT, RESTART, TRY_LATER = 1000, 1008, 1011, 1012, 1013
"""Codes with which a WebSocket is closed."""

FromClientT = TypeVar("FromClientT", bound=wire.FromClient)
ToClientT = TypeVar("ToClientT", bound=wire.ToClient)


@dataclass(frozen=True)
class Service:
    """What is the same for every session of a server."""

    model: str
    max_session_ms: int
    office: Office | None = None
    """Where the background model works."""

    def check_model(self, model: str, param: str) -> None:
        """Raises ``EventError`` unless ``model`` is what is served."""
        if model not in (self.model, "default"):
            raise EventError("model_not_found", f"{model[:64]} is not served here, {self.model} is", param=param)


@dataclass(frozen=True)
class Opened:
    """A session that was admitted."""

    session_id: str
    expires_at: int
    resume_token: str | None = None


class Host(Protocol):
    """What a dialect asks of the connection it runs on."""

    def now_s(self) -> float:
        """Seconds since some moment."""
        ...

    def open(self, seed: int, inbox: Inbox, resumable: wire.SessionConfig | None = None) -> Opened:
        """Admit a session, which takes its turns from ``inbox``; with what it was started with its client may come
        back. Raises ``BusyError``."""
        ...

    def resume(self, session_id: str, token: str, received_ms: int, client_event_id: str | None) -> list[wire.ToClient]:
        """Take up a session that lost its connection: returns what is to be sent. Raises ``EventError``."""
        ...

    def show(self, picture: bytes, at_ms: int, client_event_id: str | None) -> bool:
        """Decode a picture elsewhere and put it into the inbox, or report by ``picture_failed``; ``False`` if there is
        too much to do."""
        ...

    def drop_sound(self) -> bool:
        """Throw away the model's sound that waits to be played; ``False`` if the client plays it."""
        ...


class _Nobody:
    """The host of a session that has no connection."""

    def now_s(self) -> float:
        return time.monotonic()

    def open(self, seed: int, inbox: Inbox, resumable: wire.SessionConfig | None = None) -> Opened:
        raise AssertionError("it has begun")

    def resume(self, session_id: str, token: str, received_ms: int, client_event_id: str | None) -> list[wire.ToClient]:
        raise AssertionError("it has begun")

    def show(self, picture: bytes, at_ms: int, client_event_id: str | None) -> bool:
        return False

    def drop_sound(self) -> bool:
        return False


NOBODY = _Nobody()


class Phase(Enum):
    """Where a connection stands."""

    NEW = 0
    LIVE = 1
    OVER = 2


class Dialect(ABC, Generic[FromClientT]):
    """One connection's side of a protocol. Whatever returns events returns what is to be sent."""

    def __init__(self, service: Service, host: Host) -> None:
        self.phase = Phase.NEW
        self.close_code: int | None = None
        """Set when the connection is to be closed, once what was returned is sent."""
        self.num_errors = 0
        self.num_turns = 0
        self.playback = Playback()
        self.delegation = Delegation(service.office, service.max_session_ms)
        self._service = service
        self._host = host
        self._inbox = Inbox()
        self._events = Allowance(limits.EVENTS_PER_SECOND, limits.EVENTS_PER_SECOND, host.now_s)
        self._bytes = Allowance(limits.BYTES_PER_SECOND, limits.BYTES_PER_SECOND, host.now_s)
        self._pictures = Allowance(limits.PICTURES_PER_SECOND, limits.PICTURES_AT_ONCE, host.now_s)
        self._num_events = 0

    # What a protocol adds.

    def greet(self) -> list[wire.ToClient]:
        """The client has connected."""
        return []

    @abstractmethod
    def _decode(self, message: str | bytes) -> FromClientT:
        """One event as it came. Raises ``EventError``."""

    @abstractmethod
    def _accept(self, event: FromClientT) -> list[wire.ToClient]:
        """Take one event of the client. Raises ``EventError``."""

    @abstractmethod
    def _take(self, turn: Turn) -> list[wire.ToClient]:
        """What a turn of the model becomes."""

    @abstractmethod
    def _farewell(self) -> list[wire.ToClient]:
        """The server goes down while a session is live."""

    @abstractmethod
    def _error(self, error: EventError, client_event_id: str | None) -> wire.Error:
        """How an error is told."""

    # From the client.

    def receive(self, message: str | bytes) -> list[wire.ToClient]:
        """Take one message of the client."""
        if self.phase is Phase.OVER:
            return []
        event_id: str | None = None
        try:
            if not self._events.take() or not self._bytes.take(len(message)):
                raise EventError("rate_limit_exceeded", "too many events, or too much in them")
            event = self._decode(message)
            event_id = event.event_id
            return self._accept(event)
        except EventError as error:
            return self._failed(error, error.client_event_id or event_id)

    def hear(self, pcm: Pcm) -> list[wire.ToClient]:
        """Take the user's sound that came by another way than a message."""
        if self.phase is not Phase.LIVE:
            return []
        try:
            self._hear(pcm)
        except EventError as error:
            return self._failed(error, None)
        return []

    def played(self, until_ms: int, dropped: bool) -> None:
        """The model's sound was played so far by the server; with ``dropped`` what was sent beyond never will be."""
        self.playback.acknowledge(max(until_ms, self.playback.heard_until_ms), dropped=dropped)

    def _open(self, seed: int, resumable: wire.SessionConfig | None = None) -> None:
        """Have a session admitted. Raises ``EventError``."""
        try:
            self._opened = self._host.open(seed, self._inbox, resumable)
        except BusyError as error:
            raise EventError("busy", str(error), retry_after_ms=error.retry_after_ms) from error
        self.phase = Phase.LIVE

    def _listen_in(self, audio_format: wire.AudioFormat) -> None:
        self._decoder = SoundDecoder(audio_format.sound_format)

    def _speak_in(self, audio_format: wire.AudioFormat) -> None:
        self._encoder = SoundEncoder(audio_format.sound_format)

    def _decoded(self, audio: bytes, param: str = "audio") -> Pcm:
        try:
            return self._decoder.push(audio)
        except InputError as error:
            raise EventError("invalid_value", str(error), param=param) from error

    def _hear(self, pcm: Pcm) -> None:
        if not self._inbox.push_sound(pcm):
            raise EventError("rate_limit_exceeded", "sound arrives faster than real time: too much of it waits")

    def _see(self, image: bytes, at_ms: int | None, client_event_id: str | None) -> None:
        at_ms = self.num_turns * TURN_MS if at_ms is None else at_ms
        if not self._pictures.take() or not self._host.show(image, at_ms, client_event_id):
            raise EventError("rate_limit_exceeded", f"at most {limits.PICTURES_PER_SECOND:.0f} pictures a second")

    def _read(self, source: TextSource, text: str, most: int, param: str) -> None:
        if len(text) > most:
            raise EventError("text_too_long", f"at most {most} characters", param=param)
        if not self._inbox.push_text(TextIn(source, text)):
            raise EventError("text_too_long", "too much text waits already", param=param)

    def _read_job(self, delegation: str, text: str, param: str) -> None:
        """Have read what a job of the client says. Raises ``EventError``."""
        if not self.delegation.from_client(delegation, text, self._inbox):
            message = f"a job says at most {MAX_SPOKEN_CHARACTERS} characters, or too much text waits already"
            raise EventError("text_too_long", message, param=param)

    # From the model, and from whoever runs the connection.

    def take(self, turn: Turn) -> list[wire.ToClient]:
        """Take one turn of the model."""
        if self.phase is not Phase.LIVE:
            return []
        self.num_turns = turn.made.turn + 1
        return self._take(turn)

    @property
    def _expired(self) -> bool:
        return self.num_turns * TURN_MS >= self._service.max_session_ms

    def _encoded(self, pcm: Pcm, speaking: bool) -> tuple[bytes, int]:
        """What of a turn's sound is to be sent, and how many milliseconds it lasts."""
        if not speaking:
            # The voice's last milliseconds, if there are any, and not the silence behind them.
            sounding = np.flatnonzero(pcm)
            steps = 0 if not len(sounding) else int(sounding[-1]) // TAIL_STEP_SAMPLES + 1
            pcm = pcm[: steps * TAIL_STEP_SAMPLES]
        data = self._encoder.push(pcm) + (b"" if speaking else self._encoder.flush())
        return data, len(pcm) * 1000 // SAMPLE_RATE_HZ

    def picture_failed(self, error: InputError, client_event_id: str | None) -> list[wire.ToClient]:
        """A picture could not be decoded."""
        if self.phase is Phase.OVER:
            return []
        return self._failed(EventError("invalid_picture", str(error), param="image"), client_event_id)

    def ended(self, end: End) -> list[wire.ToClient]:
        """The engine ended the session."""
        if self.phase is Phase.OVER or end is End.CLOSED:
            return []
        if end is End.SLOW_READER:
            return self._give_up(EventError("slow_reader", "the session is over: its turns were not read"), TRY_LATER)
        return self._give_up(EventError("internal_error", "the session is over: a turn failed"), FAULT)

    def stop(self) -> list[wire.ToClient]:
        """The server goes down."""
        if self.phase is Phase.OVER:
            return []
        if self.phase is Phase.LIVE:
            return self._farewell()
        return self._give_up(EventError("stopping", "the server goes down"), RESTART)

    def start_timed_out(self) -> list[wire.ToClient]:
        """Too long since the client connected, if it has no session yet."""
        if self.phase is not Phase.NEW:
            return []
        message = f"no session was started within {limits.START_SECONDS:.0f} s"
        return self._give_up(EventError("session_not_started", message), POLICY)

    def _give_up(self, error: EventError, close_code: int) -> list[wire.ToClient]:
        events = self._failed(error, None)
        self.phase, self.close_code = Phase.OVER, close_code
        return events

    def _failed(self, error: EventError, client_event_id: str | None) -> list[wire.ToClient]:
        self.num_errors += 1
        if self.num_errors >= limits.MAX_ERRORS:
            self.phase, self.close_code = Phase.OVER, POLICY
        return [self._error(error, client_event_id)]

    def _event(self, kind: type[ToClientT], **fields: Any) -> ToClientT:
        self._num_events += 1
        return kind(event_id=f"event_{self._num_events}", **fields)
