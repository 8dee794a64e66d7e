"""Live sessions as folders, from which they can be taken again turn by turn::

    DIR/live_12ab.../
      session.json          whose weights (a fingerprint), which seed, how it ended
      turns.jsonl           a line a turn: what came in and what went out, with digests of the sounds and the picture
      arrived.jsonl         of a session that can be resumed: a line for every text as it arrived, and for every mute
      user.wav  model.wav   16 bits, as both came; the model's sound lies where it is heard, a turn later
      jobs.jsonl            what became of delegated tasks, if there were any, each with the turn in which it was told
      packages/dlg_12.json  the context package of the task that was delegated in turn 12
      frames/000200.png     the picture of the turn that begins at 200 ms
      states/000050.safetensors     what the session remembered before turn 50; the newest two are kept

``user.wav`` and ``frames/`` are what ``microturn talk`` reads: a recording can be played to other weights as it is.
A line of ``turns.jsonl`` is written after all that it speaks of, so a killed server leaves whole turns. A text stands
in ``arrived.jsonl`` before any turn that takes of it, so what no turn has taken is what waits.

Two threads write it, one the turns, one the large states. A tick hands them references and now and then one copy of a
state; when they fall far behind, as when a disk stands still, recordings are given up and never waited for.
"""

from __future__ import annotations

import logging
import struct
import sys
from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path
from queue import Full, Queue
from threading import Thread
from typing import Any, BinaryIO

import msgspec
import numpy as np
from PIL import Image

from microturn.engine.inbox import Inbox
from microturn.engine.slots import End, Tick, Turn
from microturn.errors import RecordingError
from microturn.model.state import State
from microturn.turn import SAMPLE_RATE_HZ, TURN_MS, TURN_SAMPLES, Frame, Pcm, TextIn

FORMAT = 1
SESSION_NAME, TURNS_NAME, ARRIVED_NAME, JOBS_NAME = "session.json", "turns.jsonl", "arrived.jsonl", "jobs.jsonl"
USER_NAME, MODEL_NAME = "user.wav", "model.wav"
FRAMES_NAME, STATES_NAME, PACKAGES_NAME = "frames", "states", "packages"
STATE_EVERY_TURNS = 10_000 // TURN_MS
KEPT_STATES = 2
MAX_WAITING_JOBS = 512
"""Turns of all sessions that may wait to be written."""
WAV_HEADER_BYTES = 44
FULL_SCALE = 32768.0

log = logging.getLogger(__name__)


class RecordedSession(msgspec.Struct, frozen=True):
    """``session.json``."""

    format: int
    session: str
    weights: str
    fingerprint: str
    seed: int
    client: dict[str, Any] | None = None
    """What a server needs to know to let the client come back; ``None`` if it cannot."""
    end: str | None = None


class RecordedTurn(msgspec.Struct, frozen=True):
    """A line of ``turns.jsonl``. ``sound``, ``picture`` and ``voice`` are digests of what came in and went out."""

    turn: int
    t_ms: int
    sound: str | None
    picture: str | None
    texts: list[tuple[str, str]]
    hear: str
    say: str
    act: str | None
    speaking: bool
    voice: str
    compute_ms: float
    margin_ms: float
    sessions: int
    waiting_ms: int
    skipped_turns: int


class RecordedArrival(msgspec.Struct, frozen=True):
    """A line of ``arrived.jsonl``: texts in pieces, as turns take them; whether the session is muted now."""

    texts: list[tuple[str, str]]
    muted: bool


def digest(values: Pcm | Frame) -> str:
    """A short name for exactly these samples or pixels."""
    return blake2b(repr(values.shape).encode() + values.tobytes(), digest_size=8).hexdigest()


def picture_name(turn: int) -> str:
    """The file of a turn's picture in ``frames/``."""
    return f"{turn * TURN_MS:06d}.png"


def state_name(turn: int) -> str:
    """The file of what is remembered before a turn, in ``states/``."""
    return f"{turn:06d}.safetensors"


