"""Work beside this process: results as they come, and an end at once when it is asked for or a job fails."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path

import pytest

from microturn.voices.workers import NICENESS, done_beside

LONG_S = 60.0


def niceness(after_s: float) -> int:
    time.sleep(after_s)
    return os.nice(0)


def fail() -> int:
    raise ValueError("this job cannot be done")


def end_long_after(path: Path) -> int:
    time.sleep(LONG_S)
    path.touch()
    return 0


def ended() -> bool:
    """Whether no process is left."""
    deadline = time.monotonic() + 10
    while multiprocessing.active_children() and time.monotonic() < deadline:
        time.sleep(0.05)
    return not multiprocessing.active_children()


def test_results_come_as_they_are_done_and_others_go_first() -> None:
    found = list(done_beside([partial(niceness, after_s) for after_s in (0.0, 0.1, 0.0)], workers=2))
    assert found == [min(19, os.nice(0) + NICENESS)] * 3


@pytest.mark.parametrize("why", ["stop", "failure", "closed"])
def test_what_is_not_done_is_ended_at_once(why: str, tmp_path: Path) -> None:
    started = time.monotonic()
    quick: Callable[[], int] = partial(niceness, 0.0)
    long: list[Callable[[], int]] = [partial(end_long_after, tmp_path / str(number)) for number in range(4)]
    if why == "stop":
        assert list(done_beside(long, 2, stop=lambda: time.monotonic() > started + 0.2)) == []
    elif why == "failure":
        with pytest.raises(ValueError, match="this job cannot be done"):
            list(done_beside([fail, *long], 2))
    else:
        results = done_beside([quick, *long], 2)
        next(results)
        results.close()
    assert ended() and time.monotonic() < started + LONG_S / 2 and not list(tmp_path.iterdir())


@pytest.mark.parametrize("stopped", [True, False])
def test_a_signal_that_ends_the_processes_while_jobs_are_given_out(stopped: bool) -> None:
    """A signal to the whole group: it is an error only if nobody asks to stop."""

    def jobs() -> Iterator[Callable[[], int]]:
        yield partial(niceness, LONG_S)
        deadline = time.monotonic() + LONG_S
        while time.monotonic() < deadline:
            for child in multiprocessing.active_children():
                child.kill()
            time.sleep(0.1)
            yield partial(niceness, 0.0)

    if stopped:
        assert list(done_beside(jobs(), 1, stop=lambda: True)) == []
    else:
        with pytest.raises(BrokenProcessPool):
            list(done_beside(jobs(), 1))
    assert ended()
