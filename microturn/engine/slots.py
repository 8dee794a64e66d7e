"""Slots: a row of the batch and what belongs to the session that has it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from threading import Lock
from typing import Protocol

from microturn.engine.inbox import Inbox
from microturn.model.state import State
from microturn.turn import TurnInput, TurnOutput

MAX_UNREAD_TURNS = 50
"""Turns (10 s) that nobody has read: then the session is over."""


@dataclass(frozen=True)
class Tick:
    """What one tick of the engine came to."""

    num_sessions: int
    num_gaps: int
    compute_ms: float
    margin_ms: float
    """How long before the next tick it was done; negative: a deadline was missed."""
    skipped_turns: int
    """Turns of the clock that were left out before this tick."""


@dataclass(frozen=True)
class Turn:
    """What a session gets of a tick; the last two are counted since it began."""

    given: TurnInput
    made: TurnOutput
    tick: Tick
    waiting_ms: int
    """Sound that waits for the next turns."""
    trimmed_ms: int
    """Sound that was left out to catch up."""
    skipped_turns: int
    """Turns of the clock that were left out."""


class End(Enum):
    """Why no more turns come."""

    CLOSED = "closed"
    """Somebody closed the session."""
    SLOW_READER = "slow_reader"
    """Nobody reads its turns."""
    FAILED = "failed"
    """The model could not take its turn."""


class Outbox:
    """Turns of a session on their way to whoever reads them, in another thread; never more than a few."""

    def __init__(self, wake: Callable[[], None]) -> None:
        """``wake`` is called, in the engine's thread, when there is something to read."""
        self._wake = wake
        self._lock = Lock()
        self._turns: deque[Turn] = deque()
        self.end: End | None = None
        """Why no more turns come; set once."""

    def put(self, turn: Turn) -> bool:
        """Add a turn, unless the session is over; ``False`` if too many are unread."""
        with self._lock:
            if self.end is None:
                if len(self._turns) == MAX_UNREAD_TURNS:
                    return False
                self._turns.append(turn)
        self._wake()
        return True

    def finish(self, end: End) -> None:
        """Nothing comes after this; the first reason counts."""
        with self._lock:
            self.end = self.end or end
        self._wake()

    def read(self) -> tuple[list[Turn], End | None]:
        """The turns that have come, and, when none will follow, why."""
        with self._lock:
            turns = list(self._turns)
            self._turns.clear()
            return turns, self.end


class Recording(Protocol):
    """Whoever keeps the turns of a session; called in the engine's thread, which it must not hold up."""

    def begin(self) -> None:
        """The session is admitted; called by whoever opens it, before its first turn."""
        ...

    def add(self, turn: Turn, state: Callable[[], State]) -> None:
        """A turn was taken; ``state`` copies what the session remembers after it, while ``add`` runs."""
        ...

    def end(self, end: End) -> None:
        """No more turns come."""
        ...


@dataclass(eq=False)
class Slot:
    """The place of a session in the engine."""

    row: int
    seed: int
    inbox: Inbox
    outbox: Outbox
    recording: Recording | None = None
    fresh: bool = True
    """Whether its row still holds the memory of whoever had it before."""
    state: State | None = None
    """What it begins with, if not with nothing."""
    skipped_turns: int = 0


class Slots:
    """Which rows are taken, and by whom. Not for several threads at once."""

    def __init__(self, num_rows: int) -> None:
        self.num_rows = num_rows
        self._free = list(reversed(range(num_rows)))
        self._taken: dict[int, Slot] = {}

    def __len__(self) -> int:
        return len(self._taken)

    @property
    def taken(self) -> list[Slot]:
        """Slots in the order in which they were taken."""
        return list(self._taken.values())

    def take(self, seed: int, inbox: Inbox, outbox: Outbox, recording: Recording | None = None) -> Slot | None:
        """A slot for a new session; ``None`` if every row is taken."""
        if not self._free:
            return None
        slot = Slot(self._free.pop(), seed, inbox, outbox, recording)
        self._taken[slot.row] = slot
        return slot

    def release(self, slot: Slot) -> bool:
        """Give the slot's row back; ``False`` if it was given back before."""
        if self._taken.get(slot.row) is not slot:
            return False
        del self._taken[slot.row]
        self._free.append(slot.row)
        return True

    def check(self) -> None:
        """Every row is free or taken, and not both."""
        assert sorted([*self._free, *self._taken]) == list(range(self.num_rows))
