"""What a connection runs on: messages both ways, in their order, until one of both leaves.

A line may also carry the voices itself; then it hands on what it hears and sees, plays what it is given, and no sound
goes by message.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

from starlette.websockets import WebSocket, WebSocketDisconnect

from microturn.engine.slots import Turn
from microturn.server import wire
from microturn.server.metrics import Metrics
from microturn.turn import Frame, Pcm

ABNORMAL = 1006
"""The code of a client that left without a word."""


class Gone(Exception):
    """The client has left, or cannot be sent this."""


class Senses(Protocol):
    """Whoever takes what a line hears and sees; in the event loop's thread."""

    def hear(self, pcm: Pcm) -> None:
        """The next of the user's sound, 16 kHz."""
        ...

    def see(self, decode: Callable[[], Frame]) -> None:
        """The newest picture; ``decode`` is called in another thread, or not at all."""
        ...


class Line(ABC):
    """One client's messages; a line that carries no voices needs only the first three."""

    @abstractmethod
    async def receive(self) -> str | bytes | int:
        """The next message, or the code with which the client left."""

    @abstractmethod
    async def send(self, text: str) -> None:
        """Returns when the next may be sent. Raises ``Gone``."""

    @abstractmethod
    async def close(self, code: int) -> None:
        """Nothing more is sent; what was sent arrives first. Raises ``Gone``."""

    def begin(self, senses: Senses) -> None:  # noqa: B027
        """What is heard and seen from now on is for ``senses``."""

    async def release(self) -> None:  # noqa: B027
        """The connection is done with, however it ended."""

    def take(self, event: wire.ToClient) -> bool:
        """Look at what is to be sent; ``True`` if it does not go as a message."""
        return False

    def take_turn(self, turn: Turn) -> None:  # noqa: B027
        """A turn was taken; its events have gone to ``take``, or will at once."""

    def played(self) -> tuple[int, bool] | None:
        """How far the model's sound was played here, if it is, and whether what was sent beyond that was dropped."""
        return None

    def drop_sound(self) -> bool:
        """Throw away what waits to be played here; ``False`` if nothing is played here."""
        return False


class WebSocketLine(Line):
    """A WebSocket that was accepted."""

    def __init__(self, socket: WebSocket, metrics: Metrics) -> None:
        self._socket = socket
        self._metrics = metrics

    async def receive(self) -> str | bytes | int:
        message = await self._socket.receive()
        if message["type"] == "websocket.disconnect":
            return int(message.get("code") or ABNORMAL)
        data: str | bytes = message.get("text") or message.get("bytes") or b""
        self._metrics.received_bytes.inc(len(data))
        return data

    async def send(self, text: str) -> None:
        # RuntimeError: uvicorn has put the client out for a message that is too large.
        try:
            await self._socket.send_text(text)
        except (WebSocketDisconnect, RuntimeError) as error:
            raise Gone from error
        self._metrics.sent_bytes.inc(len(text))

    async def close(self, code: int) -> None:
        try:
            await self._socket.close(code)
        except (WebSocketDisconnect, RuntimeError) as error:
            raise Gone from error
