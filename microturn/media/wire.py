"""Sound and pictures as they come over a wire: raw samples in chunks of any length, pictures as files in memory."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Literal

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.video.frame import VideoFrame
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from microturn.errors import InputError
from microturn.turn import SAMPLE_RATE_HZ, Frame, Pcm

PICTURE_FORMATS = ("JPEG", "WEBP", "PNG")
MAX_PICTURE_BYTES = 700_000
MAX_PICTURE_SIDE_PIXELS = 4096
MAX_PICTURE_PIXELS = 4_000_000
BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)
"""Pillow's own limits, which lie beyond ours; it warns of a picture that is not quite large enough for an error."""
KEPT_SIDE_PIXELS = 640
"""A picture is made no larger than this: the eye sees less, and what it must shrink itself costs time of the turn."""


@dataclass(frozen=True)
class SoundFormat:
    """Mono samples: 16-bit little-endian ("pcm"), or 8-bit G.711 mu-law ("pcmu") or A-law ("pcma")."""

    coding: Literal["pcm", "pcmu", "pcma"]
    rate_hz: int


def _mu_law() -> NDArray[np.int16]:
    """What the 256 codes of mu-law stand for (G.711: sign, three bits of exponent, four of mantissa, all inverted)."""
    code = ~np.arange(256, dtype=np.uint8)
    magnitude = (((code & 0x0F).astype(np.int16) << 3) + 0x84 << ((code & 0x70) >> 4)) - 0x84
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.int16)


def _a_law() -> NDArray[np.int16]:
    """What the 256 codes of A-law stand for (every other bit inverted; the lowest two segments are equally fine)."""
    code = np.arange(256, dtype=np.uint8) ^ 0x55
    exponent = ((code & 0x70) >> 4).astype(np.int16)
    magnitude = ((code & 0x0F).astype(np.int16) << 4) + 8 + np.where(exponent > 0, 0x100, 0)
    magnitude = magnitude << np.maximum(exponent - 1, 0)
    return np.where(code & 0x80, magnitude, -magnitude).astype(np.int16)


LAWS = {"pcmu": _mu_law(), "pcma": _a_law()}


def decode_samples(data: bytes, sound_format: SoundFormat) -> NDArray[np.int16]:
    """Raw bytes to 16 bits. Raises ``InputError``."""
    if sound_format.coding != "pcm":
        return LAWS[sound_format.coding][np.frombuffer(data, np.uint8)]
    if len(data) % 2:
        raise InputError(f"{len(data)} bytes are not a whole number of 16-bit samples")
    return np.frombuffer(data, "<i2").astype(np.int16)


def encode_samples(samples: NDArray[np.int16], sound_format: SoundFormat) -> bytes:
    """16 bits to raw bytes; a G.711 code is that of the nearest value."""
    if sound_format.coding == "pcm":
        return samples.astype("<i2").tobytes()
    values = LAWS[sound_format.coding].astype(np.int32)
    order = np.argsort(values, kind="stable")
    between = (values[order][1:] + values[order][:-1]) / 2
    return order[np.searchsorted(between, samples, side="left")].astype(np.uint8).tobytes()


class Resampler:
    """16-bit samples of one rate to another, chunk by chunk; what it holds back is less than a millisecond or two."""

    def __init__(self, from_hz: int, to_hz: int) -> None:
        self._from_hz, self._to_hz = from_hz, to_hz
        self._resampler: AudioResampler | None = None

    def push(self, samples: NDArray[np.int16]) -> NDArray[np.int16]:
        """What is ready once ``samples`` have come in."""
        if self._from_hz == self._to_hz or not len(samples):
            return samples
        if self._resampler is None:
            self._resampler = AudioResampler("s16", "mono", self._to_hz)
        frame = AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate = self._from_hz
        return _joined(self._resampler.resample(frame))

    def flush(self) -> NDArray[np.int16]:
        """The rest; what is pushed next starts anew."""
        rest = [] if self._resampler is None else self._resampler.resample(None)
        self._resampler = None
        return _joined(rest)


