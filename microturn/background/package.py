"""The context package: all that the background model is given of a session, as one value with a JSON form.

Times are milliseconds of the session's clock. Texts, sound and pictures are cut to what the constants allow, newest
first, and ``left_out`` says how much that was: whatever comes in, a package has at most ``MAX_PACKAGE_BYTES`` as JSON.
"""

from __future__ import annotations

import io
import wave
from collections.abc import Sequence
from typing import Annotated, Literal, TypeVar

import msgspec
import numpy as np
from msgspec import Meta, Struct

from microturn.errors import InputError
from microturn.media.wire import MAX_PICTURE_BYTES, encode_picture
from microturn.turn import SAMPLE_RATE_HZ, Frame, Pcm

FORMAT = 1
MAX_TASK_CHARACTERS = 4_000
MAX_LINES = 200
MAX_LINE_CHARACTERS = 2_000
MAX_CONVERSATION_CHARACTERS = 24_000
MAX_INSTRUCTIONS = 16
MAX_INSTRUCTIONS_CHARACTERS = 4_000
MAX_OPEN = 32
"""Timers, and jobs."""
MAX_LABEL_CHARACTERS = 400
MAX_SOUND_MS = 15_000
MAX_PICTURES = 3
WAV_HEADER_BYTES = 44
MAX_WAV_BYTES = WAV_HEADER_BYTES + MAX_SOUND_MS * SAMPLE_RATE_HZ // 1000 * 2
MAX_PACKAGE_BYTES = 4_000_000
SIGNATURES = {"image/jpeg": b"\xff\xd8\xff", "image/png": b"\x89PNG\r\n\x1a\n"}

Milliseconds = Annotated[int, Meta(ge=0, le=2**53)]
Label = Annotated[str, Meta(max_length=MAX_LABEL_CHARACTERS)]
ItemT = TypeVar("ItemT")


class Strict(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Unknown fields are errors; fields that are not set are not written."""


class Line(Strict, frozen=True):
    """What one of the two said or typed without a break. ``unheard``: what the model said beyond ``text`` and was cut
    off before it left the loudspeaker; the user does not know it."""

    who: Literal["user", "model"]
    text: Annotated[str, Meta(max_length=MAX_LINE_CHARACTERS)]
    start_ms: Milliseconds
    end_ms: Milliseconds
    typed: bool = False
    unheard: Annotated[str, Meta(max_length=MAX_LINE_CHARACTERS)] = ""


class OpenTimer(Strict, frozen=True):
    """Something the model has promised to say at ``due_ms``, and then every ``every_ms`` if that is set."""

    label: Label
    due_ms: Milliseconds
    every_ms: Milliseconds | None = None


class OpenJob(Strict, frozen=True):
    """Another job of the session, oldest first; ``state`` as in ``job.State``."""

    job: Label
    task: Label
    state: Label


class Sound(Strict, frozen=True):
    """The user's last seconds as a WAV file: 16 kHz, 16 bits, mono."""

    wav: Annotated[bytes, Meta(max_length=MAX_WAV_BYTES)]
    start_ms: Milliseconds
    end_ms: Milliseconds


class Picture(Strict, frozen=True):
    """One frame as a file."""

    media_type: Literal["image/jpeg", "image/png"]
    data: Annotated[bytes, Meta(max_length=MAX_PICTURE_BYTES)]
    at_ms: Milliseconds

    @classmethod
    def of(cls, frame: Frame, at_ms: int) -> Picture:
        """A frame as JPEG, at most ``KEPT_SIDE_PIXELS`` on a side."""
        return cls("image/jpeg", encode_picture(frame), at_ms)


class LeftOut(Strict, frozen=True):
    """What the limits kept out: whole things, and characters of things that were cut."""

    lines: Milliseconds = 0
    instructions: Milliseconds = 0
    timers: Milliseconds = 0
    jobs: Milliseconds = 0
    pictures: Milliseconds = 0
    characters: Milliseconds = 0


class ContextPackage(Strict, frozen=True):
    """What is handed over with one job."""

    job: Label
    task: Annotated[str, Meta(min_length=1, max_length=MAX_TASK_CHARACTERS)]
    at_ms: Milliseconds
    format: Literal[1] = 1
    lines: Annotated[tuple[Line, ...], Meta(max_length=MAX_LINES)] = ()
    instructions: Annotated[
        tuple[Annotated[str, Meta(max_length=MAX_INSTRUCTIONS_CHARACTERS)], ...], Meta(max_length=MAX_INSTRUCTIONS)
    ] = ()
    timers: Annotated[tuple[OpenTimer, ...], Meta(max_length=MAX_OPEN)] = ()
    jobs: Annotated[tuple[OpenJob, ...], Meta(max_length=MAX_OPEN)] = ()
    ends_ms: Milliseconds | None = None
    """When the conversation is over at the latest."""
    sound: Sound | None = None
    pictures: Annotated[tuple[Picture, ...], Meta(max_length=MAX_PICTURES)] = ()
    left_out: LeftOut = LeftOut()

    def encode(self) -> bytes:
        """The JSON form; bytes are base64."""
        return msgspec.json.encode(self)


def decode_package(data: bytes) -> ContextPackage:
    """The JSON form read back. Raises ``InputError`` for whatever ``build_package`` would not have made."""
    if len(data) > MAX_PACKAGE_BYTES:
        raise InputError(f"context package has {len(data)} bytes, at most {MAX_PACKAGE_BYTES} are taken")
    try:
        package = msgspec.json.decode(data, type=ContextPackage)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"context package: {error}") from None
    if sum(len(line.text) + len(line.unheard) for line in package.lines) > MAX_CONVERSATION_CHARACTERS:
        raise InputError(f"context package: its lines have more than {MAX_CONVERSATION_CHARACTERS} characters")
    if sum(map(len, package.instructions)) > MAX_INSTRUCTIONS_CHARACTERS:
        raise InputError(f"context package: instructions have more than {MAX_INSTRUCTIONS_CHARACTERS} characters")
    if package.sound is not None:
        _check_wav(package.sound.wav)
    for picture in package.pictures:
        if not picture.data.startswith(SIGNATURES[picture.media_type]):
            raise InputError(f"context package: the picture at {picture.at_ms} ms is no {picture.media_type}")
    return package


