"""Jobs: pieces of work that an agent does while the conversation goes on.

A job moves along one line and never back::

    created -> running -> streaming -> done | failed | cancelled

Whatever an agent does (hang, raise, flood, ignore that it is cancelled), its job ends within the budget and the other
jobs go on. An agent shares the event loop, so it may not compute for long without awaiting; ours do not.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import msgspec

from microturn.background.package import MAX_TASK_CHARACTERS, ContextPackage
from microturn.background.results import Question, Result
from microturn.errors import BackgroundError, BusyError, InputError

MAX_CORRECTIONS = 32
MAX_REMEMBERED = 256
"""Jobs that are over and still known by name, so that one that is asked for again is not done twice."""
ANSWER_SECONDS = 30.0
"""A question to the user that has no answer after it is taken as answered with no."""
MAX_STRAYS = 16
"""Agents that go on working for a job that is over: they do not keep others from starting, up to this number."""
CLOSE_SECONDS = 1.0
CORRECTS = re.compile(
    r"(?:(?:oh|sorry|wait|hey|and|but|please|okay|ok|well|um|uh)[ ,]+)*"
    r"(?:no|nope|not|actually|rather|instead|i (?:mean|meant|said)|(?:make|change) (?:that|it)|that(?:'s| is) wrong)\b"
)

AGREES = re.compile(
    r"(?:(?:oh|well|um|uh)[ ,]+)*(?:yes|yeah|yep|sure|okay|ok|of course|please do|do (?:it|that)|go ahead)\b"
)
REFUSES = re.compile(r"\b(?:no|not|don't|dont|never|stop|wait|but|cancel|instead)\b")

log = logging.getLogger(__name__)


def is_correction(words: str) -> bool:
    """Whether what is handed over while a job runs puts that job right and is no job of its own: whether it begins as
    corrections do ("no", "actually", "I mean", "make that", "sorry, not"). Anything else is another job."""
    return CORRECTS.match(" ".join(words.lower().replace("’", "'").split())) is not None


def agrees(words: str) -> bool:
    """Whether an answer allows what was asked for: it begins with a yes, and nothing in it takes that back."""
    plain = " ".join(words.lower().replace("’", "'").split())
    return AGREES.match(plain) is not None and REFUSES.search(plain) is None


class State(StrEnum):
    CREATED = "created"
    RUNNING = "running"
    """The agent works; nothing has come yet."""
    STREAMING = "streaming"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


OVER = frozenset({State.DONE, State.FAILED, State.CANCELLED})
NEXT: dict[State, frozenset[State]] = {
    State.CREATED: frozenset({State.RUNNING, State.FAILED, State.CANCELLED}),
    State.RUNNING: frozenset({State.STREAMING, *OVER}),
    State.STREAMING: OVER,
    **dict.fromkeys(OVER, frozenset()),
}


@dataclass(frozen=True)
class Budget:
    """What one job may use: time, and characters of its results' JSON form."""

    seconds: float = 120.0
    characters: int = 100_000


