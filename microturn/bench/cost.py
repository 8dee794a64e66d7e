"""What a turn costs: milliseconds of compute with sound and five pictures a second, in minute 1 and in minute 60.

Minute 60 is compared with minute 1 turn by turn: once a session is 59 minutes old, a second one is opened and both
take the same turns in alternation, so that whatever else the machine does slows both alike.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from itertools import compress, count, islice
from pathlib import Path
from statistics import median

import numpy as np

from microturn.bench.suite import FIRST_SEED, Advance
from microturn.bench.systems import turn_input
from microturn.errors import InputError
from microturn.scenario.generate import PART_MS, generate_string
from microturn.scenario.scenario import Scenario
from microturn.session.session import Session
from microturn.turn import TURN_MS, TURN_SAMPLES, TurnInput

TURNS_PER_MINUTE = 60_000 // TURN_MS
WARM_UP_TURNS = 10
PICTURE_SIZE = 80
PARTS_AT_A_TIME = 4


@dataclass(frozen=True)
class CostResult:
    """Compute per turn in ms, and resident memory of the process in MB.

    ``p50_ms`` and ``p99_ms`` are over the ``num_turns`` turns of a session with sound and a picture in every turn.
    ``first_minute_ms`` and ``last_minute_ms`` are medians of the same turns taken by a new session and by one that is
    ``minutes`` old, as far as both do the same in them.
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


def measure_cost(open_session: Callable[[], Session], minutes: int, workers: Executor, advance: Advance) -> CostResult:
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
    minutes_mb: list[float] = []
    for _ in range(minutes - 1):
        times_ms += [_timed(session, given)[0] for given in islice(inputs, TURNS_PER_MINUTE)]
        minutes_mb.append(resident_mb())
        advance()
    new_ms, old_ms, alike = in_alternation(open_session(), session, islice(inputs, TURNS_PER_MINUTE))
    minutes_mb.append(resident_mb())  # the new session is gone again
    advance()
    times_ms += old_ms
    return CostResult(
        minutes=minutes,
        num_turns=len(times_ms),
        p50_ms=float(np.percentile(times_ms, 50)),
        p99_ms=float(np.percentile(times_ms, 99)),
        first_minute_ms=median_alike(new_ms, alike),
        last_minute_ms=median_alike(old_ms, alike),
        first_minute_mb=minutes_mb[0],
        last_minute_mb=minutes_mb[-1],
    )


def in_alternation(
    new: Session, old: Session, inputs: Iterable[TurnInput]
) -> tuple[list[float], list[float], list[bool]]:
    """Milliseconds that the same turns take in a new session and in an old one, and whether both do the same in them:
    speak or listen. Who goes first changes, for the second of two finds its code and weights in the processor's
    cache."""
    taken = []
    for turn, given in enumerate(inputs):
        order = (old, new) if turn % 2 else (new, old)
        by_session = {id(session): _timed(session, given) for session in order}
        taken.append((by_session[id(new)], by_session[id(old)]))
    return [one[0] for one, _ in taken], [other[0] for _, other in taken], [one[1] == other[1] for one, other in taken]


def median_alike(times_ms: list[float], alike: list[bool]) -> float:
    """Median over the turns in which both sessions did the same, if there are any: a turn in which only one of them
    speaks tells nothing of its age."""
    return median(list(compress(times_ms, alike)) or times_ms)


def _timed(session: Session, given: TurnInput) -> tuple[float, bool]:
    """Milliseconds of the turn, and whether the model spoke."""
    start_s = time.perf_counter()
    output = session.step(given)
    return (time.perf_counter() - start_s) * 1000.0, output.speaking


def busy_turns(workers: Executor) -> Iterator[TurnInput]:
    """Turns of held-out sessions strung together, each with sound and a picture, without end.

    Where a session has no picture, one of moving noise is shown.
    """
    noise = np.random.default_rng(0).integers(0, 256, (PICTURE_SIZE, 2 * PICTURE_SIZE, 3), np.uint8)
    silence = np.zeros(TURN_SAMPLES, np.float32)
    for first in count(0, PARTS_AT_A_TIME):
        for part in workers.map(_make_part, range(first, first + PARTS_AT_A_TIME)):
            for turn in range(part.num_turns):
                given = turn_input(part, turn)
                moved = noise[:, turn % PICTURE_SIZE :][:, :PICTURE_SIZE]
                yield replace(
                    given,
                    audio=silence if given.audio is None else given.audio,
                    frame=moved if given.frame is None else given.frame,
                )


def _make_part(index: int) -> Scenario:
    return generate_string(FIRST_SEED + index, "heldout", PART_MS, assistant=False)


def resident_mb() -> float:
    """Memory of this process that is in use, after a collection of garbage."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
