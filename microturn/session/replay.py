"""A recorded session, taken again: the same bits, or where they first differ."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from PIL import Image, UnidentifiedImageError

from microturn.engine.slots import Tick, Turn
from microturn.errors import InputError, RecordingError
from microturn.model.microturn import Microturn
from microturn.model.state import State
from microturn.session.recording import (
    ARRIVED_NAME,
    FORMAT,
    FRAMES_NAME,
    FULL_SCALE,
    JOBS_NAME,
    SESSION_NAME,
    STATES_NAME,
    TURNS_NAME,
    USER_NAME,
    WAV_HEADER_BYTES,
    RecordedArrival,
    RecordedSession,
    RecordedTurn,
    digest,
    picture_name,
    state_name,
)
from microturn.session.session import Session
from microturn.turn import TURN_MS, TURN_SAMPLES, Frame, Pcm, TextIn, TextSource, TurnInput, TurnOutput


class _Taken(msgspec.Struct, frozen=True):
    """Of a line of ``turns.jsonl`` the texts alone."""

    texts: list[tuple[str, str]]


COMPARED = ("turn", "hear", "say", "act", "speaking", "voice")


ENOUGH_TURNS = 5_000 // TURN_MS
"""Turns that a client may have missed when its server was killed."""


@dataclass(frozen=True)
class Restored:
    """A session that can go on where its recording ends."""

    about: RecordedSession
    num_turns: int
    state: State
    turns: list[Turn]
    """The last ones, taken again."""
    texts: list[TextIn]
    """Those that had arrived and no turn had taken, in pieces."""
    muted: bool
    jobs: list[bytes]
    """Lines that tell what became of delegated tasks."""


@dataclass(frozen=True)
class Replayed:
    """What taking a session again came to."""

    num_turns: int
    num_states: int
    """States that were compared."""
    difference: str | None
    """The first thing that is not as it was recorded."""


class Recorded:
    """The folder of one session. Raises ``RecordingError`` for one that is damaged, naming file and cause."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = folder / SESSION_NAME
        try:
            self.about = msgspec.json.decode(path.read_bytes(), type=RecordedSession)
        except OSError as error:
            raise RecordingError(f"{path}: cannot be read ({error.strerror})") from error
        except (msgspec.DecodeError, UnicodeError) as error:
            raise RecordingError(f"{path}: damaged ({error})") from error
        if self.about.format != FORMAT:
            raise RecordingError(f"{path}: of format {self.about.format}, this version reads {FORMAT}")

    def check_weights(self, fingerprint: str) -> None:
        """Raise ``RecordingError`` if it was recorded with others."""
        if fingerprint != self.about.fingerprint:
            raise RecordingError(
                f"{self.folder}: recorded with other weights ({self.about.weights}, fingerprint"
                f" {self.about.fingerprint}; these have {fingerprint})"
            )

    def turns(self, first: int = 0) -> Iterator[tuple[TurnInput, RecordedTurn]]:
        """Every turn from ``first`` on as it came in, and what is recorded of it."""
        path = self.folder / TURNS_NAME
        try:
            with path.open("rb") as lines, (self.folder / USER_NAME).open("rb") as sounds:
                sounds.seek(WAV_HEADER_BYTES + 2 * TURN_SAMPLES * first)
                for index, line in enumerate(lines):
                    if not line.endswith(b"\n") and self.about.end is None:
                        return  # the server was killed while it wrote this
                    if index >= first:
                        yield self._turn(index, line, sounds.read(2 * TURN_SAMPLES))
        except OSError as error:
            raise RecordingError(f"{error.filename or path}: cannot be read ({error.strerror})") from error

    def _turn(self, index: int, line: bytes, sound: bytes) -> tuple[TurnInput, RecordedTurn]:
        place = f"{self.folder / TURNS_NAME}:{index + 1}"
        try:
            turn = msgspec.json.decode(line, type=RecordedTurn)
            texts = tuple(TextIn(TextSource(source), text) for source, text in turn.texts)
        except (msgspec.DecodeError, ValueError) as error:
            raise RecordingError(f"{place}: damaged ({error})") from error
        if turn.turn != index:
            raise RecordingError(f"{place}: is of turn {turn.turn}, a line is missing or was moved")
        audio: Pcm | None = None
        if turn.sound is not None:
            audio = np.frombuffer(sound[: len(sound) // 2 * 2], "<i2").astype(np.float32) / np.float32(FULL_SCALE)
            if digest(audio) != turn.sound:
                raise RecordingError(f"{self.folder / USER_NAME}: damaged at {index * TURN_MS} ms")
        return TurnInput(audio=audio, frame=self._picture(turn), texts=texts), turn

    def _picture(self, turn: RecordedTurn) -> Frame | None:
        if turn.picture is None:
            return None
        path = self.folder / FRAMES_NAME / picture_name(turn.turn)
        try:
            with Image.open(path, formats=("PNG",)) as image:
                frame: Frame = np.asarray(image.convert("RGB"))
        except FileNotFoundError as error:
            raise RecordingError(f"{path}: is missing") from error
        except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
            raise RecordingError(f"{path}: damaged ({error})") from error
        if digest(frame) != turn.picture:
            raise RecordingError(f"{path}: is not the picture that was recorded")
        return frame

    def last_state(self) -> int:
        """The turn of the newest state from which on there are ``ENOUGH_TURNS`` turns, else of the oldest; else 0."""
        try:
            num_turns = (self.folder / TURNS_NAME).read_bytes().count(b"\n")
        except OSError as error:
            raise RecordingError(f"{self.folder / TURNS_NAME}: cannot be read ({error.strerror})") from error
        kept = sorted(int(path.stem) for path in (self.folder / STATES_NAME).glob("[0-9]*.safetensors"))
        kept = [turn for turn in kept if turn <= num_turns]
        return max((turn for turn in kept if turn + ENOUGH_TURNS <= num_turns), default=kept[0] if kept else 0)

    def waiting(self) -> tuple[list[TextIn], bool]:
        """Texts that had arrived and no turn had taken, and whether the session was muted."""
        path = self.folder / ARRIVED_NAME
        try:
            arrived = [msgspec.json.decode(line, type=RecordedArrival) for line in _whole_lines(path)]
            taken = [msgspec.json.decode(line, type=_Taken) for line in _whole_lines(self.folder / TURNS_NAME)]
            pieces = [TextIn(TextSource(source), text) for one in arrived for source, text in one.texts]
            gone = [TextIn(TextSource(source), text) for one in taken for source, text in one.texts]
        except OSError as error:
            raise RecordingError(f"{error.filename}: cannot be read ({error.strerror})") from error
        except (msgspec.DecodeError, ValueError) as error:
            raise RecordingError(f"{path}: damaged ({error})") from error
        if pieces[: len(gone)] != gone:
            raise RecordingError(f"{path}: is not what was taken in")
        return pieces[len(gone) :], bool(arrived) and arrived[-1].muted

    def jobs(self) -> list[bytes]:
        """What became of delegated tasks: whole lines."""
        path = self.folder / JOBS_NAME
        try:
            return _whole_lines(path) if path.exists() else []
        except OSError as error:
            raise RecordingError(f"{path}: cannot be read ({error.strerror})") from error

    def state(self, turn: int) -> bytes | None:
        """What the session remembered before ``turn``, if that was kept."""
        path = self.folder / STATES_NAME / state_name(turn)
        try:
            return path.read_bytes() if path.exists() else None
        except OSError as error:
            raise RecordingError(f"{path}: cannot be read ({error.strerror})") from error


def recordings(folder: Path) -> list[Path]:
    """The folder of a session itself, or those in it, in order of their names. Raises ``RecordingError``."""
    if (folder / SESSION_NAME).exists():
        return [folder]
    found = sorted(path.parent for path in folder.glob(f"*/{SESSION_NAME}"))
    if not found:
        raise RecordingError(f"{folder}: holds no recorded session (no {SESSION_NAME})")
    return found


def replay(model: Microturn, recorded: Recorded) -> Replayed:
    """Take the session again, up to the first difference. Raises ``RecordingError`` if the recording is damaged."""
    session = Session.open(model, seed=recorded.about.seed)
    num_turns = num_states = 0
    for turn_input, turn in recorded.turns():
        try:
            made = _comparable(session.step(turn_input))
        except InputError as error:
            raise RecordingError(f"{recorded.folder}: {error}") from error
        for name in COMPARED:
            if made[name] != getattr(turn, name):
                found = f"turn {turn.turn}: {name} is {made[name]!r}, recorded was {getattr(turn, name)!r}"
                return Replayed(num_turns, num_states, found)
        num_turns += 1
        state = recorded.state(session.turn)
        if state is not None:
            if state != session.export():
                return Replayed(num_turns, num_states, f"what is remembered after turn {turn.turn}")
            num_states += 1
    return Replayed(num_turns, num_states, None)


def restore(model: Microturn, recorded: Recorded) -> Restored:
    """Take the last turns again, from a state that was kept. Raises ``RecordingError`` if that is damaged or does not
    lead to what was recorded."""
    first = recorded.last_state()
    session = Session.open(model, seed=recorded.about.seed)
    turns: list[Turn] = []
    try:
        kept = recorded.state(first)
        if kept is not None:
            session = Session.imported(model, kept)
        for turn_input, line in recorded.turns(first):
            made = session.step(turn_input)
            if any(value != getattr(line, name) for name, value in _comparable(made).items()):
                raise RecordingError(f"{recorded.folder}: turn {line.turn} does not come out as it was recorded")
            tick = Tick(line.sessions, 0, line.compute_ms, line.margin_ms, 0)
            turns.append(Turn(turn_input, made, tick, line.waiting_ms, 0, line.skipped_turns))
    except InputError as error:
        raise RecordingError(f"{recorded.folder}: {error}") from error
    return Restored(recorded.about, session.turn, session.state, turns, *recorded.waiting(), recorded.jobs())


def _whole_lines(path: Path) -> list[bytes]:
    """The lines of a file, but for one that was being written when the server was killed."""
    return path.read_bytes().split(b"\n")[:-1]


def _comparable(output: TurnOutput) -> dict[str, object]:
    """What must be as it was."""
    return {
        "turn": output.turn,
        "hear": output.hear,
        "say": output.say,
        "act": None if output.act is None else output.act.value,
        "speaking": output.speaking,
        "voice": digest(output.audio),
    }
