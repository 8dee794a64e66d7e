"""The inbox: the newest picture, text a little a turn, silence while muted."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from microturn.engine.inbox import MAX_WAITING_TEXT_BYTES, Inbox
from microturn.language.tokenizer import default_tokenizer
from microturn.turn import TURN_SAMPLES, Frame, TextIn, TextSource


def picture(shade: int) -> Frame:
    return np.full((4, 6, 3), shade, np.uint8)


def test_a_turn_takes_the_newest_picture_once() -> None:
    inbox = Inbox()
    for shade, at_ms in ((1, 100), (2, 300), (3, 200)):
        inbox.push_picture(picture(shade), at_ms)
    frame = inbox.take(0).frame
    assert frame is not None and frame[0, 0, 0] == 2
    assert inbox.take(0).frame is None
    inbox.push_picture(picture(4), 300)
    assert inbox.take(0).frame is None


def test_muted_turns_are_silent_and_sound_is_thrown_away() -> None:
    inbox = Inbox()
    inbox.push_sound(np.ones(TURN_SAMPLES, np.float32))
    inbox.mute(True)
    inbox.push_sound(np.ones(TURN_SAMPLES, np.float32))
    audio = inbox.take(0).audio
    assert audio is not None and not audio.any()
    inbox.mute(False)
    assert inbox.take(0).audio is None


@given(st.text(max_size=3000), st.integers(1, 1024))
def test_text_is_taken_in_whole_words_and_never_more_than_there_is_room_for(text: str, room: int) -> None:
    inbox = Inbox()
    tokenizer = default_tokenizer()
    assert inbox.push_text(TextIn(TextSource.TYPED, text))
    taken: list[str] = []
    for _ in range(3000):
        texts = inbox.take(max(room, 200)).texts
        if not texts:
            break
        assert sum(len(tokenizer.encode(one.text)) for one in texts) <= max(room, 200)
        taken += [one.text for one in texts]
    if all(len(word) <= 32 for word in text.split()):
        assert " ".join(taken) == " ".join(text.split())
    assert "".join("".join(taken).split()) == "".join(text.split())


def test_more_text_than_may_wait_is_refused_and_taken_again_once_there_is_room() -> None:
    inbox = Inbox()
    long = TextIn(TextSource.TYPED, "word " * (MAX_WAITING_TEXT_BYTES // 6))
    assert inbox.push_text(long)
    assert not inbox.push_text(long)
    while inbox.take(1024).texts:
        pass
    assert inbox.push_text(long)
