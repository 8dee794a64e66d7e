"""A client with a session: messages to the protocol, turns from the engine, and events to the client in their order.

Everything runs in the event loop's thread; the engine only wakes it. What is to be sent waits in one queue. When the
client does not read, sending blocks, then nothing more is received from it and its turns stay in the outbox, which is
bounded: a slow reader costs a few turns of memory and then its session.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from functools import partial
from typing import Any

from microturn.engine.inbox import Inbox
from microturn.engine.slots import End, Turn
from microturn.errors import InputError
from microturn.media.wire import decode_picture
from microturn.server import limits, wire
from microturn.server.dialect import FAULT, NORMAL, Dialect, Host, Opened, Phase, Service
from microturn.server.held import HeldSession, Sessions
from microturn.server.line import Gone, Line
from microturn.server.live import Live
from microturn.server.metrics import Metrics
from microturn.server.wire import EventError
from microturn.turn import TURN_MS, Frame, Pcm

MAX_UNSENT_CHARACTERS = 256 * 1024
"""While more waits to be sent, nothing is received."""
MAX_DECODING_PICTURES = 2
FAREWELL_SECONDS = 1.0
"""How long a slow reader may take to read why it is put out."""

LEFT_CODES = (1000, 1001)
"""With these a client says that it does not come back."""

log = logging.getLogger(__name__)


class Connection:
    """One client. ``run`` returns when its session and its line are done with."""

    def __init__(
        self,
        line: Line,
        sessions: Sessions,
        service: Service,
        metrics: Metrics,
        decoders: Executor,
        speak: Callable[[Service, Host], Dialect[Any]],
    ) -> None:
        """``speak`` makes the protocol that this client speaks."""
        self._line = line
        self._sessions = sessions
        self._service = service
        self._metrics = metrics
        self._decoders = decoders
        self._loop = asyncio.get_running_loop()
        self._unsent: deque[str] = deque()
        self._wake, self._room, self._answered = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._held: HeldSession | None = None
        self._was_replaced = False
        self._decoding = 0
        self._seen_ms = 0
        self._dialect = speak(service, self)
        self._sending: asyncio.Task[None] | None = None

    def begin(self, message: bytes) -> wire.ToClient:
        """Take the event that the client sent ahead of its line; returns its answer, which will be sent as well."""
        return self._tell(partial(self._dialect.receive, message))[0]

    async def answered(self) -> None:
        """Returns when the client may be told something: that a recorded session has begun when it was written."""
        await self._answered.wait()

    async def run(self) -> None:
        """Serve the client until one of both ends it."""
        self._line.begin(self)
        self._tell(self._dialect.greet)
        timer = self._loop.call_later(limits.START_SECONDS, self._tell, self._dialect.start_timed_out)
        self._sending = asyncio.create_task(self._send())
        receiving = asyncio.create_task(self._receive())
        tasks: set[asyncio.Task[Any]] = {self._sending, receiving}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            left_properly = not receiving.cancelled() and not receiving.exception() and receiving.result() in LEFT_CODES
            try:
                await self._bid_farewell(results, left_properly=left_properly)
            finally:
                await self._line.release()

    def stop(self) -> None:
        """The server goes down."""
        self._tell(self._dialect.stop)

    # What the protocol asks for.

    def now_s(self) -> float:
        return time.monotonic()

    def open(self, seed: int, inbox: Inbox, resumable: wire.SessionConfig | None = None) -> Opened:
        """Raises ``BusyError``."""
        self._held = self._sessions.open(self._service, self._dialect, seed, inbox, resumable)
        self._held.begin(self)
        return self._held.opened

    def resume(self, session_id: str, token: str, received_ms: int, client_event_id: str | None) -> list[wire.ToClient]:
        held = self._sessions.find(session_id, token)
        if held is None:
            raise EventError("session_not_found", "no session of this name and token can be taken up")
        missed = held.resumed_by(self, received_ms)
        self._held, self._dialect = held, held.dialect
        assert isinstance(held.dialect, Live)
        return [*held.dialect.resumed(self, client_event_id), *missed]

    def show(self, picture: bytes, at_ms: int, client_event_id: str | None) -> bool:
        return self._show(partial(decode_picture, picture), at_ms, client_event_id)

    def drop_sound(self) -> bool:
        return self._line.drop_sound()

    def _show(self, decode: Callable[[], Frame], at_ms: int, client_event_id: str | None) -> bool:
        if self._decoding == MAX_DECODING_PICTURES:
            return False
        self._decoding += 1
        decoded = self._loop.run_in_executor(self._decoders, decode)
        decoded.add_done_callback(partial(self._decoded, at_ms, client_event_id))
        return True

    def _decoded(self, at_ms: int, client_event_id: str | None, decoded: asyncio.Future[Frame]) -> None:
        self._decoding -= 1
        if decoded.cancelled() or self._held is None:
            return
        error = decoded.exception()
        if error is None:
            self._held.slot.inbox.push_picture(decoded.result(), at_ms)
            return
        if not isinstance(error, InputError):
            log.error("a picture could not be decoded", exc_info=error)
            error = InputError("picture cannot be decoded")
        self._tell(partial(self._dialect.picture_failed, error, client_event_id))

    # What the line hears and sees.

    def hear(self, pcm: Pcm) -> None:
        if events := self._dialect.hear(pcm):
            self._tell(lambda: events)

    def see(self, decode: Callable[[], Frame]) -> None:
        # Two that come in one turn have an order too.
        self._seen_ms = max(self._dialect.num_turns * TURN_MS, self._seen_ms + 1)
        self._show(decode, self._seen_ms, None)

    # The two directions.

    async def _receive(self) -> int:
        """Returns the code with which the client left."""
        while True:
            message = await self._line.receive()
            if isinstance(message, int):
                return message
            self._tell(partial(self._dialect.receive, message))
            while sum(map(len, self._unsent)) > MAX_UNSENT_CHARACTERS:
                self._room.clear()
                await self._room.wait()

    async def _send(self) -> None:
        while self._dialect.close_code is None or self._unsent:
            await self._wake.wait()
            self._wake.clear()
            self._take_turns()
            while self._unsent:
                await self._line.send(self._unsent.popleft())
                self._room.set()
        await self._line.close(self._dialect.close_code)

    def _take_turns(self) -> None:
        if self._held is not None:
            self._queue(self._held.take_turns())
            if (played := self._line.played()) is not None:
                self._dialect.played(*played)

    def _tell(self, ask: Callable[[], list[wire.ToClient]]) -> list[wire.ToClient]:
        """Send what the protocol answers."""
        held = self._held
        answers = events = ask()
        if self._held is not None:
            events = self._held.answer(events, first=held is None)
        self._queue(events)
        self._wake.set()
        return answers

    def _queue(self, events: list[wire.ToClient]) -> None:
        if events:
            self._answered.set()
        for event in events:
            if isinstance(event, wire.Error):
                self._metrics.errors.labels(event.error.code).inc()
            if not self._line.take(event):
                self._unsent.append(wire.encode(event))

    # What the session asks of its client.

    def woken(self, end: End | None) -> None:
        self._wake.set()
        if end is End.SLOW_READER and self._sending is not None:
            self._sending.cancel()

    def turned(self, turn: Turn) -> None:
        self._line.take_turn(turn)

    def replaced(self) -> None:
        self._was_replaced = True
        self._held = None
        # What still comes in on this connection is for nobody.
        self._dialect = Live(self._service, self)
        self._dialect.phase = Phase.OVER
        if self._sending is not None:
            self._sending.cancel()

    async def _bid_farewell(self, results: list[int | None | BaseException], *, left_properly: bool) -> None:
        """See to the session; a client that can still be told is told how it ended."""
        held = self._held
        slow = held is not None and held.slot.outbox.end is End.SLOW_READER
        failures = [one for one in results if isinstance(one, Exception) and not isinstance(one, Gone)]
        for failure in failures:
            log.error("a connection failed", exc_info=failure)
        closed = self._dialect.close_code is not None
        if held is not None and (slow or failures or closed or left_properly or not held.park()):
            end = "slow_reader" if slow else "failed" if failures else "closed" if closed else "connection_lost"
            held.finish(end)
        if self._was_replaced:
            with suppress(Gone):
                await self._line.close(NORMAL)
        elif slow or failures:
            with suppress(TimeoutError, Gone):
                async with asyncio.timeout(FAREWELL_SECONDS):
                    for event in self._dialect.ended(End.SLOW_READER if slow else End.FAILED):
                        await self._line.send(wire.encode(event))
                    await self._line.close(self._dialect.close_code or FAULT)
