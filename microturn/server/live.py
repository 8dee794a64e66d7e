"""The live protocol as a state machine: events of the client and turns of the model in, events of the server out.

It knows no socket and no time but what it is given. Its states, and what moves between them:

    NEW       the client is connected       -> LIVE    session.start, if a session is admitted
    LIVE      turns are being taken         -> OVER    session.close, expiry, end of the server, a fault
    OVER      nothing is accepted or sent; ``close_code`` says how the connection is to be closed
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal, Protocol, TypeVar

import numpy as np

from microturn.engine.inbox import Inbox
from microturn.engine.slots import End, Turn
from microturn.errors import BusyError, InputError
from microturn.media.wire import SoundDecoder, SoundEncoder
from microturn.server import limits, wire
from microturn.server.limits import Allowance
from microturn.server.wire import EventError
from microturn.session.playback import Playback
from microturn.turn import SAMPLE_RATE_HZ, TURN_MS, Act, Pcm, TextIn, TextSource

VOICE = "microturn"
USAGE_EVERY_TURNS = 10_000 // TURN_MS
EVENTS_OF_A_TURN = 1_000
"""More than this are not sent in a turn."""
TAIL_STEP_SAMPLES = SAMPLE_RATE_HZ // 100
SOURCES = {"developer": TextSource.INSTRUCTIONS, "user": TextSource.TYPED, "assistant": TextSource.INSTRUCTIONS}
NORMAL, POLICY, FAULT, RESTART, TRY_LATER = 1000, 1008, 1011, 1012, 1013
"""Codes with which a WebSocket is closed."""

EventT = TypeVar("EventT", bound=wire.ToClient)


@dataclass(frozen=True)
class Service:
    """What is the same for every session of a server."""

    model: str
    max_session_ms: int


@dataclass(frozen=True)
class Opened:
    """A session that was admitted."""

    session_id: str
    expires_at: int
    resume_token: str | None = None


class Host(Protocol):
    """What the protocol asks of the connection it runs on."""

    def now_s(self) -> float:
        """Seconds since some moment."""
        ...

    def open(self, config: wire.SessionConfig, inbox: Inbox) -> Opened:
        """Admit a session, which takes its turns from ``inbox``. Raises ``BusyError``."""
        ...

    def resume(self, session_id: str, token: str, received_ms: int, client_event_id: str | None) -> list[wire.ToClient]:
        """Take up a session that lost its connection: returns what is to be sent. Raises ``EventError``."""
        ...

    def show(self, picture: bytes, at_ms: int, client_event_id: str | None) -> bool:
        """Decode a picture elsewhere and put it into the inbox, or report by ``picture_failed``; ``False`` if there is
        too much to do."""
        ...


class _Nobody:
    """The host of a session that has no connection."""

    def now_s(self) -> float:
        return time.monotonic()

    def open(self, config: wire.SessionConfig, inbox: Inbox) -> Opened:
        raise AssertionError("it has begun")

    def resume(self, session_id: str, token: str, received_ms: int, client_event_id: str | None) -> list[wire.ToClient]:
        raise AssertionError("it has begun")

    def show(self, picture: bytes, at_ms: int, client_event_id: str | None) -> bool:
        return False


NOBODY = _Nobody()


class Phase(Enum):
    """Where a connection stands."""

    NEW = 0
    LIVE = 1
    OVER = 2


class Live:
    """The protocol of one connection."""

    def __init__(self, service: Service, host: Host) -> None:
        self.phase = Phase.NEW
        self.close_code: int | None = None
        """Set when the connection is to be closed, once what was returned is sent."""
        self.num_errors = 0
        self.num_turns = 0
        self.playback = Playback()
        self._service = service
        self._host = host
        self._events = Allowance(limits.EVENTS_PER_SECOND, limits.EVENTS_PER_SECOND, host.now_s)
        self._bytes = Allowance(limits.BYTES_PER_SECOND, limits.BYTES_PER_SECOND, host.now_s)
        self._pictures = Allowance(limits.PICTURES_PER_SECOND, limits.PICTURES_AT_ONCE, host.now_s)
        self._num_events = 0
        self._delegations: set[str] = set()
        self._trimmed_ms = 0
        self._skipped_turns = 0

    # From the client.

    def receive(self, message: str | bytes) -> list[wire.ToClient]:
        """Take one message of the client; returns what is to be sent."""
        if self.phase is Phase.OVER:
            return []
        event_id: str | None = None
        try:
            if not self._events.take() or not self._bytes.take(len(message)):
                raise EventError("rate_limit_exceeded", "too many events, or too much in them")
            event = wire.decode(message)
            event_id = event.event_id
            return self._accept(event)
        except EventError as error:
            return self._failed(error, error.client_event_id or event_id)

    def _accept(self, event: wire.ClientEvent) -> list[wire.ToClient]:
        if isinstance(event, wire.Start):
            return self._start(event)
        if isinstance(event, wire.Resume):
            if self.phase is Phase.LIVE:
                raise EventError("session_already_started", "a connection has one session")
            return self._give_away(event)
        if self.phase is Phase.NEW:
            raise EventError("session_not_started", "the first event of a session is session.start")
        match event:
            case wire.AppendAudio():
                return self._hear(event)
            case wire.AppendVideo():
                return self._see(event)
            case wire.AppendText():
                self._read(TextSource.TYPED, event.text, limits.MAX_TYPED_CHARACTERS, "text")
                return []
            case wire.AppendInstructions():
                return [self._append(event, TextSource.INSTRUCTIONS, wire.InstructionsAppended)]
            case wire.AppendThinking():
                return [self._append(event, TextSource.JOB, wire.ThinkingAppended)]
            case wire.AppendCommentary():
                return [self._append(event, TextSource.JOB, wire.CommentaryAppended)]
            case wire.AckPlayback():
                return self._acknowledge(event)
            case wire.Mute() | wire.Unmute():
                self._inbox.mute(isinstance(event, wire.Mute))
                answer = wire.Muted if isinstance(event, wire.Mute) else wire.Unmuted
                return [self._event(answer, client_event_id=event.event_id)]
            case wire.Update():
                _check_delegation(event.session.delegation, event.session.triggers)
                return [self._event(wire.Updated, session=self._resource(), client_event_id=event.event_id)]
            case wire.Close():
                return self._close("close_requested", NORMAL, event.event_id)

    def _start(self, event: wire.Start) -> list[wire.ToClient]:
        if self.phase is Phase.LIVE:
            raise EventError("session_already_started", "a connection has one session")
        config = event.session
        if config.model not in (self._service.model, "default"):
            raise EventError(
                "model_not_found",
                f"{config.model[:64]} is not served here, {self._service.model} is",
                param="session.model",
            )
        _check_delegation(config.delegation, config.triggers)
        if config.store:
            raise EventError("unsupported", "sessions are not stored", param="session.store")
        audio_format = (config.audio.format or wire.AudioFormat("audio/pcm")).resolved()
        self._inbox = Inbox()
        self._read_first(config)
        try:
            self._opened = self._host.open(config, self._inbox)
        except BusyError as error:
            raise EventError("busy", str(error), retry_after_ms=error.retry_after_ms) from error
        self._become_live(config, audio_format)
        return [self._event(wire.Started, session=self._resource(), client_event_id=event.event_id)]

    def _become_live(self, config: wire.SessionConfig, audio_format: wire.AudioFormat) -> None:
        self.phase = Phase.LIVE
        self._config = config
        self._format = audio_format
        self._decoder = SoundDecoder(audio_format.sound_format)
        self._encoder = SoundEncoder(audio_format.sound_format)

    @classmethod
    def restored(
        cls, service: Service, host: Host, config: wire.SessionConfig, opened: Opened, inbox: Inbox, turn: int
    ) -> Live:
        """The protocol of a session that goes on at ``turn`` in another process."""
        live = cls(service, host)
        live._inbox, live._opened, live.num_turns = inbox, opened, turn
        # Event ids are not to come twice in a session.
        live._num_events = (turn + 1) * EVENTS_OF_A_TURN
        live.playback.sent_until_ms = turn * TURN_MS
        live._become_live(config, (config.audio.format or wire.AudioFormat("audio/pcm")).resolved())
        return live

    def _give_away(self, event: wire.Resume) -> list[wire.ToClient]:
        """The connection has another protocol from now on: that of the session that it takes up."""
        events = self._host.resume(event.session_id, event.resume_token, event.received_ms, event.event_id)
        self.phase = Phase.OVER
        return events

    def resumed(self, host: Host, client_event_id: str | None) -> list[wire.ToClient]:
        """Another connection has the session; returns what it is told first."""
        self._host = host
        # What of a chunk was on its way is lost with the connection.
        self._decoder = SoundDecoder(self._format.sound_format)
        return [self._event(wire.Started, session=self._resource(), client_event_id=client_event_id)]

    def _read_first(self, config: wire.SessionConfig) -> None:
        """Put instructions and earlier messages into the inbox. Raises ``EventError``."""
        texts = [(TextSource.INSTRUCTIONS, config.instructions or "")]
        for one in config.input or []:
            text = one.content[0].text
            texts.append((SOURCES[one.role], f"you said {text}" if one.role == "assistant" else text))
        for source, text in texts:
            if not self._inbox.push_text(TextIn(source, text)):
                raise EventError("text_too_long", "too much text", param="session")

    def _hear(self, event: wire.AppendAudio) -> list[wire.ToClient]:
        try:
            pcm = self._decoder.push(event.audio)
        except InputError as error:
            raise EventError("invalid_value", str(error), param="audio") from error
        if not self._inbox.push_sound(pcm):
            raise EventError("rate_limit_exceeded", "sound arrives faster than real time: too much of it waits")
        return []

    def _see(self, event: wire.AppendVideo) -> list[wire.ToClient]:
        at_ms = self.num_turns * TURN_MS if event.at_ms is None else event.at_ms
        if not self._pictures.take() or not self._host.show(event.image, at_ms, event.event_id):
            raise EventError("rate_limit_exceeded", f"at most {limits.PICTURES_PER_SECOND:.0f} pictures a second")
        return []

    def _append(self, event: wire.AppendContext, source: TextSource, answer: type[wire.Spanning]) -> wire.ToClient:
        if event.delegation_id is not None and event.delegation_id not in self._delegations:
            raise EventError("delegation_not_found", "no delegation has this id", param="delegation_id")
        self._read(source, event.content, limits.MAX_CONTEXT_CHARACTERS, "content")
        now_ms = self.num_turns * TURN_MS
        return self._event(answer, start_ms=now_ms, end_ms=now_ms, client_event_id=event.event_id)

    def _read(self, source: TextSource, text: str, most: int, param: str) -> None:
        if len(text) > most:
            raise EventError("text_too_long", f"at most {most} characters", param=param)
        if not self._inbox.push_text(TextIn(source, text)):
            raise EventError("text_too_long", "too much text waits already", param=param)

    def _acknowledge(self, event: wire.AckPlayback) -> list[wire.ToClient]:
        try:
            self.playback.acknowledge(event.heard_until_ms, dropped=event.dropped)
        except InputError as error:
            raise EventError("invalid_value", str(error), param="heard_until_ms") from error
        return []

    # From the model, and from whoever runs the connection.

    def take(self, turn: Turn) -> list[wire.ToClient]:
        """Take one turn of the model; returns what is to be sent."""
        if self.phase is not Phase.LIVE:
            return []
        made = turn.made
        self.num_turns = made.turn + 1
        start_ms, end_ms = made.t_ms, made.t_ms + TURN_MS
        events: list[wire.ToClient] = []
        if made.hear:
            events.append(self._event(wire.InputTranscript, delta=made.hear, start_ms=start_ms, end_ms=end_ms))
        if made.say:
            events.append(self._event(wire.OutputTranscript, delta=made.say, start_ms=end_ms, end_ms=end_ms + TURN_MS))
        events += self._sound(made.audio, made.speaking, end_ms)
        if made.act is Act.DELEGATE:
            delegation = wire.DelegationResource(f"dlg_{made.turn}")
            self._delegations.add(delegation.id)
            events.append(self._event(wire.DelegationCreated, offset_ms=end_ms, delegation=delegation))
        if self._config.microturn.turns:
            events.append(self._turn_done(turn))
        if self.num_turns % USAGE_EVERY_TURNS == 0:
            events.append(self._event(wire.UsageUpdated, usage=self._usage()))
        events += self._notices(turn)
        if end_ms >= self._service.max_session_ms:
            events += self._close("expired", NORMAL)
        return events

    def _sound(self, pcm: Pcm, speaking: bool, start_ms: int) -> list[wire.ToClient]:
        if not speaking:
            # The voice's last milliseconds, if there are any, and not the silence behind them.
            sounding = np.flatnonzero(pcm)
            steps = 0 if not len(sounding) else int(sounding[-1]) // TAIL_STEP_SAMPLES + 1
            pcm = pcm[: steps * TAIL_STEP_SAMPLES]
        data = self._encoder.push(pcm) + (b"" if speaking else self._encoder.flush())
        if not data:
            return []
        end_ms = start_ms + len(pcm) * 1000 // SAMPLE_RATE_HZ
        self.playback.sent(start_ms, end_ms)
        return [self._event(wire.OutputAudio, delta=data, start_ms=start_ms, end_ms=end_ms)]

    def _turn_done(self, turn: Turn) -> wire.TurnDone:
        made = turn.made
        return self._event(
            wire.TurnDone,
            turn=made.turn,
            start_ms=made.t_ms,
            end_ms=made.t_ms + TURN_MS,
            hear=made.hear,
            say=made.say,
            act=None if made.act is None else str(made.act),
            speaking=made.speaking,
            sound_end_ms=self.playback.sent_until_ms,
            gap=turn.given.audio is None,
            picture=turn.given.frame is not None,
            waiting_ms=turn.waiting_ms,
            compute_ms=round(turn.tick.compute_ms, 3),
            margin_ms=round(turn.tick.margin_ms, 3),
            sessions=turn.tick.num_sessions,
        )

    def _notices(self, turn: Turn) -> list[wire.ToClient]:
        """What the client should know of what was left out."""
        events: list[wire.ToClient] = []
        if trimmed_ms := turn.trimmed_ms - self._trimmed_ms:
            message = f"{trimmed_ms} ms of late sound were left out"
            events.append(self._event(wire.Info, code="input_audio_trimmed", message=message))
        if skipped := turn.skipped_turns - self._skipped_turns:
            message = f"the server stood still: {skipped} turns were left out"
            events.append(self._event(wire.Info, code="turns_skipped", message=message))
        self._trimmed_ms, self._skipped_turns = turn.trimmed_ms, turn.skipped_turns
        return events

    def picture_failed(self, error: InputError, client_event_id: str | None) -> list[wire.ToClient]:
        """A picture could not be decoded; returns what is to be sent."""
        if self.phase is Phase.OVER:
            return []
        return self._failed(EventError("invalid_picture", str(error), param="image"), client_event_id)

    def ended(self, end: End) -> list[wire.ToClient]:
        """The engine ended the session; returns what is to be sent."""
        if self.phase is Phase.OVER or end is End.CLOSED:
            return []
        if end is End.SLOW_READER:
            return self._give_up(EventError("slow_reader", "the session is over: its turns were not read"), TRY_LATER)
        return self._give_up(EventError("internal_error", "the session is over: a turn failed"), FAULT)

    def stop(self) -> list[wire.ToClient]:
        """The server goes down; returns what is to be sent."""
        if self.phase is Phase.OVER:
            return []
        if self.phase is Phase.LIVE:
            return self._close("remote_hangup", RESTART)
        return self._give_up(EventError("stopping", "the server goes down"), RESTART)

    def start_timed_out(self) -> list[wire.ToClient]:
        """Too long since the client connected; returns what is to be sent if it has no session yet."""
        if self.phase is not Phase.NEW:
            return []
        message = f"no session was started within {limits.START_SECONDS:.0f} s"
        return self._give_up(EventError("session_not_started", message), POLICY)

    # What both have in common.

    def _close(
        self,
        reason: Literal["close_requested", "expired", "remote_hangup"],
        close_code: int,
        client_event_id: str | None = None,
    ) -> list[wire.ToClient]:
        self.phase, self.close_code = Phase.OVER, close_code
        return [
            self._event(
                wire.Closed,
                reason=reason,
                session=self._resource(),
                usage=self._usage(),
                client_event_id=client_event_id,
            )
        ]

    def _give_up(self, error: EventError, close_code: int) -> list[wire.ToClient]:
        events = self._failed(error, None)
        self.phase, self.close_code = Phase.OVER, close_code
        return events

    def _failed(self, error: EventError, client_event_id: str | None) -> list[wire.ToClient]:
        self.num_errors += 1
        if self.num_errors >= limits.MAX_ERRORS:
            self.phase, self.close_code = Phase.OVER, POLICY
        detail = wire.ErrorDetail(
            type=_error_type(error.code),
            code=error.code,
            message=str(error),
            param=error.param,
            client_event_id=client_event_id,
            retry_after_ms=error.retry_after_ms,
        )
        return [self._event(wire.Error, error=detail, client_event_id=client_event_id)]

    def _event(self, kind: type[EventT], **fields: Any) -> EventT:
        self._num_events += 1
        return kind(event_id=f"event_{self._num_events}", **fields)

    def _usage(self) -> wire.Usage:
        return wire.Usage(seconds=round(self.num_turns * TURN_MS / 1000, 3))

    def _resource(self) -> wire.SessionResource:
        extras = self._config.microturn
        return wire.SessionResource(
            id=self._opened.session_id,
            expires_at=self._opened.expires_at,
            model=self._service.model,
            audio=wire.Audio(format=self._format, output=wire.AudioOutput(voice=VOICE)),
            delegation=wire.Delegation("client"),
            instructions=self._config.instructions,
            microturn=wire.ExtrasResource(
                turns=extras.turns,
                seed=extras.seed,
                turn_ms=TURN_MS,
                resume_token=self._opened.resume_token,
                playback=self.playback.heard if self.phase is Phase.OVER else None,
            ),
        )


def _check_delegation(delegation: wire.Delegation | None, triggers: list[dict[str, Any]] | None) -> None:
    """Raises ``EventError`` for anything but the client's own delegation."""
    if delegation is not None and delegation.type != "client":
        raise EventError(
            "unsupported", "only the client can be delegated to (type client)", param="session.delegation.type"
        )
    if triggers:
        raise EventError("unsupported", "there are no triggers", param="session.triggers")


def _error_type(code: wire.Code) -> str:
    if code == "rate_limit_exceeded":
        return "rate_limit_error"
    server = code in ("busy", "stopping", "slow_reader", "internal_error")
    return "server_error" if server else "invalid_request_error"
