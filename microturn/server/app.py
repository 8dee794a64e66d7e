"""The routes of a server around one engine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Literal

import msgspec
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket

from microturn.engine.engine import Engine
from microturn.server import limits, wire
from microturn.server.access import SUBPROTOCOLS, Access, Guard
from microturn.server.connection import Connection
from microturn.server.dialect import NOBODY, Dialect, Host, Service
from microturn.server.held import Sessions
from microturn.server.line import Line, WebSocketLine
from microturn.server.live import Live
from microturn.server.metrics import Metrics
from microturn.server.peer import Peer
from microturn.server.realtime import Realtime
from microturn.server.wire import Code, EventError
from microturn.session.recording import Recorder
from microturn.session.replay import Restored
from microturn.turn import TURN_MS

PACKAGE = Path(__file__).parent.parent
PAGE, SAMPLES = PACKAGE / "server" / "page", PACKAGE / "samples"
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
DRAIN_SECONDS = 3.0
STATUS: dict[Code, int] = {
    "busy": 503,
    "stopping": 503,
    "model_not_found": 404,
    "session_not_found": 404,
    "text_too_long": 413,
}
"""Of errors that refuse an offer; of all others 400."""


class Server:
    """The handlers of all routes, and the connections that are open."""

    def __init__(self, engine: Engine, service: Service, metrics: Metrics, recorder: Recorder | None = None) -> None:
        self._engine = engine
        self._service = service
        self._metrics = metrics
        self._sessions = Sessions(engine, metrics, recorder)
        self._decoders = ThreadPoolExecutor(1, "pictures")
        self._connections: set[Connection] = set()
        self._calls: set[asyncio.Task[None]] = set()
        self._stopping = False
        metrics.follow(lambda: engine.num_sessions)

    def app(self, access: Access) -> Starlette:
        """The application."""
        return Starlette(
            routes=[
                Route("/healthz", self.health),
                Route("/readyz", self.ready),
                Route("/metrics", self.metrics),
                Route("/v1/models", self.models),
                WebSocketRoute("/v1/live/sessions", self.live),
                Route("/v1/live/sessions", self.offer, methods=["POST"]),
                WebSocketRoute("/v1/realtime", self.realtime),
                WebSocketRoute("/{path:path}", self.no_socket),
                Mount("/samples", StaticFiles(directory=SAMPLES)),
                Mount("/", StaticFiles(directory=PAGE, html=True)),
            ],
            middleware=[Middleware(Guard, access=access, metrics=self._metrics)],
        )

    async def health(self, request: Request) -> Response:
        """Whether turns are being taken."""
        if self._engine.alive:
            return JSONResponse({"status": "ok"})
        return JSONResponse({"status": "stuck"}, 503)

    async def ready(self, request: Request) -> Response:
        """Whether a session would be admitted."""
        if self._stopping:
            return JSONResponse({"status": "stopping"}, 503)
        if retry_after_ms := self._engine.retry_after_ms():
            return JSONResponse({"status": "busy", "retry_after_ms": retry_after_ms}, 503)
        return JSONResponse({"status": "ready"})

    async def metrics(self, request: Request) -> Response:
        """For Prometheus."""
        return Response(self._metrics.text(), media_type=METRICS_TYPE)

    async def models(self, request: Request) -> Response:
        """What is served, as OpenAI lists it."""
        model = {"id": self._service.model, "object": "model", "created": 0, "owned_by": "microturn"}
        return JSONResponse({"object": "list", "data": [model]})

    async def live(self, socket: WebSocket) -> None:
        """A session in the live protocol."""
        await self._serve(socket, Live)

    async def realtime(self, socket: WebSocket) -> None:
        """A session in the realtime protocol."""
        await self._serve(socket, partial(Realtime, model=socket.query_params.get("model", "default")))

    async def _serve(self, socket: WebSocket, speak: Callable[[Service, Host], Dialect[Any]]) -> None:
        if refusal := self._refusal:
            await socket.send_denial_response(JSONResponse({"status": refusal}, 503))
            return
        await socket.accept(next((one for one in socket.scope["subprotocols"] if one in SUBPROTOCOLS), None))
        await self._run(self._connection(WebSocketLine(socket, self._metrics), speak))

    @property
    def _refusal(self) -> Literal["stopping", "busy"] | None:
        """Why nobody else may connect."""
        if self._stopping:
            return "stopping"
        return "busy" if len(self._connections) >= 4 * self._engine.max_sessions + 16 else None

    def _connection(self, line: Line, speak: Callable[[Service, Host], Dialect[Any]]) -> Connection:
        return Connection(line, self._sessions, self._service, self._metrics, self._decoders, speak)

    async def _run(self, connection: Connection) -> None:
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)

    async def offer(self, request: Request) -> Response:
        """A session in the live protocol over WebRTC."""
        try:
            if refusal := self._refusal:
                raise EventError(refusal, "too many connections" if refusal == "busy" else "the server goes down")
            return await self._called(wire.decode_offer(await _body(request)), request.scope["server"][0])
        except EventError as error:
            self._metrics.errors.labels(error.code).inc()
            return _refused(wire.detail_of(error))

    async def _called(self, offer: wire.Offer, address: str) -> Response:
        """Answer an offer on ``address``. Raises ``EventError``."""
        event = offer.event
        peer = await Peer.called(offer.transport.sdp, address, self._metrics)
        connection = self._connection(peer, Live)
        begun = connection.begin(event)
        if isinstance(begun, wire.Error):
            await peer.release()
            return _refused(begun.error)
        assert isinstance(begun, wire.Started)
        call = asyncio.create_task(self._run(connection))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        answered = asyncio.create_task(connection.answered())
        await asyncio.wait({call, answered}, return_when=asyncio.FIRST_COMPLETED)
        answered.cancel()
        answer = {"session": begun.session, "transport": wire.WebRtc(peer.answer, "webrtc")}
        return Response(msgspec.json.encode(answer), 201, media_type="application/json")

    async def no_socket(self, socket: WebSocket) -> None:
        """There is no WebSocket at this path."""
        await socket.send_denial_response(Response(status_code=404))

    def go_on(self, restored: Sequence[tuple[Restored, float]]) -> None:
        """Sessions that a killed server left, each with the time (as of ``time.time``) of its last turn."""
        for one, last_s in restored:
            idle_turns = max(0, int((time.time() - last_s) * 1000 / TURN_MS))
            self._sessions.go_on(self._service, NOBODY, one, idle_turns)

    async def drain(self) -> None:
        """Admit nobody any more, tell every client that the server stops, and wait until they know."""
        self._stopping = True
        self._sessions.stop()
        for connection in list(self._connections):
            connection.stop()
        for _ in range(int(DRAIN_SECONDS * 20)):
            if not self._connections:
                break
            await asyncio.sleep(0.05)
        self._decoders.shutdown(wait=False, cancel_futures=True)


async def _body(request: Request) -> bytes:
    """Raises ``EventError`` if it is too long."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > limits.MAX_OFFER_BYTES:
            raise EventError("text_too_long", f"an offer has at most {limits.MAX_OFFER_BYTES} bytes")
    return body


def _refused(error: wire.ErrorDetail) -> Response:
    body = msgspec.json.encode({"error": error})
    return Response(body, STATUS.get(error.code, 400), media_type="application/json")
