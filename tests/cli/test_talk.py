"""``microturn talk`` from a file to its outputs, with a session whose answers are known."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import wave
from pathlib import Path

import numpy as np
import pytest

from microturn.cli import COMMANDS, main
from microturn.cli.talk import Pacer
from microturn.cli.transcript import Transcript
from microturn.media.reader import open_media
from microturn.media.writer import FilmWriter
from microturn.recipes import nano
from microturn.scenario.families import FAMILIES
from microturn.scenario.generate import STRING
from microturn.session.outputs import TurnRecord
from microturn.turn import SAMPLE_RATE_HZ, TURN_MS, TURN_SAMPLES, TurnInput


@pytest.fixture
def recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """2 s of sound, loud in turns 3 and 4; the working folder is an empty one beside it."""
    pcm = np.zeros(10 * TURN_SAMPLES, np.int16)
    pcm[3 * TURN_SAMPLES : 5 * TURN_SAMPLES] = 8000
    path = tmp_path / "in" / "hello there.wav"
    path.parent.mkdir()
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        file.writeframes(pcm.tobytes())
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    return path


def test_outputs_lie_in_the_working_folder(
    recording: Path, echo: list[TurnInput], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["talk", str(recording)]) == 0
    folder = Path("hello there-reply")
    names = ["reply.wav", "timeline.png", "turns.jsonl"]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert [path.name for path in Path().iterdir()] == ["hello there-reply"]
    with wave.open(str(folder / "reply.wav")) as file:
        assert file.getnframes() == (10 + 20 + 1) * TURN_SAMPLES
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].split() == ["time", "heard", "said"]
    assert re.fullmatch(r" +0.6s  noise noise", lines[1])
    assert re.fullmatch(r" +1.0s {42}loud loud", lines[2])
    assert lines[4:7] == [str(folder / name) for name in names]
    assert re.fullmatch(
        r"6.0 s in [\d.]+ s of compute: [\d.]+ x real time \(a turn: p50 [\d.]+ ms, p99 [\d.]+ ms\)", lines[7]
    )
    assert err == ""


def test_json_is_one_object_a_turn_and_nothing_else(
    recording: Path, echo: list[TurnInput], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["talk", str(recording), "--json", "--out", "o", "--tail-seconds", "1"]) == 0
    out, err = capsys.readouterr()
    objects = [json.loads(line) for line in out.splitlines()]
    assert err == ""
    assert [one["turn"] for one in objects] == list(range(15))
    types = {"turn": int, "t_ms": int, "hear": str, "say": str, "speaking": bool, "compute_ms": float}
    for one in objects:
        assert list(one) == ["turn", "t_ms", "hear", "say", "act", "speaking", "compute_ms"]
        assert one["act"] is None
        assert all(type(one[name]) is kind for name, kind in types.items())
        assert one["t_ms"] == one["turn"] * TURN_MS
        assert one["compute_ms"] >= 0
    assert [one["turn"] for one in objects if one["hear"]] == [3, 4]
    assert [one["turn"] for one in objects if one["speaking"]] == [4, 5]
    assert out == Path("o/turns.jsonl").read_text()


def test_typed_text_comes_in_its_turn(recording: Path, echo: list[TurnInput]) -> None:
    assert main(["talk", str(recording), "--text", "0.4:stop", "--text", "3:go on", "--tail-seconds", "0"]) == 0
    texts = {turn: [text.text for text in one.texts] for turn, one in enumerate(echo) if one.texts}
    assert texts == {2: ["stop"], 15: ["go on"]}
    assert len(echo) == 16


def test_video_leaves_a_film(tmp_path: Path, echo: list[TurnInput]) -> None:
    writer = FilmWriter(tmp_path / "v.mp4", (64, 48))
    for turn in range(8):
        sound = np.full(TURN_SAMPLES, 0.3 if turn == 2 else 0.0, np.float32)
        writer.write(np.full((48, 64, 3), 30 * turn, np.uint8), sound, sound)
    writer.close()
    assert main(["talk", str(tmp_path / "v.mp4"), "--out", str(tmp_path / "out"), "--tail-seconds", "0"]) == 0
    film = open_media(tmp_path / "out" / "reply.mp4")
    assert (film.has_audio, film.has_video, film.frame_size) == (True, True, (64, 48))
    assert sum(one.frame is not None for one in film.iter_turns()) == len(echo) + 1


def test_input_is_never_replaced_by_its_own_output(
    recording: Path, echo: list[TurnInput], capsys: pytest.CaptureFixture[str]
) -> None:
    source = recording.rename(recording.parent / "reply.wav")
    before = source.read_bytes()
    assert main(["talk", str(source), "--out", str(source.parent)]) == 2
    assert "would be replaced by an output" in capsys.readouterr().err
    assert source.read_bytes() == before


def test_realtime_keeps_to_the_clock() -> None:
    """Turns are taken at the ends of their 200 ms; a late one is taken at once, and the next is on time again."""
    now_s = 100.0
    taken = []

    def sleep(seconds: float) -> None:
        nonlocal now_s
        assert seconds > 0
        now_s += seconds

    pacer = Pacer(clock=lambda: now_s, sleep=sleep)
    for turn, work_s in enumerate([0.05, 0.05, 0.3, 0.05, 0.199]):
        pacer.wait_for(turn)
        taken.append(round(now_s - 100.0, 3))
        now_s += work_s
    assert taken == [0.2, 0.4, 0.6, 0.9, 1.0]


def test_realtime_takes_as_long_as_the_recording(recording: Path, echo: list[TurnInput]) -> None:
    start_s = time.monotonic()
    assert main(["talk", str(recording), "--realtime", "--json", "--tail-seconds", "0"]) == 0
    assert len(echo) == 10
    assert time.monotonic() - start_s >= 2.0


def record(turn: int, hear: str = "", say: str = "", act: str | None = None) -> TurnRecord:
    return TurnRecord(turn, turn * TURN_MS, hear, say, act, bool(say), 1.0)


def test_a_remark_stands_in_the_middle_of_the_sentence() -> None:
    transcript = Transcript()
    heard = {0: " the", 2: " red", 3: " win", 4: "dow", 5: " is", 7: " open", 20: " bye"}
    said = {4: " purple", 5: " it is"}
    lines = [
        line
        for turn in range(22)
        for line in transcript.add(
            record(turn, heard.get(turn, ""), said.get(turn, ""), "cancel" if turn == 9 else None)
        )
    ]
    lines += transcript.rest()
    assert [line.text.split(maxsplit=1) for line in sorted(lines, key=lambda line: line.turn)] == [
        ["0.0s", "the red window"],
        ["1.0s", "purple it is"],
        ["1.0s", "is open"],
        ["2.0s", "(cancel)"],
        ["4.0s", "bye"],
    ]


def test_long_phrases_are_wrapped() -> None:
    transcript = Transcript()
    lines = [
        line for turn in range(50) for line in transcript.add(record(turn, " seventeen", " loud"))
    ] + transcript.rest()
    assert sum(line.text.count("seventeen") for line in lines) == sum(line.text.count("loud") for line in lines) == 50
    assert max(len(line.text) for line in lines) <= 90


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("talk", "(default: INPUT's name + -reply)"),
        ("connect", "(default: INPUT's name + -reply)"),
        ("replay", "(default: where they were)"),
        ("bench open", "(default: all)"),
        ("scenario", f"{', '.join(FAMILIES)}, or {STRING} "),
        ("train", f"Only this stage: {', '.join(stage.name for stage in nano().train.stages)}."),
    ],
)
def test_help_of_a_command(
    command: str, words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    assert main([*command.split(), "--help"]) == 0
    assert words in capsys.readouterr().out


@pytest.mark.parametrize("seed", ["-1", str(2**31)])
def test_a_seed_out_of_bounds(recording: Path, seed: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["talk", str(recording), "--seed", seed]) == 2
    assert "Invalid value for '--seed'" in capsys.readouterr().err
    assert list(Path().iterdir()) == []


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(re.search(rf"\b{name}\b", out) for name in COMMANDS)


def test_listing_the_commands_imports_nothing_heavy() -> None:
    script = (
        "import sys; from microturn.cli import main; main(['--help'])\n"
        "print([name for name in ('torch', 'av', 'matplotlib', 'numpy.random') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
