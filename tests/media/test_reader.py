"""Files and folders to turns: real files made here by PyAV, decoded by the reader, against what was put in."""

from __future__ import annotations

import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from microturn.errors import MediaError
from microturn.media.decode import AudioChunk
from microturn.media.reader import MediaSource, audio_turns, open_media
from microturn.turn import SAMPLE_RATE_HZ, TURN_SAMPLES, Frame, Pcm, TurnInput

COLOURS = [(220, 30, 30), (30, 200, 30), (30, 30, 220), (220, 220, 40), (30, 200, 200), (200, 40, 200), (240, 240, 240)]
Sound = NDArray[np.float32]


def tone(rate_hz: int, seconds: float, beeps: list[tuple[float, float]]) -> Sound:
    """Silence with a 600 Hz tone in the stretches ``beeps``, (samples,)."""
    time_s = np.arange(round(rate_hz * seconds)) / rate_hz
    on = np.zeros(len(time_s), bool)
    for start_s, end_s in beeps:
        on |= (time_s >= start_s) & (time_s < end_s)
    return (0.5 * np.sin(2 * np.pi * 600 * time_s) * on).astype(np.float32)


def picture(colour: tuple[int, int, int], width: int = 96, height: int = 64) -> Frame:
    return np.broadcast_to(np.array(colour, np.uint8), (height, width, 3)).copy()


def encode(
    path: Path,
    *,
    sound: Sound | None = None,
    rate_hz: int = 16_000,
    audio_codec: str = "pcm_s16le",
    layout: str = "mono",
    sound_start_s: float = 0.0,
    hole_s: tuple[float, float] | None = None,
    pictures: list[Frame] | None = None,
    fps: int = 5,
    video_codec: str = "libx264",
    block_samples: int = 1024,
) -> Path:
    """Write a media file. ``sound_start_s`` shifts the sound's timestamps; those after ``hole_s[0]`` jump by
    ``hole_s[1]``."""
    with av.open(str(path), "w") as container:
        audio = None if sound is None else container.add_stream(audio_codec, rate=rate_hz, layout=layout)
        video = None
        if pictures is not None:
            video = container.add_stream(video_codec, rate=fps)
            assert isinstance(video, av.VideoStream)
            video.height, video.width = pictures[0].shape[:2]
            video.pix_fmt = "yuv420p"
            for index, one in enumerate(pictures):
                frame = av.VideoFrame.from_ndarray(one, format="rgb24")
                frame.pts, frame.time_base = index, Fraction(1, fps)
                container.mux(video.encode(frame))
            container.mux(video.encode(None))
        if audio is not None and sound is not None:
            assert isinstance(audio, av.AudioStream)
            channels = 2 if layout == "stereo" else 1
            resampler = av.AudioResampler(audio.format.name, layout, rate_hz)
            fifo = av.AudioFifo()
            for start in range(0, len(sound), block_samples):
                block = np.repeat(sound[None, start : start + block_samples], channels, axis=0)
                raw = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), format="fltp", layout=layout)
                raw.sample_rate = rate_hz
                for converted in resampler.resample(raw):
                    converted.pts = None
                    fifo.write(converted)
            position = 0
            size = audio.codec_context.frame_size
            while (piece := fifo.read(size or block_samples, partial=True)) is not None:
                shift_s = sound_start_s
                if hole_s is not None and position / rate_hz >= hole_s[0]:
                    shift_s += hole_s[1]
                piece.pts, piece.time_base = position + round(shift_s * rate_hz), Fraction(1, rate_hz)
                position += piece.samples
                container.mux(audio.encode(piece))
            container.mux(audio.encode(None))
    return path


def write_wav(path: Path, sound: Sound, rate_hz: int = SAMPLE_RATE_HZ) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes((sound * 32767).astype(np.int16).tobytes())
    return path


def turns_of(path: Path) -> list[TurnInput]:
    turns = list(open_media(path).iter_turns())
    for index, one in enumerate(turns):
        one.check(index)
    return turns


def sound_of(turns: list[TurnInput]) -> Pcm:
    return np.concatenate([np.zeros(TURN_SAMPLES, np.float32) if one.audio is None else one.audio for one in turns])


def level(one: TurnInput) -> float:
    assert one.audio is not None
    return float(np.sqrt(np.mean(one.audio**2)))


