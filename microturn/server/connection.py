"""A WebSocket with a session: messages to the protocol, turns from the engine, and events to the client in their order.

Everything runs in the event loop's thread; the engine only wakes it. What is to be sent waits in one queue. When the
client does not read, sending blocks, then nothing more is received from it and its turns stay in the outbox, which is
bounded: a slow reader costs a few turns of memory and then its session.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from functools import partial
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from microturn.engine.engine import Engine
from microturn.engine.inbox import Inbox
from microturn.engine.slots import End, Slot
from microturn.errors import InputError
from microturn.media.wire import decode_picture
from microturn.server import limits, wire
from microturn.server.dialect import FAULT, Dialect, Host, Opened, Phase, Service
from microturn.server.logs import log_event
from microturn.server.metrics import Metrics
from microturn.turn import Frame

MAX_UNSENT_CHARACTERS = 256 * 1024
"""While more waits to be sent, nothing is received."""
MAX_DECODING_PICTURES = 2
FAREWELL_SECONDS = 1.0
"""How long a slow reader may take to read why it is put out."""

GONE = (WebSocketDisconnect, RuntimeError)
"""What sending raises once the client has left, or uvicorn has put it out for a message that is too large."""

log = logging.getLogger(__name__)


class Connection:
    """One client. ``run`` returns when its session and its socket are done with."""

    def __init__(
        self,
        socket: WebSocket,
        engine: Engine,
        service: Service,
        metrics: Metrics,
        decoders: Executor,
        speak: Callable[[Service, Host], Dialect[Any]],
    ) -> None:
        """``speak`` makes the protocol that this client speaks."""
        self._socket = socket
        self._engine = engine
        self._service = service
        self._metrics = metrics
        self._decoders = decoders
        self._loop = asyncio.get_running_loop()
        self._unsent: deque[str] = deque()
        self._wake, self._room = asyncio.Event(), asyncio.Event()
        self._slot: Slot | None = None
        self._session_id = ""
        self._decoding = 0
        self._dialect = speak(service, self)
        self._sending: asyncio.Task[None] | None = None

    async def run(self, subprotocol: str | None) -> None:
        """Serve the client until one of both ends it."""
        await self._socket.accept(subprotocol)
        self._tell(self._dialect.greet)
        timer = self._loop.call_later(limits.START_SECONDS, self._tell, self._dialect.start_timed_out)
        self._sending = asyncio.create_task(self._send())
        tasks = {self._sending, asyncio.create_task(self._receive())}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            if self._slot is not None:
                self._engine.close(self._slot)
            await self._bid_farewell(results)

    def stop(self) -> None:
        """The server goes down."""
        self._tell(self._dialect.stop)

    # What the protocol asks for.

    def now_s(self) -> float:
        return time.monotonic()

    def open(self, seed: int, inbox: Inbox) -> Opened:
        """Raises ``BusyError``."""
        self._slot = self._engine.open(inbox, self._wake_from_engine, seed=seed)
        self._session_id = f"live_{secrets.token_hex(12)}"
        log_event("session_started", session=self._session_id)
        expires_at = int(time.time()) + self._service.max_session_ms // 1000
        return Opened(self._session_id, expires_at)

    def show(self, picture: bytes, at_ms: int, client_event_id: str | None) -> bool:
        if self._decoding == MAX_DECODING_PICTURES:
            return False
        self._decoding += 1
        decoded = self._loop.run_in_executor(self._decoders, decode_picture, picture)
        decoded.add_done_callback(partial(self._decoded, at_ms, client_event_id))
        return True

    def _decoded(self, at_ms: int, client_event_id: str | None, decoded: asyncio.Future[Frame]) -> None:
        self._decoding -= 1
        if decoded.cancelled() or self._slot is None:
            return
        error = decoded.exception()
        if error is None:
            self._slot.inbox.push_picture(decoded.result(), at_ms)
            return
        if not isinstance(error, InputError):
            log.error("a picture could not be decoded", exc_info=error)
            error = InputError("picture cannot be decoded")
        self._tell(partial(self._dialect.picture_failed, error, client_event_id))

    # The two directions.

    async def _receive(self) -> None:
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            data = message.get("text") or message.get("bytes") or b""
            self._metrics.received_bytes.inc(len(data))
            self._tell(partial(self._dialect.receive, data))
            while sum(map(len, self._unsent)) > MAX_UNSENT_CHARACTERS:
                self._room.clear()
                await self._room.wait()

    async def _send(self) -> None:
        while self._dialect.close_code is None or self._unsent:
            await self._wake.wait()
            self._wake.clear()
            self._take_turns()
            while self._unsent:
                text = self._unsent.popleft()
                await self._socket.send_text(text)
                self._metrics.sent_bytes.inc(len(text))
                self._room.set()
        await self._socket.close(self._dialect.close_code)

    def _take_turns(self) -> None:
        if self._slot is None:
            return
        turns, end = self._slot.outbox.read()
        for turn in turns:
            self._tell(partial(self._dialect.take, turn))
        if end is not None:
            self._tell(partial(self._dialect.ended, end))
        if self._dialect.phase is Phase.OVER:
            self._engine.close(self._slot)

    def _tell(self, ask: Callable[[], list[wire.ToClient]]) -> None:
        """Send what the protocol answers."""
        for event in ask():
            if isinstance(event, wire.Error):
                self._metrics.errors.labels(event.error.code).inc()
            self._unsent.append(wire.encode(event))
        self._wake.set()

    def _wake_from_engine(self) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody is there any more
            self._loop.call_soon_threadsafe(self._woken)

    def _woken(self) -> None:
        self._wake.set()
        if self._slot is not None and self._slot.outbox.end is End.SLOW_READER and self._sending is not None:
            self._sending.cancel()

    async def _bid_farewell(self, results: list[None | BaseException]) -> None:
        """Log how it ended; a client that can still be told is told."""
        slow = self._slot is not None and self._slot.outbox.end is End.SLOW_READER
        failures = [one for one in results if isinstance(one, Exception) and not isinstance(one, GONE)]
        for failure in failures:
            log.error("a connection failed", exc_info=failure)
        if slow or failures:
            with suppress(TimeoutError, *GONE):
                async with asyncio.timeout(FAREWELL_SECONDS):
                    for event in self._dialect.ended(End.SLOW_READER if slow else End.FAILED):
                        await self._socket.send_text(wire.encode(event))
                    await self._socket.close(self._dialect.close_code or FAULT)
        if self._slot is not None:
            closed = self._dialect.close_code is not None
            end = "slow_reader" if slow else "failed" if failures else "closed" if closed else "connection_lost"
            self._metrics.sessions.labels(end).inc()
            log_event(
                "session_ended",
                session=self._session_id,
                end=end,
                turns=self._dialect.num_turns,
                errors=self._dialect.num_errors,
                heard_ms=self._dialect.playback.heard.heard_ms,
                dropped_ms=self._dialect.playback.heard.dropped_ms,
            )
