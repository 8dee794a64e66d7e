"""Over a real socket: a recording is played to a server, its sessions are recorded and taken again bit for bit."""

from __future__ import annotations

import json
import shutil
import socket
import wave
from collections.abc import Callable
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from PIL import Image

from microturn.cli import main
from microturn.engine.slots import Turn
from microturn.media.reader import open_media
from microturn.server.access import Access
from microturn.session import recording
from microturn.turn import SAMPLE_RATE_HZ, TURN_SAMPLES
from tests.parity.small import small_model
from tests.server.conftest import running, small_weights
from tests.server.test_live import turn_of

TURNS = 54
"""Long enough for a state."""


def noise(folder: Path, seconds: float) -> Path:
    """A folder of sound and two pictures."""
    (folder / "frames").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for time_ms in (200, 800):
        Image.fromarray(rng.integers(0, 256, (60, 90, 3)).astype(np.uint8)).save(folder / f"frames/{time_ms:06d}.png")
    with wave.open(str(folder / "user.wav"), "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE_HZ, 0, "NONE", ""))
        file.writeframes(rng.integers(-3000, 3000, round(seconds * SAMPLE_RATE_HZ)).astype("<i2").tobytes())
    return folder


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a server recorded, and what the client wrote: ``live/live_*``, ``reply``, ``weights``."""
    folder = tmp_path_factory.mktemp("recorded")
    source = noise(folder / "noise", (TURNS - 5) * 0.2)
    with running(weights=small_weights(folder / "weights"), record=folder / "live") as port:
        command = ["connect", f"127.0.0.1:{port}", str(source), "--out", str(folder / "reply"), "--tail-seconds", "1"]
        assert main([*command, "--text", "0.5:say red", "--seed", "3"]) == 0
    return folder


def session_of(folder: Path) -> Path:
    return next((folder / "live").iterdir())


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_connect_writes_what_talk_writes(recorded: Path) -> None:
    assert {path.name for path in (recorded / "reply").iterdir()} == {
        "reply.wav",
        "reply.mp4",
        "timeline.png",
        "turns.jsonl",
    }
    told, kept = lines(recorded / "reply/turns.jsonl"), lines(session_of(recorded) / "turns.jsonl")
    assert len(told) >= TURNS
    names = ("turn", "t_ms", "hear", "say", "act", "speaking", "compute_ms")
    assert [[one[name] for name in names] for one in told] == [
        [one[name] for name in names] for one in kept[: len(told)]
    ]
    with wave.open(str(recorded / "reply/reply.wav")) as file:
        both = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)
    with wave.open(str(recorded / "noise/user.wav")) as file:
        sent = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    assert np.abs(both[: len(sent), 0].astype(int) - sent).max() <= 1
    assert any(one["speaking"] for one in told)
    # It cannot be heard before the turn is over that it answers.
    first = next(int(str(one["turn"])) for one in told if one["speaking"])
    assert np.flatnonzero(both[:, 1])[0] >= first * TURN_SAMPLES


def test_a_recording_holds_what_came_in(recorded: Path) -> None:
    session = session_of(recorded)
    kept = lines(session / "turns.jsonl")
    assert [one["texts"] for one in kept if one["texts"]] == [[["typed", "say red"]]]
    assert sum(one["picture"] is not None for one in kept) == len(list((session / "frames").iterdir())) == 2
    assert [path.name for path in (session / "states").iterdir()] == ["000050.safetensors"]
    assert json.loads((session / "session.json").read_text())["end"] == "closed"
    assert len(list(open_media(session).iter_turns())) == len(kept)
    for name, turns in (("user.wav", len(kept)), ("model.wav", len(kept) + 1)):
        with wave.open(str(session / name)) as file:
            assert file.getnframes() == turns * TURN_SAMPLES


def test_replay_gives_the_same_bits(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(recorded / "live")]) == 0
    turns = len(lines(session_of(recorded) / "turns.jsonl"))
    out = capsys.readouterr().out
    assert f"{turns} turns" in out and "states compared: 1: the same bits" in out


@pytest.fixture
def copy(recorded: Path, tmp_path: Path) -> Path:
    """A recording that may be spoilt."""
    return Path(shutil.copytree(session_of(recorded), tmp_path / "copy"))


def edit(path: Path, line: int, change: Callable[[dict[str, object]], None]) -> None:
    every = lines(path)
    change(every[line])
    path.write_text("".join(json.dumps(one) + "\n" for one in every))


@pytest.mark.parametrize("name", ["voice", "hear", "say", "speaking"])
def test_replay_tells_the_first_difference(copy: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    edit(copy / "turns.jsonl", 9, lambda one: one.update({name: not one[name] if name == "speaking" else "x"}))
    assert main(["replay", str(copy)]) == 1
    assert f"DIFFERS in turn 9: {name} is" in capsys.readouterr().out


def test_replay_tells_another_state(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = copy / "states/000050.safetensors"
    state.write_bytes(state.read_bytes()[:-1] + b"\x7f")
    assert main(["replay", str(copy)]) == 1
    assert "what is remembered after turn 49" in capsys.readouterr().out


def test_a_killed_server_leaves_whole_turns(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    about = json.loads((copy / "session.json").read_text())
    (copy / "session.json").write_text(json.dumps({**about, "end": None}))
    path = copy / "turns.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    assert main(["replay", str(copy)]) == 0
    assert f"{len(path.read_bytes().splitlines()) - 1} turns" in capsys.readouterr().out


def spoil(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


SPOILT: list[tuple[Callable[[Path], object], str]] = [
    (lambda copy: (copy / "session.json").unlink(), "holds no recorded session"),
    (lambda copy: (copy / "session.json").write_text("{"), "session.json: damaged"),
    (lambda copy: spoil(copy / "user.wav", 44 + 2 * TURN_SAMPLES * 7, b"\x12\x34"), "user.wav: damaged at 1400 ms"),
    (lambda copy: (copy / "user.wav").unlink(), "user.wav: cannot be read"),
    (lambda copy: spoil(copy / "turns.jsonl", 30, b"\xff\xff"), "turns.jsonl:1: damaged"),
    (lambda copy: edit(copy / "turns.jsonl", 5, lambda one: one.update(turn=6)), "turns.jsonl:6: is of turn 6"),
    (lambda copy: next((copy / "frames").iterdir()).write_bytes(b"no"), ".png: damaged"),
    (lambda copy: next((copy / "frames").iterdir()).unlink(), ".png: is missing"),
]


@pytest.mark.parametrize(("damage", "message"), SPOILT)
def test_a_damaged_recording(
    copy: Path, damage: Callable[[Path], object], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(copy)
    assert main(["replay", str(copy)]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_recording_of_other_weights(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(copy), "--weights", "nano"]) == 2
    error = capsys.readouterr().err
    assert "recorded with other weights" in error and error.count("\n") == 1


def test_many_sessions_at_once_and_one_too_many(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with running(max_sessions=2) as port:
        source = noise(tmp_path / "noise", 1.0)
        command = ["connect", f"ws://127.0.0.1:{port}/v1/live/sessions", str(source), "--tail-seconds", "0.4"]
        assert main([*command, "--sessions", "3", "--out", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "1 of 3 sessions refused: 2 sessions are as many as keep the deadline" in out
    assert "2 sessions, 16 turns" in out and "tick compute" in out and "of 16 turns" in out
    assert not (tmp_path / "out").exists()


def test_what_connect_cannot_reach(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = str(noise(tmp_path / "noise", 0.4))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        closed = taken.getsockname()[1]
    with running(access=Access(keys=frozenset({"a-key-of-sixteen-letters"}))) as port:
        for url, message in (
            (f"127.0.0.1:{closed}", "cannot be reached"),
            ("ftp://127.0.0.1", "not the address of a server"),
            ("http://192.168.0..5:8000", "not the address of a server"),
            (f"http://{'a' * 64}.example:8000", "not the address of a server"),
            (f"http://user@127.0.0.1:{port}", "cannot be reached"),
            (f"127.0.0.1:{port}", "does not let this client in (HTTP 401)"),
        ):
            assert main(["connect", url, source, "--out", str(tmp_path / "out")]) == 2
            error = capsys.readouterr().err
            assert f"{url}: {message}" in error and error.count("\n") == 1
        keyed = ["connect", f"127.0.0.1:{port}", source, "--out", str(tmp_path / "out"), "--tail-seconds", "0"]
        assert main([*keyed, "--api-key", "a-key-of-sixteen-letters"]) == 0


def test_nobody_waits_for_a_recording_that_was_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk stands still while a turn is being written, and returns after the recording was given up."""
    monkeypatch.setattr(recording, "MAX_WAITING_JOBS", 1)
    stands, returns, state = Event(), Event(), small_model().initial_state(1)

    class Disk:
        def write(self, turn: Turn) -> None:
            stands.set()
            returns.wait()

    monkeypatch.setattr(recording.SessionRecording, "_opened", lambda session: Disk())
    recorder = recording.Recorder(tmp_path, "weights", "fingerprint")
    session = recorder.begin("live_1", 0)
    session.add(turn_of(0), lambda: state)
    assert stands.wait(10) and session.num_written == 0
    for turn in range(1, 3):
        session.add(turn_of(turn), lambda: state)
    assert session.num_written > 3
    returns.set()
    recorder.close()
    assert session.num_written > 3


def test_a_folder_that_cannot_be_recorded_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert main(["serve", "--port", "0", "--record", str(tmp_path / "file")]) == 2
    error = capsys.readouterr().err
    assert "file: cannot be recorded to" in error and error.count("\n") == 1