def nearest_colour(frame: Frame | None) -> int:
    assert frame is not None
    mean = frame.reshape(-1, 3).mean(axis=0)
    return int(np.argmin([np.abs(mean - colour).sum() for colour in COLOURS]))


AUDIO_KINDS = [
    ("a.wav", "pcm_s16le", 16_000, "mono"),
    ("a.wav", "pcm_f32le", 44_100, "stereo"),
    ("a.flac", "flac", 22_050, "mono"),
    ("a.mp3", "libmp3lame", 44_100, "mono"),
    ("a.opus", "libopus", 48_000, "mono"),
    ("a.ogg", "libopus", 16_000, "stereo"),
    ("a.m4a", "aac", 48_000, "stereo"),
    ("a.mp4", "aac", 44_100, "mono"),
    ("a.webm", "libopus", 48_000, "mono"),
    ("a.mkv", "flac", 48_000, "mono"),
]


@pytest.mark.parametrize(("name", "codec", "rate_hz", "layout"), AUDIO_KINDS)
def test_a_tone_arrives_in_its_turns(tmp_path: Path, name: str, codec: str, rate_hz: int, layout: str) -> None:
    sound = tone(rate_hz, 3.0, [(1.0, 1.4), (2.2, 2.4)])
    path = encode(tmp_path / name, sound=sound, rate_hz=rate_hz, audio_codec=codec, layout=layout)
    source = open_media(path)
    turns = turns_of(path)
    assert source.has_audio
    assert not source.has_video
    assert source.num_turns in (15, 16)
    assert len(turns) in (15, 16)
    loud = [index for index, one in enumerate(turns) if level(one) > 0.2]
    quiet = [index for index, one in enumerate(turns) if level(one) < 0.05]
    assert loud == [5, 6, 11]
    assert len(quiet) == len(turns) - 3
    # LAME scales by 0.95 before it encodes; a mix of two channels that adds up to 3 dB more would be 1.41 of this.
    assert level(turns[5]) == pytest.approx(0.5 / np.sqrt(2), rel=0.07)


