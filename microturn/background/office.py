"""Where the jobs of all sessions run: a thread of its own, so that no agent can hold up a turn or whoever delivers it.

A session has a desk here. What it asks for is done in the order in which it is asked; what comes of it is fetched.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock, Thread

from microturn.background.job import OVER, Agent, Budget, Job, Jobs, State
from microturn.background.package import ContextPackage
from microturn.background.results import Result
from microturn.errors import InputError, MicroturnError

MAX_RUNNING = 4
"""Jobs of one session at a time."""
CLOSE_SECONDS = 3.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Packed:
    """The context package of a job was made."""

    job: str
    package: ContextPackage


@dataclass(frozen=True)
class Brought:
    """A job has brought something."""

    job: str
    result: Result


@dataclass(frozen=True)
class Ended:
    """A job is over; nothing of it comes after this."""

    job: str
    state: State
    reason: str = ""


@dataclass(frozen=True)
class TooLate:
    """A correction found its job over already: it is a job of its own."""

    job: str
    text: str


News = Packed | Brought | Ended | TooLate


class Desk:
    """The jobs of one session. Every method returns at once; use them from one thread."""

    def __init__(self, office: Office) -> None:
        self._office = office
        self._jobs: Jobs | None = None
        self._running: dict[str, Job] = {}
        self._following: set[asyncio.Task[None]] = set()
        self._news: deque[News] = deque()

    @property
    def has_agent(self) -> bool:
        """Whether jobs can be started, and not packages made alone."""
        return self._office.agent is not None

    @property
    def seconds(self) -> float:
        """How long a job may take."""
        return self._office.budget.seconds

    def pack(self, job: str, build: Callable[[], ContextPackage]) -> None:
        """Have the package made by ``build`` and nothing done with it."""
        self._office.call(lambda: self._pack(job, build))

    def start(self, job: str, build: Callable[[], ContextPackage]) -> None:
        """Have the package made by ``build`` and its job begun."""
        self._office.call(lambda: self._start(job, build))

    def correct(self, job: str, name: str, text: str) -> None:
        """Pass a correction on to a job, or find it ``TooLate`` under its own ``name``."""
        self._office.call(lambda: self._correct(job, name, text))

    def answer(self, job: str, text: str) -> None:
        """Pass on what the user said to a question of a job, if it still waits for it."""
        self._office.call(lambda: self._running[job].answer(text) if job in self._running else None)

    def cancel(self, job: str) -> None:
        """End a job."""
        self._office.call(lambda: self._running[job].cancel() if job in self._running else None)

    def news(self, most: int) -> list[News]:
        """What has come, in its order; at most so many things at a time."""
        return [self._news.popleft() for _ in range(min(most, len(self._news)))]

    def close(self) -> None:
        """The session is over: cancel what runs."""
        self._office.call(self._close)

    # In the office's thread.

    def _pack(self, name: str, build: Callable[[], ContextPackage]) -> ContextPackage | None:
        try:
            package = build()
        except InputError as error:
            self._news.append(Ended(name, State.FAILED, str(error)))
            return None
        except Exception:
            log.exception("the package of job %s could not be made", name)
            self._news.append(Ended(name, State.FAILED, "something went wrong"))
            return None
        self._news.append(Packed(name, package))
        return package

    def _start(self, name: str, build: Callable[[], ContextPackage]) -> None:
        package = self._pack(name, build)
        if package is None:
            return
        agent = self._office.agent
        assert agent is not None
        if self._jobs is None:
            self._jobs = Jobs(agent, max_running=MAX_RUNNING)
        try:
            job = self._jobs.start(package, self._office.budget)
        except MicroturnError as error:
            self._news.append(Ended(name, State.FAILED, str(error)))
            return
        self._running[name] = job
        task = asyncio.get_running_loop().create_task(self._follow(job))
        self._following.add(task)
        task.add_done_callback(self._following.discard)

    async def _follow(self, job: Job) -> None:
        async for result in job:
            self._news.append(Brought(job.name, result))
        del self._running[job.name]
        self._news.append(Ended(job.name, job.state, job.reason))

    def _correct(self, running: str, name: str, text: str) -> None:
        job = self._running.get(running)
        if job is None or job.state in OVER:
            self._news.append(TooLate(name, text))
            return
        try:
            job.correct(text)
        except InputError as error:
            log.warning("%s", error)

    def _close(self) -> None:
        if self._jobs is not None:
            task = asyncio.get_running_loop().create_task(self._jobs.close())
            self._following.add(task)
            task.add_done_callback(self._following.discard)


class Office:
    """One agent and the thread in which it works for all sessions of a server; the thread begins when it is needed.

    An agent that computes without awaiting holds up the jobs of all sessions, and nothing else.
    """

    def __init__(self, agent: Agent | None, budget: Budget | None = None) -> None:
        """Without an agent, packages can be made and no job started."""
        self.agent = agent
        self.budget = budget or Budget()
        self._lock = Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: Thread | None = None
        self._closed = False

    def desk(self) -> Desk:
        """The desk of a new session."""
        return Desk(self)

    def call(self, task: Callable[[], object]) -> None:
        """Have ``task`` done in the thread, after what was asked for before."""
        with self._lock:
            if self._closed:
                return
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = Thread(target=self._loop.run_forever, name="background", daemon=True)
                self._thread.start()
            self._loop.call_soon_threadsafe(task)

    def close(self) -> None:
        """End the thread; an agent that does not let go of it is left behind."""
        with self._lock:
            self._closed = True
        if self._loop is None or self._thread is None:
            return
        ending = asyncio.run_coroutine_threadsafe(_cancel_all(), self._loop)
        try:
            ending.result(CLOSE_SECONDS)
        except TimeoutError:
            log.warning("the background model does not stop")
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CLOSE_SECONDS)
        if not self._thread.is_alive():
            self._loop.close()


async def _cancel_all() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=CLOSE_SECONDS / 2)
