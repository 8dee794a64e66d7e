"""The live protocol (docs/protocol.md) as a state machine."""

from __future__ import annotations

from typing import Any, Literal

from microturn.background.job import State
from microturn.engine.inbox import Inbox
from microturn.engine.slots import Turn
from microturn.errors import InputError
from microturn.server import job_wire, limits, wire
from microturn.server.delegation import Delegated, JobBrought, JobMoved, Notice
from microturn.server.dialect import NORMAL, RESTART, VOICE, Dialect, Host, Opened, Phase, Service
from microturn.server.wire import EventError
from microturn.turn import TURN_MS, Pcm, TextIn, TextSource

EVENTS_OF_A_TURN = 1_000
"""More than this are not sent in a turn."""
USAGE_EVERY_TURNS = 10_000 // TURN_MS
SOURCES = {"developer": TextSource.INSTRUCTIONS, "user": TextSource.TYPED, "assistant": TextSource.INSTRUCTIONS}


class Live(Dialect[wire.ClientEvent]):
    """The protocol of one connection."""

    def __init__(self, service: Service, host: Host) -> None:
        super().__init__(service, host)
        self._trimmed_ms = 0
        self._skipped_turns = 0

    # From the client.

    def _decode(self, message: str | bytes) -> wire.ClientEvent:
        return wire.decode(message)

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
                self._hear(self._decoded(event.audio))
                return []
            case wire.AppendVideo():
                self._see(event.image, event.at_ms, event.event_id)
                return []
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
                self._delegate_to(event.session.delegation, event.session.triggers)
                return [self._event(wire.Updated, session=self._resource(), client_event_id=event.event_id)]
            case wire.Close():
                return self._close("close_requested", NORMAL, event.event_id)

    def _start(self, event: wire.Start) -> list[wire.ToClient]:
        if self.phase is Phase.LIVE:
            raise EventError("session_already_started", "a connection has one session")
        config = event.session
        self._service.check_model(config.model, "session.model")
        # A start that was refused has left nothing behind.
        self.delegation.by_client = not self.delegation.has_agent
        self._delegate_to(config.delegation, config.triggers)
        if config.store:
            raise EventError("unsupported", "sessions are not stored", param="session.store")
        audio_format = (config.audio.format or wire.AudioFormat("audio/pcm")).resolved()
        self._inbox = Inbox()
        self._read_first(config)
        self._open(config.microturn.seed, config if config.microturn.resumable else None)
        self._have(config, audio_format)
        return [self._event(wire.Started, session=self._resource(), client_event_id=event.event_id)]

    def _have(self, config: wire.SessionConfig, audio_format: wire.AudioFormat) -> None:
        self._config = config
        self.delegation.wants_package = config.microturn.packages
        self._format = audio_format
        self._listen_in(audio_format)
        self._speak_in(audio_format)

    @classmethod
    def restored(
        cls, service: Service, host: Host, config: wire.SessionConfig, opened: Opened, inbox: Inbox, turn: int
    ) -> Live:
        """The protocol of a session that goes on at ``turn`` in another process."""
        live = cls(service, host)
        live._inbox, live._opened, live.num_turns, live.phase = inbox, opened, turn, Phase.LIVE
        # Event ids are not to come twice in a session.
        live._num_events = (turn + 1) * EVENTS_OF_A_TURN
        live.playback.sent_until_ms = turn * TURN_MS
        live._delegate_to(config.delegation, config.triggers)
        live._have(config, (config.audio.format or wire.AudioFormat("audio/pcm")).resolved())
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
        self._listen_in(self._format)
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

    def _append(self, event: wire.AppendContext, source: TextSource, answer: type[wire.Spanning]) -> wire.ToClient:
        if event.delegation_id is not None:
            state = self.delegation.state_of(event.delegation_id)
            if state is None:
                raise EventError("delegation_not_found", "no delegation has this id", param="delegation_id")
            if state is State.CANCELLED:
                raise EventError("delegation_cancelled", "the user does not want it any more", param="delegation_id")
        if event.delegation_id is not None and source is TextSource.JOB:
            self._read_job(event.delegation_id, event.content, "content")
        else:
            self._read(source, event.content, limits.MAX_CONTEXT_CHARACTERS, "content")
        now_ms = self.num_turns * TURN_MS
        return self._event(answer, start_ms=now_ms, end_ms=now_ms, client_event_id=event.event_id)

    def _delegate_to(self, delegation: wire.Delegation | None, triggers: list[dict[str, Any]] | None) -> None:
        """Have the client do what is delegated, if it wants to. Raises ``EventError`` for anything else."""
        if delegation is not None and delegation.type != "client":
            message = "only the client can be delegated to (type client)"
            raise EventError("unsupported", message, param="session.delegation.type")
        if triggers:
            raise EventError("unsupported", "there are no triggers", param="session.triggers")
        self.delegation.by_client = self.delegation.by_client or delegation is not None

    def _acknowledge(self, event: wire.AckPlayback) -> list[wire.ToClient]:
        if event.dropped and self._host.drop_sound():
            return []
        try:
            self.playback.acknowledge(event.heard_until_ms, dropped=event.dropped)
        except InputError as error:
            raise EventError("invalid_value", str(error), param="heard_until_ms") from error
        return []

    # From the model, and from whoever runs the connection.

    def _take(self, turn: Turn) -> list[wire.ToClient]:
        made = turn.made
        start_ms, end_ms = made.t_ms, made.t_ms + TURN_MS
        events: list[wire.ToClient] = []
        if made.hear:
            events.append(self._event(wire.InputTranscript, delta=made.hear, start_ms=start_ms, end_ms=end_ms))
        if made.say:
            events.append(self._event(wire.OutputTranscript, delta=made.say, start_ms=end_ms, end_ms=end_ms + TURN_MS))
        events += self._sound(made.audio, made.speaking, end_ms)
        notices = self.delegation.take(turn, self._inbox, self.playback)
        events += [self._told(one, end_ms) for one in notices]
        if self._config.microturn.turns:
            events.append(self._turn_done(turn))
        if self.num_turns % USAGE_EVERY_TURNS == 0:
            events.append(self._event(wire.UsageUpdated, usage=self._usage()))
        events += self._notices(turn)
        if self._expired:
            events += self._close("expired", NORMAL)
        return events

    def _sound(self, pcm: Pcm, speaking: bool, start_ms: int) -> list[wire.ToClient]:
        data, lasts_ms = self._encoded(pcm, speaking)
        if not data:
            return []
        end_ms = start_ms + lasts_ms
        self.playback.sent(start_ms, end_ms)
        return [self._event(wire.OutputAudio, delta=data, start_ms=start_ms, end_ms=end_ms)]

    def _told(self, notice: Notice, offset_ms: int) -> wire.ToClient:
        """What a client is told of the jobs of its session."""
        match notice:
            case Delegated(delegation, job, task, by_client):
                target: Literal["client", "responses"] = "client" if by_client else "responses"
                resource = job_wire.DelegationResource(delegation, target, job_wire.DelegationExtras(task, job))
                return self._event(job_wire.DelegationCreated, offset_ms=offset_ms, delegation=resource)
            case JobMoved(job, state, task, reason):
                place = {"job_id": job, "offset_ms": offset_ms}
                return self._event(job_wire.JobState, **place, state=state.value, task=task, reason=reason)
            case JobBrought(job, index, result):
                place = {"job_id": job, "offset_ms": offset_ms}
                return self._event(job_wire.JobResult, **place, index=index, result=result)
        return self._event(
            job_wire.DelegationPackage,
            offset_ms=offset_ms,
            delegation_id=notice.delegation,
            package=notice.package,
        )

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

    def _farewell(self) -> list[wire.ToClient]:
        return self._close("remote_hangup", RESTART)

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

    def _error(self, error: EventError, client_event_id: str | None) -> wire.Error:
        detail = wire.detail_of(error, client_event_id=client_event_id)
        return self._event(wire.Error, error=detail, client_event_id=client_event_id)

    def _usage(self) -> wire.Usage:
        return wire.Usage(seconds=round(self.num_turns * TURN_MS / 1000, 3))

    def _resource(self) -> wire.SessionResource:
        extras = self._config.microturn
        return wire.SessionResource(
            id=self._opened.session_id,
            expires_at=self._opened.expires_at,
            model=self._service.model,
            audio=wire.Audio(format=self._format, output=wire.AudioOutput(voice=VOICE)),
            delegation=wire.Delegation("client") if self.delegation.by_client else None,
            instructions=self._config.instructions,
            microturn=wire.ExtrasResource(
                turns=extras.turns,
                seed=extras.seed,
                turn_ms=TURN_MS,
                resume_token=self._opened.resume_token,
                playback=self.playback.heard if self.phase is Phase.OVER else None,
            ),
        )
