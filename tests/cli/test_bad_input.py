"""Whatever is wrong with the input of ``microturn talk``: exit code 2, one line that says so, nothing written."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import wave
import zlib
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

import microturn
from microturn.cli import main
from microturn.media.writer import FilmWriter
from microturn.turn import SAMPLE_RATE_HZ, TURN_SAMPLES

pytestmark = pytest.mark.usefixtures("echo")


def wav(path: Path, seconds: float = 2.0) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        file.writeframes(b"\1\0" * round(seconds * SAMPLE_RATE_HZ))
    return path


def float_wav(path: Path, values: np.ndarray[tuple[int], np.dtype[np.float32]]) -> Path:
    data = values.astype("<f4").tobytes()
    form = struct.pack("<HHIIHH", 3, 1, SAMPLE_RATE_HZ, SAMPLE_RATE_HZ * 4, 4, 32)
    body = b"WAVE" + b"fmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(data)) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    return path


def encoded(path: Path, codec: str, seconds: float = 4.0, faststart: bool = False) -> Path:
    options = {"movflags": "+faststart"} if faststart else {}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=48_000)
        assert isinstance(stream, av.AudioStream)
        noise = np.random.default_rng(0).uniform(-0.3, 0.3, (1, round(seconds * 48_000))).astype(np.float32)
        resampler = av.AudioResampler(stream.format.name, "stereo", 48_000, stream.codec_context.frame_size or 1024)
        frame = av.AudioFrame.from_ndarray(noise, format="fltp", layout="mono")
        frame.sample_rate = 48_000
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    return path


def film(path: Path) -> Path:
    writer = FilmWriter(path, (64, 48))
    noise = np.random.default_rng(0)
    for _ in range(20):
        silence = np.zeros(TURN_SAMPLES, np.float32)
        writer.write(noise.integers(0, 255, (48, 64, 3), np.uint8), silence, silence)
    writer.close()
    return path


def cut(path: Path, part: float = 0.6) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    return path


def damaged(path: Path) -> Path:
    """Bytes in the middle of the stream are overwritten."""
    data = bytearray(path.read_bytes())
    start = len(data) // 2
    data[start : start + 3000] = np.random.default_rng(1).bytes(3000)
    path.write_bytes(bytes(data))
    return path


def empty_folder(path: Path) -> Path:
    path.mkdir()
    return path


def holding(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def png(path: Path, width: int, height: int) -> Path:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + b"\x80" * 3 * width for _ in range(height)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))
    return path


def folder(path: Path, fill: Callable[[Path], object]) -> Path:
    (path / "frames").mkdir(parents=True)
    png(path / "frames" / "000000.png", 4, 3)
    fill(path)
    return path


def nan_sound() -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    values = np.zeros(3 * TURN_SAMPLES, np.float32)
    values[2 * TURN_SAMPLES + 5] = np.nan
    return values


BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing": (lambda at: at / "no.wav", "no.wav: no such file or folder"),
    "empty": (lambda at: holding(at / "e.wav", b""), "e.wav: is empty"),
    "text": (lambda at: holding(at / "t.wav", b"hello\n" * 99), "t.wav: cannot be opened as media"),
    "random bytes": (
        lambda at: holding(at / "r.mp4", np.random.default_rng(3).bytes(30_000)),
        "r.mp4: cannot be opened as media",
    ),
    "a program": (lambda at: holding(at / "p.mp3", Path(sys.executable).read_bytes()[:90_000]), "p.mp3: "),
    "a WAV header alone": (lambda at: cut(wav(at / "h.wav"), 30 / 64_044), "h.wav: is truncated"),
    "a WAV without sound": (lambda at: wav(at / "n.wav", 0.0), "n.wav: "),
    "a cut WAV": (lambda at: cut(wav(at / "c.wav")), "c.wav: is truncated"),
    "a cut FLAC": (lambda at: cut(encoded(at / "c.flac", "flac")), "c.flac: "),
    "a cut MP3": (lambda at: cut(encoded(at / "c.mp3", "libmp3lame")), "c.mp3: is truncated"),
    "a cut Opus": (lambda at: cut(encoded(at / "c.opus", "libopus")), "c.opus: is truncated"),
    "a cut WebM": (lambda at: cut(encoded(at / "c.webm", "libopus")), "c.webm: is truncated"),
    "a cut MKV": (lambda at: cut(encoded(at / "c.mkv", "aac")), "c.mkv: is truncated"),
    "a cut MP4": (lambda at: cut(film(at / "c.mp4")), "c.mp4: is truncated"),
    "a cut MP4 that has its index": (
        lambda at: cut(encoded(at / "f.m4a", "aac", faststart=True)),
        "f.m4a: is truncated",
    ),
    "a damaged MP4": (lambda at: damaged(encoded(at / "d.m4a", "aac")), "d.m4a: "),
    "a damaged FLAC": (lambda at: damaged(encoded(at / "d.flac", "flac")), "d.flac: "),
    "a damaged Opus": (lambda at: damaged(encoded(at / "d.opus", "libopus")), "d.opus: is damaged at byte"),
    "a damaged MP3": (lambda at: damaged(encoded(at / "d.mp3", "libmp3lame")), "d.mp3: "),
    "subtitles": (
        lambda at: holding(at / "s.srt", b"1\n00:00:01,000 --> 00:00:02,000\nhi\n"),
        "s.srt: has neither audio nor video",
    ),
    "not a number": (
        lambda at: float_wav(at / "nan.wav", nan_sound()),
        "nan.wav: the sound at 0.38 s has a sample that is not a number",
    ),
    "an empty folder": (
        lambda at: empty_folder(at / "dir"),
        "dir: has neither user.wav nor frames/*.png",
    ),
    "a device": (lambda at: Path("/dev/null"), "/dev/null: is not a regular file"),
    "a picture of no size": (
        lambda at: folder(at / "rec", lambda rec: png(rec / "frames" / "000400.png", 0, 0)),
        "000400.png: picture is 0x0 pixels",
    ),
    "a picture of no height": (
        lambda at: folder(at / "rec", lambda rec: png(rec / "frames" / "000400.png", 7, 0)),
        "000400.png: picture is 7x0 pixels",
    ),
    "a picture of no bytes": (
        lambda at: folder(at / "rec", lambda rec: (rec / "frames" / "000400.png").touch()),
        "000400.png: is empty",
    ),
    "a cut picture": (
        lambda at: folder(at / "rec", lambda rec: cut(png(rec / "frames" / "000400.png", 99, 99), 0.5)),
        "000400.png: ",
    ),
    "a sound that is a picture": (
        lambda at: folder(at / "rec", lambda rec: png(rec / "user.wav", 9, 9)),
        "user.wav: has no audio",
    ),
    "a picture without a time": (
        lambda at: folder(at / "rec", lambda rec: png(rec / "frames" / "last.png", 9, 9)),
        "last.png: the name of a picture is its time in milliseconds",
    ),
}


@pytest.fixture(autouse=True)
def empty_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    return tmp_path / "cwd"


def assert_refused(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert main(["talk", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("microturn: ")
    assert err.count("\n") == 1 and err.endswith("\n")
    assert message in err


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("json", [[], ["--json"]], ids=["person", "json"])
def test_bad_media(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, json: list[str]) -> None:
    make, message = BAD[name]
    path = make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    if json:
        # Turns before the damage were printed as they came; the rest holds all the same.
        assert main(["talk", str(path), *json]) == 2
        assert message in capsys.readouterr().err
    else:
        assert_refused(capsys, [str(path)], message)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--text", "hello"], "text 'hello': expected"),
        (["--text", "-3:hello"], "text '-3:hello': expected"),
        (["--text", "2:ok", "--text", "nan:hello"], "text 'nan:hello': expected"),
        (["--text", "3:  "], "text '3:  ': has no words"),
        (["--tail-seconds", "-1"], "--tail-seconds -1.0: expected"),
        (["--tail-seconds", "inf"], "--tail-seconds inf: expected"),
    ],
)
def test_bad_options(tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert_refused(capsys, [str(wav(tmp_path / "a.wav")), *arguments], message)
    assert list(Path().iterdir()) == []


def test_an_output_folder_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = str(wav(tmp_path / "a.wav"))
    Path("file").write_text("mine")
    assert_refused(capsys, [source, "--out", "file"], "file: is not a folder")
    assert_refused(capsys, [source, "--out", "file/deep/out"], "file/deep/out: cannot be written")
    assert_refused(capsys, [source, "--out", "/proc/microturn/out"], "/proc/microturn/out: cannot be written")
    assert [path.name for path in Path().iterdir()] == ["file"]
    assert Path("file").read_text() == "mine"


def test_good_outputs_of_before_survive_a_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["talk", str(wav(tmp_path / "a.wav")), "--out", "o"]) == 0
    capsys.readouterr()
    before = {path: path.read_bytes() for path in Path("o").iterdir()}
    assert_refused(capsys, [str(cut(encoded(tmp_path / "c.flac", "flac"))), "--out", "o"], "c.flac: ")
    assert {path: path.read_bytes() for path in Path("o").iterdir()} == before


@pytest.mark.parametrize("arguments", [["no.wav"], ["t.wav"]])
def test_the_process_itself_exits_with_two(tmp_path: Path, arguments: list[str]) -> None:
    Path("t.wav").write_text("this is a text")
    command = [sys.executable, "-m", "microturn", "talk", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(Path(microturn.__file__).parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"microturn: {arguments[0]}: ")
    assert done.stderr.count("\n") == 1
    assert [path.name for path in Path().iterdir()] == ["t.wav"]
