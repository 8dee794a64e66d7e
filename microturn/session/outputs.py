"""What a session leaves: ``reply.wav``, ``reply.mp4``, ``timeline.png`` and ``turns.jsonl``, written as it goes.

The sound of output turn *t* can be heard from ``(t + 1) * TURN_MS`` on, and that is where it is placed: the sound is
one turn longer than the session. Memory does not grow with the sound or the film, only with what the picture shows.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import msgspec
import numpy as np

from microturn.media.writer import FilmWriter, WavWriter, atomic_folder, writing
from microturn.session.timeline import Timeline
from microturn.turn import TURN_SAMPLES, TurnInput, TurnOutput

SOUND_NAME = "reply.wav"
FILM_NAME = "reply.mp4"
PICTURE_NAME = "timeline.png"
TURNS_NAME = "turns.jsonl"
OUTPUT_NAMES = (SOUND_NAME, FILM_NAME, PICTURE_NAME, TURNS_NAME)


class TurnRecord(msgspec.Struct, frozen=True):
    """One line of ``turns.jsonl`` and of ``microturn talk --json``."""

    turn: int
    t_ms: int
    hear: str
    say: str
    act: str | None
    speaking: bool
    compute_ms: float

    def to_json(self) -> bytes:
        """The record as one line of JSON, without the line's end."""
        return msgspec.json.encode(self)


def turn_record(output: TurnOutput, compute_ms: float) -> TurnRecord:
    """The record of a turn; ``compute_ms`` is the wall time that it took."""
    return TurnRecord(
        turn=output.turn,
        t_ms=output.t_ms,
        hear=output.hear,
        say=output.say,
        act=None if output.act is None else str(output.act),
        speaking=output.speaking,
        compute_ms=round(compute_ms, 3),
    )


class SessionOutputs:
    """The outputs of one session in ``folder``; use as a context manager around the session's turns.

    ``add`` every turn in order, then ``finish``. If the block is left without ``finish``, or with an error, nothing
    appears. ``frame_size`` is (width, height) of the pictures, ``None`` if the session has no video; ``title`` stands
    above the picture. Raises ``MediaError`` if the folder cannot be written to.
    """

    def __init__(self, folder: Path, *, title: str, frame_size: tuple[int, int] | None) -> None:
        self.folder = folder
        self.timeline = Timeline(title=title)
        self._frame_size = frame_size
        self._stack = ExitStack()
        self._heard_now = np.zeros(TURN_SAMPLES, np.float32)
        """The model's sound that is heard during the next turn: that of the last one."""

    def __enter__(self) -> SessionOutputs:
        with ExitStack() as stack:
            self._target = stack.enter_context(atomic_folder(self.folder))
            path = self._target.path
            self._sound = WavWriter(path / SOUND_NAME)
            stack.callback(self._sound.close)
            self._film = None
            if self._frame_size is not None:
                self._film = FilmWriter(path / FILM_NAME, self._frame_size)
                stack.callback(self._film.abort)
            with writing(path / TURNS_NAME):
                self._turns = stack.enter_context((path / TURNS_NAME).open("wb"))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, traceback)

    def add(self, turn_input: TurnInput, output: TurnOutput, compute_ms: float) -> TurnRecord:
        """Write one turn. Raises ``MediaError``."""
        record = turn_record(output, compute_ms)
        user = np.zeros(TURN_SAMPLES, np.float32) if turn_input.audio is None else turn_input.audio
        self._sound.write(user, self._heard_now)
        if self._film is not None:
            self._film.write(turn_input.frame, user, self._heard_now)
        self._heard_now = output.audio
        with writing(self.folder / TURNS_NAME):
            self._turns.write(record.to_json() + b"\n")
        self.timeline.add(turn_input, output)
        return record

    def finish(self) -> list[Path]:
        """Complete the files; they appear when the block is left. Returns their paths. Raises ``MediaError``."""
        silence = np.zeros(TURN_SAMPLES, np.float32)
        self._sound.write(silence, self._heard_now)
        self._sound.close()
        names = [SOUND_NAME, PICTURE_NAME, TURNS_NAME]
        if self._film is not None:
            self._film.write(None, silence, self._heard_now)
            self._film.close()
            names.insert(1, FILM_NAME)
        with writing(self.folder / TURNS_NAME):
            self._turns.close()
        with writing(self.folder / PICTURE_NAME):
            # Here, for matplotlib takes its time to be imported, and the turns are over.
            from microturn.session.timeline_picture import draw_timeline

            draw_timeline(self.timeline, self._target.path / PICTURE_NAME)
        self._target.commit(names, stale=() if FILM_NAME in names else (FILM_NAME,))
        return [self.folder / name for name in names]
