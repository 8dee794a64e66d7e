"""Phones: every sound of every word has a class, and lies about where espeak-ng says it."""

from __future__ import annotations

import numpy as np
import pytest

from microturn.errors import InputError
from microturn.language import lexicon
from microturn.turn import SAMPLE_RATE_HZ
from microturn.voices import espeak
from microturn.voices.catalogue import Voice, synthesise
from microturn.voices.phones import PHONES, phone_class, phone_row, pronunciation
from microturn.voices.speech import Speech, Word
from microturn.voices.wordtimes import tokens

STEP_MS = 10.0
MARKS = {";"}
"""What espeak-ng lists among its phonemes and is no sound of its own: the softness of the one before."""
SILENCE = np.zeros(0, np.float32)


def names(word: str) -> list[str]:
    return [PHONES[phone] for phone in pronunciation(word).phones]


def test_every_sound_of_the_words_has_a_class() -> None:
    words = [*lexicon.CONTENT, *lexicon.FUNCTION, *lexicon.UNSEEN, *lexicon.COMMON][::17]
    used: set[int] = set()
    for word in [*words, *(f"{letter}." for letter in lexicon.LETTERS)]:
        for name, _ in espeak.phonemes(tokens(word)):
            assert phone_class(name) or name.startswith("_") or name in MARKS, (word, name)
        said = pronunciation(word)
        assert len(said.phones) == len(said.ends) and 0 not in said.phones
        assert said.ends[-1] == 1.0 and list(said.ends) == sorted(said.ends) and said.ends[0] > 0.0
        used.update(said.phones)
    assert len(used) >= len(PHONES) - 2, "classes that nobody says"


@pytest.mark.parametrize(
    ("word", "phones"),
    [("three", "T r i"), ("stop", "s t 0 p"), ("a.", "eI"), ("isn't", "I z @ n t"), ("yellow", "j E l oU")],
)
def test_words_are_known_by_their_sounds(word: str, phones: str) -> None:
    assert names(word) == phones.split()


def test_marks_do_not_make_another_class() -> None:
    assert phone_class("'eI") == phone_class(",eI") == phone_class("eI") == PHONES.index("eI")
    assert phone_class("3:") == phone_class("3")
    assert phone_class("_:") == phone_class(";") == phone_class("") == 0


def test_what_cannot_be_spoken_has_no_pronunciation() -> None:
    with pytest.raises(InputError, match="cannot speak '3'"):
        pronunciation("3")


def test_sounds_share_their_words_time_and_nothing_lies_between_words() -> None:
    words = (Word("stop", 100.0, 500.0), Word("three", 800.0, 1100.0))
    row = phone_row(Speech(SILENCE, words), STEP_MS, 150)
    assert row.shape == (150,) and row.dtype == np.uint8
    assert not row[:10].any() and not row[50:80].any() and not row[110:].any()
    for word in words:
        inside = row[int(word.start_ms / STEP_MS) : int(word.end_ms / STEP_MS)]
        order = inside[np.flatnonzero(np.diff(inside, prepend=0))]
        assert order.tolist() == list(pronunciation(word.text).phones)
        ends = np.flatnonzero(np.diff(inside)) + 1
        wanted = np.array(pronunciation(word.text).ends[:-1]) * len(inside)
        assert np.abs(ends - wanted).max() <= 1.0


def test_words_beyond_the_row_and_words_too_short_for_a_piece_are_left_out() -> None:
    words = (Word("red", 41.0, 44.0), Word("car", 2000.0, 2300.0))
    assert not phone_row(Speech(SILENCE, words), STEP_MS, 50).any()


@pytest.mark.parametrize("text", ["the red umbrella is in the garden", "remember the computer on the kitchen window"])
def test_sounds_lie_near_where_they_sound(text: str) -> None:
    """Against the phoneme times that espeak-ng gives for the whole sentence."""
    speech = synthesise(Voice("", "espeak", "", "en-us"), text)
    row = phone_row(speech, STEP_MS, int(len(speech.pcm) * 1000 / SAMPLE_RATE_HZ / STEP_MS))
    told = espeak.phonemes(tokens(text))
    shift_s = next(start_s for name, start_s in told if phone_class(name)) - speech.words[0].start_ms / 1000
    starts = np.array([start_s - shift_s for _, start_s in told]) * 1000 / STEP_MS
    classes = np.array([phone_class(name) for name, _ in told])
    near = []
    for place in np.flatnonzero(row):
        first, last = np.searchsorted(starts, [place - 4.0, place + 5.0], side="right")
        near.append(row[place] in classes[max(0, first - 1) : last])
    assert np.mean(near) > 0.95
    assert np.mean(row > 0) > 0.9