@pytest.mark.parametrize(("name", "codec", "rate_hz", "layout"), AUDIO_KINDS)
def test_sound_is_where_it_was(tmp_path: Path, name: str, codec: str, rate_hz: int, layout: str) -> None:
    """Resampling and codec priming shift nothing: the lag of the best match is below 2 ms for every codec."""
    noise = np.random.default_rng(5).standard_normal(round(0.4 * rate_hz))
    smooth = np.convolve(noise, np.ones(8 * rate_hz // 16_000) / 8, "same")
    sound = np.zeros(2 * rate_hz, np.float32)
    start = round(0.73 * rate_hz)
    sound[start : start + len(smooth)] = 0.3 * smooth
    got = sound_of(turns_of(encode(tmp_path / name, sound=sound, rate_hz=rate_hz, audio_codec=codec, layout=layout)))
    times_s = np.arange(2 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    want = np.interp(times_s, np.arange(len(sound)) / rate_hz, sound)
    lags = range(-800, 801)
    scores = [float(np.dot(want[1000:-1000], np.roll(got[: len(want)], -lag)[1000:-1000])) for lag in lags]
    assert abs(lags[int(np.argmax(scores))]) <= 0.002 * SAMPLE_RATE_HZ


@pytest.mark.parametrize(("name", "codec"), [("v.mp4", "libx264"), ("v.webm", "libvpx"), ("v.mkv", "mpeg4")])
def test_pictures_arrive_in_their_turns(tmp_path: Path, name: str, codec: str) -> None:
    pictures = [picture(COLOURS[index % 7]) for index in range(14)]
    source = open_media(encode(tmp_path / name, pictures=pictures, video_codec=codec))
    turns = list(source.iter_turns())
    assert source.frame_size == (96, 64)
    assert [nearest_colour(one.frame) for one in turns] == [index % 7 for index in range(14)]
    assert all(one.audio is None for one in turns), "no sound was recorded: every turn is a gap"


def test_the_newest_picture_of_a_turn_is_taken(tmp_path: Path) -> None:
    """30 pictures a second: six in a turn, of which the sixth is seen."""
    pictures = [picture(COLOURS[index % 7]) for index in range(36)]
    turns = turns_of(encode(tmp_path / "v.mp4", pictures=pictures, fps=30))
    assert [nearest_colour(one.frame) for one in turns] == [(6 * turn + 5) % 7 for turn in range(6)]


def test_slow_pictures_leave_turns_without(tmp_path: Path) -> None:
    turns = turns_of(encode(tmp_path / "v.mkv", pictures=[picture(colour) for colour in COLOURS[:3]], fps=1))
    assert [index for index, one in enumerate(turns) if one.frame is not None] == [0, 5, 10]


def test_sound_and_pictures_together(tmp_path: Path) -> None:
    pictures = [picture(COLOURS[index // 5]) for index in range(15)]
    path = encode(
        tmp_path / "v.mp4", pictures=pictures, sound=tone(44_100, 3.0, [(2.0, 2.2)]), rate_hz=44_100, audio_codec="aac"
    )
    turns = turns_of(path)
    assert [nearest_colour(one.frame) for one in turns[:15]] == [index // 5 for index in range(15)]
    assert [index for index, one in enumerate(turns) if level(one) > 0.2] == [10]


def test_sound_that_starts_late_comes_late(tmp_path: Path) -> None:
    path = encode(
        tmp_path / "v.mkv",
        pictures=[picture(COLOURS[0])] * 15,
        sound=tone(16_000, 1.0, [(0.4, 0.6)]),
        sound_start_s=1.0,
    )
    turns = turns_of(path)
    assert [one.audio is None for one in turns] == [True] * 5 + [False] * 10
    assert [index for index, one in enumerate(turns) if one.audio is not None and level(one) > 0.2] == [7]


def test_a_hole_in_the_sound_is_a_gap(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mkv", sound=tone(16_000, 2.0, [(1.0, 1.2)]), hole_s=(1.0, 1.0), block_samples=800)
    turns = turns_of(path)
    assert [one.audio is None for one in turns] == [False] * 5 + [True] * 5 + [False] * 5
    assert [index for index, one in enumerate(turns) if one.audio is not None and level(one) > 0.2] == [10]


def test_the_last_turn_is_filled_with_silence(tmp_path: Path) -> None:
    sound = np.full(TURN_SAMPLES + 100, 0.5, np.float32)
    turns = turns_of(write_wav(tmp_path / "a.wav", sound))
    assert len(turns) == 2
    assert turns[1].audio is not None
    np.testing.assert_allclose(turns[1].audio[:100], 0.5, atol=1e-4)
    assert not turns[1].audio[100:].any()


def test_sixteen_bits_are_read_exactly(tmp_path: Path) -> None:
    sound = np.random.default_rng(1).integers(-32768, 32767, 2 * TURN_SAMPLES).astype(np.float32) / np.float32(32767)
    got = sound_of(turns_of(write_wav(tmp_path / "a.wav", sound)))
    np.testing.assert_array_equal(got, (sound * 32767).astype(np.int16) / np.float32(32768))


def test_loud_float_sound_is_clipped(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.wav", sound=np.full(4000, 3.0, np.float32), audio_codec="pcm_f32le")
    assert sound_of(turns_of(path)).max() == 1.0


def test_turns_can_be_read_twice(tmp_path: Path) -> None:
    source = open_media(write_wav(tmp_path / "a.wav", tone(16_000, 1.0, [(0.2, 0.5)])))
    first, second = (sound_of(list(source.iter_turns())) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@given(
    lengths=st.lists(st.integers(0, 5000), max_size=20),
    holes=st.lists(st.integers(0, 8000), min_size=20, max_size=20),
)
def test_any_chunks_give_the_same_turns(lengths: list[int], holes: list[int]) -> None:
    """Turns hold every sample at its place, however the sound is cut; a turn without a sample is a gap."""
    whole = np.full(sum(lengths) + sum(holes) + TURN_SAMPLES, np.nan, np.float32)
    chunks = []
    position = 0
    for index, length in enumerate(lengths):
        position += holes[index]
        pcm = (np.arange(position, position + length) % 997 / 997 + 0.001).astype(np.float32)
        whole[position : position + length] = pcm
        chunks.append(AudioChunk(position, pcm))
        position += length
    turns = list(audio_turns(chunks))
    for index, got in enumerate(turns):
        want = whole[index * TURN_SAMPLES : (index + 1) * TURN_SAMPLES]
        assert (got is None) == bool(np.isnan(want).all())
        if got is not None:
            np.testing.assert_array_equal(got, np.nan_to_num(np.pad(want, (0, TURN_SAMPLES - len(want)))))
    assert not np.isfinite(whole[len(turns) * TURN_SAMPLES :]).any(), "no sample is lost"


@settings(max_examples=12, deadline=None)
@given(block_samples=st.integers(97, 9000), rate_hz=st.sampled_from([16_000, 44_100, 48_000]))
def test_block_size_of_the_file_does_not_matter(
    tmp_path_factory: pytest.TempPathFactory, block_samples: int, rate_hz: int
) -> None:
    folder = tmp_path_factory.mktemp("blocks")
    sound = tone(rate_hz, 1.3, [(0.3, 0.9)])
    one = encode(folder / "one.mkv", sound=sound, rate_hz=rate_hz, block_samples=len(sound))
    many = encode(folder / "many.mkv", sound=sound, rate_hz=rate_hz, block_samples=block_samples)
    np.testing.assert_allclose(sound_of(turns_of(one)), sound_of(turns_of(many)), atol=1e-6)


def make_folder(folder: Path, *, sound: bool = True, times_ms: tuple[int, ...] = (0, 500, 1210)) -> Path:
    (folder / "frames").mkdir(parents=True)
    if sound:
        write_wav(folder / "user.wav", tone(16_000, 1.0, [(0.2, 0.4)]))
    for index, time_ms in enumerate(times_ms):
        suffix = ("png", "jpg")[index % 2]
        encode_picture(folder / "frames" / f"{time_ms:06d}.{suffix}", picture(COLOURS[index]))
    return folder


def encode_picture(path: Path, frame: Frame) -> None:
    with av.open(str(path), "w", format="image2", options={"update": "1"}) as container:
        stream = container.add_stream("mjpeg" if path.suffix == ".jpg" else "png", rate=1)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = frame.shape[:2]
        stream.pix_fmt = "yuvj420p" if path.suffix == ".jpg" else "rgb24"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


def seen(source: MediaSource) -> dict[int, int]:
    turns = enumerate(source.iter_turns())
    return {index: nearest_colour(one.frame) for index, one in turns if one.frame is not None}


def test_folder_with_sound_and_pictures(tmp_path: Path) -> None:
    source = open_media(make_folder(tmp_path / "rec"))
    turns = list(source.iter_turns())
    assert (source.has_audio, source.has_video, source.num_turns) == (True, True, 8)
    assert seen(source) == {0: 0, 2: 1, 6: 2}
    assert len(turns) == 7
    assert [index for index, one in enumerate(turns) if level(one) > 0.2] == [1]


def test_folder_with_pictures_alone_has_gaps(tmp_path: Path) -> None:
    source = open_media(make_folder(tmp_path / "rec", sound=False))
    assert not source.has_audio
    assert all(one.audio is None for one in source.iter_turns())
    assert seen(source) == {0: 0, 2: 1, 6: 2}


def test_folder_with_sound_alone(tmp_path: Path) -> None:
    write_wav(tmp_path / "user.wav", tone(16_000, 1.0, []))
    source = open_media(tmp_path)
    assert (source.has_audio, source.has_video, source.num_turns) == (True, False, 5)


def test_a_folder_without_media_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"has neither user.wav nor frames"):
        open_media(tmp_path)


def test_a_picture_is_named_by_its_time(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "rec")
    (folder / "frames" / "first.png").write_bytes(b"x")
    with pytest.raises(MediaError, match=r"first.png: the name of a picture is its time in milliseconds"):
        open_media(folder)


def test_what_comes_before_the_damage_is_read(tmp_path: Path) -> None:
    """Decoding streams: the turns before a cut come first, then the error, never a silent end."""
    path = encode(tmp_path / "a.flac", sound=tone(16_000, 4.0, [(0.0, 4.0)]), audio_codec="flac")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    turns = []
    with pytest.raises(MediaError, match=r"a.flac: .*"):
        for one in open_media(path).iter_turns():
            turns.append(one)
    assert 7 <= len(turns) <= 10


def test_timestamps_that_jump_by_hours_are_damage(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mkv", sound=tone(16_000, 2.0, []), hole_s=(1.0, 7200.0), block_samples=800)
    with pytest.raises(MediaError, match=r"timestamps jump from 1.0 s to 7201.0 s"):
        list(open_media(path).iter_turns())
