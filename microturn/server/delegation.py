"""What the model delegates: tasks on their way out of a session, and results on their way in.

Every ``delegate`` hands over what the user said and typed since the model last acted or spoke. The server's background
model does it, or the client; while a job of the server runs, words that begin as a correction are passed on to it.
``cancel`` ends the newest job that runs. A job that has set a timer runs until that is due, or until it is cancelled
if that repeats. What a job says comes into the session as text of its own source, as much in a turn as a turn reads, so
that whatever else is typed never waits behind it.
"""

from __future__ import annotations

import logging
from bisect import insort
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from microturn.background.job import OVER, State, is_correction
from microturn.background.office import MAX_RUNNING, Brought, Desk, Ended, Office, Packed, TooLate
from microturn.background.package import ContextPackage, OpenJob, OpenTimer
from microturn.background.results import Markdown, Question, Result, Spoken, Timer, TimerCancelled
from microturn.background.spoken import spoken
from microturn.engine.inbox import Inbox, pieces_of
from microturn.engine.slots import Turn
from microturn.session.context import Context
from microturn.session.playback import Playback
from microturn.turn import TURN_MS, Act, TextIn

MAX_KNOWN = 64
"""Jobs of a session that are remembered."""
MAX_PACKED_JOBS = 8
"""Of them, those of which the next job's package tells."""
MAX_NEWS = 16
"""Things that jobs brought, told in one turn."""
MAX_SPOKEN_CHARACTERS = 4_000
"""Of what one job says: minutes of speech. What comes after that is only shown."""
MAX_RESULT_BYTES = 48 * 1024
"""Of one result: an event that carries it must fit into a message of a peer connection."""
MAX_TITLE_CHARACTERS = 200
PIECE_BYTES = 64
"""Of a job's text in a turn: about what a turn reads."""
ANSWER_PAUSE_TURNS = 3
"""An answer is over after so many turns without a word."""
PATIENCE_SECONDS = 5.0
"""A job that has not ended so long after its time is not waited for."""

log = logging.getLogger(__name__)


class Told(Struct, frozen=True, tag_field="told"):
    """Something about the jobs of a session that its client is told, and that a recording keeps."""


class Delegated(Told, frozen=True, tag="delegated"):
    """A task was handed over. ``job`` does it: a job of the same name, or an earlier one that this corrects."""

    delegation: str
    job: str
    task: str
    by_client: bool


class JobMoved(Told, frozen=True, tag="state"):
    """A job of the server has begun or is over; or a job of the client was cancelled."""

    job: str
    state: State
    task: str = ""
    """What it does, where it begins."""
    reason: str = ""


class JobBrought(Told, frozen=True, tag="result"):
    """The ``index``-th result of a job."""

    job: str
    index: int
    result: Result


@dataclass(frozen=True)
class PackageMade:
    """The package of a delegation, for a client that wants it."""

    delegation: str
    package: ContextPackage


Notice = Delegated | JobMoved | JobBrought | PackageMade


class RecordedJob(Struct, frozen=True):
    """A line of ``jobs.jsonl``: what was told after a turn, and how many turns had been left out by then."""

    turn: int
    what: Delegated | JobMoved | JobBrought
    skipped_turns: int = 0


class JobRecording(Protocol):
    """Whoever keeps what becomes of jobs."""

    def keep_job(self, line: bytes) -> None:
        """A line of ``jobs.jsonl``."""
        ...

    def keep_package(self, delegation: str, package: bytes) -> None:
        """The context package of a delegation."""
        ...


@dataclass
class _Job:
    name: str
    task: str
    by_client: bool
    since_turn: int
    skipped_turns: int = 0
    """Turns that had been left out when it began: its agent's times do not know of later ones."""
    number: int = 0
    """By which the model knows it: the smallest that no other running job has."""
    state: State = State.RUNNING
    num_results: int = 0
    num_spoken: int = 0
    """Characters that it says."""
    asks: bool = False
    """It waits for what the user says to its question."""
    was_asked: bool = False
    """The session has got the question."""
    has_ended: bool = False
    """Nothing more comes; what it says may still be on its way in."""


