"""How much one client may ask for."""

from __future__ import annotations

from collections.abc import Callable

MAX_MESSAGE_BYTES = 2**20
MAX_OFFER_BYTES = 48 * 1024
"""Of an offer with all that a session begins with: what it is answered with must fit into one message of a channel."""
EVENTS_PER_SECOND = 200.0
BYTES_PER_SECOND = 6 * 2**20
PICTURES_PER_SECOND, PICTURES_AT_ONCE = 5.0, 10
MAX_ERRORS = 100
"""So many errors, and the connection is closed."""
START_SECONDS = 10.0
"""A connection that has not started its session by then is closed."""
MAX_CONTEXT_CHARACTERS = 4_000
MAX_TYPED_CHARACTERS = 64 * 1024
"""Of text in one event. Counting tokens would cost everybody's time."""


class Allowance:
    """``rate`` things a second in the long run, ``at_once`` of them at a time."""

    def __init__(self, rate: float, at_once: float, now_s: Callable[[], float]) -> None:
        self._rate, self._at_once, self._now_s = rate, at_once, now_s
        self._left = at_once
        self._since_s = now_s()

    def take(self, amount: int = 1) -> bool:
        """Use some up; ``False`` if there are not so many."""
        now_s = self._now_s()
        self._left = min(self._at_once, self._left + (now_s - self._since_s) * self._rate)
        self._since_s = now_s
        if self._left < amount:
            return False
        self._left -= amount
        return True