def check_folder(folder: Path) -> None:
    """Make ``folder`` if it is not there. Raises ``RecordingError`` if nothing can be written in it."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / ".writable").touch()
        (folder / ".writable").unlink()
    except OSError as error:
        raise RecordingError(f"{folder}: cannot be recorded to ({error.strerror})") from error


class Recorder:
    """Writes the sessions of one server under ``folder``."""

    def __init__(self, folder: Path, weights: str, fingerprint: str) -> None:
        """``weights`` is what they were loaded by. Raises ``RecordingError`` if nothing can be written there."""
        check_folder(folder)
        self._folder, self._weights, self._fingerprint = folder, weights, fingerprint
        self.turns, self.states = _Writer("recorder of turns"), _Writer("recorder of states")
        self._copied: Tick | None = None

    def begin(self, session_id: str, seed: int, client: dict[str, Any] | None = None) -> SessionRecording:
        """The recording of a new session. Its folder appears with the first turn, or at once if ``client`` is given."""
        about = RecordedSession(FORMAT, session_id, self._weights, self._fingerprint, seed, client)
        return SessionRecording(self, self._folder / session_id, about)

    def go_on(self, about: RecordedSession, num_turns: int) -> SessionRecording:
        """The recording of a session that a killed server left after ``num_turns`` turns."""
        return SessionRecording(self, self._folder / about.session, about, num_turns)

    def close(self) -> None:
        """Write what still waits, and end."""
        self.turns.close()
        self.states.close()

    def may_copy(self, tick: Tick) -> bool:
        """Whether no state of this tick was copied yet: one a tick, so that copies never add up."""
        if self._copied is tick:
            return False
        self._copied = tick
        return True


class _Writer:
    """A thread that does jobs in their order."""

    def __init__(self, name: str) -> None:
        self._jobs: Queue[Callable[[], None] | None] = Queue(MAX_WAITING_JOBS)
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, job: Callable[[], None]) -> bool:
        """Have ``job`` done; ``False`` if too much waits already."""
        try:
            self._jobs.put_nowait(job)
        except Full:
            return False
        return True

    def close(self) -> None:
        """Do what still waits, and end."""
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()


class SessionRecording:
    """One session; what the engine calls only puts jobs into the writer's queue."""

    def __init__(self, recorder: Recorder, folder: Path, about: RecordedSession, left: int | None = None) -> None:
        """``left``: turns that are there already."""
        self.num_noted = 0
        """Texts and mutes that have arrived."""
        self.inbox: Inbox | None = None
        """What arrives in it is noted, if it is given before the session is opened."""
        self.on_written: Callable[[], None] = lambda: None
        """Called by the writing thread when there is another one, or when there will be no more."""
        self._recorder, self._folder, self._about, self._left = recorder, folder, about, left
        self._files: _Files | None = None
        self._num_written, self._num_noted_written = left or 0, 0
        self._lost = False
        """Given up: no turn can be left out."""
        self._turns_to_state = STATE_EVERY_TURNS

    @property
    def num_written(self) -> int:
        """Turns that a killed server would not lose, or that nobody need wait for any more."""
        # Whoever gives up does so in another thread, maybe while a turn is being written.
        return sys.maxsize if self._lost else self._num_written

    @property
    def num_noted_written(self) -> int:
        """The same of the texts and mutes that have arrived."""
        return sys.maxsize if self._lost else self._num_noted_written

    def begin(self) -> None:
        """The session is admitted: note what its inbox holds and what will arrive."""
        if self.inbox is not None:
            self.inbox.follow(self.note, from_now=self._left is not None)

    def note(self, texts: Sequence[TextIn], muted: bool) -> None:
        """Keep what has arrived and no turn has taken yet."""
        self.num_noted += 1
        line = RecordedArrival([(text.source.value, text.text) for text in texts], muted)
        self._submit(lambda: self._note(line))

    def keep_job(self, line: bytes) -> None:
        """Keep what became of a delegated task."""
        self._submit(lambda: self._opened().keep_job(line))

    def keep_package(self, delegation: str, package: bytes) -> None:
        """Keep the context package of a delegation."""
        self._submit(lambda: self._opened().keep_package(delegation, package))

    def add(self, turn: Turn, state: Callable[[], State]) -> None:
        """Keep a turn and, if it is time, the state after it."""
        self._turns_to_state -= 1
        due = self._turns_to_state <= 0 and not self._lost and self._recorder.may_copy(turn.tick)
        copied = state() if due else None
        if due:
            self._turns_to_state = STATE_EVERY_TURNS
        self._submit(lambda: self._write(turn, copied))

    def end(self, end: End) -> None:
        """Complete the files."""
        self._submit(lambda: self._finish(end.value))

    def _submit(self, job: Callable[[], None]) -> None:
        if not self._lost and not self._recorder.turns.submit(lambda: self._guarded(job)):
            self._give_up("the disk is too slow")

    def _guarded(self, job: Callable[[], None]) -> None:
        if self._lost:
            return
        try:
            job()
        except Exception as error:
            self._give_up(str(error))

    def _give_up(self, cause: str) -> None:
        self._lose()
        log.error("a recording is given up: %s", cause)

    def _lose(self) -> None:
        """Nothing is kept from now on, and nobody waits for it."""
        self._lost = True
        self.on_written()

    def _opened(self) -> _Files:
        if self._files is None:
            self._files = _Files(self._folder, self._about, self._left)
        return self._files

    def _note(self, line: RecordedArrival) -> None:
        self._opened().note(line)
        self._num_noted_written += 1
        self.on_written()

    def _write(self, turn: Turn, state: State | None) -> None:
        files = self._opened()
        files.write(turn)
        self._num_written = turn.made.turn + 1
        self.on_written()
        if state is not None:
            # A killed server leaves sound files that are at most so much longer than they say.
            files.mark()
            path = self._folder / STATES_NAME / state_name(self._num_written)
            self._recorder.states.submit(lambda: self._guarded(lambda: write_state(path, state)))

    def _finish(self, end: str) -> None:
        if self._files is not None:
            self._files.close(msgspec.structs.replace(self._about, end=end))
        # A turn that was being taken meanwhile is nobody's any more.
        self._lose()


