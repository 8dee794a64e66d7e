"""Outputs that appear whole or not at all, and the two kinds of sound and film that a session leaves.

Everything is written into a hidden folder beside the target and renamed when it is complete. A run that fails, or is
interrupted, leaves the target as it was.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import wave
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation
from av.video.stream import VideoStream
from numpy.typing import NDArray

from microturn.errors import MediaError
from microturn.media.decode import describe
from microturn.turn import SAMPLE_RATE_HZ, TURN_MS, Frame, Pcm

MAX_FILM_SIDE_PIXELS = 1280
AUDIO_BIT_RATE = 96_000


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """What cannot be written in the block is a ``MediaError`` that names ``path``."""
    try:
        yield
    except (av.FFmpegError, OSError) as error:
        raise MediaError(f"{path}: cannot be written ({describe(error)})") from error


class PartFolder:
    """A folder that is being filled: files are written under ``path`` until ``commit`` says which of them count."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.names: tuple[str, ...] | None = None
        self.stale: tuple[str, ...] = ()

    def commit(self, names: Iterable[str], stale: Iterable[str] = ()) -> None:
        """When the block ends, move the files ``names`` to the target and remove the files ``stale`` from it."""
        self.names, self.stale = tuple(names), tuple(stale)


@contextmanager
def atomic_folder(target: Path) -> Iterator[PartFolder]:
    """A folder whose files appear together: when the block ends without an error and ``commit`` was called in it.

    Otherwise nothing remains of them. Raises ``MediaError`` if the target is a file or cannot be written to.
    """
    real = target.resolve()
    if real.exists() and not real.is_dir():
        raise MediaError(f"{target}: is not a folder")
    # In the target when there is one, else beside it: on one file system, where renaming is atomic.
    parent = real if real.is_dir() else real.parent
    part = PartFolder(parent / f".{real.name}.{secrets.token_hex(4)}.part")
    made_parents: list[Path] = []
    try:
        with writing(target):
            for folder in reversed([one for one in (parent, *parent.parents) if not one.exists()]):
                folder.mkdir()
                made_parents.insert(0, folder)
            part.path.mkdir()
        yield part
        if part.names is not None:
            with writing(target):
                _move(part, part.names, real)
            made_parents = []
    finally:
        shutil.rmtree(part.path, ignore_errors=True)
        for folder in made_parents:
            folder.rmdir()


def _move(part: PartFolder, names: tuple[str, ...], target: Path) -> None:
    if not target.exists():
        os.rename(part.path, target)
        return
    # Each file is replaced atomically; what it replaces is kept aside until the last one is in its place.
    aside = part.path / "aside"
    aside.mkdir()
    placed: list[Path] = []
    try:
        for name in (*names, *part.stale):
            old = target / name
            if old.is_dir():
                raise IsADirectoryError(errno.EISDIR, f"{name} is a folder")
            if old.exists():
                os.rename(old, aside / name)
            if name in names:
                os.rename(part.path / name, old)
                placed.append(old)
    except OSError:
        for new in placed:
            new.unlink()
        for kept in aside.iterdir():
            os.rename(kept, target / kept.name)
        raise


def stereo_int16(left: Pcm, right: Pcm) -> NDArray[np.int16]:
    """Two voices (samples,) in [-1, 1] -> (samples, 2) of 16 bits."""
    both = np.stack([left, right], axis=1)
    return np.round(np.clip(both, -1.0, 1.0) * 32767.0).astype(np.int16)


class WavWriter:
    """A 16-bit stereo WAV at 16 kHz, written piece by piece; use as a context manager."""

    def __init__(self, path: Path) -> None:
        """Raises ``MediaError`` if ``path`` cannot be written."""
        self._path = path
        with writing(self._path):
            self._file = wave.Wave_write(str(path))
        self._file.setnchannels(2)
        self._file.setsampwidth(2)
        self._file.setframerate(SAMPLE_RATE_HZ)

    def write(self, left: Pcm, right: Pcm) -> None:
        """Append ``(samples,)`` of each side. Raises ``MediaError``."""
        with writing(self._path):
            self._file.writeframes(stereo_int16(left, right).tobytes())

    def close(self) -> None:
        """Complete the header. Raises ``MediaError``."""
        with writing(self._path):
            self._file.close()


def film_size(size: tuple[int, int]) -> tuple[int, int]:
    """(width, height) of a film from that of its pictures: at most ``MAX_FILM_SIDE_PIXELS``, even, at least 16."""
    scale = min(1.0, MAX_FILM_SIDE_PIXELS / max(size))
    width, height = (max(16, round(side * scale / 2) * 2) for side in size)
    return width, height


class FilmWriter:
    """An MP4 (H.264 and AAC) with one picture a turn and two voices left and right.

    ``size`` is (width, height) of the pictures that come; one of another size is stretched to it. Where PyAV comes
    without x264, the video is MPEG-4 part 2.
    """

    def __init__(self, path: Path, size: tuple[int, int]) -> None:
        """Raises ``MediaError`` if ``path`` cannot be written."""
        self._path = path
        self._width, self._height = film_size(size)
        self._picture = np.zeros((self._height, self._width, 3), np.uint8)
        self._turn = 0
        self._samples = 0
        with writing(self._path):
            self._container = av.open(str(path), "w", format="mp4")
            self._video = self._add_video()
            self._audio: AudioStream = self._container.add_stream("aac", rate=SAMPLE_RATE_HZ, layout="stereo")
            self._audio.bit_rate = AUDIO_BIT_RATE

    def _add_video(self) -> VideoStream:
        codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
        options = {"preset": "veryfast", "crf": "20"} if codec == "libx264" else {"qscale": "3"}
        stream = self._container.add_stream(codec, rate=Fraction(1000, TURN_MS), options=options)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = self._width, self._height, "yuv420p"
        # A picture is as long as a turn: a key picture every five seconds keeps seeking quick.
        stream.gop_size = 25
        return stream

    def write(self, picture: Frame | None, left: Pcm, right: Pcm) -> None:
        """One turn: the picture that is seen in it (``None``: the last one stays) and both voices.

        Raises ``MediaError``.
        """
        with writing(self._path):
            if picture is not None:
                frame = VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
                fitted = frame.reformat(self._width, self._height, "rgb24", interpolation=Interpolation.AREA)
                self._picture = fitted.to_ndarray().astype(np.uint8, copy=False)
            frame = VideoFrame.from_ndarray(self._picture, format="rgb24")
            frame.pts, frame.time_base = self._turn, Fraction(TURN_MS, 1000)
            self._container.mux(self._video.encode(frame))
            interleaved = stereo_int16(left, right).reshape(1, -1)
            sound = AudioFrame.from_ndarray(interleaved, format="s16", layout="stereo")
            sound.sample_rate, sound.pts, sound.time_base = SAMPLE_RATE_HZ, self._samples, Fraction(1, SAMPLE_RATE_HZ)
            self._container.mux(self._audio.encode(sound))
        self._turn += 1
        self._samples += len(left)

    def close(self) -> None:
        """Write what the encoders still hold and the index. Raises ``MediaError``."""
        with writing(self._path):
            self._container.mux(self._video.encode(None))
            self._container.mux(self._audio.encode(None))
            self._container.close()

    def abort(self) -> None:
        """Close the file as it is: it will be thrown away, so it does not matter if that fails."""
        with suppress(av.FFmpegError, OSError):
            self._container.close()
