"""From a file or a folder to turns: what came in during each 200 ms.

A *file* is anything that FFmpeg reads. A *folder* holds ``user.wav`` and pictures named by the millisecond at which
they were shown, either of the two may be missing::

    recording/
      user.wav
      frames/000000.png
      frames/000200.png      (.png, .jpg or .jpeg)

A turn in which nothing was recorded is a gap: before the sound starts, in a hole of the recording, and everywhere
when there is no sound at all. After the end of the sound the turns are silent. Of the pictures of a turn only the
newest is taken: five a second at most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from microturn.errors import MediaError
from microturn.media.decode import AudioChunk, FilePass, Picture
from microturn.turn import TURN_MS, TURN_SAMPLES, Frame, Pcm, TurnInput

PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg"})


@dataclass(frozen=True)
class MediaSource:
    """An input that was opened and probed; ``iter_turns`` may be called more than once.

    ``duration_s`` is what the input declares, ``None`` if it does not; ``frame_size`` is (width, height) of its first
    picture, ``None`` without video.
    """

    path: Path
    has_audio: bool
    has_video: bool
    frame_size: tuple[int, int] | None
    duration_s: float | None
    iter_turns: Callable[[], Iterator[TurnInput]] = field(repr=False)
    """Decodes turn by turn. Raises ``MediaError`` where the input turns out to be damaged or cut."""

    @property
    def num_turns(self) -> int | None:
        """Number of turns by the declared duration: right within a turn or two, or ``None`` if nothing is declared."""
        return None if self.duration_s is None else max(1, int(-(-self.duration_s * 1000 // TURN_MS)))


def open_media(path: Path) -> MediaSource:
    """Open and probe a file or a folder. Raises ``MediaError`` naming the path and the cause."""
    if path.is_dir():
        return _open_folder(path)
    first = FilePass(path)
    return MediaSource(
        path=path,
        has_audio=first.has_audio,
        has_video=first.has_video,
        frame_size=first.frame_size,
        duration_s=first.duration_s,
        iter_turns=partial(_turns, path),
    )


def audio_turns(chunks: Iterable[AudioChunk]) -> Iterator[Pcm | None]:
    """Cut sound into turns ``(TURN_SAMPLES,)``: ``None`` where no sample falls, zeros for the rest of a begun turn."""
    turn = 0
    pcm: Pcm | None = None
    for chunk in chunks:
        done = 0
        while done < len(chunk.pcm):
            chunk_turn, offset = divmod(chunk.start_sample + done, TURN_SAMPLES)
            while turn < chunk_turn:
                yield pcm
                turn, pcm = turn + 1, None
            if pcm is None:
                pcm = np.zeros(TURN_SAMPLES, np.float32)
            part = chunk.pcm[done : done + TURN_SAMPLES - offset]
            pcm[offset : offset + len(part)] = part
            done += len(part)
    if pcm is not None:
        yield pcm


def picture_turns(pictures: Iterable[Picture]) -> Iterator[Frame | None]:
    """The newest picture of each turn, ``None`` where none falls; pictures that go back in time are taken as now."""
    turn = 0
    newest: Picture | None = None
    for picture in pictures:
        # Times of 33.3 ms frames come in floating point: half a microsecond short of a turn's edge is the edge.
        while turn < int((picture.time_ms + 5e-4) // TURN_MS):
            yield None if newest is None else newest.load()
            turn, newest = turn + 1, None
        newest = picture
    if newest is not None:
        yield newest.load()


def merge_turns(sounds: Iterator[Pcm | None], frames: Iterator[Frame | None]) -> Iterator[TurnInput]:
    """Sound and picture of each turn until both have ended; silence follows a sound that ends first."""
    silence = np.zeros(TURN_SAMPLES, np.float32)
    had_sound = False
    ended = object()
    while True:
        sound: Pcm | None | object = next(sounds, ended)
        frame: Frame | None | object = next(frames, ended)
        if sound is ended and frame is ended:
            return
        audio = (silence if had_sound else None) if sound is ended else sound
        had_sound = had_sound or audio is not None
        assert audio is None or isinstance(audio, np.ndarray)
        picture = frame if isinstance(frame, np.ndarray) else None
        yield TurnInput(audio=audio, frame=picture)


def _turns(path: Path | None, pictures: Sequence[Picture] | None = None) -> Iterator[TurnInput]:
    """The turns of the sound of ``path``, if there is one, and of ``pictures`` (``None``: those of ``path``)."""
    if path is None:
        yield from merge_turns(iter(()), picture_turns(pictures or ()))
        return
    once = FilePass(path)
    with closing(once.audio()) as audio, closing(once.pictures()) as film:
        yield from merge_turns(audio_turns(audio), picture_turns(film if pictures is None else pictures))
    once.check_end()


def _open_folder(folder: Path) -> MediaSource:
    sound = folder / "user.wav"
    times = _picture_times(folder / "frames")
    if not times and not sound.exists():
        raise MediaError(f"{folder}: has neither user.wav nor frames/*.png")
    first = FilePass(sound) if sound.exists() else None
    if first is not None and not first.has_audio:
        raise MediaError(f"{sound}: has no audio")
    sound_s = (first.duration_s or 0.0) if first is not None else 0.0
    picture_s = (times[-1][0] + TURN_MS) / 1000.0 if times else 0.0
    pictures = [Picture(time_ms, partial(load_picture, path)) for time_ms, path in times]
    return MediaSource(
        path=folder,
        has_audio=first is not None,
        has_video=bool(times),
        frame_size=FilePass(times[0][1]).frame_size if times else None,
        duration_s=max(sound_s, picture_s),
        iter_turns=partial(_turns, sound if first is not None else None, pictures),
    )


def _picture_times(folder: Path) -> list[tuple[int, Path]]:
    """(milliseconds, file) of every picture of ``folder`` in order of time; empty if there is no such folder."""
    if not folder.is_dir():
        return []
    times = []
    for path in folder.iterdir():
        if path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith("."):
            if not (path.stem.isascii() and path.stem.isdigit()):
                raise MediaError(f"{path}: the name of a picture is its time in milliseconds, such as 001200.png")
            times.append((int(path.stem), path))
    return sorted(times)


def load_picture(path: Path) -> Frame:
    """Decode one picture file to (height, width, 3) uint8. Raises ``MediaError``."""
    picture = next(FilePass(path).pictures(), None)
    if picture is None:
        raise MediaError(f"{path}: is not a picture")
    return picture.load()
