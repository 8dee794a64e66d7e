"""A session apart from its connection: it has its slot, its protocol, and what a client may have missed of it.

A session that was started with ``resumable`` goes on without its client for a while; whoever knows its token takes it
up again and is sent what it missed.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from collections import deque
from contextlib import suppress
from typing import Any, Protocol

import msgspec

from microturn.engine.engine import Engine
from microturn.engine.inbox import Inbox
from microturn.engine.slots import End, Turn
from microturn.errors import BusyError
from microturn.model.state import State
from microturn.server import wire
from microturn.server.dialect import Dialect, Host, Opened, Phase, Service
from microturn.server.live import Live
from microturn.server.logs import log_event
from microturn.server.metrics import Metrics
from microturn.session.recording import Recorder, SessionRecording
from microturn.session.replay import Restored
from microturn.turn import TURN_MS

HOLD_SECONDS = 60.0
KEPT_EVENTS_MS = 75_000
"""What was sent so long ago has arrived, or nobody will ask for it."""


class Known(msgspec.Struct, frozen=True):
    """What a recording keeps for a client that comes back."""

    config: wire.SessionConfig
    opened: Opened


class Client(Protocol):
    """The connection that a session has at present."""

    def woken(self, end: End | None) -> None:
        """There are turns to take, or no more come (``end``)."""
        ...

    def turned(self, turn: Turn) -> None:
        """A turn was taken; its events are about to be sent."""
        ...

    def replaced(self) -> None:
        """Another connection has the session now."""
        ...


class HeldSession:
    """One session, from the time it is admitted until it is over."""

    def __init__(
        self,
        sessions: Sessions,
        dialect: Dialect[Any],
        opened: Opened,
        inbox: Inbox,
        seed: int,
        recording: SessionRecording | None,
        state: State | None = None,
    ) -> None:
        """``opened`` is what the client is told of it. Raises ``BusyError``."""
        self.session_id, self.token = opened.session_id, opened.resume_token
        self.dialect, self.opened = dialect, opened
        self._sessions, self._recording = sessions, recording
        self._client: Client | None = None
        self._loop = asyncio.get_running_loop()
        self._unwritten: deque[Turn] = deque()
        """Turns that a killed server would lose: nobody is told of them yet."""
        self._kept: deque[tuple[int, wire.ToClient]] = deque()
        self._answers: deque[tuple[int, bool, list[wire.ToClient]]] = deque()
        """Answers that a killed server would break: how much of what arrived is to be written first, and whether they
        are kept."""
        self._was_resumed = False
        self._timer: asyncio.TimerHandle | None = None
        self._over = False
        if recording is not None:
            recording.on_written = self._wake
            dialect.delegation.recording = recording
        self.slot = sessions.engine.open(inbox, self._wake, seed=seed, recording=recording, state=state)

    @property
    def is_parked(self) -> bool:
        """Whether it waits for a client."""
        return self._timer is not None

    def answer(self, events: list[wire.ToClient], *, first: bool) -> list[wire.ToClient]:
        """What is to be sent now of answers to the client, or of the ``first`` one, which tells that the session has
        begun; the rest comes with ``take_turns`` once what it acknowledges is written."""
        if self._recording is None or not events or (first and self._was_resumed):
            pass
        elif self.dialect.phase is not Phase.OVER:
            self._answers.append((self._recording.num_noted, not first, events))
            return self._written_answers(self._recording.num_noted_written)
        else:
            events = [*self._written_answers(sys.maxsize), *events]
        if not first:
            self._keep(events)
        return events

    def _written_answers(self, num_written: int) -> list[wire.ToClient]:
        released: list[wire.ToClient] = []
        while self._answers and self._answers[0][0] <= num_written:
            _, kept, events = self._answers.popleft()
            if kept:
                self._keep(events)
            released += events
        return released

    def _keep(self, events: list[wire.ToClient]) -> None:
        """Remember what is being sent, for a client that does not get it."""
        if self.token is None:
            return
        # An answer belongs to the turn that is being taken: whoever has got that turn has got the answer.
        now_ms = self.dialect.num_turns * TURN_MS
        self._kept.extend((now_ms + 1, event) for event in events)
        while self._kept and self._kept[0][0] < now_ms - KEPT_EVENTS_MS:
            self._kept.popleft()

    def take_turns(self) -> list[wire.ToClient]:
        """What the turns that have come are to the client."""
        turns, end = self.slot.outbox.read()
        self._unwritten.extend(turns)
        events = [] if self._recording is None else self._written_answers(self._recording.num_noted_written)
        while self._unwritten and (
            self._recording is None or self._unwritten[0].made.turn < self._recording.num_written
        ):
            events += self.take_turn(self._unwritten.popleft())
        if end is not None and not self._unwritten:
            events += self.dialect.ended(end)
        if self.dialect.phase is Phase.OVER:
            events = [*self._written_answers(sys.maxsize), *events]
            self._sessions.engine.close(self.slot)
        return events

    def take_turn(self, turn: Turn) -> list[wire.ToClient]:
        """What one turn is to the client."""
        events = self.dialect.take(turn)
        if self._client is not None:
            self._client.turned(turn)
        if self.token is not None:
            self._kept.extend((turn.made.t_ms + TURN_MS, event) for event in events)
        return events

    def park(self) -> bool:
        """The client is gone: wait for it; ``False`` if it cannot come back."""
        self._client = None
        if self.token is None or self._over or self._sessions.stopping or self.dialect.phase is not Phase.LIVE:
            return False
        self._timer = self._loop.call_later(HOLD_SECONDS, self.finish, "connection_lost")
        log_event("session_held", session=self.session_id)
        return True

    def begin(self, client: Client) -> None:
        """The client that started it has it."""
        self._client = client

    def resumed_by(self, client: Client, received_ms: int) -> list[wire.ToClient]:
        """Another connection takes the session up; returns what it missed."""
        if self._client is not None:
            self._client.replaced()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._client, self._was_resumed = client, True
        log_event("session_resumed", session=self.session_id)
        return [event for end_ms, event in self._kept if end_ms > received_ms]

    def finish(self, end: str) -> None:
        """The session is over, for the reason ``end``."""
        if self._over:
            return
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
        self.dialect.delegation.close()
        self._sessions.engine.close(self.slot)
        self._sessions.forget(self)
        self._sessions.metrics.sessions.labels(end).inc()
        heard = self.dialect.playback.heard
        log_event(
            "session_ended",
            session=self.session_id,
            end=end,
            turns=self.dialect.num_turns,
            errors=self.dialect.num_errors,
            heard_ms=heard.heard_ms,
            dropped_ms=heard.dropped_ms,
        )

    def _wake(self) -> None:
        """Called in other threads."""
        with suppress(RuntimeError):  # the loop is closed: nobody is there any more
            self._loop.call_soon_threadsafe(self._woken)

    def _woken(self) -> None:
        if self._client is not None:
            self._client.woken(self.slot.outbox.end)
        elif not self._over:
            self.take_turns()
            if self.dialect.phase is Phase.OVER:
                self.finish("closed" if self.dialect.close_code == 1000 else "failed")


class Sessions:
    """The sessions of a server that a client can come back to, and what they all need."""

    def __init__(self, engine: Engine, metrics: Metrics, recorder: Recorder | None = None) -> None:
        self.engine, self.metrics, self.recorder = engine, metrics, recorder
        self.stopping = False
        self._resumable: dict[str, HeldSession] = {}

    def open(
        self,
        service: Service,
        dialect: Dialect[Any],
        seed: int,
        inbox: Inbox,
        resumable: wire.SessionConfig | None,
    ) -> HeldSession:
        """A new session, to which its client can come back if ``resumable`` says what it was started with.

        One that waits for its client ends if there is no room otherwise. Raises ``BusyError``.
        """
        expires_at = int(time.time()) + service.max_session_ms // 1000
        token = secrets.token_urlsafe(24) if resumable is not None else None
        opened = Opened(f"live_{secrets.token_hex(12)}", expires_at, token)
        recording = None
        if self.recorder is not None:
            known = None if resumable is None else Known(resumable, opened)
            recording = self.recorder.begin(
                opened.session_id, seed, None if known is None else msgspec.to_builtins(known)
            )
            recording.inbox = None if known is None else inbox
        while True:
            try:
                session = HeldSession(self, dialect, opened, inbox, seed, recording)
            except BusyError:
                parked = [one for one in self._resumable.values() if one.is_parked]
                # Where turns are too dear for even one session, ending all of them would make no room.
                if not parked or self.engine.retry_after_ms(leaving=len(parked)):
                    raise
                parked[0].finish("connection_lost")
            else:
                if token is not None:
                    self._resumable[session.session_id] = session
                log_event("session_started", session=session.session_id)
                return session

    def go_on(self, service: Service, host: Host, restored: Restored, idle_turns: int) -> None:
        """A session that a killed server left goes on without its client, which has not heard of it for so long."""
        try:
            known = msgspec.convert(restored.about.client, Known)
        except msgspec.ValidationError as error:
            # Another version wrote it.
            cause = f"its client cannot be read ({error})"
            log_event("session_lost", session=restored.about.session, cause=cause)
            return
        inbox = Inbox()
        inbox.restore(restored.texts, restored.muted)
        first_turn = restored.turns[0].made.turn if restored.turns else restored.num_turns
        live = Live.restored(service, host, known.config, known.opened, inbox, first_turn)
        try:
            live.delegation.restore(restored.jobs, restored.num_turns)
        except msgspec.DecodeError as error:
            log_event("session_lost", session=known.opened.session_id, cause=f"its jobs cannot be read ({error})")
            return
        assert self.recorder is not None
        recording = self.recorder.go_on(restored.about, restored.num_turns)
        recording.inbox = inbox
        try:
            session = HeldSession(self, live, known.opened, inbox, restored.about.seed, recording, restored.state)
        except BusyError:
            log_event("session_lost", session=known.opened.session_id)
            return
        for turn in restored.turns:
            session.take_turn(turn)
        session.slot.skipped_turns = idle_turns + (restored.turns[-1].skipped_turns if restored.turns else 0)
        self._resumable[session.session_id] = session
        log_event("session_restored", session=session.session_id, turns=restored.num_turns)
        session.park()

    def find(self, session_id: str, token: str) -> HeldSession | None:
        """The session of that name, if the token is right."""
        session = self._resumable.get(session_id)
        if session is None or session.token is None:
            return None
        return session if secrets.compare_digest(session.token.encode(), token.encode()) else None

    def forget(self, session: HeldSession) -> None:
        """It is over."""
        self._resumable.pop(session.session_id, None)

    def stop(self) -> None:
        """The server goes down: end those that have no client."""
        self.stopping = True
        for session in [one for one in self._resumable.values() if one.is_parked]:
            session.finish("connection_lost")