def _joined(frames: list[AudioFrame]) -> NDArray[np.int16]:
    return np.concatenate([np.zeros(0, np.int16), *(frame.to_ndarray()[0].astype(np.int16) for frame in frames)])


class SoundDecoder:
    """Raw bytes of a format to 16 kHz."""

    def __init__(self, sound_format: SoundFormat) -> None:
        self._format = sound_format
        self._resampler = Resampler(sound_format.rate_hz, SAMPLE_RATE_HZ)

    def push(self, data: bytes) -> Pcm:
        """Samples that are ready once ``data`` has come in. Raises ``InputError``."""
        return self._resampler.push(decode_samples(data, self._format)).astype(np.float32) / 32768.0


class SoundEncoder:
    """16 kHz to raw bytes of a format."""

    def __init__(self, sound_format: SoundFormat) -> None:
        self._format = sound_format
        self._resampler = Resampler(SAMPLE_RATE_HZ, sound_format.rate_hz)

    def push(self, pcm: Pcm) -> bytes:
        """Bytes that are ready once ``pcm`` has come in."""
        samples = np.round(np.clip(pcm, -1.0, 1.0) * 32767.0).astype(np.int16)
        return encode_samples(self._resampler.push(samples), self._format)

    def flush(self) -> bytes:
        """The rest of a stretch of sound."""
        return encode_samples(self._resampler.flush(), self._format)


def encode_picture(frame: Frame) -> bytes:
    """(height, width, 3) uint8 to a JPEG file, its sides at most ``KEPT_SIDE_PIXELS``."""
    image = Image.fromarray(frame)
    image.thumbnail((KEPT_SIDE_PIXELS, KEPT_SIDE_PIXELS), Image.Resampling.BILINEAR)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=92, subsampling=0)
    return file.getvalue()


def picture_of(frame: VideoFrame) -> Frame:
    """A frame of a video as a picture, its sides at most ``KEPT_SIDE_PIXELS``."""
    share = min(1.0, KEPT_SIDE_PIXELS / max(frame.width, frame.height))
    width, height = (max(1, round(side * share)) for side in (frame.width, frame.height))
    return frame.to_ndarray(format="rgb24", width=width, height=height).astype(np.uint8, copy=False)


def decode_picture(data: bytes) -> Frame:
    """A JPEG, WebP or PNG file to (height, width, 3) uint8, its sides at most ``KEPT_SIDE_PIXELS``.

    The size that the file declares is checked before anything is decoded. Raises ``InputError``.
    """
    if len(data) > MAX_PICTURE_BYTES:
        raise InputError(f"picture has {len(data)} bytes, at most {MAX_PICTURE_BYTES} are taken")
    try:
        with Image.open(io.BytesIO(data), formats=PICTURE_FORMATS) as image:
            width, height = image.size
            if max(width, height) > MAX_PICTURE_SIDE_PIXELS or width * height > MAX_PICTURE_PIXELS:
                raise InputError(
                    f"picture is {width}x{height} pixels, at most {MAX_PICTURE_SIDE_PIXELS} a side"
                    f" and {MAX_PICTURE_PIXELS} in all are taken"
                )
            image.draft("RGB", (KEPT_SIDE_PIXELS, KEPT_SIDE_PIXELS))
            rgb = image.convert("RGB")
    except UnidentifiedImageError:
        raise InputError(f"picture is none of {', '.join(PICTURE_FORMATS)}") from None
    # Pillow's decoders raise whatever a damaged file makes them stumble over; nothing of ours runs in there.
    except (OSError, ValueError, SyntaxError, IndexError, EOFError, *BOMBS) as error:
        raise InputError(f"picture cannot be decoded ({str(error) or type(error).__name__})") from error
    rgb.thumbnail((KEPT_SIDE_PIXELS, KEPT_SIDE_PIXELS), Image.Resampling.BILINEAR)
    return np.asarray(rgb)
