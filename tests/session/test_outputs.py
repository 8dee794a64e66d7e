"""What a session leaves, from turns that are known."""

from __future__ import annotations

import wave
from pathlib import Path

import msgspec
import numpy as np
import pytest

from microturn.errors import MediaError
from microturn.media.reader import open_media
from microturn.session import timeline_picture
from microturn.session.outputs import SessionOutputs, TurnRecord
from microturn.turn import TURN_MS, TURN_SAMPLES, Act, Frame, TextIn, TextSource, TurnInput, TurnOutput

NUM_TURNS = 9


def known_turns(video: bool = False) -> list[tuple[TurnInput, TurnOutput]]:
    """The user speaks in turn 2, the model in turns 4 and 8; turn 6 is a gap."""
    turns = []
    for turn in range(NUM_TURNS):
        user = np.full(TURN_SAMPLES, 0.5 if turn == 2 else 0.0, np.float32)
        model = np.full(TURN_SAMPLES, 0.25 if turn in (4, 8) else 0.0, np.float32)
        frame: Frame | None = np.full((48, 64, 3), 20 * turn, np.uint8) if video and turn % 2 == 0 else None
        texts = (TextIn(TextSource.TYPED, "hello"),) if turn == 1 else ()
        turn_input = TurnInput(audio=None if turn == 6 else user, frame=frame, texts=texts)
        act = Act.DELEGATE if turn == 5 else None
        hear, say = " blue é" if turn == 2 else "", " yes" if turn == 4 else ""
        turns.append((turn_input, TurnOutput(turn, hear, say, act, turn in (4, 8), model)))
    return turns


def write(folder: Path, video: bool = False) -> list[Path]:
    with SessionOutputs(folder, title="known", frame_size=(64, 48) if video else None) as outputs:
        for turn_input, output in known_turns(video):
            outputs.add(turn_input, output, compute_ms=1.5)
        return outputs.finish()


def test_sound_is_heard_one_turn_after_its_own(tmp_path: Path) -> None:
    write(tmp_path / "out")
    with wave.open(str(tmp_path / "out" / "reply.wav")) as file:
        both = np.frombuffer(file.readframes(10**6), np.int16).reshape(-1, TURN_SAMPLES, 2)
    assert len(both) == NUM_TURNS + 1
    levels = both.astype(np.float64).mean(axis=1) / 32767
    assert np.flatnonzero(levels[:, 0] > 0.4).tolist() == [2]
    assert np.flatnonzero(levels[:, 1] > 0.2).tolist() == [5, 9]
    assert not both[6, :, 0].any(), "a gap is silent"


def test_turns_are_one_object_a_line(tmp_path: Path) -> None:
    write(tmp_path / "out")
    lines = (tmp_path / "out" / "turns.jsonl").read_text(encoding="utf-8").splitlines()
    objects = [msgspec.json.decode(line) for line in lines]
    assert len(objects) == NUM_TURNS
    assert all(list(one) == ["turn", "t_ms", "hear", "say", "act", "speaking", "compute_ms"] for one in objects)
    records = [msgspec.json.decode(line, type=TurnRecord) for line in lines]
    assert [one.t_ms for one in records] == [turn * TURN_MS for turn in range(NUM_TURNS)]
    assert records[2] == TurnRecord(2, 400, " blue é", "", None, False, 1.5)
    assert records[4] == TurnRecord(4, 800, "", " yes", None, True, 1.5)
    assert records[5].act == "delegate"


def test_only_a_session_with_video_leaves_a_film(tmp_path: Path) -> None:
    assert [path.name for path in write(tmp_path / "a")] == ["reply.wav", "timeline.png", "turns.jsonl"]
    names = [path.name for path in write(tmp_path / "b", video=True)]
    assert names == ["reply.wav", "reply.mp4", "timeline.png", "turns.jsonl"]
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == sorted(names)
    film = open_media(tmp_path / "b" / "reply.mp4")
    shown = [one.frame.mean() for one in film.iter_turns() if one.frame is not None]
    want = [20 * (turn - turn % 2) for turn in range(NUM_TURNS)]
    np.testing.assert_allclose(shown[:NUM_TURNS], want, atol=4)


def test_a_film_of_an_earlier_session_does_not_stay(tmp_path: Path) -> None:
    write(tmp_path / "out", video=True)
    write(tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["reply.wav", "timeline.png", "turns.jsonl"]


@pytest.mark.parametrize("video", [False, True])
@pytest.mark.parametrize("at_turn", [0, 5, NUM_TURNS - 1])
def test_a_session_that_breaks_leaves_nothing(tmp_path: Path, video: bool, at_turn: int) -> None:
    folder = tmp_path / "deep" / "out"
    with (
        pytest.raises(RuntimeError, match="broke"),
        SessionOutputs(folder, title="t", frame_size=(64, 48) if video else None) as outputs,
    ):
        for turn_input, output in known_turns(video):
            outputs.add(turn_input, output, compute_ms=1.0)
            if output.turn == at_turn:
                raise RuntimeError("broke")
    assert list(tmp_path.iterdir()) == []


def test_a_picture_that_cannot_be_written_leaves_the_old_outputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "out")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(timeline_picture, "draw_timeline", full_disk)
    with pytest.raises(MediaError, match=r"timeline.png: cannot be written \(No space left on device\)"):
        write(tmp_path / "out", video=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
