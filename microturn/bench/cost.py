"""What a turn costs: milliseconds of compute with sound and five pictures a second, in minute 1 and in minute 60.

Minute 60 is compared with minute 1 turn by turn: once a session is 59 minutes old, a second one is opened and both
take the same turns in alternation, so that whatever else the machine does slows both alike.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from statistics import median
from typing import Protocol

import numpy as np

from microturn.bench.suite import FIRST_SEED, Advance
from microturn.bench.systems import turn_input
from microturn.errors import InputError
from microturn.scenario.generate import PART_MS, generate_string
from microturn.scenario.scenario import Scenario
from microturn.turn import TURN_MS, TURN_SAMPLES, Frame, TurnInput, TurnOutput

TURNS_PER_MINUTE = 60_000 // TURN_MS
WARM_UP_TURNS = 10
PICTURE_SIZE = 80
PARTS_AT_A_TIME = 4


class Steps(Protocol):
    """An open session."""

    def step(self, turn_input: TurnInput) -> TurnOutput:
        """Take the next turn."""


@dataclass(frozen=True)
class CostResult:
    """Compute per turn in ms, and resident memory of the process in MB.

    ``p50_ms`` and ``p99_ms`` are over the ``num_turns`` turns of a session with sound and a picture in every turn.
    ``first_minute_ms`` and ``last_minute_ms`` are medians of the same turns taken by a new session and by one that is
    ``minutes`` old.
    """

    minutes: float
    num_turns: int
    p50_ms: float
    p99_ms: float
    first_minute_ms: float
    last_minute_ms: float
    first_minute_mb: float
    last_minute_mb: float

    @property
    def ratio(self) -> float:
        """Cost of a turn of the last minute over that of the first."""
        return self.last_minute_ms / self.first_minute_ms


def measure_cost(open_session: Callable[[], Steps], minutes: int, workers: Executor, advance: Advance) -> CostResult:
    """Hold one session of ``minutes``, then compare its last minute with a first minute.

    ``workers`` make what comes in, so that this process holds nothing but the session; ``advance`` is called once a
    minute. Raises ``InputError`` for less than two minutes.
    """
    if minutes < 2:
        raise InputError(f"a session of {minutes} minutes has no first and last minute")
    inputs = busy_turns(workers)
    for _ in range(WARM_UP_TURNS):
        open_session().step(next(inputs))
    session = open_session()
    times_ms: list[float] = []
    first_mb = 0.0
    for turn in range((minutes - 1) * TURNS_PER_MINUTE):
        times_ms.append(_timed(session, next(inputs)))
        if turn + 1 == TURNS_PER_MINUTE:
            first_mb = resident_mb()
        if (turn + 1) % TURNS_PER_MINUTE == 0:
            advance()
    last_mb = resident_mb()
    new = open_session()
    pairs = []
    for turn in range(TURNS_PER_MINUTE):
        given = next(inputs)
        # Who goes first changes, for the second of two finds its code and weights in the processor's cache.
        if turn % 2:
            old_ms, new_ms = _timed(session, given), _timed(new, given)
        else:
            new_ms, old_ms = _timed(new, given), _timed(session, given)
        pairs.append((new_ms, old_ms))
    advance()
    times_ms += [old_ms for _, old_ms in pairs]
    return CostResult(
        minutes=minutes,
        num_turns=len(times_ms),
        p50_ms=float(np.percentile(times_ms, 50)),
        p99_ms=float(np.percentile(times_ms, 99)),
        first_minute_ms=median(new_ms for new_ms, _ in pairs),
        last_minute_ms=median(old_ms for _, old_ms in pairs),
        first_minute_mb=first_mb,
        last_minute_mb=last_mb,
    )


def busy_turns(workers: Executor) -> Iterator[TurnInput]:
    """Turns of held-out sessions strung together, each with sound and a picture, without end.

    Where a session has no picture, one of moving noise is shown.
    """
    noise = np.random.default_rng(0).integers(0, 256, (PICTURE_SIZE, 2 * PICTURE_SIZE, 3), np.uint8)
    for first in count(0, PARTS_AT_A_TIME):
        for part in workers.map(_make_part, range(first, first + PARTS_AT_A_TIME)):
            for turn in range(part.num_turns):
                given = turn_input(part, turn)
                if given.audio is None:
                    given = replace(given, audio=np.zeros(TURN_SAMPLES, np.float32))
                yield given if given.frame is not None else replace(given, frame=_slice(noise, turn))


def _make_part(index: int) -> Scenario:
    return generate_string(FIRST_SEED + index, "heldout", PART_MS, assistant=False)


def _slice(noise: Frame, turn: int) -> Frame:
    return noise[:, turn % PICTURE_SIZE : turn % PICTURE_SIZE + PICTURE_SIZE]


def _timed(session: Steps, given: TurnInput) -> float:
    start_s = time.perf_counter()
    session.step(given)
    return (time.perf_counter() - start_s) * 1000.0


def resident_mb() -> float:
    """Memory of this process that is in use, after a collection of garbage."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20
