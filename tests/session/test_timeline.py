"""The picture of a session: what is drawn, and where."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from microturn.session import timeline_picture as picture
from microturn.session.timeline import THUMBNAIL_HEIGHT_PIXELS, Timeline, envelope, thumbnail
from microturn.session.timeline_picture import draw_timeline, place_words, rows_of
from microturn.turn import TURN_SAMPLES, Act, TextIn, TextSource, TurnInput, TurnOutput


def timeline_of(
    num_turns: int, speaks: AbstractSet[int], gaps: AbstractSet[int] = frozenset(), video: bool = False
) -> Timeline:
    timeline = Timeline(title="made")
    rng = np.random.default_rng(0)
    for turn in range(num_turns):
        sound = (0.3 * rng.standard_normal(TURN_SAMPLES)).clip(-1, 1).astype(np.float32)
        silence = np.zeros(TURN_SAMPLES, np.float32)
        frame = np.full((480, 640, 3), (0, 255, 0), np.uint8) if video else None
        texts = (TextIn(TextSource.TYPED, "typed"),) if turn == 3 else ()
        timeline.add(
            TurnInput(audio=None if turn in gaps else silence, frame=frame, texts=texts),
            TurnOutput(
                turn,
                " heard" if turn % 3 == 0 else "",
                " said" if turn in speaks else "",
                Act.DELEGATE if turn == 7 else None,
                turn in speaks,
                sound if turn in speaks else silence,
            ),
        )
    return timeline


def pixels_of(path: Path) -> NDArray[np.uint8]:
    with av.open(str(path)) as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24").astype(np.uint8, copy=False)


def columns_of(pixels: NDArray[np.uint8], colour: str) -> NDArray[np.intp]:
    """Columns that hold more than a line's worth of ``#rrggbb``."""
    rgb = [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
    return np.flatnonzero((np.abs(pixels.astype(int) - rgb).sum(axis=2) < 6).sum(axis=0) > 8)


def test_envelope_keeps_the_peaks() -> None:
    pcm = np.zeros(TURN_SAMPLES, np.float32)
    pcm[170] = -0.7
    assert np.flatnonzero(envelope(pcm)).tolist() == [1]
    assert envelope(pcm).max() == np.float32(0.7)


def test_a_word_that_goes_on_is_one_word() -> None:
    timeline = Timeline(title="t")
    for turn, said in enumerate([" red ele", "", "phant", " is\n here"]):
        silence = np.zeros(TURN_SAMPLES, np.float32)
        timeline.add(TurnInput(audio=silence), TurnOutput(turn, "", said, None, False, silence))
    assert timeline.said == [(0, "red elephant"), (3, "is  here")]


@given(st.integers(1, 400), st.integers(1, 400))
def test_thumbnails_are_small_and_true(height: int, width: int) -> None:
    small = thumbnail(np.full((height, width, 3), (10, 20, 30), np.uint8))
    assert 0 not in small.shape
    assert small.shape[0] < 2 * THUMBNAIL_HEIGHT_PIXELS or width < height // THUMBNAIL_HEIGHT_PIXELS
    assert (small == (10, 20, 30)).all()


@given(st.integers(0, 40_000))
def test_rows_cover_the_session(num_turns: int) -> None:
    rows = rows_of(num_turns)
    assert rows[0].start_turn == 0
    assert rows[-1].end_turn > num_turns, "the sound of the last turn is heard after it"
    assert all(one.end_turn == other.start_turn for one, other in zip(rows, rows[1:], strict=False))
    assert len(rows) <= picture.MAX_ROWS
    assert all(row.x(row.end_turn) <= picture.WIDTH for row in rows)


words_at = st.lists(st.tuples(st.text("abc", min_size=1, max_size=12), st.floats(1.0, 14.0)), max_size=40)


@given(words_at, st.booleans())
def test_words_do_not_overlap(words: list[tuple[str, float]], ends_at: bool) -> None:
    def width(text: str) -> float:
        return 0.09 * len(text)

    placed = place_words(words, width, (1.0, 14.75), ends_at)
    assert sorted(one.text for one in placed) == sorted(text for text, _ in words)
    for level in {one.level for one in placed}:
        line = sorted((one for one in placed if one.level == level), key=lambda one: one.left)
        for left, right in zip(line, line[1:], strict=False):
            assert left.left + width(left.text) < right.left
    assert all(one.left >= 1.0 and one.left + width(one.text) <= 14.75 + 1e-9 for one in placed)


def test_speech_is_drawn_where_it_is_heard(tmp_path: Path) -> None:
    speaks = set(range(20, 30))
    timeline = timeline_of(50, speaks)
    timeline.said.clear()
    draw_timeline(timeline, tmp_path / "a.png")
    pixels = pixels_of(tmp_path / "a.png")
    header = round(picture.HEADER_HEIGHT * picture.DPI)
    columns = columns_of(pixels[header:], picture.MODEL) / picture.DPI
    (row,) = rows_of(50)
    # The lane's name stands at the left of the clock.
    drawn = columns[columns > picture.LEFT]
    assert drawn.min() == pytest.approx(row.x(21), abs=0.03)
    assert drawn.max() == pytest.approx(row.x(31), abs=0.03)


def test_pictures_gaps_words_and_acts_are_drawn(tmp_path: Path) -> None:
    draw_timeline(timeline_of(50, {5, 6}), tmp_path / "plain.png")
    draw_timeline(timeline_of(50, {5, 6}, gaps=set(range(10, 20)), video=True), tmp_path / "full.png")
    plain, full = pixels_of(tmp_path / "plain.png"), pixels_of(tmp_path / "full.png")
    assert full.shape[0] > plain.shape[0], "pictures need room"
    assert len(columns_of(full, "#00ff00")) > 300
    for pixels in (plain, full):
        for colour in (picture.USER, picture.MODEL, picture.LISTEN, picture.ACT):
            assert len(columns_of(pixels, colour)) > 0
    green = np.abs(plain.astype(int) - [0x3C, 0x8D, 0x6B]).sum(axis=2) < 6
    assert green.any(), "typed text has a frame"
    header = round(picture.HEADER_HEIGHT * picture.DPI)
    (row,) = rows_of(50)
    inside = slice(round(row.x(11) * picture.DPI), round(row.x(19) * picture.DPI))
    hatch = np.abs(full[header:, inside].astype(int) - [0xC3, 0xCC, 0xD5]).sum(axis=2) < 30
    assert hatch.sum() > 500


def test_long_sessions_are_wrapped(tmp_path: Path) -> None:
    draw_timeline(timeline_of(20, set()), tmp_path / "one.png")
    draw_timeline(timeline_of(250, {100, 240}), tmp_path / "three.png")
    one, three = pixels_of(tmp_path / "one.png"), pixels_of(tmp_path / "three.png")
    assert one.shape[1] == three.shape[1]
    assert three.shape[0] > 2.3 * one.shape[0]


def test_any_text_can_be_drawn(tmp_path: Path) -> None:
    timeline = timeline_of(20, {2})
    timeline.title = "50$ and $_{x^"
    timeline.said = [(3, "$\\frac{$"), (5, "猫 \ufffd"), (6, "$x$")]
    timeline.typed = [(3, "$a_$"), (4, "")]
    draw_timeline(timeline, tmp_path / "a.png")
    assert pixels_of(tmp_path / "a.png").shape[2] == 3


def test_an_empty_session_can_be_drawn(tmp_path: Path) -> None:
    draw_timeline(Timeline(title="nothing"), tmp_path / "a.png")
    assert pixels_of(tmp_path / "a.png").shape[2] == 3
