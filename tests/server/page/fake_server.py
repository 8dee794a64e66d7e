"""A server of the page's own tests: its files, and the live protocol with a model that says what the test says.

It does what a real session cannot be made to do at will: yield, leave gaps, be late, lose the line.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import threading
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketDisconnect

import microturn
from microturn.server.access import HEADERS
from microturn.turn import SAMPLE_RATE_HZ, TURN_MS, TURN_SAMPLES

PACKAGE = Path(microturn.__file__).parent
POLICY = HEADERS["Content-Security-Policy"]
TONE_HZ = 330.0


@dataclass
class FakeSession:
    """One session: what came in, and what is to go out turn by turn."""

    id: str
    received: list[dict[str, Any]] = field(default_factory=list)
    to_say: list[str] = field(default_factory=list)
    """One entry a turn that speaks; "" goes on with the word before."""
    heard: list[str] = field(default_factory=list)
    ahead_turns: int = 0
    """How many turns of sound are sent before their time."""
    said_from_ms: int | None = None
    """When the model began to speak for the first time."""
    sent_to_ms: int = TURN_MS
    turn: int = 0
    gap: bool = False
    late: bool = False
    act: str | None = None
    jobs: list[dict[str, Any]] = field(default_factory=list)
    """What is to be told of jobs with the next turn."""
    connections: int = 0
    socket: WebSocket | None = None

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.received if event["type"] == kind]

    def say(self, text: str, turns_a_word: int = 2) -> None:
        for word in text.split():
            self.to_say += [f" {word}", *[""] * (turns_a_word - 1)]

    def step(self) -> list[dict[str, Any]]:
        """One turn goes by; what it tells, in the protocol's words."""
        start_ms, self.turn = (self.turn + 1) * TURN_MS, self.turn + 1
        speaking = bool(self.to_say)
        times = {"start_ms": start_ms, "end_ms": start_ms + TURN_MS}
        events: list[dict[str, Any]] = []
        if speaking and self.said_from_ms is None:
            self.said_from_ms = start_ms
        if not speaking:
            self.sent_to_ms = start_ms + TURN_MS
        word = self.to_say.pop(0) if speaking else ""
        heard = f" {self.heard.pop(0)}" if self.heard else ""
        if heard:
            now = {"start_ms": start_ms - TURN_MS, "end_ms": start_ms}
            events.append({"type": "session.input_transcript.delta", "delta": heard, **now})
        if word:
            events.append({"type": "session.output_transcript.delta", "delta": word, **times})
        while speaking and self.sent_to_ms < start_ms + (1 + self.ahead_turns) * TURN_MS:
            times = {"start_ms": self.sent_to_ms, "end_ms": self.sent_to_ms + TURN_MS}
            events.append({"type": "session.output_audio.delta", "delta": tone(self.sent_to_ms), **times})
            self.sent_to_ms += TURN_MS
        events += [{**job, "offset_ms": start_ms} for job in self.jobs]
        self.jobs = []
        compute_ms = 260.0 if self.late else 20.0 + 15.0 * speaking
        turn = {
            "turn": self.turn - 1, "start_ms": start_ms - TURN_MS, "end_ms": start_ms, "hear": heard, "say": word,
            "act": self.act, "speaking": speaking, "sound_end_ms": self.sent_to_ms, "gap": self.gap, "picture": False,
            "waiting_ms": 0, "compute_ms": compute_ms, "margin_ms": TURN_MS - compute_ms, "sessions": 1,
        }  # fmt: skip
        events.append({"type": "session.turn", **turn})
        self.act = None
        return events


def tone(start_ms: int) -> str:
    """A turn of a steady tone whose phase goes on from turn to turn."""
    times_s = start_ms / 1000 + np.arange(TURN_SAMPLES) / SAMPLE_RATE_HZ
    pcm = np.round(0.4 * 32767 * np.sin(2 * np.pi * TONE_HZ * times_s)).astype("<i2")
    return base64.b64encode(pcm.tobytes()).decode()


class FakeServer:
    """Serves until it is left. ``sessions`` are those that were begun, in order."""

    def __init__(self) -> None:
        self.sessions: list[FakeSession] = []
        self.refuses = ""
        """If set, no session is taken in, and this is why."""
        self.resumes = True
        """Whether a session that lost its line can be taken up again."""
        self.accepts = True
        """If not, connections are cut as soon as they are made."""
        routes = [
            WebSocketRoute("/v1/live/sessions", self._live),
            Route("/samples/{name}", _sample),
            Mount("/", StaticFiles(directory=PACKAGE / "server" / "page", html=True)),
        ]
        app = Starlette(routes=routes, middleware=[Middleware(Policy)])
        config = uvicorn.Config(app, port=0, log_level="error", ws="websockets-sansio", lifespan="off")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        deadline_s = time.monotonic() + 20
        while not self._server.started:
            assert time.monotonic() < deadline_s, "the fake server does not start"
            time.sleep(0.02)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/#line=websocket"
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._server.force_exit = True
        self._thread.join(10)

    @property
    def session(self) -> FakeSession:
        return self.sessions[-1]

    def lose_the_line(self) -> None:
        """Cut the connection of the newest session without a word."""
        assert self.session.socket is not None
        self._run(self.session.socket.close(1011))

    def _run(self, task: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(task, self._server.servers[0].get_loop()).result(5)

    async def _live(self, socket: WebSocket) -> None:
        if not self.accepts:
            return await socket.close()
        await socket.accept()
        first = await socket.receive_json()
        if self.refuses:
            await socket.send_json({"type": "error", "error": {"message": self.refuses}})
            await socket.close(1013)
            return
        if first["type"] == "session.resume":
            session = next(one for one in self.sessions if one.id == first["session_id"])
            assert first["resume_token"] == session.id[::-1]
        else:
            session = FakeSession(f"sess_{len(self.sessions)}")
            self.sessions.append(session)
        session.received.append(first)
        session.socket = socket
        session.connections += 1
        microturn = {"resume_token": session.id[::-1]} if self.resumes else {}
        await socket.send_json({"type": "session.started", "session": {"id": session.id, "microturn": microturn}})
        clock = asyncio.create_task(_tick(session, socket))
        try:
            while True:
                session.received.append(await socket.receive_json())
                if session.received[-1]["type"] == "session.close":
                    await socket.send_json({"type": "session.closed", "reason": "close_requested"})
                    await socket.close()
                    break
        except WebSocketDisconnect:
            pass
        finally:
            clock.cancel()
            with contextlib.suppress(asyncio.CancelledError, RuntimeError):
                await clock


async def _tick(session: FakeSession, socket: WebSocket) -> None:
    start_s = time.monotonic() - session.turn * TURN_MS / 1000
    while True:
        await asyncio.sleep(max(0.0, start_s + (session.turn + 1) * TURN_MS / 1000 - time.monotonic()))
        for event in session.step():
            await socket.send_json(event)


async def _sample(request: Request) -> Response:
    path = PACKAGE / "samples" / request.path_params["name"]
    return Response(path.read_bytes(), media_type="audio/wav")


class Policy(BaseHTTPMiddleware):
    """The headers of the real server: what the page may load and do."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request)
        response.headers["content-security-policy"] = POLICY
        return response
