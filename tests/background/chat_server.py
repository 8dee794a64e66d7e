"""A real HTTP server that speaks the chat-completions streaming protocol; the model's name says how it behaves."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

ANSWER = "It takes 2.5 hours. **Bring** 3 kg of flour, e.g. rye."


class ChatServer:
    """Keeps the bodies and keys of its requests."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.url = ""

    async def complete(self, request: Request) -> Response:
        body = await request.json()
        self.bodies.append(body)
        self.keys.append(request.headers.get("authorization", ""))
        name, _, detail = body["model"].partition("/")
        if name == "unsteady" and len(self.bodies) < 3:
            return JSONResponse({"error": {"message": "try again"}}, 503, headers={"retry-after": "0"})
        if name == "refuse":
            return JSONResponse({"error": {"message": "bad key\nsecond line"}}, 401)
        if name == "hang":
            await asyncio.sleep(30)
        if name == "garbage":
            return Response(b"data: {not json\n\ndata: [DONE]\n\n", media_type="text/event-stream")
        tool_results = [one["content"] for one in body["messages"] if one["role"] == "tool"]
        if name == "call" and not tool_results:
            return StreamingResponse(self.call(*detail.split(" ", 1)), media_type="text/event-stream")
        if name == "forever":
            return StreamingResponse(self.call("current_date_and_time", "{}"), media_type="text/event-stream")
        said = f"I got: {tool_results[0][:200]}." if tool_results else ANSWER
        return StreamingResponse(self.text(said, flood=name == "flood"), media_type="text/event-stream")

    @staticmethod
    def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        whole = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
        return b"data: " + json.dumps(whole).encode() + b"\n\n"

    async def text(self, text: str, flood: bool) -> AsyncIterator[bytes]:
        yield self.chunk({"role": "assistant", "content": ""})
        while flood:
            yield self.chunk({"content": "More and more. " * 100})
            await asyncio.sleep(0)
        for at in range(0, len(text), 3):
            yield self.chunk({"content": text[at : at + 3]})
            await asyncio.sleep(0)
        yield self.chunk({}, "stop")
        yield b"data: [DONE]\n\n"

    async def call(self, tool: str, arguments: str) -> AsyncIterator[bytes]:
        for part in (arguments[:4], arguments[4:]):
            function = {"name": tool, "arguments": part} if part == arguments[:4] else {"arguments": part}
            call = {"index": 0, "id": "t1", "type": "function", "function": function}
            yield self.chunk({"role": "assistant", "tool_calls": [call]})
        yield self.chunk({}, "tool_calls")
        yield b"data: [DONE]\n\n"


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[ChatServer]:
    """A server on a free port, within the running event loop."""
    chat = ChatServer()
    app = Starlette(routes=[Route("/v1/chat/completions", chat.complete, methods=["POST"])])
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", timeout_graceful_shutdown=1))
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    chat.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/v1"
    try:
        yield chat
    finally:
        server.should_exit = True
        await task
