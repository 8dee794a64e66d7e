"""The routes of a server around one engine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket

from microturn.engine.engine import Engine
from microturn.server.access import SUBPROTOCOLS, Access, Guard
from microturn.server.connection import Connection
from microturn.server.dialect import NOBODY, Dialect, Host, Service
from microturn.server.held import Sessions
from microturn.server.live import Live
from microturn.server.metrics import Metrics
from microturn.server.realtime import Realtime
from microturn.session.recording import Recorder
from microturn.session.replay import Restored
from microturn.turn import TURN_MS

PACKAGE = Path(__file__).parent.parent
PAGE, SAMPLES = PACKAGE / "server" / "page", PACKAGE / "samples"
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
DRAIN_SECONDS = 3.0


class Server:
    """The handlers of all routes, and the connections that are open."""

    def __init__(self, engine: Engine, service: Service, metrics: Metrics, recorder: Recorder | None = None) -> None:
        self._engine = engine
        self._service = service
        self._metrics = metrics
        self._sessions = Sessions(engine, metrics, recorder)
        self._decoders = ThreadPoolExecutor(1, "pictures")
        self._connections: set[Connection] = set()
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
        if self._stopping or len(self._connections) >= 4 * self._engine.max_sessions + 16:
            await socket.send_denial_response(JSONResponse({"status": "stopping" if self._stopping else "busy"}, 503))
            return
        connection = Connection(socket, self._sessions, self._service, self._metrics, self._decoders, speak)
        self._connections.add(connection)
        try:
            await connection.run(next((one for one in socket.scope["subprotocols"] if one in SUBPROTOCOLS), None))
        finally:
            self._connections.discard(connection)

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
