"""Timers without a language model: what is understood, what a job brings then, and what it says of those that run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from datetime import datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

import pytest

from microturn.background.job import Corrections, Jobs, State
from microturn.background.offline import CANNOT, OfflineAgent
from microturn.background.package import MAX_OPEN, ContextPackage, OpenJob, OpenTimer, build_package
from microturn.background.results import Result, Spoken, Timer, TimerCancelled
from microturn.background.timers import MAX_TIMER_SECONDS, Timers, duration_text, seconds_of
from microturn.background.tools import Tools
from microturn.errors import InputError

TEA, ANNA, TEN = OpenTimer("tea", 241_000), OpenTimer("call anna", 61_000), OpenTimer("10 minutes", 500_000)
DRINK, ALARM = OpenTimer("drink", 601_000, 600_000), OpenTimer("18:30", 7_771_000)
NOW = datetime(2026, 11, 28, 16, 21)


async def ask(
    asked: str, running: list[OpenTimer] | None = None, earlier: str = "", ends_ms: int | None = None
) -> list[Result]:
    """What a job brings that is asked for after a second, at 16:21."""
    jobs = [OpenJob("b", earlier, "running")] if earlier else []
    package = build_package(job="a", task=asked, at_ms=1000, timers=running or [], jobs=jobs, ends_ms=ends_ms)
    job = Jobs(OfflineAgent(Tools(now=lambda: NOW))).start(package)
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
    ("asked", "day_and_time", "said", "due"),
    [
        ("wake me at half past six", "28 18:30", "Alarm set for six thirty P M.", "It is six thirty P M."),
        ("Wake me up at six.", "28 18:00", "Alarm set for six P M.", "It is six P M."),
        ("wake me at four", "29 04:00", "Alarm set for four A M tomorrow.", "It is four A M."),
        ("remind me at five o'clock to call anna", "28 17:00", "I will remind you at five P M, call anna.",
         "A reminder, call anna."),
        ("please remind me to call anna at nine tomorrow", "29 09:00",
         "I will remind you at nine A M tomorrow, call anna.", "A reminder, call anna."),
        ("remind me tomorrow morning at a quarter to seven to run", "29 06:45",
         "I will remind you at six forty five A M tomorrow, run.", "A reminder, run."),
        ("set an alarm for seven thirty", "28 19:30", "Alarm set for seven thirty P M.", "It is seven thirty P M."),
        ("set an alarm for seven thirty tomorrow", "29 07:30", "Alarm set for seven thirty A M tomorrow.",
         "It is seven thirty A M."),
        ("set an alarm for tomorrow at seven thirty a m", "29 07:30", "Alarm set for seven thirty A M tomorrow.",
         "It is seven thirty A M."),
        ("set an alarm for six p m", "28 18:00", "Alarm set for six P M.", "It is six P M."),
        ("wake me at 6:45 a.m.", "29 06:45", "Alarm set for six forty five A M tomorrow.",
         "It is six forty five A M."),
        ("set a seven o'clock alarm", "28 19:00", "Alarm set for seven P M.", "It is seven P M."),
        ("set a bread alarm for six oh five", "28 18:05", "I will remind you at six oh five P M, bread.",
         "A reminder, bread."),
        ("set an alarm for eighteen fifteen for the bread", "28 18:15",
         "I will remind you at six fifteen P M, the bread.", "A reminder, the bread."),
        ("remind me at ten to five to buy two eggs", "28 16:50", "I will remind you at four fifty P M, buy two eggs.",
         "A reminder, buy two eggs."),
        ("remind me at twenty five past four", "28 16:25", "Alarm set for four twenty five P M.",
         "It is four twenty five P M."),
        ("at noon remind me to eat", "29 12:00", "I will remind you at twelve P M tomorrow, eat.",
         "A reminder, eat."),
        ("let me know at midnight", "29 00:00", "Alarm set for twelve A M tomorrow.", "It is twelve A M."),
        ("wake me at twelve a m", "29 00:00", "Alarm set for twelve A M tomorrow.", "It is twelve A M."),
        ("wake me at twelve p m", "29 12:00", "Alarm set for twelve P M tomorrow.", "It is twelve P M."),
        ("wake me at quarter to one p m", "29 12:45", "Alarm set for twelve forty five P M tomorrow.",
         "It is twelve forty five P M."),
        ("wake me at quarter to twelve tonight", "28 23:45", "Alarm set for eleven forty five P M.",
         "It is eleven forty five P M."),
        ("remind me at two tonight to feed the cat", "29 02:00",
         "I will remind you at two A M tomorrow, feed the cat.", "A reminder, feed the cat."),
        ("remind me to say good morning at seven in the morning", "29 07:00",
         "I will remind you at seven A M tomorrow, say good morning.", "A reminder, say good morning."),
        ("set a timer for half past six", "28 18:30", "Alarm set for six thirty P M.", "It is six thirty P M."),
    ],
)  # fmt: skip
def test_a_time_of_day_is_the_next_such_moment(asked: str, day_and_time: str, said: str, due: str) -> None:
    spoken, timer = asyncio.run(ask(asked))
    assert spoken == Spoken(said) and isinstance(timer, Timer)
    assert f"{NOW + timedelta(milliseconds=timer.due_ms - 1000):%d %H:%M}" == day_and_time
    assert (timer.text, timer.every_ms) == (due, None)


def test_whenever_it_is_asked_for_the_next_such_moment_comes_within_twelve_hours() -> None:
    random = Random(0)
    for _ in range(300):
        asked_at = datetime(2026, 11, 28) + timedelta(seconds=random.randrange(86_400))
        hour, minute = random.randint(1, 12), random.randint(10, 59)
        timers = Timers(now=[asked_at].pop)
        OfflineAgent(Tools()).answer(f"wake me at {hour} {minute}", timers)
        (timer,) = timers.changes
        assert isinstance(timer, Timer) and 1000 <= timer.due_ms < 12 * 3_600_000 + 1000
        due = asked_at + timedelta(milliseconds=timer.due_ms)
        assert (due.hour % 12, due.minute, due.second) == (hour % 12, minute, 0)


@pytest.mark.parametrize(("evening", "hours"), [((2026, 10, 24), 9.5), ((2026, 3, 28), 7.5), ((2026, 11, 28), 8.5)])
def test_clocks_may_be_changed_in_the_night(evening: tuple[int, int, int], hours: float) -> None:
    asked_at = datetime(*evening, 22, tzinfo=ZoneInfo("Europe/Berlin"))
    timers = Timers(now=lambda: asked_at)
    assert timers.set_alarm("", "06:30") == "Alarm set for 06:30 tomorrow."
    assert list(timers.changes) == [Timer("06:30", round(hours * 3_600_000), "It is six thirty A M.")]


@pytest.mark.parametrize(
    ("asked", "seconds", "said", "due"),
    [
        ("remind me every ten minutes to drink", 600, "I will remind you every ten minutes, drink.",
         "A reminder, drink."),
        ("remind me to drink water every half hour", 1800, "I will remind you every thirty minutes, drink water.",
         "A reminder, drink water."),
        ("every hour remind me to stand up", 3600, "I will remind you every hour, stand up.", "A reminder, stand up."),
        ("every thirty seconds say hello there", 30, "I will remind you every thirty seconds, hello there.",
         "hello there."),
        ("say stretch every two minutes", 120, "I will remind you every two minutes, stretch.", "stretch."),
        ("tell me every quarter of an hour to look away", 900, "I will remind you every fifteen minutes, look away.",
         "A reminder, look away."),
        ("remind me every minute", 60, "I will remind you every minute.", "Another minute is over."),
        ("set a repeating timer for five seconds", 5, "I will remind you every five seconds.",
         "Another five seconds are over."),
        ("set a reminder every two hours to walk", 7200, "I will remind you every two hours, walk.",
         "A reminder, walk."),
    ],
)  # fmt: skip
def test_a_timer_repeats(asked: str, seconds: int, said: str, due: str) -> None:
    spoken, timer = asyncio.run(ask(asked))
    assert spoken == Spoken(said) and isinstance(timer, Timer)
    assert (timer.due_ms, timer.every_ms, timer.text) == (1000 + seconds * 1000, seconds * 1000, due)


def test_an_agent_that_repeats_without_a_pause_fails() -> None:
    class Drumming:
        async def work(self, package: ContextPackage, corrections: Corrections) -> AsyncGenerator[Result]:
            yield Timer("drum", 1000, "boom.", every_ms=4999)

    async def reason() -> str:
        job = Jobs(Drumming()).start(build_package(job="a", task="drum", at_ms=0))
        assert [one async for one in job] == [] and job.state is State.FAILED
        return job.reason

    assert asyncio.run(reason()) == "the answer cannot be read"


ENDS = "I cannot do that, this conversation ends before that, in one hour."


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("set a timer for two hours", ENDS),
        ("remind me every ninety minutes to drink", ENDS),
        ("wake me at half past six", ENDS),
        ("set a timer for an hour", ENDS),
        ("set a timer for fifty nine minutes", "Timer set for fifty nine minutes."),
        ("remind me at five to call anna", "I will remind you at five P M, call anna."),
    ],
)
def test_what_is_due_after_the_end_is_refused(asked: str, said: str) -> None:
    found = asyncio.run(ask(asked, ends_ms=3_601_000))
    assert found[0] == Spoken(said) and len(found) == (1 if said == ENDS else 2)


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
        ("remind me to call five", CANNOT),
        ("set a timer for ten", CANNOT),
        ("wake me at twenty five", CANNOT),
        ("every two hours", CANNOT),
        ("remind me this morning at seven to go",
         "I cannot do that, it is past this morning at seven already."),
        ("remind me tomorrow at seven p m",
         "I cannot do that, a timer runs for one second at least and for twenty four hours at most."),
        ("remind me every four seconds to breathe",
         "I cannot do that, I repeat nothing more often than every five seconds."),
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
        ("cancel the six thirty alarm", [TEA, ALARM], [ALARM]),
        (
            "cancel the half past six alarm",
            [OpenTimer("06:30", 51_000_000), OpenTimer("19:30", 1)],
            [OpenTimer("06:30", 51_000_000)],
        ),
        ("stop reminding me to drink", [DRINK, TEA], [DRINK]),
        ("stop reminding me", [DRINK], [DRINK]),
        ("stop saying drink every ten minutes", [DRINK, TEA], [DRINK]),
        (
            "cancel the ten minute timer",
            [OpenTimer("every 10 minutes", 601_000, 600_000), TEA],
            [OpenTimer("every 10 minutes", 601_000, 600_000)],
        ),
    ],
)
def test_timers_are_cancelled_by_name(asked: str, running: list[OpenTimer], gone: list[OpenTimer]) -> None:
    said, *changes = asyncio.run(ask(asked, running))
    assert isinstance(said, Spoken) and "cancelled" in said.text
    assert changes == [TimerCancelled(one.label, one.due_ms) for one in gone]


def test_of_two_alarms_the_one_of_exactly_that_name_is_meant() -> None:
    timers = Timers(running=[OpenTimer("06:30", 51_000_000), ALARM])
    assert timers.named("18:30") == [ALARM] and len(timers.named("6 30")) == 2


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


@pytest.mark.parametrize(
    ("earlier", "change", "running", "timer"),
    [
        ("wake me at half past six", "no make that seven", ALARM, Timer("19:00", 9_541_000, "It is seven P M.")),
        ("set an alarm for six thirty p m", "I mean five p m", ALARM, Timer("17:00", 2_341_000, "It is five P M.")),
        ("wake me at half past six", "make that tomorrow at six", ALARM,
         Timer("06:00", 49_141_000, "It is six A M.")),
        ("remind me at five to drink two glasses", "make that six", OpenTimer("drink 2 glasses", 2_341_000),
         Timer("drink 2 glasses", 5_941_000, "A reminder, drink two glasses.")),
        ("remind me every ten minutes to drink", "no every twenty", DRINK, None),
        ("remind me every ten minutes to drink", "make that twenty", DRINK,
         Timer("drink", 1_201_000, "A reminder, drink.", 1_200_000)),
        ("remind me every hour to drink", "make that two hours", DRINK,
         Timer("drink", 7_201_000, "A reminder, drink.", 7_200_000)),
        ("remind me every minute", "make that two minutes", OpenTimer("every minute", 61_000, 60_000),
         Timer("every 2 minutes", 121_000, "Another two minutes are over.", 120_000)),
        ("wake me at half past six", "make that ten minutes", ALARM, None),
    ],
)  # fmt: skip
def test_a_correction_moves_an_alarm_and_a_period(
    earlier: str, change: str, running: OpenTimer, timer: Timer | None
) -> None:
    _, *changes = asyncio.run(ask(change, [TEA, running], earlier))
    assert changes == ([] if timer is None else [timer, TimerCancelled(running.label, running.due_ms)])


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
    "asked",
    [
        "set a timer for 1 minute", "remind me to go in 1 hour", "cancel the timer for", "in a",
        "wake me at half past 6", "remind me to go at 7 tomorrow", "remind me every 1 hour to",
        "say go every 5 minutes", "stop reminding me to", "tomorrow at", "set a", "every",
    ],
)  # fmt: skip
def test_a_long_request_takes_no_long_time(asked: str) -> None:
    began_s = time.perf_counter()
    OfflineAgent(Tools()).answer((f"{asked} " * 400)[:4000], Timers())
    assert time.perf_counter() - began_s < 1
