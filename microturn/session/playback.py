"""What of the model's sound was really heard: a word that was dropped before it left the loudspeaker was not said."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from microturn.errors import InputError

MAX_STRETCHES = 256
"""Stretches of sound of which nothing is known yet, and of those that were dropped; the oldest are forgotten."""


@dataclass(frozen=True)
class Heard:
    """Milliseconds of model sound that were sent, and what became of them as far as it is known."""

    sent_ms: int = 0
    heard_ms: int = 0
    dropped_ms: int = 0


class Playback:
    """Follows the sound of one session from sending to hearing. Times are on the session's clock."""

    def __init__(self) -> None:
        self.sent_until_ms = 0
        self.heard_until_ms = 0
        self._open: deque[tuple[int, int]] = deque(maxlen=MAX_STRETCHES)
        self._dropped: deque[tuple[int, int]] = deque(maxlen=MAX_STRETCHES)
        self._sent_ms = self._heard_ms = self._dropped_ms = 0

    @property
    def heard(self) -> Heard:
        return Heard(self._sent_ms, self._heard_ms, self._dropped_ms)

    def was_dropped(self, at_ms: int) -> bool:
        """Whether the sound of ``at_ms`` was sent and never left the loudspeaker."""
        return any(start_ms <= at_ms < end_ms for start_ms, end_ms in self._dropped)

    def sent(self, start_ms: int, end_ms: int) -> None:
        """Sound to be heard from ``start_ms`` to ``end_ms`` has been sent."""
        if self._open and self._open[-1][1] == start_ms:
            start_ms = self._open.pop()[0]
            self._sent_ms -= self.sent_until_ms - start_ms
        self._open.append((start_ms, end_ms))
        self._sent_ms += end_ms - start_ms
        self.sent_until_ms = end_ms

    def acknowledge(self, heard_until_ms: int, *, dropped: bool) -> None:
        """Sound before ``heard_until_ms`` has been heard; with ``dropped`` what was sent beyond that never will be.

        Raises ``InputError`` for a time that goes back, or that lies beyond what was sent.
        """
        if not self.heard_until_ms <= heard_until_ms <= self.sent_until_ms:
            raise InputError(
                f"heard until {heard_until_ms} ms: expected {self.heard_until_ms} to {self.sent_until_ms} ms"
            )
        self.heard_until_ms = heard_until_ms
        while self._open and self._open[0][0] < heard_until_ms:
            start_ms, end_ms = self._open.popleft()
            self._heard_ms += min(end_ms, heard_until_ms) - start_ms
            if end_ms > heard_until_ms:
                self._open.appendleft((heard_until_ms, end_ms))
        if dropped:
            self._dropped_ms += sum(end_ms - start_ms for start_ms, end_ms in self._open)
            self._dropped.extend(self._open)
            self._open.clear()
