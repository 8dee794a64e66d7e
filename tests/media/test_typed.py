"""Typed text and the quiet turns after the end of a recording."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from microturn.errors import InputError
from microturn.media.reader import MediaSource
from microturn.media.typed import TypedText, parse_typed_text, session_length, session_turns, turns_of_seconds
from microturn.turn import TURN_MS, TURN_SAMPLES, TurnInput


def source_of(num_turns: int, has_audio: bool = True) -> MediaSource:
    audio = np.full(TURN_SAMPLES, 0.5, np.float32) if has_audio else None
    return MediaSource(
        path=Path("made"),
        has_audio=has_audio,
        has_video=False,
        frame_size=None,
        duration_s=num_turns * TURN_MS / 1000,
        iter_turns=lambda: iter([TurnInput(audio=audio)] * num_turns),
    )


@pytest.mark.parametrize(
    ("argument", "turn", "text"),
    [
        ("0:hello", 0, "hello"),
        ("2.5:stop  counting ", 12, "stop counting"),
        ("0.6:at 5:30 sharp", 3, "at 5:30 sharp"),
        ("0.19999:a", 1, "a"),
        (" 1 :x", 5, "x"),
    ],
)
def test_text_and_its_turn(argument: str, turn: int, text: str) -> None:
    assert parse_typed_text(argument) == TypedText(turn, text)


@pytest.mark.parametrize("argument", ["hello", "", ":", "x:hello", "-1:hello", "nan:a", "inf:a", "1e9:a", "1:", "1:  "])
def test_what_is_no_text_at_a_second(argument: str) -> None:
    with pytest.raises(InputError, match="^text "):
        parse_typed_text(argument)


@given(st.integers(0, 400_000))
def test_every_turn_can_be_typed_in(turn: int) -> None:
    assert parse_typed_text(f"{turn * TURN_MS / 1000}:word").turn == turn


def test_texts_come_in_their_turns_and_prolong_the_session() -> None:
    source = source_of(3)
    typed = [TypedText(1, "one"), TypedText(1, "two"), TypedText(4, "late")]
    turns = list(session_turns(source, typed, tail_turns=2))
    assert [[text.text for text in one.texts] for one in turns] == [[], ["one", "two"], [], [], ["late"], [], []]
    assert session_length(source, typed, tail_turns=2) == len(turns) == 7
    assert [None if one.audio is None else float(one.audio[0]) for one in turns] == [0.5] * 3 + [0.0] * 4


def test_the_tail_of_a_recording_without_sound_is_gaps() -> None:
    assert [one.audio for one in session_turns(source_of(2, has_audio=False), [], tail_turns=2)] == [None] * 4


def test_seconds_to_turns() -> None:
    assert [turns_of_seconds("--tail", value) for value in (0.0, 0.2, 0.3, 4.0)] == [0, 1, 2, 20]
    for wrong in (-0.1, float("nan"), float("inf")):
        with pytest.raises(InputError, match="^--tail "):
            turns_of_seconds("--tail", wrong)