class Delegation:
    """One session's."""

    def __init__(self, office: Office | None, max_session_ms: int) -> None:
        """``office`` does the work, if it has an agent."""
        self._max_session_ms = max_session_ms
        self._desk: Desk | None = None if office is None else office.desk()
        self.has_agent = self._desk is not None and self._desk.has_agent
        """Whether the server can do what is delegated."""
        self.by_client = not self.has_agent
        """Whether the client does what is delegated."""
        self.wants_package = False
        self.recording: JobRecording | None = None
        self._context = Context()
        self._jobs: dict[str, _Job] = {}
        self._incoming: deque[tuple[_Job, TextIn | Ended]] = deque()
        """Text that the session has yet to be given, and the ends of jobs behind it."""
        self._timers: list[tuple[_Job, Timer]] = []
        """Those that run, the one that is due next first."""
        self._skipped_turns = 0
        self._again: dict[int, list[Notice]] = {}
        self._live_turn = 0
        """From this turn on acts are obeyed: before it lies what a killed server has done already."""

    @property
    def running(self) -> list[_Job]:
        """Jobs that are not over, oldest first."""
        return [one for one in self._jobs.values() if one.state not in OVER]

    def state_of(self, delegation: str) -> State | None:
        """How a job stands; ``None`` if there is none of this name."""
        job = self._jobs.get(delegation)
        return None if job is None else job.state

    def take(self, turn: Turn, inbox: Inbox, playback: Playback) -> list[Notice]:
        """Obey what one turn asks for, and take in what has come; returns what the client is to be told."""
        self._context.add(turn.given, turn.made)
        made = turn.made
        words = "" if made.act is None else self._context.request()
        if made.turn < self._live_turn:
            return self._again.pop(made.turn, [])
        self._skip(turn.skipped_turns)
        self._end_lost()
        self._end_late()
        notices: list[Notice] = []
        if made.act is Act.DELEGATE:
            self._end_answered(inbox)
            notices += self._delegate(f"dlg_{made.turn}", words, playback)
        elif made.act is Act.CANCEL and (running := self.running):
            notices += self._cancel(running[-1])
        notices += self._news(playback) + self._ring() + self._feed(inbox)
        self._pass_on_answers()
        for one in notices:
            if self.recording is not None and not isinstance(one, PackageMade):
                self.recording.keep_job(msgspec.json.encode(RecordedJob(made.turn, one, turn.skipped_turns)))
        return notices

    def restore(self, lines: list[bytes], live_turn: int) -> None:
        """Know what a killed server did up to ``live_turn``: it is told again with its turns, and nothing is done
        twice. Raises ``msgspec.DecodeError`` for a line that is damaged."""
        self._live_turn = live_turn
        for line in lines:
            recorded = msgspec.json.decode(line, type=RecordedJob)
            self._skip(recorded.skipped_turns)
            self._again.setdefault(recorded.turn, []).append(recorded.what)
            match recorded.what:
                case Delegated(delegation, job, task, by_client) if by_client and delegation == job:
                    self._know(_Job(job, task, by_client, recorded.turn))
                case JobMoved(job, State.RUNNING, task):
                    self._know(_Job(job, task, False, recorded.turn, recorded.skipped_turns, has_ended=True))
                case JobMoved(job, state) if job in self._jobs:
                    self._jobs[job].state = state
                    self._drop_timers(self._jobs[job])
                case JobBrought(job, index, result) if job in self._jobs:
                    self._jobs[job].num_results = index + 1
                    self._restore_timers(self._jobs[job], result, recorded.turn)

    def from_client(self, delegation: str, text: str, inbox: Inbox) -> bool:
        """Give the session what a job of the client says; ``False`` if it is more than a job may say, or may wait."""
        job = self._jobs[delegation]
        if job.num_spoken + len(text) > MAX_SPOKEN_CHARACTERS:
            return False
        if job.state is State.DONE:
            # It was not: its number may be another's by now.
            job.number, job.state = self._free_number(), State.RUNNING
        job.num_spoken += len(text)
        return all(inbox.push_text(piece) for piece in _said_by(job, spoken(text)))

    def finish(self, delegation: str) -> None:
        """The client has done it."""
        self._jobs[delegation].state = State.DONE

    def close(self) -> None:
        """The session is over."""
        if self._desk is not None:
            self._desk.close()

    # What the model asks for.

    def _delegate(self, name: str, task: str, playback: Playback) -> list[Notice]:
        if self.by_client:
            self._know(_Job(name, task, True, self._context.num_turns))
            if self._desk is not None and task and (self.wants_package or self.recording is not None):
                self._desk.pack(name, self._packer(name, task, playback, self._others()))
            return [Delegated(name, name, task, by_client=True)]
        assert self._desk is not None
        if not task:
            log.info("nothing was said that could be delegated")
            return []
        running = [one for one in self.running if not one.by_client and not self._only_waits(one)]
        if asking := [one for one in running if one.was_asked]:
            self._answer(asking[-1], task)
            return []
        corrected = running[-1] if running and is_correction(task) else None
        if corrected is not None and not corrected.has_ended:
            self._desk.correct(corrected.name, name, task)
            return [Delegated(name, corrected.name, task, by_client=False)]
        # What is on its way in already is not what is wanted any more.
        outdated = [] if corrected is None else self._cancel(corrected)
        return [*outdated, Delegated(name, name, task, by_client=False), *self._start(name, task, playback)]

    def _end_answered(self, inbox: Inbox) -> None:
        """Nobody says of a client's job that it is done: it counts as that once the session has read an answer."""
        for job in self.running:
            if job.by_client and job.num_spoken and not inbox.has_text:
                job.state = State.DONE

    def _pass_on_answers(self) -> None:
        """What is said after a question, up to a pause, is its answer, whatever else the model makes of it."""
        for job in self.running:
            if job.asks and not job.was_asked and all(one is not job for one, _ in self._incoming):
                job.was_asked = True
                self._context.request()  # what was said before is no answer
            elif job.was_asked and (words := self._context.quiet_request(ANSWER_PAUSE_TURNS)):
                self._answer(job, words)

    def _answer(self, job: _Job, words: str) -> None:
        assert self._desk is not None
        job.asks = job.was_asked = False
        self._context.request()
        self._desk.answer(job.name, " ".join(words.split()))

    def _start(self, name: str, task: str, playback: Playback) -> list[Notice]:
        assert self._desk is not None
        others = self._others()
        busy = [one for one in self.running if not one.by_client and not self._only_waits(one)]
        job = _Job(name, task, False, self._context.num_turns, self._skipped_turns)
        self._know(job)
        if len(busy) >= MAX_RUNNING:
            self._end(Ended(name, State.FAILED, "too much is being done already"))
        else:
            self._desk.start(name, self._packer(name, task, playback, others))
        return [JobMoved(name, State.RUNNING, task)]

    def _cancel(self, job: _Job) -> list[Notice]:
        """End a job; what it has brought and the session has not got is dropped."""
        job.state, job.has_ended = State.CANCELLED, True
        self._incoming = deque(one for one in self._incoming if one[0] is not job)
        self._drop_timers(job)
        if self._desk is not None and not job.by_client:
            self._desk.cancel(job.name)
        return [JobMoved(job.name, State.CANCELLED)]

    def _know(self, job: _Job) -> None:
        job.number = self._free_number()
        self._jobs[job.name] = job
        for one in list(self._jobs.values())[: max(0, len(self._jobs) - MAX_KNOWN)]:
            if one.by_client or one.state in OVER:
                del self._jobs[one.name]

    def _free_number(self) -> int:
        taken = {one.number for one in self.running if not self._only_waits(one)}
        return next(number for number in range(1, len(taken) + 2) if number not in taken)

    def _packer(self, name: str, task: str, playback: Playback, others: list[OpenJob]) -> Callable[[], ContextPackage]:
        timers = [OpenTimer(one.label, max(0, one.due_ms), one.every_ms) for _, one in self._timers]
        return self._context.packer(name, task, playback, others, timers, self._max_session_ms)

    def _others(self) -> list[OpenJob]:
        known = list(self._jobs.values())[-MAX_PACKED_JOBS:]
        return [OpenJob(one.name, one.task[:400], one.state) for one in known]

    # What comes in.

    def _end_lost(self) -> None:
        """End the jobs that a killed server left."""
        if self._live_turn:
            self._live_turn = 0
            for job in [one for one in self.running if not one.by_client and not self._only_waits(one)]:
                self._end(Ended(job.name, State.FAILED, "the server was restarted"))

    def _end_late(self) -> None:
        """End the jobs whose agent does not even let itself be ended."""
        if self._desk is None:
            return
        patience_turns = int((self._desk.seconds + PATIENCE_SECONDS) * 1000 / TURN_MS)
        for job in self.running:
            if not job.by_client and not job.has_ended and self._context.num_turns - job.since_turn > patience_turns:
                self._desk.cancel(job.name)
                self._end(Ended(job.name, State.FAILED, "it took too long"))

    def _news(self, playback: Playback) -> list[Notice]:
        notices: list[Notice] = []
        for one in [] if self._desk is None else self._desk.news(MAX_NEWS):
            job = self._jobs.get(one.job)
            match one:
                case Packed(name, package):
                    if self.recording is not None:
                        self.recording.keep_package(name, package.encode())
                    if self.wants_package:
                        notices.append(PackageMade(name, package))
                case TooLate(name, text):
                    notices += self._start(name, text, playback)
                case Brought(_, result) if job is not None and not job.has_ended:
                    notices.append(self._brought(job, result))
                    if isinstance(result, TimerCancelled) and (idle := self._drop_timer(job, result)):
                        notices += self._cancel(idle)
                case Ended() if job is not None and not job.has_ended:
                    self._end(one)
        return notices

    def _brought(self, job: _Job, result: Result) -> Notice:
        if isinstance(result, Spoken | Question):
            text = " ".join("".join(one if one.isprintable() else " " for one in result.text).split())
            result = type(result)(text[:MAX_SPOKEN_CHARACTERS])
            if isinstance(result, Question):
                # What is said now may still be about an earlier one, which nobody has answered in time.
                job.asks, job.was_asked = True, False
            self._say(job, result.text)
        elif isinstance(result, Timer):
            self._set(job, result)
        elif isinstance(result, TimerCancelled):
            pass
        elif len(result.title) > MAX_TITLE_CHARACTERS or len(msgspec.json.encode(result)) > MAX_RESULT_BYTES:
            result = Markdown(result.title[:MAX_TITLE_CHARACTERS], "This is too long to be shown.")
        job.num_results += 1
        return JobBrought(job.name, job.num_results - 1, result)

    def _say(self, job: _Job, text: str) -> None:
        text = text[: max(0, MAX_SPOKEN_CHARACTERS - job.num_spoken)]
        job.num_spoken += len(text)
        self._incoming.extend((job, piece) for piece in _said_by(job, text))

    def _end(self, ended: Ended) -> None:
        """Nothing more comes of a job; it is over once the session has got what it said."""
        job = self._jobs[ended.job]
        job.has_ended = True
        if ended.state is State.FAILED:
            self._incoming.extend((job, piece) for piece in _said_by(job, spoken(f"That failed, {ended.reason}")))
            self._drop_timers(job)
        if not self._only_waits(job):
            self._incoming.append((job, ended))

    # Timers.

    def _only_waits(self, job: _Job) -> bool:
        """Whether its agent is done and one of its timers is not due yet."""
        return job.has_ended and any(one is job for one, _ in self._timers)

    def _set(self, job: _Job, timer: Timer) -> None:
        """Add one that its agent has set."""
        self._add(job, replace(timer, due_ms=timer.due_ms - self._skipped_ms(job)))

    def _add(self, job: _Job, timer: Timer) -> None:
        insort(self._timers, (job, timer), key=lambda one: one[1].due_ms)

    def _skipped_ms(self, job: _Job) -> int:
        """How much time was left out since it began."""
        return (self._skipped_turns - job.skipped_turns) * TURN_MS

    def _skip(self, skipped_turns: int) -> None:
        """So many turns were left out so far; they are time that has passed all the same."""
        if earlier_ms := (skipped_turns - self._skipped_turns) * TURN_MS:
            self._timers = [(job, replace(timer, due_ms=timer.due_ms - earlier_ms)) for job, timer in self._timers]
        self._skipped_turns = skipped_turns

    def _drop_timers(self, job: _Job) -> None:
        self._timers = [one for one in self._timers if one[0] is not job]

    def _drop_timer(self, canceller: _Job, cancelled: TimerCancelled) -> _Job | None:
        """Forget one, which may have moved since whoever cancels it was told of it; returns its job if it was the last
        thing that the job waited for."""
        due_ms = cancelled.due_ms - self._skipped_ms(canceller)
        same = [one for one in self._timers if one[1].label == cancelled.label]
        if not same:
            return None
        dropped = min(same, key=lambda one: abs(one[1].due_ms - due_ms))
        self._timers.remove(dropped)
        job = dropped[0]
        return job if job.has_ended and not self._only_waits(job) else None

    def _restore_timers(self, job: _Job, result: Result, turn: int) -> None:
        """Know what one of its results was: a timer, the end of one, or what one of its timers was for."""
        if isinstance(result, Timer):
            self._set(job, result)
        elif isinstance(result, TimerCancelled):
            self._drop_timer(job, result)
        elif isinstance(result, Spoken):
            now_ms = (turn + 1) * TURN_MS
            for one in self._timers:
                if one[0] is job and one[1].text == result.text and one[1].due_ms <= now_ms:
                    self._rang(one, now_ms)
                    break

    def _rang(self, one: tuple[_Job, Timer], now_ms: int) -> None:
        """It is set anew if it repeats: for the next of its times, whatever of them has passed."""
        self._timers.remove(one)
        job, timer = one
        if timer.every_ms is not None:
            passed = (now_ms - timer.due_ms) // timer.every_ms + 1
            self._add(job, replace(timer, due_ms=timer.due_ms + passed * timer.every_ms))

    def _ring(self) -> list[Notice]:
        """Have said what timers are due for."""
        now_ms = self._context.num_turns * TURN_MS
        notices: list[Notice] = []
        while self._timers and self._timers[0][1].due_ms <= now_ms:
            job, timer = self._timers[0]
            if job.has_ended:
                job.number = self._free_number()
            self._rang(self._timers[0], now_ms)
            if timer.every_ms is not None:
                job.num_spoken = 0
            notices.append(self._brought(job, Spoken(timer.text)))
            if job.has_ended and not self._only_waits(job):
                self._incoming.append((job, Ended(job.name, State.DONE)))
        return notices

    def _feed(self, inbox: Inbox) -> list[Notice]:
        """Give the session the next piece of text, if nothing else waits to be read."""
        notices: list[Notice] = []
        while self._incoming and not inbox.has_text:
            job, what = self._incoming.popleft()
            if isinstance(what, TextIn):
                inbox.push_text(what)
            else:
                job.state = what.state
                notices.append(JobMoved(job.name, what.state, reason=what.reason))
        return notices


def _said_by(job: _Job, text: str) -> list[TextIn]:
    """What a job says, as the model has learnt to read it, in pieces."""
    words = TextIn.from_job(None, text).text
    return [TextIn.from_job(job.number, piece) for piece in pieces_of(words, PIECE_BYTES)]