class Corrections:
    """What the user said since the job began: the agent takes it when it can. What it asks has an answer of its own."""

    def __init__(self, bring: Callable[[Question], bool] = lambda question: False) -> None:
        """``bring`` has a question said, if that is possible."""
        self._bring = bring
        self._waiting: deque[str] = deque()
        # Tools run side by side: without turns, one yes would answer them all.
        self._asking = asyncio.Lock()
        self._answer: asyncio.Future[str] | None = None
        self.count = 0

    def put(self, text: str) -> None:
        self._waiting.append(text)
        self.count += 1

    def answer(self, text: str) -> None:
        """Answer the question that waits; nothing happens if none does."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(text)

    async def ask(self, question: str) -> str:
        """What the user answers; nothing if he cannot be asked or does not answer in time. One question at a time."""
        async with self._asking:
            self._answer = asyncio.get_running_loop().create_future()
            if not self._bring(Question(question)):
                return ""
            with suppress(TimeoutError):
                async with asyncio.timeout(ANSWER_SECONDS):
                    return await self._answer
            return ""

    def take(self) -> tuple[str, ...]:
        """What came since the last call, in order."""
        taken = tuple(self._waiting)
        self._waiting.clear()
        return taken


class Agent(Protocol):
    """Whoever does the work. Raises ``BackgroundError`` for what the user may be told."""

    def work(self, package: ContextPackage, corrections: Corrections) -> AsyncGenerator[Result]:
        """Results as they come, and the end."""
        ...


class Job:
    """One piece of work. Iterate over it for its results; it ends when the job is over."""

    def __init__(self, package: ContextPackage, budget: Budget) -> None:
        self.package = package
        self.budget = budget
        self.state = State.CREATED
        self.reason = ""
        """Why it failed, in a line that can be said."""
        self.characters = 0
        self._corrections = Corrections(self._accept)
        self._waiting: deque[Result] = deque()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        return self.package.job

    @property
    def over(self) -> bool:
        return self.state in OVER

    def correct(self, text: str) -> None:
        """Pass on what the user changed. Raises ``InputError`` if the job is over or has been corrected too often."""
        if self.over:
            raise InputError(f"job {self.name}: is {self.state}, it cannot be corrected")
        if self._corrections.count >= MAX_CORRECTIONS:
            raise InputError(f"job {self.name}: has been corrected {MAX_CORRECTIONS} times")
        self._corrections.put(text[:MAX_TASK_CHARACTERS])

    def answer(self, text: str) -> None:
        """Pass on what the user said to its question; nothing happens if it waits for no answer (any more)."""
        self._corrections.answer(text[:MAX_TASK_CHARACTERS])

    def cancel(self) -> None:
        """End it now; results that nobody has taken yet are dropped. Nothing happens if it is over."""
        if not self.over:
            self._waiting.clear()
            self._move(State.CANCELLED)
            if self._task is not None:
                self._task.cancel()

    async def __aiter__(self) -> AsyncIterator[Result]:
        while True:
            while self._waiting:
                yield self._waiting.popleft()
            if self.over:
                return
            self._changed.clear()
            await self._changed.wait()

    def _move(self, state: State, reason: str = "") -> None:
        if state not in NEXT[self.state]:
            raise AssertionError(f"job {self.name}: {self.state} -> {state}")
        self.state, self.reason = state, reason
        if self.over:
            # A job is remembered by its name long after it is over, and megabytes of sound and pictures with it.
            self.package = msgspec.structs.replace(self.package, lines=(), sound=None, pictures=())
        self._changed.set()

    def _accept(self, result: Result) -> bool:
        """Take a result; whether there may be more. Its JSON form is what counts, whatever it says of itself."""
        try:
            encoded = msgspec.json.encode(result)
            if self.characters + len(encoded) > self.budget.characters:
                self._move(State.FAILED, "the answer grew too long")
                return False
            copy = msgspec.json.decode(encoded, type=Result)
        except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError) as error:
            log.warning("job %s: %s", self.name, error)
            self._move(State.FAILED, "the answer cannot be read")
            return False
        self.characters += len(encoded)
        if self.state is State.RUNNING:
            self._move(State.STREAMING)
        self._waiting.append(copy)
        self._changed.set()
        return True

    async def _work(self, agent: Agent) -> None:
        self._move(State.RUNNING)
        results = agent.work(self.package, self._corrections)
        try:
            async for result in results:
                # A cancelled job that goes on all the same is not listened to.
                if self.over or not self._accept(result):
                    break
                # An agent that never waits must let the others have their turn.
                await asyncio.sleep(0)
            if not self.over:
                self._move(State.DONE)
        except BackgroundError as error:
            if not self.over:
                self._move(State.FAILED, str(error))
        except Exception:
            log.exception("job %s failed", self.name)
            if not self.over:
                self._move(State.FAILED, "something went wrong")
        finally:
            await results.aclose()

    def _out_of_time(self) -> None:
        if not self.over:
            self._move(State.FAILED, "it took too long")
            assert self._task is not None
            self._task.cancel()


class Jobs:
    """The jobs of a session, or of all: at most ``max_running`` at a time. To be used within an event loop."""

    def __init__(self, agent: Agent, *, max_running: int = 4) -> None:
        self._agent = agent
        self._max_running = max_running
        self._jobs: dict[str, Job] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def running(self) -> tuple[Job, ...]:
        return tuple(job for job in self._jobs.values() if not job.over)

    def start(self, package: ContextPackage, budget: Budget | None = None) -> Job:
        """Begin a job. One that is known by this name is returned as it is: nothing is done twice.

        Raises ``BusyError`` if ``max_running`` jobs are not over, or too many do not stop although they are.
        """
        if package.job in self._jobs:
            return self._jobs[package.job]
        if len(self.running) >= self._max_running or len(self._tasks) >= self._max_running + MAX_STRAYS:
            raise BusyError(f"{len(self._tasks)} jobs are running", retry_after_ms=1000)
        over = [name for name, one in self._jobs.items() if one.over]
        for name in over[: max(0, len(self._jobs) + 1 - MAX_REMEMBERED)]:
            del self._jobs[name]
        job = self._jobs[package.job] = Job(package, budget or Budget())
        loop = asyncio.get_running_loop()
        task = job._task = loop.create_task(job._work(self._agent), name=f"job {job.name}")
        deadline = loop.call_later(job.budget.seconds, job._out_of_time)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: deadline.cancel())
        return job

    async def close(self) -> None:
        """Cancel what runs; an agent that does not let go is left behind."""
        for job in self.running:
            job.cancel()
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=CLOSE_SECONDS)
