"""What an operator wants to see, for Prometheus."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from microturn.engine.slots import Tick
from microturn.server.logs import log_event
from microturn.turn import TURN_MS

BUCKETS_MS = (10, 20, 30, 40, 50, 75, 100, 125, 150, 175, TURN_MS, 300, 500, 1000, 3000)
LOG_EVERY_SECONDS = 10.0


class Metrics:
    """One server's counters."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.sessions = Counter("microturn_sessions", "Sessions that ended, by how", ["end"], registry=registry)
        self.refused = Counter("microturn_refused", "Connections that were refused", ["status"], registry=registry)
        self.errors = Counter("microturn_errors", "Errors that clients were told", ["code"], registry=registry)
        self.received_bytes = Counter("microturn_received_bytes", "Bytes of messages received", registry=registry)
        self.sent_bytes = Counter("microturn_sent_bytes", "Bytes of messages sent", registry=registry)
        self._turns = Counter("microturn_turns", "Turns of all sessions", registry=registry)
        self._gaps = Counter("microturn_gaps", "Turns without sound", registry=registry)
        self._missed = Counter("microturn_missed_deadlines", "Ticks that were done too late", registry=registry)
        self._skipped = Counter("microturn_skipped_turns", "Turns of the clock that were left out", registry=registry)
        self._compute = Histogram(
            "microturn_tick_seconds",
            "What a turn of all sessions took",
            buckets=[ms / 1000 for ms in BUCKETS_MS],
            registry=registry,
        )
        self._active = Gauge("microturn_active_sessions", "Sessions that take turns", registry=registry)
        self._missed_unlogged = 0
        self._logged_s = -math.inf

    def follow(self, num_sessions: Callable[[], int]) -> None:
        """Where to ask for the number of sessions."""
        self._active.set_function(num_sessions)

    def ticked(self, tick: Tick) -> None:
        """Count one tick of the engine that had sessions."""
        if not tick.num_sessions:
            return
        self._turns.inc(tick.num_sessions)
        self._gaps.inc(tick.num_gaps)
        self._skipped.inc(tick.skipped_turns)
        self._compute.observe(tick.compute_ms / 1000)
        if tick.margin_ms < 0:
            self._missed.inc()
            self._missed_unlogged += 1
            self._log_missed(tick)

    def _log_missed(self, tick: Tick) -> None:
        """At most one line in a while, with how many deadlines it stands for."""
        if time.monotonic() - self._logged_s < LOG_EVERY_SECONDS:
            return
        log_event(
            "deadlines_missed",
            logging.WARNING,
            ticks=self._missed_unlogged,
            sessions=tick.num_sessions,
            compute_ms=round(tick.compute_ms),
            late_ms=round(-tick.margin_ms),
        )
        self._missed_unlogged, self._logged_s = 0, time.monotonic()

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self.registry)
