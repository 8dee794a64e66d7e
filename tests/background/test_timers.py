"""Timers without a language model: what is understood, what a job brings then, and what it says of those that run."""

from __future__ import annotations

import asyncio
import time

import pytest

from microturn.background.job import Jobs, State
from microturn.background.offline import CANNOT, OfflineAgent
from microturn.background.package import MAX_OPEN, OpenJob, OpenTimer, build_package
from microturn.background.results import Result, Spoken, Timer, TimerCancelled
from microturn.background.timers import MAX_TIMER_SECONDS, Timers, duration_text, seconds_of
from microturn.background.tools import Tools
from microturn.errors import InputError

TEA, ANNA, TEN = OpenTimer("tea", 241_000), OpenTimer("call anna", 61_000), OpenTimer("10 minutes", 500_000)


async def ask(asked: str, running: list[OpenTimer] | None = None, earlier: str = "") -> list[Result]:
    """What a job brings that is asked for after a second."""
    jobs = [OpenJob("b", earlier, "running")] if earlier else []
    package = build_package(job="a", task=asked, at_ms=1000, timers=running or [], jobs=jobs)
    job = Jobs(OfflineAgent(Tools())).start(package)
    found = [one async for one in job]
    assert job.state is State.DONE
    return found


@pytest.mark.parametrize(
    ("asked", "seconds", "said", "due"),
    [
        ("Set a timer for ten minutes.", 600, "Timer set for ten minutes.", "Your ten minutes are over."),
        ("set a ninety second timer please", 90, "Timer set for one minute and thirty seconds.",
         "Your one minute and thirty seconds are over."),
        ("a timer for an hour", 3600, "Timer set for one hour.", "Your hour is over."),
        ("start a two and a half minute timer", 150, "Timer set for two minutes and thirty seconds.",
         "Your two minutes and thirty seconds are over."),
        ("wake me up in three quarters of an hour", 2700, "Timer set for forty five minutes.",
         "Your forty five minutes are over."),
        ("let me know in thirty seconds", 30, "Timer set for thirty seconds.", "Your thirty seconds are over."),
        ("remind me in five minutes to call anna", 300, "I will remind you in five minutes, call anna.",
         "A reminder, call anna."),
        ("can you remind me to call anna in an hour and a half", 5400,
         "I will remind you in one hour and thirty minutes, call anna.", "A reminder, call anna."),
        ("in half an hour remind me to go", 1800, "I will remind you in thirty minutes, go.", "A reminder, go."),
        ("set a tea timer for 4 minutes", 240, "I will remind you in four minutes, tea.", "A reminder, tea."),
        ("set a ten second timer for two eggs", 10, "I will remind you in ten seconds, two eggs.",
         "A reminder, two eggs."),
        ("set a timer for the pasta for eleven minutes", 660, "I will remind you in eleven minutes, the pasta.",
         "A reminder, the pasta."),
    ],
)  # fmt: skip
def test_a_timer_is_set_and_says_so(asked: str, seconds: int, said: str, due: str) -> None:
    spoken, timer = asyncio.run(ask(asked))
    assert spoken == Spoken(said)
    assert isinstance(timer, Timer) and (timer.due_ms, timer.text) == (1000 + seconds * 1000, due)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("remind me in two days to vote",
         "I cannot do that, a timer runs for one second at least and for twenty four hours at most."),
        ("set a timer for zero seconds",
         "I cannot do that, a timer runs for one second at least and for twenty four hours at most."),
        ("what timers are running",
         "two timers are running, call anna with one minute left, tea with four minutes left."),
        ("how much time is left on my tea timer", "One timer is running, tea with four minutes left."),
        ("how long until the egg timer goes off", "I cannot do that, there is no timer egg."),
        ("cancel the timer", "I cannot do that, there are two of them, call anna, tea."),
        ("what is a timer for ten minutes", CANNOT),
        ("remind me to call anna", CANNOT),
    ],
)  # fmt: skip
def test_what_changes_no_timer(asked: str, said: str) -> None:
    assert asyncio.run(ask(asked, [ANNA, TEA])) == [Spoken(said)]
    if "running" in asked:
        assert asyncio.run(ask(asked)) == [Spoken("No timer is running.")]


@pytest.mark.parametrize(
    ("asked", "running", "gone"),
    [
        ("cancel the timer", [TEA], [TEA]),
        ("stop my tea timer", [ANNA, TEA], [TEA]),
        ("cancel the reminder to call anna", [ANNA, TEA], [ANNA]),
        ("delete the ten minute timer", [OpenTimer("1 hour and 10 minutes", 4_000_000), TEN], [TEN]),
        ("turn off all timers", [ANNA, TEA], [ANNA, TEA]),
    ],
)
def test_timers_are_cancelled_by_name(asked: str, running: list[OpenTimer], gone: list[OpenTimer]) -> None:
    said, *changes = asyncio.run(ask(asked, running))
    assert isinstance(said, Spoken) and "cancelled" in said.text
    assert changes == [TimerCancelled(one.label, one.due_ms) for one in gone]


def test_a_correction_puts_another_timer_in_its_place() -> None:
    said, *changes = asyncio.run(ask("make that twenty", [TEA, TEN], "set a timer for ten minutes"))
    assert said == Spoken("Timer set for twenty minutes.")
    assert changes == [
        Timer("20 minutes", 1_201_000, "Your twenty minutes are over."),
        TimerCancelled("10 minutes", 500_000),
    ]
    # What cannot be set leaves the one that runs.
    assert len(asyncio.run(ask("make that two days", [TEN], "set a timer for ten minutes"))) == 1
    assert len(asyncio.run(ask("make that blue", [TEN], "set a timer for ten minutes"))) == 1
    assert len(asyncio.run(ask("make that seven", [TEN], "what is 3 + 4"))) == 1


def test_there_are_only_so_many_and_only_so_long() -> None:
    timers = Timers()
    for _ in range(MAX_OPEN):
        timers.set_timer("", MAX_TIMER_SECONDS)
    with pytest.raises(InputError, match="32 timers are running already"):
        timers.set_timer("", 1)
    for seconds in (0, -1, MAX_TIMER_SECONDS + 1, float("nan"), float("inf")):
        with pytest.raises(InputError, match="24 hours"):
            Timers().set_timer("", seconds)
    timers.cancel_timer("")
    assert timers.listed("") == "No timer is running."


def test_durations() -> None:
    texts = (
        "1 hour, 20 minutes and 5 seconds",
        "a quarter of an hour",
        "2 hours and a half",
        "1 hour and a half minute",
    )
    assert [seconds_of(text) for text in texts] == [4805, 900, 9000, 3630]
    assert [duration_text(seconds) for seconds in (4805, 0.2, -3, 86_400)] == [
        "1 hour and 20 minutes and 5 seconds",
        "0 seconds",
        "0 seconds",
        "24 hours",
    ]


@pytest.mark.parametrize(
    "asked", ["set a timer for 1 minute", "remind me to go in 1 hour", "cancel the timer for", "in a"]
)
def test_a_long_request_takes_no_long_time(asked: str) -> None:
    began_s = time.perf_counter()
    OfflineAgent(Tools()).answer((f"{asked} " * 400)[:4000], Timers())
    assert time.perf_counter() - began_s < 1
