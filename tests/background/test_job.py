"""Whatever an agent does, its job ends, and the others do not notice."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable
from itertools import product
from typing import cast

import numpy as np
import pytest

from microturn.background.job import MAX_CORRECTIONS, MAX_REMEMBERED, NEXT, Budget, Corrections, Job, Jobs, State
from microturn.background.package import ContextPackage, Line, Picture, build_package
from microturn.background.results import Html, Markdown, Question, Result, Spoken, Table
from microturn.errors import BackgroundError, BusyError, InputError

Work = Callable[[ContextPackage, Corrections], AsyncGenerator[Result]]


def package(name: str = "a", task: str = "think") -> ContextPackage:
    return build_package(job=name, task=task, at_ms=1000)


async def taken(job: Job) -> list[Result]:
    return [result async for result in job]


class Script:
    """An agent that does what the task names."""

    def __init__(self) -> None:
        self.works: dict[str, Work] = {}
        self.started = 0

    def work(self, package: ContextPackage, corrections: Corrections) -> AsyncGenerator[Result]:
        self.started += 1
        return self.works[package.task](package, corrections)


@pytest.fixture
def agent() -> Script:
    script = Script()

    async def think(package: ContextPackage, corrections: Corrections) -> AsyncGenerator[Result]:
        await asyncio.sleep(0.01)
        yield Spoken("one")
        yield Table("t", ("a", "b"), (("1", "2"),))

    async def hang(package: ContextPackage, corrections: Corrections) -> AsyncGenerator[Result]:
        await asyncio.Event().wait()
        yield Spoken("never")

    async def stubborn(package: ContextPackage, corrections: Corrections) -> AsyncGenerator[Result]:
        end = time.monotonic() + 2.0
        while time.monotonic() < end:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.02)
            yield Spoken("more")

    async def fail(package: ContextPackage, corrections: Corrections) -> AsyncGenerator[Result]:
        yield Spoken("begun")
        raise BackgroundError("the library is closed")

    async def break_down(package: ContextPackage, corrections: Corrections) -> AsyncGenerator[Result]:
        yield Spoken("begun")
        raise ZeroDivisionError("secret/path")

    async def flood(package: ContextPackage, corrections: Corrections) -> AsyncGenerator[Result]:
        while True:
            yield Spoken("")

    async def huge(package: ContextPackage, corrections: Corrections) -> AsyncGenerator[Result]:
        yield Html("page", "<b>" * 10_000_000)

    async def liar(package: ContextPackage, corrections: Corrections) -> AsyncGenerator[Result]:
        class Short(str):
            def __len__(self) -> int:
                return 0

        yield Markdown("m", Short("x" * 10_000_000))

    async def wrong(package: ContextPackage, corrections: Corrections) -> AsyncGenerator[Result]:
        yield Spoken(cast(str, 7))

    async def listen(package: ContextPackage, corrections: Corrections) -> AsyncGenerator[Result]:
        yield Spoken("ready")
        while not (said := corrections.take()):
            await asyncio.sleep(0.005)
        yield Spoken(" ".join(said))

    async def ask(package: ContextPackage, corrections: Corrections) -> AsyncGenerator[Result]:
        yield Spoken("ready")
        answers = await asyncio.gather(corrections.ask("send it?"), corrections.ask("burn it?"))
        yield Spoken(" ".join((*answers, *corrections.take())))

    for one in (think, hang, stubborn, fail, flood, huge, liar, wrong, listen, ask):
        script.works[one.__name__] = one
    script.works["break"] = break_down
    return script


def test_a_job_brings_its_results_in_order_and_is_done(agent: Script) -> None:
    async def session() -> None:
        job = Jobs(agent).start(package())
        states = [job.state]
        results = job.__aiter__()
        assert await anext(results) == Spoken("one")
        states.append(job.state)
        assert [one async for one in results] == [Table("t", ("a", "b"), (("1", "2"),))]
        assert [*states, job.state] == [State.CREATED, State.STREAMING, State.DONE]

    asyncio.run(session())


@pytest.mark.parametrize(
    "task, budget, reason",
    [
        ("hang", Budget(seconds=0.1), "it took too long"),
        ("stubborn", Budget(seconds=0.1), "it took too long"),
        ("fail", Budget(), "the library is closed"),
        ("break", Budget(), "something went wrong"),
        ("flood", Budget(characters=10_000), "the answer grew too long"),
        ("huge", Budget(), "the answer grew too long"),
        ("liar", Budget(), "the answer cannot be read"),
        ("wrong", Budget(), "the answer cannot be read"),
    ],
)
def test_a_job_that_goes_wrong_ends_and_the_others_go_on(agent: Script, task: str, budget: Budget, reason: str) -> None:
    async def session() -> None:
        jobs = Jobs(agent)
        bad = jobs.start(package("bad", task), budget)
        good = jobs.start(package("good"))
        began = time.monotonic()
        assert len(await taken(good)) == 2 and good.state is State.DONE
        await asyncio.wait_for(taken(bad), 5)
        assert time.monotonic() - began < 3
        assert (bad.state, bad.reason) == (State.FAILED, reason)
        assert bad.characters <= budget.characters
        assert len(await taken(jobs.start(package("later")))) == 2
        await jobs.close()

    asyncio.run(session())


def test_what_came_before_a_failure_stays(agent: Script) -> None:
    async def session() -> None:
        assert await taken(Jobs(agent).start(package(task="fail"))) == [Spoken("begun")]

    asyncio.run(session())


@pytest.mark.parametrize("task", ["think", "hang", "stubborn", "flood", "listen"])
@pytest.mark.parametrize("after_seconds", [None, 0.0, 0.05])
def test_results_of_a_cancelled_job_are_dropped(agent: Script, task: str, after_seconds: float | None) -> None:
    async def session() -> None:
        jobs = Jobs(agent)
        job = jobs.start(package(task=task), Budget(characters=10_000_000))
        if after_seconds is not None:
            await asyncio.sleep(after_seconds)
        finished = job.over
        job.cancel()
        results = await asyncio.wait_for(taken(job), 1)
        assert finished or (results == [] and job.state is State.CANCELLED)
        await asyncio.sleep(0.05)
        assert finished or (await taken(job) == [] and job.state is State.CANCELLED)
        await jobs.close()

    asyncio.run(session())


def test_corrections_reach_the_agent_and_have_an_end(agent: Script) -> None:
    async def session() -> None:
        job = Jobs(agent).start(package(task="listen"))
        results = job.__aiter__()
        assert await anext(results) == Spoken("ready")
        for number in range(MAX_CORRECTIONS):
            job.correct(f"make that {number}")
        with pytest.raises(InputError, match="corrected 32 times"):
            job.correct("again")
        assert await anext(results) == Spoken(" ".join(f"make that {one}" for one in range(MAX_CORRECTIONS)))
        assert [one async for one in results] == []
        with pytest.raises(InputError, match="is done"):
            job.correct("make that Tuesday")

    asyncio.run(session())


def test_every_question_has_its_own_answer_and_a_correction_is_none(agent: Script) -> None:
    async def session() -> None:
        job = Jobs(agent).start(package(task="ask"))
        results = job.__aiter__()
        assert [await anext(results), await anext(results)] == [Spoken("ready"), Question("send it?")]
        job.correct("make that two")
        await asyncio.sleep(0.02)
        job.answer("yes")
        job.answer("yes indeed")
        assert await anext(results) == Question("burn it?")
        job.answer("no")
        assert [one async for one in results] == [Spoken("yes no make that two")]
        job.answer("too late")
        assert job.state is State.DONE

    asyncio.run(session())


def test_a_job_that_is_over_keeps_no_sound_and_no_pictures(agent: Script) -> None:
    async def session() -> None:
        sound, picture = np.zeros(16_000, np.float32), Picture.of(np.zeros((48, 64, 3), np.uint8), 0)
        lines = [Line("user", "think", 0, 1000)]
        given = build_package(job="a", task="think", at_ms=1000, lines=lines, sound=sound, pictures=[picture])
        job = Jobs(agent).start(given)
        assert job.package == given
        await taken(job)
        assert (job.name, job.package.task) == ("a", "think")
        assert (job.package.lines, job.package.sound, job.package.pictures) == ((), None, ())

    asyncio.run(session())


def test_a_job_is_not_done_twice(agent: Script) -> None:
    async def session() -> None:
        jobs = Jobs(agent)
        job = jobs.start(package())
        await taken(job)
        assert jobs.start(package()) is job and agent.started == 1
        for number in range(MAX_REMEMBERED + 20):
            await taken(jobs.start(package(str(number))))
        assert len(jobs._jobs) == MAX_REMEMBERED

    asyncio.run(session())


def test_only_so_many_run_at_a_time(agent: Script) -> None:
    async def session() -> None:
        jobs = Jobs(agent, max_running=2)
        first = jobs.start(package("a", "stubborn"))
        jobs.start(package("b", "hang"))
        with pytest.raises(BusyError):
            jobs.start(package("c"))
        await asyncio.sleep(0.05)
        first.cancel()
        assert len(await taken(jobs.start(package("c")))) == 2
        await jobs.close()
        assert not jobs.running

    asyncio.run(session())


def test_states_only_move_forward(agent: Script) -> None:
    order = list(State)
    for before, after in product(State, State):
        if after in NEXT[before]:
            assert order.index(after) > order.index(before)

    async def session() -> None:
        job = Job(package(), Budget())
        with pytest.raises(AssertionError):
            job._move(State.STREAMING)

    asyncio.run(session())
