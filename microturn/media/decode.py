"""One pass over one media file: its sound at 16 kHz and its pictures, each with its time, as they are decoded.

Sound and pictures are read through two containers of their own, so that memory stays bounded however the file
interleaves them. Everything that keeps a file from being read to its declared end is a ``MediaError``: a recording
that was cut never looks like a recording that ended.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from microturn.errors import MediaError
from microturn.media.headers import check_complete, duration_is_exact
from microturn.turn import SAMPLE_RATE_HZ, Frame, Pcm

HOLE_S = 0.06
"""Timestamps that jump ahead by more than this are a hole in the recording; less is rounding of the container."""
MAX_HOLE_S = 3600.0
SEAMLESS_FORMATS = frozenset({"flac", "mp3", "wav"})
"""Formats in which nothing can be left out: FFmpeg skips what is damaged in them, which looks like a hole."""
END_TOLERANCE_S = 0.5
"""A file that ends earlier than it declares by more than this (and one picture) was cut."""


@dataclass(frozen=True)
class AudioChunk:
    """Sound that follows on: ``pcm`` starts at sample ``start_sample`` of the session, never before the last end."""

    start_sample: int
    pcm: Pcm


@dataclass(frozen=True)
class Picture:
    """A picture at ``time_ms`` of the session; ``load()`` converts it to RGB, only when it is really wanted."""

    time_ms: float
    load: Callable[[], Frame]


def describe(error: BaseException) -> str:
    """The cause of a PyAV or operating system error, in a few words on one line."""
    cause = (getattr(error, "strerror", None) or str(error)).split(": '")[0]
    return re.sub(r"\s+", " ", cause).strip()


def open_container(path: Path) -> InputContainer:
    """Open ``path`` as a local file, whatever its name looks like; no file that it refers to may come from a network.

    Raises ``MediaError`` if FFmpeg does not know it as media.
    """
    try:
        return av.open(f"file:{path.absolute()}", options={"protocol_whitelist": "file,crypto,data"})
    except (av.FFmpegError, OSError) as error:
        raise MediaError(f"{path}: cannot be opened as media ({describe(error)})") from error


def _streams(container: InputContainer) -> list[AudioStream | VideoStream]:
    """The first stream of sound and of video, if there; the cover picture of a music file is not video."""
    films = [stream for stream in container.streams.video if Disposition.attached_pic not in stream.disposition]
    return [*container.streams.audio[:1], *films[:1]]


def to_rgb(frame: VideoFrame) -> Frame:
    """Upright RGB picture (height, width, 3) uint8 of a decoded frame; a phone's rotation is undone."""
    rgb = frame.to_ndarray(format="rgb24")
    turned = np.rot90(rgb, round(frame.rotation / 90) % 4)
    return np.ascontiguousarray(turned, dtype=np.uint8)


