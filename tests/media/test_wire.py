"""Sound and pictures of the wire: against FFmpeg's own coders, in chunks of any length, and with bad files."""

from __future__ import annotations

import io
import struct
import zlib
from contextlib import suppress
from fractions import Fraction

import av
import numpy as np
import pytest
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from microturn.errors import InputError
from microturn.media.wire import (
    KEPT_SIDE_PIXELS,
    LAWS,
    MAX_PICTURE_BYTES,
    SoundDecoder,
    SoundEncoder,
    SoundFormat,
    decode_picture,
    encode_samples,
)
from microturn.turn import SAMPLE_RATE_HZ, Pcm

FORMATS = [
    SoundFormat("pcm", 16_000),
    SoundFormat("pcm", 24_000),
    SoundFormat("pcmu", 8_000),
    SoundFormat("pcma", 8_000),
]


def tone(hertz: float, seconds: float) -> Pcm:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ)).astype(
        np.float32
    )


def ffmpeg_encoded(samples: NDArray[np.int16], codec: str) -> bytes:
    context = AudioCodecContext.create(codec, "w")
    assert isinstance(context, AudioCodecContext)
    context.sample_rate, context.layout, context.format = 8000, "mono", "s16"
    context.time_base = Fraction(1, 8000)
    frame = AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
    frame.sample_rate, frame.pts = 8000, 0
    return b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)])


@pytest.mark.parametrize(("coding", "codec"), [("pcmu", "pcm_mulaw"), ("pcma", "pcm_alaw")])
def test_g711_is_what_ffmpeg_makes_of_it(coding: str, codec: str) -> None:
    context = AudioCodecContext.create(codec, "r")
    assert isinstance(context, AudioCodecContext)
    context.sample_rate, context.layout = 8000, "mono"
    decoded = context.decode(av.Packet(bytes(range(256))))[0].to_ndarray()[0]
    assert np.array_equal(LAWS[coding], decoded)
    samples = np.arange(-32768, 32768, 3).astype(np.int16)
    sound_format = SoundFormat("pcmu" if coding == "pcmu" else "pcma", 8000)
    ours = LAWS[coding][np.frombuffer(encode_samples(samples, sound_format), np.uint8)].astype(int)
    theirs = LAWS[coding][np.frombuffer(ffmpeg_encoded(samples, codec), np.uint8)].astype(int)
    assert (np.abs(ours - samples) <= np.abs(theirs - samples)).all()


@pytest.mark.parametrize("sound_format", FORMATS, ids=str)
def test_sound_survives_the_way_there_and_back(sound_format: SoundFormat) -> None:
    sound = tone(440.0, 1.0)
    encoder, decoder = SoundEncoder(sound_format), SoundDecoder(sound_format)
    data = b"".join(encoder.push(part) for part in np.split(sound, 5)) + encoder.flush()
    seconds = len(data) / sound_format.rate_hz / (2 if sound_format.coding == "pcm" else 1)
    assert seconds == pytest.approx(1.0, abs=0.002)
    back = decoder.push(data)
    assert len(back) == pytest.approx(SAMPLE_RATE_HZ, abs=60)
    middle = slice(2000, 14000)
    error = back[middle] - sound[middle]
    assert 10 * np.log10(np.mean(sound[middle] ** 2) / np.mean(error**2)) > (30 if sound_format.rate_hz == 8000 else 45)


@pytest.mark.parametrize("sound_format", FORMATS, ids=str)
@given(cuts=st.lists(st.integers(0, 4799), max_size=8))
def test_chunks_make_no_difference(sound_format: SoundFormat, cuts: list[int]) -> None:
    width = 2 if sound_format.coding == "pcm" else 1
    data = np.random.default_rng(0).integers(0, 256, 4800 * width).astype(np.uint8).tobytes()
    edges = [0, *sorted(cuts), 4800]
    decoder = SoundDecoder(sound_format)
    parts = [decoder.push(data[a * width : b * width]) for a, b in zip(edges, edges[1:], strict=False)]
    assert np.array_equal(np.concatenate(parts), SoundDecoder(sound_format).push(data))


def test_half_a_sample_is_refused() -> None:
    with pytest.raises(InputError, match="whole number of 16-bit samples"):
        SoundDecoder(SoundFormat("pcm", 16_000)).push(b"abc")


def picture_file(kind: str, size: tuple[int, int], mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.new(mode, size, 200).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "PNG"])
def test_pictures_of_every_kind(kind: str) -> None:
    assert decode_picture(picture_file(kind, (90, 60))).shape == (60, 90, 3)
    large = decode_picture(picture_file(kind, (2000, 1000)))
    assert large.shape == (KEPT_SIDE_PIXELS // 2, KEPT_SIDE_PIXELS, 3) and large.dtype == np.uint8


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "I;16"])
def test_grey_transparent_and_indexed_pictures(mode: str) -> None:
    assert decode_picture(picture_file("PNG", (8, 8), mode)).shape == (8, 8, 3)


def declared_png(width: int, height: int) -> bytes:
    """A PNG that is nothing but the claim to be so large."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    checked = struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return b"\x89PNG\r\n\x1a\n" + checked + struct.pack(">I", 1000) + b"IDAT" + bytes(64)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (declared_png(30_000, 30_000), "decompression bomb"),
        (declared_png(4096, 4096), "4096x4096"),
        (declared_png(10_000, 10_000), "100000000 pixels"),
        (declared_png(100_000, 1), "100000x1"),
        (b"", "none of"),
        (b"GIF89a" + bytes(100), "none of"),
        (picture_file("PNG", (9, 9))[:45], "cannot be decoded"),
        (bytes(MAX_PICTURE_BYTES + 1), "bytes"),
    ],
    ids=lambda value: value[-20:] if isinstance(value, str) else "",
)
def test_bad_pictures_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        decode_picture(data)


@given(st.sampled_from(["JPEG", "WEBP", "PNG"]), st.integers(0, 10_000), st.binary(min_size=1, max_size=8))
def test_damage_is_refused_or_decoded_but_nothing_else(kind: str, at: int, damage: bytes) -> None:
    data = picture_file(kind, (40, 30))
    at %= len(data)
    with suppress(InputError):
        assert decode_picture(data[:at] + damage + data[at + len(damage) :]).ndim == 3
