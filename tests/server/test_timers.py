"""Timers of a session, without a socket: set by a job, said in the turn in which they are due, told to other jobs."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterator
from datetime import datetime
from itertools import pairwise
from random import Random

import msgspec
import pytest

from microturn.background.job import Budget, Corrections, State
from microturn.background.office import MAX_RUNNING, Office
from microturn.background.offline import OfflineAgent
from microturn.background.package import ContextPackage, OpenTimer
from microturn.background.results import Result, Spoken, Timer, TimerCancelled
from microturn.background.tools import Tools
from microturn.errors import BackgroundError
from microturn.server.delegation import Delegated, JobBrought, JobMoved, RecordedJob
from microturn.server.live import Live
from microturn.turn import TURN_MS, Act
from tests.server.conftest import FakeHost, service
from tests.server.jobs import Talk
from tests.server.test_delegation import state_of, talk_of
from tests.server.test_live import started


class Keeping(OfflineAgent):
    """Keeps the packages that it was given; breaks down over a task that says so, once its timer is set."""

    def __init__(self) -> None:
        super().__init__(Tools(now=lambda: datetime(2026, 11, 28, 12)))
        self.packages: list[ContextPackage] = []

    async def work(self, package: ContextPackage, corrections: Corrections) -> AsyncGenerator[Result]:
        self.packages.append(package)
        if package.task == "break":
            yield Timer("tea", package.at_ms + 400, "A reminder, tea.")
            raise BackgroundError("the shop is closed")
        async for result in super().work(package, corrections):
            yield result


@pytest.fixture
def agent() -> Keeping:
    return Keeping()


@pytest.fixture
def talk(agent: Keeping) -> Iterator[Talk]:
    office = Office(agent, Budget(seconds=0.2))
    yield talk_of(office)
    office.close()


def set_timer(talk: Talk, words: str) -> str:
    """Ask for one; returns its job, whose agent is done and which has said so."""
    name = talk.delegate(words)
    talk.until(lambda: talk.live.delegation._jobs[name].has_ended and not talk.live.delegation._incoming)
    talk.turn()
    assert talk.results(name)[1]["type"] == "timer" and talk.over(name) is None
    talk.texts.clear()
    return name


def test_a_timer_is_said_in_the_turn_in_which_it_is_due(talk: Talk) -> None:
    name = set_timer(talk, "set a timer for sixty seconds")
    due_ms = TURN_MS + 60_000
    said, timer = talk.results(name)
    assert said == {"type": "spoken", "text": "Timer set for one minute."}
    assert timer == {"type": "timer", "label": "1 minute", "due_ms": due_ms, "text": "Your minute is over."}
    time.sleep(0.25)  # longer than the budget of a job
    while (talk.num_turns + 1) * TURN_MS < due_ms:
        talk.turn()
    assert len(talk.results(name)) == 2 and talk.texts == []
    (told,) = talk.turn()
    assert told["result"] == {"type": "spoken", "text": "Your minute is over."} and told["offset_ms"] == due_ms
    assert state_of(talk, name) == ("done", "") and talk.texts == ["your minute is over"]


def test_time_passes_in_turns_that_were_left_out(talk: Talk, agent: Keeping) -> None:
    name = set_timer(talk, "set a timer for an hour")
    talk.skipped_turns = 3600 * 5 - 50
    talk.turn()
    state_of(talk, talk.delegate("what is 3 + 4"))
    assert agent.packages[-1].timers == (OpenTimer("1 hour", TURN_MS + 10_000),)
    while talk.num_turns < 50:
        talk.turn()
    assert len(talk.results(name)) == 2
    talk.turn()
    assert talk.results(name)[2]["text"] == "Your hour is over."


def test_two_timers_are_two_jobs_and_others_are_told_of_them(talk: Talk, agent: Keeping) -> None:
    first = set_timer(talk, "remind me in eight hours to call anna")
    second = set_timer(talk, "set a timer for two minutes")
    name = talk.delegate("what timers are running")
    assert state_of(talk, name) == ("done", "")
    assert [one.label for one in agent.packages[-1].timers] == ["2 minutes", "call anna"]
    assert [one.state for one in agent.packages[-1].jobs] == ["running", "running"]
    text = talk.results(name)[0]["text"]
    assert text.startswith("two timers are running, two minutes with ")
    assert text.endswith(" left, call anna with eight hours left.")
    talk.texts.clear()
    talk.skipped_turns = 600
    assert state_of(talk, second) == ("done", "") and talk.over(first) is None
    talk.skipped_turns = 8 * 3600 * 5
    assert state_of(talk, first) == ("done", "")
    assert " ".join(talk.texts) == "your two minutes are over a reminder call anna"
    state_of(talk, talk.delegate("what timers are running"))
    assert agent.packages[-1].timers == ()


def test_never_mind_cancels_the_newest_timer_and_its_name_any(talk: Talk, agent: Keeping) -> None:
    first = set_timer(talk, "set a tea timer for four minutes")
    second = set_timer(talk, "set a timer for an hour")
    (cancelled,) = talk.turn(act=Act.CANCEL)
    assert (cancelled["job_id"], cancelled["state"]) == (second, "cancelled")
    name = talk.delegate("cancel the timer")
    assert state_of(talk, name) == ("done", "") and state_of(talk, first) == ("cancelled", "")
    assert [one["type"] for one in talk.results(name)] == ["spoken", "timer-cancelled"]
    talk.texts.clear()
    talk.skipped_turns = 3600 * 5
    for _ in range(3):
        talk.turn()
    assert talk.texts == [] and talk.live.delegation.running == []


def test_a_correction_is_for_what_was_asked_last(talk: Talk, agent: Keeping) -> None:
    first = set_timer(talk, "set a timer for ten minutes")
    second = set_timer(talk, "no make that twenty")
    assert state_of(talk, first) == ("cancelled", "")
    state_of(talk, talk.delegate("how many days until christmas"))
    name = talk.delegate("no i meant new year")
    assert state_of(talk, name) == ("done", "") and "new year" in talk.results(name)[0]["text"]
    assert talk.over(second) is None and [one.label for one in agent.packages[-1].timers] == ["20 minutes"]


def test_timers_take_no_place_and_no_number_of_other_jobs(talk: Talk, agent: Keeping) -> None:
    names = [set_timer(talk, "set a timer for an hour") for _ in range(MAX_RUNNING + 2)]
    assert state_of(talk, talk.delegate("what is 3 + 4")) == ("done", "")
    assert len(agent.packages[-1].timers) == MAX_RUNNING + 2
    talk.skipped_turns = 3600 * 5
    assert all(state_of(talk, name) == ("done", "") for name in names)
    # Those that are due at once are told apart again.
    assert talk.numbers == ["1"] * (MAX_RUNNING + 3) + [str(one + 1) for one in range(MAX_RUNNING + 2)]


def test_a_job_that_fails_leaves_no_timer(talk: Talk) -> None:
    name = talk.delegate("break")
    assert state_of(talk, name) == ("failed", "the shop is closed")
    for _ in range(5):
        talk.turn()
    assert " ".join(talk.texts) == "that failed the shop is closed"


TOLD: list[tuple[int, Delegated | JobMoved | JobBrought]] = [
    (1, Delegated("dlg_1", "dlg_1", "tea and eggs", False)),
    (1, JobMoved("dlg_1", State.RUNNING, "tea and eggs")),
    (2, JobBrought("dlg_1", 0, Spoken("I will remind you."))),
    (2, JobBrought("dlg_1", 1, Timer("eggs", 2_000_000, "A reminder, eggs."))),
    (2, JobBrought("dlg_1", 2, Timer("tea", 2_400, "A reminder, tea."))),
    (3, Delegated("dlg_3", "dlg_3", "cancel the eggs timer", False)),
    (3, JobMoved("dlg_3", State.RUNNING, "cancel the eggs timer")),
    (4, JobBrought("dlg_3", 0, TimerCancelled("eggs", 1_999_800))),
    (4, JobMoved("dlg_3", State.DONE)),
]
RUNG: list[tuple[int, Delegated | JobMoved | JobBrought]] = [
    (11, JobBrought("dlg_1", 3, Spoken("A reminder, tea."))),
    (12, JobMoved("dlg_1", State.DONE)),
]


@pytest.mark.parametrize("rung", [False, True])
def test_a_timer_outlives_a_killed_server_and_is_said_once(talk: Talk, agent: Keeping, rung: bool) -> None:
    lines = [msgspec.json.encode(RecordedJob(turn, what)) for turn, what in TOLD + (RUNG if rung else [])]
    talk.live.delegation.restore(lines, 13 if rung else 6)
    for _ in range(13 if rung else 6):
        talk.turn()
    assert talk.texts == []
    talk.skipped_turns = 3  # no server was there
    for _ in range(10):
        talk.turn()
    assert state_of(talk, "dlg_1") == ("done", "") and agent.packages == []
    said = [one for one in talk.results("dlg_1") if one["type"] == "spoken"]
    assert [one["text"] for one in said] == ["I will remind you.", "A reminder, tea."]
    assert talk.texts == ([] if rung else ["a reminder tea"])
    rang_ms = [one["offset_ms"] for one in talk.told if one.get("result") == said[1]]
    assert rang_ms == [2400 if rung else 1800]


def test_a_timer_that_was_cancelled_does_not_come_back(talk: Talk) -> None:
    told = [*TOLD, (5, JobMoved("dlg_1", State.CANCELLED))]
    talk.live.delegation.restore([msgspec.json.encode(RecordedJob(turn, what)) for turn, what in told], 6)
    for _ in range(20):
        talk.turn()
    assert state_of(talk, "dlg_1") == ("cancelled", "") and talk.texts == []


class Recorded:
    """A session whose server can be killed: what it keeps of jobs, and which turns it left out."""

    def __init__(self, office: Office) -> None:
        self.lines: list[bytes] = []
        self.skipped_turns: list[int] = []
        """Up to each turn."""
        self._office = office
        self.talk = talk_of(office)
        self.talk.live.delegation.recording = self

    def keep_job(self, line: bytes) -> None:
        self.lines.append(line)

    def keep_package(self, delegation: str, package: bytes) -> None:
        pass

    @property
    def now_ms(self) -> int:
        """Time that has passed, turns or not."""
        return (self.talk.num_turns + self.talk.skipped_turns) * TURN_MS

    def turn(self) -> list[str]:
        """What was told to be said in the next turn."""
        told = self.talk.turn()
        self.skipped_turns += [self.talk.skipped_turns] * (self.talk.num_turns - len(self.skipped_turns))
        return [one["result"]["text"] for one in told if one.get("result", {}).get("type") == "spoken"]

    def kill(self, idle_turns: int) -> None:
        """Go on in another process after a while."""
        self.talk = talk_of(self._office)
        self.talk.live.delegation.restore(self.lines, len(self.skipped_turns))
        for skipped_turns in self.skipped_turns:
            self.talk.skipped_turns = skipped_turns
            self.talk.turn()
        assert self.talk.texts == []
        self.talk.skipped_turns += idle_turns
        self.talk.live.delegation.recording = self


@pytest.mark.parametrize("seed", range(5))
def test_a_timer_that_repeats_is_said_once_at_each_of_its_times(agent: Keeping, seed: int) -> None:
    """Turns that are left out and killed servers notwithstanding; times that lie in such a gap are said together."""
    random, office = Random(seed), Office(agent)
    every_s, once_s = random.randint(20, 90), random.randint(100, 900)
    session = Recorded(office)
    session.talk.skipped_turns = random.randrange(100)
    begun_ms = session.now_ms + TURN_MS
    drink = set_timer(session.talk, f"remind me every {every_s} seconds to drink")
    once_ms = session.now_ms + TURN_MS + once_s * 1000
    set_timer(session.talk, f"remind me in {once_s} seconds to call anna")
    text = session.talk.results(drink)[1]["text"]
    walls_ms, rang_ms, called_ms = [session.now_ms], [], []
    for _ in range(4000):
        chance = random.random()
        if chance < 0.01:
            session.talk.skipped_turns += random.choice((1, 7, random.randrange(1200)))
        elif chance < 0.013:
            session.kill(random.randrange(300))
        said = session.turn()
        walls_ms.append(session.now_ms)
        rang_ms += [session.now_ms] * said.count(text)
        called_ms += [session.now_ms] * said.count("A reminder, call anna.")
    due_ms = [
        after for before, after in pairwise(walls_ms)
        if (after - begun_ms) // (every_s * 1000) > (before - begun_ms) // (every_s * 1000)
    ]  # fmt: skip
    assert rang_ms == due_ms and len(due_ms) > 9
    assert called_ms == [next(wall_ms for wall_ms in walls_ms if wall_ms >= once_ms)]
    # Others are told of its next time; then it is cancelled, for good.
    talk = session.talk
    name = talk.delegate("stop reminding me")
    assert state_of(talk, name) == ("done", "") and state_of(talk, drink) == ("cancelled", "")
    (timer,) = agent.packages[-1].timers
    assert timer.every_ms == every_s * 1000 and 0 <= timer.due_ms - agent.packages[-1].at_ms <= timer.every_ms
    session.kill(10)
    assert [session.turn() for _ in range(every_s * 10)] == [[]] * every_s * 10
    office.close()


def test_what_repeats_is_heard_whole_each_time(talk: Talk) -> None:
    words = "drink " * 60
    name = set_timer(talk, f"say {words}every thirty seconds")
    for number in range(1, 15):
        talk.skipped_turns += 140
        talk.until(lambda: len(talk.results(name)) == 2 + number)  # noqa: B023
        for _ in range(10):
            talk.turn()
    assert " ".join(talk.texts).split() == words.split() * 14
    (cancelled,) = talk.turn(act=Act.CANCEL)
    assert (cancelled["job_id"], cancelled["state"]) == (name, "cancelled")


def test_what_is_due_after_the_end_of_the_session_is_refused(agent: Keeping) -> None:
    office = Office(agent)
    talk = Talk(started(Live(service(600_000, office), FakeHost())))
    name = talk.delegate("set a timer for ten minutes")
    assert state_of(talk, name) == ("done", "")
    (said,) = talk.results(name)
    assert said["text"] == "I cannot do that, this conversation ends before that, in ten minutes."
    set_timer(talk, "set a timer for nine and a half minutes")
    office.close()