class MonoResampler:
    """Decoded frames of any rate, layout and format to 16 kHz mono float32; these may change on the way."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._resampler: AudioResampler | None = None
        self._kind: tuple[str, str, int] | None = None
        self._time_s = 0.0

    def push(self, frame: AudioFrame) -> list[Pcm]:
        """What is ready once ``frame`` has come in."""
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        pieces = self.flush() if kind != self._kind else []
        if self._resampler is None:
            # FFmpeg's own float mix of two channels to one is 3 dB louder than each: take their mean instead.
            layout = "mono" if frame.layout.nb_channels == 1 else "stereo"
            self._resampler, self._kind = AudioResampler("fltp", layout, SAMPLE_RATE_HZ), kind
        self._time_s = frame.time or self._time_s
        return pieces + self._checked(self._resampler.resample(frame))

    def flush(self) -> list[Pcm]:
        """The rest of what came in; the next frame starts anew."""
        rest = [] if self._resampler is None else self._checked(self._resampler.resample(None))
        self._resampler = None
        return rest

    def _checked(self, frames: list[AudioFrame]) -> list[Pcm]:
        pieces = [frame.to_ndarray().mean(axis=0) for frame in frames]
        if not all(np.isfinite(pcm).all() for pcm in pieces):
            raise MediaError(f"{self._path}: the sound at {self._time_s:.2f} s has a sample that is not a number")
        return [np.clip(pcm, -1.0, 1.0).astype(np.float32) for pcm in pieces]


class FilePass:
    """One pass over ``path``: iterate ``audio()`` and ``pictures()`` to their ends, then call ``check_end()``.

    ``has_audio``, ``has_video``, ``duration_s`` (as declared, else ``None``) and ``frame_size`` (width, height) are
    known after construction, which decodes the first frame of each stream. Time 0 is the first frame of the stream
    that starts first, so an offset between the streams is kept. Raises ``MediaError``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        check_complete(path)
        with open_container(path) as container:
            streams = _streams(container)
            if not streams:
                raise MediaError(f"{path}: has neither audio nor video")
            self._seamless = container.format.name in SEAMLESS_FORMATS
            self.duration_s, self._declared_end_s = _declared(path, container, streams)
            indices = [stream.index for stream in streams]
        first = {index: frame for index in indices if (frame := next(self._decode(index), None)) is not None}
        if not first:
            raise MediaError(f"{path}: its streams hold no sound and no picture")
        self._audio_index: int | None = None
        self._video_index: int | None = None
        self.frame_size: tuple[int, int] | None = None
        for index, frame in first.items():
            if isinstance(frame, AudioFrame):
                self._audio_index = index
                continue
            self._video_index = index
            sideways = round(frame.rotation / 90) % 2 == 1
            self.frame_size = (frame.height, frame.width) if sideways else (frame.width, frame.height)
        self.has_audio, self.has_video = self._audio_index is not None, self._video_index is not None
        self._origin_s = self._end_s = min(frame.time or 0.0 for frame in first.values())

    def audio(self) -> Generator[AudioChunk]:
        """Sound at 16 kHz mono in order; holes in the recording are left out. Raises ``MediaError``."""
        if self._audio_index is None:
            return
        resampler = MonoResampler(self.path)
        position = 0

        def follow_on(pieces: list[Pcm]) -> Iterator[AudioChunk]:
            nonlocal position
            for pcm in pieces:
                yield AudioChunk(position, pcm)
                position += len(pcm)

        expected_s: float | None = None
        for frame in self._decode(self._audio_index):
            assert isinstance(frame, AudioFrame)
            time_s = frame.time if frame.time is not None else (expected_s or self._origin_s)
            if expected_s is None or time_s - expected_s > HOLE_S:
                if self._seamless and expected_s is not None:
                    raise MediaError(f"{self.path}: is damaged: the sound from {expected_s:.2f} s on cannot be decoded")
                self._check_jump(self._origin_s if expected_s is None else expected_s, time_s)
                yield from follow_on(resampler.flush())
                position = max(position, round((time_s - self._origin_s) * SAMPLE_RATE_HZ))
                expected_s = time_s
            expected_s += frame.samples / frame.sample_rate
            self._end_s = max(self._end_s, expected_s)
            yield from follow_on(resampler.push(frame))
        yield from follow_on(resampler.flush())

    def pictures(self) -> Generator[Picture]:
        """Pictures in the order they are shown. Raises ``MediaError``."""
        if self._video_index is None:
            return
        time_s = self._origin_s
        step_s = 0.0
        for frame in self._decode(self._video_index):
            assert isinstance(frame, VideoFrame)
            before_s, time_s = time_s, (time_s + step_s if frame.time is None else frame.time)
            self._check_jump(before_s, time_s)
            step_s = float((frame.duration or 0) * (frame.time_base or Fraction(0)))
            self._end_s = max(self._end_s, time_s + step_s)
            yield Picture((time_s - self._origin_s) * 1000.0, partial(to_rgb, frame))

    def check_end(self) -> None:
        """Raise ``MediaError`` if what was decoded ends earlier than the file declares."""
        declared = self._declared_end_s
        if declared is not None and declared - self._end_s > END_TOLERANCE_S:
            raise MediaError(f"{self.path}: is truncated: it ends at {self._end_s:.1f} s and declares {declared:.1f} s")

    def _check_jump(self, before_s: float, time_s: float) -> None:
        if time_s - before_s > MAX_HOLE_S:
            raise MediaError(f"{self.path}: timestamps jump from {before_s:.1f} s to {time_s:.1f} s")

    def _decode(self, index: int) -> Iterator[AudioFrame | VideoFrame]:
        time_s = 0.0
        with open_container(self.path) as container:
            try:
                for packet in container.demux(container.streams[index]):
                    if packet.is_corrupt:
                        raise MediaError(f"{self.path}: is damaged or truncated after {time_s:.2f} s")
                    for frame in packet.decode():
                        assert isinstance(frame, AudioFrame | VideoFrame)
                        time_s = frame.time or time_s
                        if frame.is_corrupt:
                            raise MediaError(f"{self.path}: is damaged at {time_s:.2f} s")
                        if isinstance(frame, VideoFrame) and 0 in (frame.width, frame.height):
                            raise MediaError(f"{self.path}: picture is {frame.width}x{frame.height} pixels")
                        yield frame
            except (av.FFmpegError, OSError) as error:
                raise MediaError(f"{self.path}: cannot be decoded after {time_s:.2f} s ({describe(error)})") from error


def _declared(
    path: Path, container: InputContainer, streams: list[AudioStream | VideoStream]
) -> tuple[float | None, float | None]:
    """Length of the file and, where it states that exactly, its end on its own clock, both in seconds."""
    whole_s = container.duration / av.time_base if container.duration else None
    timed = [(stream, stream.duration, stream.time_base) for stream in streams if stream.duration and stream.time_base]
    lengths_s = [float(duration * base) for _, duration, base in timed]
    ends_s = [float(((stream.start_time or 0) + duration) * base) for stream, duration, base in timed]
    end_s: float | None = None
    if duration_is_exact(path, container.format.name):
        # Matroska declares one duration for all streams: a subtitle that lasts longer says nothing about the sound.
        end_s = max(ends_s, default=whole_s if len(streams) == len(container.streams) else None)
    return whole_s or max(lengths_s, default=None), end_s
