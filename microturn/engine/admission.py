"""Whether one more session would break the deadline of those that are there: decided by what turns cost, measured."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import numpy as np

from microturn.turn import TURN_MS

BUDGET_MS = 0.75 * TURN_MS
"""What a turn may be expected to take: the rest is for the network and for what nobody expects."""
RECENT_TICKS = 100
QUANTILE = 0.95
RETRY_MS = 5_000


class Admission:
    """Expects the cost of a turn from a curve, measured once, and from how far recent turns lay above it.

    The curve tells how the cost grows with the number of sessions; the second factor holds whatever changes while the
    server runs: how much is spoken and shown, and what else the machine has to do.
    """

    def __init__(self, curve_ms: Mapping[int, float], budget_ms: float = BUDGET_MS) -> None:
        """``curve_ms``: number of sessions -> what a turn of so many took."""
        self._budget_ms = budget_ms
        self._rows = sorted(curve_ms)
        self._cost_ms = [curve_ms[rows] for rows in self._rows]
        self._recent: deque[float] = deque(maxlen=RECENT_TICKS)

    def measured(self, num_rows: int, compute_ms: float) -> None:
        """A turn of ``num_rows`` sessions took ``compute_ms``."""
        if num_rows:
            self._recent.append(compute_ms / self._curve_ms(num_rows))
        else:
            # What was measured long ago says nothing about a session that begins now.
            self._recent.clear()

    @property
    def pressure(self) -> float:
        """How many times dearer than by the curve turns are at present; not below 1."""
        return max(1.0, float(np.quantile(self._recent, QUANTILE))) if self._recent else 1.0

    def expected_ms(self, num_rows: int) -> float:
        """What nearly every turn of ``num_rows`` sessions will stay below."""
        return self._curve_ms(num_rows) * self.pressure

    def retry_after_ms(self, num_rows: int) -> int:
        """0 if a turn of ``num_rows`` sessions would keep its deadline, else when to ask again."""
        return 0 if self.expected_ms(num_rows) <= self._budget_ms else RETRY_MS

    def _curve_ms(self, num_rows: int) -> float:
        """Between measured points on a straight line; beyond the last one in proportion."""
        if num_rows > self._rows[-1]:
            return self._cost_ms[-1] * num_rows / self._rows[-1]
        return float(np.interp(num_rows, self._rows, self._cost_ms))