class _Files:
    """What lies in the folder of one session: a new one, or one of which ``left`` turns are there already."""

    def __init__(self, folder: Path, about: RecordedSession, left: int | None) -> None:
        self._folder = folder
        num_turns = left or 0
        if left is None:
            folder.mkdir(mode=0o700)
            write_whole(folder / SESSION_NAME, msgspec.json.encode(about))
            (folder / TURNS_NAME).touch(exist_ok=False)
        # What the model says in a turn is heard in the next one.
        self._user = _Wav(folder / USER_NAME, num_turns)
        self._model = _Wav(folder / MODEL_NAME, num_turns + 1)
        self._turns = (folder / TURNS_NAME).open("r+b", buffering=0)
        lines = self._turns.read().split(b"\n")[:num_turns]
        self._turns.truncate(sum(len(line) + 1 for line in lines))
        self._turns.seek(0, 2)
        self._arrived = (folder / ARRIVED_NAME).open("a+b", buffering=0) if about.client is not None else None
        if (jobs := folder / JOBS_NAME).exists():
            lines = jobs.read_bytes().split(b"\n")[:-1]
            jobs.write_bytes(b"".join(line + b"\n" for line in lines))
        if self._arrived is not None:
            self._arrived.seek(0)
            self._arrived.truncate(self._arrived.read().rfind(b"\n") + 1)

    def note(self, line: RecordedArrival) -> None:
        """Append what has arrived."""
        if self._arrived is not None:
            self._arrived.write(msgspec.json.encode(line) + b"\n")

    def keep_job(self, line: bytes) -> None:
        """Append what became of a delegated task."""
        with (self._folder / JOBS_NAME).open("ab") as file:
            file.write(line + b"\n")

    def keep_package(self, delegation: str, package: bytes) -> None:
        """Write the context package of a delegation."""
        (self._folder / PACKAGES_NAME).mkdir(exist_ok=True)
        write_whole(self._folder / PACKAGES_NAME / f"{delegation}.json", package)

    def write(self, turn: Turn) -> None:
        """Append a turn."""
        given, made = turn.given, turn.made
        sound = given.audio
        samples = np.zeros(TURN_SAMPLES, np.int16) if sound is None else exact_int16(sound)
        self._user.write(samples)
        self._model.write(np.round(made.audio * 32767.0).astype(np.int16))
        if given.frame is not None:
            (self._folder / FRAMES_NAME).mkdir(exist_ok=True)
            # Fast rather than small: a picture must cost less than a turn lasts.
            Image.fromarray(given.frame).save(self._folder / FRAMES_NAME / picture_name(made.turn), compress_level=1)
        line = RecordedTurn(
            turn=made.turn,
            t_ms=made.t_ms,
            sound=None if sound is None else digest(sound),
            picture=None if given.frame is None else digest(given.frame),
            texts=[(text.source.value, text.text) for text in given.texts],
            hear=made.hear,
            say=made.say,
            act=None if made.act is None else made.act.value,
            speaking=made.speaking,
            voice=digest(made.audio),
            compute_ms=round(turn.tick.compute_ms, 3),
            margin_ms=round(turn.tick.margin_ms, 3),
            sessions=turn.tick.num_sessions,
            waiting_ms=turn.waiting_ms,
            skipped_turns=turn.skipped_turns,
        )
        self._turns.write(msgspec.json.encode(line) + b"\n")

    def mark(self) -> None:
        """Bring the lengths in the sound files up to date."""
        self._user.mark()
        self._model.mark()

    def close(self, about: RecordedSession) -> None:
        """Complete all files."""
        self._user.close()
        self._model.close()
        self._turns.close()
        if self._arrived is not None:
            self._arrived.close()
        write_whole(self._folder / SESSION_NAME, msgspec.json.encode(about))


