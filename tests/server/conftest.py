"""A server on a real socket, with a small model; and the protocol without any socket."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread

import pytest

from microturn.background.job import Agent
from microturn.background.office import Office
from microturn.engine.admission import Admission
from microturn.engine.inbox import Inbox
from microturn.errors import BusyError
from microturn.model.microturn import Microturn
from microturn.model.weights import load, save
from microturn.server import wire
from microturn.server.access import Access
from microturn.server.dialect import Opened, Service
from microturn.server.live import Live
from microturn.server.serve import ServeConfig, ServerProcess, bind
from microturn.server.wire import EventError
from tests.parity.small import small_model

ALWAYS = Admission({1: 1.0}, budget_ms=math.inf)
"""Whatever a turn costs on a machine that is busy with other things."""


def service(max_session_ms: int = 60_000, office: Office | None = None) -> Service:
    return Service("small", max_session_ms, office)


@dataclass
class FakeHost:
    """A connection that only remembers what it was asked for."""

    inbox: Inbox = field(default_factory=Inbox)
    busy: bool = False
    time_s: float = 0.0
    seeds: list[int] = field(default_factory=list)
    pictures: list[tuple[bytes, int, str | None]] = field(default_factory=list)

    def now_s(self) -> float:
        return self.time_s

    def open(self, seed: int, inbox: Inbox, resumable: wire.SessionConfig | None = None) -> Opened:
        if self.busy:
            raise BusyError("all seats are taken: try again in 5 s", 5000)
        self.seeds.append(seed)
        self.inbox = inbox
        return Opened("live_1", 1_800_000_000)

    def resume(self, session_id: str, token: str, received_ms: int, client_event_id: str | None) -> list[wire.ToClient]:
        raise EventError("session_not_found", "no session of this name and token can be taken up")

    def show(self, picture: bytes, at_ms: int, client_event_id: str | None) -> bool:
        self.pictures.append((picture, at_ms, client_event_id))
        return len(self.pictures) < 3

    def drop_sound(self) -> bool:
        return False


@pytest.fixture
def host() -> FakeHost:
    return FakeHost()


@pytest.fixture
def live(host: FakeHost) -> Live:
    return Live(service(), host)


@contextmanager
def running(
    max_sessions: int = 3,
    access: Access | None = None,
    max_session_ms: int = 600_000,
    model: Microturn | None = None,
    *,
    weights: Path | None = None,
    record: Path | None = None,
    agent: Agent | None = None,
) -> Iterator[int]:
    """A server in a thread of its own, of a small model unless one is given, or of ``weights``; yields its port."""
    listening = bind("127.0.0.1", 0)
    config = ServeConfig(
        "small", max_sessions, max_session_ms, access or Access(), weights=str(weights), record=record, agent=agent
    )
    model = load(weights) if weights is not None else model
    process = ServerProcess(model or small_model(), config, listening, ALWAYS)
    port: int = listening.getsockname()[1]
    thread = Thread(target=process.run)
    thread.start()
    try:
        yield port
    finally:
        process.stop()
        thread.join(20)
        assert not thread.is_alive()


def small_weights(folder: Path) -> Path:
    """The small model as a folder."""
    model = small_model()
    save(folder, model.config, model.network.state_dict(), model.weights.vocoder, model.tokenizer)
    return folder


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A server that the tests of a module share: they leave no session behind."""
    with running() as one:
        yield one