def _check_wav(data: bytes) -> None:
    try:
        with wave.open(io.BytesIO(data)) as file:
            found = (file.getnchannels(), file.getsampwidth(), file.getframerate())
    except (wave.Error, EOFError) as error:
        raise InputError(f"context package: its sound is no WAV file ({str(error) or 'it ends too early'})") from None
    if found != (1, 2, SAMPLE_RATE_HZ):
        raise InputError(f"context package: its sound has channels, bytes, Hz {found}, not (1, 2, {SAMPLE_RATE_HZ})")


class _Cutter:
    """Cuts texts, and counts the characters that were lost."""

    def __init__(self) -> None:
        self.lost = 0

    def head(self, text: str, limit: int) -> str:
        """The first ``limit`` characters, without control characters and halves of characters."""
        text = text.encode("utf-8", "replace").decode()
        text = "".join(one if one.isprintable() else " " if one.isspace() else "" for one in text)
        self.lost += max(0, len(text) - limit)
        return text[:limit]

    def newest(self, lines: Sequence[Line]) -> tuple[Line, ...]:
        """As many of the newest lines as may be kept, each cut to its limit."""
        left = MAX_CONVERSATION_CHARACTERS
        kept: list[Line] = []
        for line in reversed(lines[-MAX_LINES:]):
            before = self.lost
            text, unheard = (self.head(part, MAX_LINE_CHARACTERS) for part in (line.text, line.unheard))
            if len(text) + len(unheard) > left:
                self.lost = before
                break
            left -= len(text) + len(unheard)
            kept.insert(0, Line(line.who, text, line.start_ms, line.end_ms, line.typed, unheard))
        return tuple(kept)


def build_package(
    *,
    job: str,
    task: str,
    at_ms: int,
    lines: Sequence[Line] = (),
    instructions: Sequence[str] = (),
    timers: Sequence[OpenTimer] = (),
    jobs: Sequence[OpenJob] = (),
    ends_ms: int | None = None,
    sound: Pcm | None = None,
    pictures: Sequence[Picture] = (),
) -> ContextPackage:
    """The package of a job that is asked for at ``at_ms``. ``sound`` ends then; sequences are oldest first, and the
    newest is what is kept. Raises ``InputError`` if the task is empty."""
    cut = _Cutter()
    task = cut.head(task, MAX_TASK_CHARACTERS).strip()
    if not task:
        raise InputError(f"job {job}: has no task")
    kept_lines = cut.newest(lines)
    kept_instructions: list[str] = []
    left = MAX_INSTRUCTIONS_CHARACTERS
    for text in instructions[-MAX_INSTRUCTIONS:][::-1]:
        kept_instructions.insert(0, cut.head(text, left))
        left -= len(kept_instructions[0])
    small = [one for one in pictures if len(one.data) <= MAX_PICTURE_BYTES][-MAX_PICTURES:]
    kept_timers = [
        OpenTimer(cut.head(one.label, MAX_LABEL_CHARACTERS), one.due_ms, one.every_ms) for one in timers[-MAX_OPEN:]
    ]
    kept_jobs = [
        OpenJob(*(cut.head(part, MAX_LABEL_CHARACTERS) for part in (one.job, one.task, one.state)))
        for one in jobs[-MAX_OPEN:]
    ]
    return ContextPackage(
        job=cut.head(job, MAX_LABEL_CHARACTERS),
        task=task,
        at_ms=at_ms,
        lines=kept_lines,
        instructions=tuple(kept_instructions),
        timers=tuple(kept_timers),
        jobs=tuple(kept_jobs),
        ends_ms=ends_ms,
        sound=None if sound is None or not len(sound) else _sound(sound, at_ms),
        pictures=tuple(small),
        left_out=LeftOut(
            lines=len(lines) - len(kept_lines),
            instructions=len(instructions) - len(kept_instructions),
            timers=len(timers) - len(kept_timers),
            jobs=len(jobs) - len(kept_jobs),
            pictures=len(pictures) - len(small),
            characters=cut.lost,
        ),
    )


def _sound(pcm: Pcm, at_ms: int) -> Sound:
    kept = pcm[-MAX_SOUND_MS * SAMPLE_RATE_HZ // 1000 :]
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(SAMPLE_RATE_HZ)
        samples = np.round(np.clip(np.nan_to_num(kept), -1.0, 1.0) * 32767.0).astype("<i2")
        writer.writeframes(samples.tobytes())
    return Sound(file.getvalue(), max(0, at_ms - len(kept) * 1000 // SAMPLE_RATE_HZ), at_ms)