class _Wav:
    """A 16-bit mono WAV at 16 kHz that is complete on the disk after every turn, but for the lengths in its head."""

    def __init__(self, path: Path, num_turns: int) -> None:
        """Go on after so many turns; what is missing of them is silence."""
        path.touch()
        self._file: BinaryIO = path.open("r+b", buffering=0)
        self._num_bytes = 2 * TURN_SAMPLES * num_turns
        self._file.truncate(WAV_HEADER_BYTES + self._num_bytes)
        self.mark()

    def write(self, samples: np.ndarray[tuple[int, ...], np.dtype[np.int16]]) -> None:
        self._num_bytes += self._file.write(samples.astype("<i2").tobytes())

    def mark(self) -> None:
        """Bring the lengths up to date."""
        self._file.seek(0)
        self._file.write(self._head())
        self._file.seek(0, 2)

    def close(self) -> None:
        self.mark()
        self._file.close()

    def _head(self) -> bytes:
        size = min(self._num_bytes, 2**32 - 1 - WAV_HEADER_BYTES)
        shape = struct.pack("<HHIIHH", 1, 1, SAMPLE_RATE_HZ, 2 * SAMPLE_RATE_HZ, 2, 16)
        return struct.pack("<4sI8sI", b"RIFF", 36 + size, b"WAVEfmt ", 16) + shape + struct.pack("<4sI", b"data", size)


def exact_int16(pcm: Pcm) -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
    """The samples as 16 bits, from which exactly they can be had again. Raises ``RecordingError`` if they cannot:
    whatever comes over a wire has 16 bits."""
    scaled = pcm * np.float32(FULL_SCALE)
    samples = scaled.clip(-FULL_SCALE, FULL_SCALE - 1).astype(np.int16)
    if not np.array_equal(samples, scaled):
        raise RecordingError("sound of more than 16 bits")
    return samples


def write_state(path: Path, state: State) -> None:
    """Write what a session remembers, and remove what is too old of it."""
    path.parent.mkdir(exist_ok=True)
    write_whole(path, state.export(0))
    for old in sorted(path.parent.glob("*.safetensors"))[:-KEPT_STATES]:
        old.unlink()


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that appears whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(data)
    part.replace(path)
