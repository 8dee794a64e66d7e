"""Work of hours in processes beside this one, which can be ended at any time."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

Result = TypeVar("Result")

NICENESS = 19
"""Added to that of the processes: whatever else runs goes first."""
LOOK_S = 0.5
"""How often it is asked whether to stop."""


def never() -> bool:
    """Nothing stops it."""
    return False


def done_beside(
    jobs: Iterable[Callable[[], Result]], workers: int | None = None, stop: Callable[[], bool] = never
) -> Generator[Result, None, None]:
    """The results of ``jobs``, each as soon as it is there, by ``workers`` processes (as many as there are CPUs).

    They are ended at once when ``stop`` says so, when a job raises, or when nobody asks for further results: jobs that
    write files must write them whole or not at all.
    """
    with ProcessPoolExecutor(workers or os.cpu_count(), initializer=_begin) as pool:
        waiting: set[Future[Result]] = set()
        try:
            waiting.update(pool.submit(job) for job in jobs)
            while waiting and not stop():
                done, waiting = wait(waiting, LOOK_S, FIRST_COMPLETED)
                for job in done:
                    yield job.result()
        except BrokenProcessPool:
            if not stop():  # what asks this process to stop may have ended the others
                raise
        finally:
            if waiting:
                pool.shutdown(wait=False, cancel_futures=True)
                for child in multiprocessing.active_children():
                    child.kill()  # one that has just begun would only note a milder signal


def _begin() -> None:
    os.nice(NICENESS)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the one that waits decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
