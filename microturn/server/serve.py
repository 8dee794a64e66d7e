"""A server process: a bound socket, uvicorn around the application, and an end that closes sessions properly."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import SIGINT, SIGTERM

import uvicorn

from microturn.background.job import Agent
from microturn.background.office import Office
from microturn.engine.admission import Admission
from microturn.engine.engine import Engine
from microturn.errors import InputError, RecordingError
from microturn.model.microturn import Microturn
from microturn.model.weights import fingerprint
from microturn.server.access import Access
from microturn.server.app import Server
from microturn.server.dialect import Service
from microturn.server.held import HOLD_SECONDS
from microturn.server.limits import MAX_MESSAGE_BYTES
from microturn.server.logs import log_event
from microturn.server.metrics import Metrics
from microturn.session.recording import SESSION_NAME, TURNS_NAME, Recorder
from microturn.session.replay import Recorded, Restored, restore

UNSENT_MS = 30_000
"""A connection whose peer takes nothing for so long is given up by the system."""


@dataclass(frozen=True)
class ServeConfig:
    """What is served, and where."""

    model_name: str
    max_sessions: int
    max_session_ms: int
    access: Access
    certificate: Path | None = None
    certificate_key: Path | None = None
    weights: str = ""
    """What the model was loaded by: recordings name it."""
    record: Path | None = None
    """Where sessions are recorded, if they are."""
    agent: Agent | None = None
    """The background model; without one the client does what is delegated."""


class _Uvicorn(uvicorn.Server):
    """Uvicorn that lets the application say goodbye before connections are cut."""

    def __init__(self, config: uvicorn.Config, server: Server) -> None:
        super().__init__(config)
        self._server = server
        self.left: list[tuple[Restored, float]] = []

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        # Uvicorn's own raises the signal again at the end, which would kill the process before it has cleaned up.
        if threading.current_thread() is threading.main_thread():
            for signal in (SIGINT, SIGTERM):
                asyncio.get_running_loop().add_signal_handler(signal, self._end)
        yield

    def _end(self) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._server.go_on(self.left)
        await super().startup(sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._server.drain()
        await super().shutdown(sockets)


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises ``InputError``."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=128)
    except (OSError, OverflowError) as error:
        raise InputError(f"{host}:{port}: cannot be listened on ({error})") from error
    # Accepted connections inherit this.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNSENT_MS)
    return listening


def check_certificate(config: ServeConfig) -> None:
    """Raise ``InputError`` unless certificate and key can be used."""
    if config.certificate is not None:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(config.certificate, config.certificate_key)
        except (OSError, ssl.SSLError) as error:
            raise InputError(f"{config.certificate}: no certificate with its key ({error})") from error


def left_sessions(model: Microturn, folder: Path, mark: str) -> list[tuple[Restored, float]]:
    """Sessions in ``folder`` whose server was killed a moment ago and whose clients may come back, each with the time
    of its last turn. What cannot go on is logged."""
    left = []
    for path in sorted(folder.glob(f"*/{SESSION_NAME}")):
        try:
            recorded = Recorded(path.parent)
            if recorded.about.end is not None or recorded.about.client is None:
                continue
            last_s = (path.parent / TURNS_NAME).stat().st_mtime
            if time.time() - last_s > HOLD_SECONDS:
                continue
            recorded.check_weights(mark)
            left.append((restore(model, recorded), last_s))
        except (RecordingError, OSError) as error:
            log_event("session_lost", session=path.parent.name, cause=str(error))
    return left


class ServerProcess:
    """An engine and its server on a listening socket. ``run`` returns when it is stopped."""

    def __init__(
        self, model: Microturn, config: ServeConfig, listening: socket.socket, admission: Admission | None = None
    ) -> None:
        """``admission`` is measured if it is not given."""
        metrics = Metrics()
        self._office = Office(config.agent)
        service = Service(config.model_name, config.max_session_ms, self._office)
        self._engine = Engine(model, config.max_sessions, admission=admission, observe=metrics.ticked)
        self._listening = listening
        self._recorder = None
        left: list[tuple[Restored, float]] = []
        if config.record is not None:
            mark = fingerprint(model)
            left = left_sessions(model, config.record, mark)
            self._recorder = Recorder(config.record, config.weights, mark)
        server = Server(self._engine, service, metrics, self._recorder)
        self._uvicorn = _Uvicorn(
            uvicorn.Config(
                server.app(config.access),
                ws_max_size=MAX_MESSAGE_BYTES,
                ws_per_message_deflate=False,
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=2,
                ssl_certfile=config.certificate,
                ssl_keyfile=config.certificate_key,
            ),
            server,
        )

        self._uvicorn.left = left

    def run(self) -> None:
        """Serve until SIGINT or SIGTERM, or ``stop``."""
        self._engine.start()
        log_event("serving", sessions=self._engine.max_sessions)
        try:
            self._uvicorn.run(sockets=[self._listening])
        finally:
            self._engine.stop()
            self._office.close()
            if self._recorder is not None:
                self._recorder.close()
            log_event("stopped")

    def stop(self) -> None:
        """End ``run`` in another thread."""
        self._uvicorn.should_exit = True
