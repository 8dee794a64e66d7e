"""The lexicon: enough words, each in one class, plain, and sayable as numbers."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microturn.errors import InputError
from microturn.language import lexicon, wordings
from microturn.voices.people import WAKE_WORDS

CLASSES = {
    "numbers": lexicon.NUMBERS,
    "colours": lexicon.COLOURS,
    "weekdays": lexicon.WEEKDAYS,
    "months": lexicon.MONTHS,
    "objects": lexicon.OBJECTS,
    "animals": lexicon.ANIMALS,
    "foods": lexicon.FOODS,
    "places": lexicon.PLACES,
    "names": lexicon.NAMES,
    "adjectives": lexicon.ADJECTIVES,
    "verbs": lexicon.VERBS,
    "others": lexicon.OTHERS,
    "function": lexicon.FUNCTION,
    "unseen": lexicon.UNSEEN,
}
KNOWN = {*lexicon.CONTENT, *lexicon.FUNCTION, *lexicon.COMMON, *lexicon.COMMANDS, *lexicon.HANDED}


def test_no_word_is_in_two_classes() -> None:
    counts = Counter(word for words in CLASSES.values() for word in words)
    assert [word for word, count in counts.items() if count > 1] == []


def test_every_word_is_plain() -> None:
    for name, words in CLASSES.items():
        for word in words:
            assert word.isascii() and word.isalpha() and word.islower(), (name, word)
    assert len(lexicon.LETTERS) == 26 and all(len(letter) == 1 for letter in lexicon.LETTERS)


def test_there_are_enough_words() -> None:
    assert len(lexicon.CONTENT) >= 350
    assert len(lexicon.OBJECTS) >= 120
    assert len(lexicon.COLOURS) >= 14
    assert len(lexicon.WEEKDAYS) == 7 and len(lexicon.MONTHS) == 12
    assert len(lexicon.UNSEEN) == 40


def test_content_is_every_class_but_function_and_unseen() -> None:
    expected = {word for name, words in CLASSES.items() if name not in ("function", "unseen") for word in words}
    assert set(lexicon.CONTENT) == expected


def test_wake_words_are_in_the_lexicon() -> None:
    assert {word for words in WAKE_WORDS.values() for word in words} <= set(lexicon.CONTENT)


def _template_words() -> set[str]:
    words: set[str] = set()
    for value in vars(wordings).values():
        for group in value.values() if isinstance(value, dict) else (value,):
            if isinstance(group, wordings.Wordings):
                words.update(part for text in group.train + group.heldout for part in text.split())
    return {word for word in words if "{" not in word}


def test_requests_and_sentences_use_only_words_of_the_lexicon() -> None:
    words = _template_words()
    assert "whenever" in words
    assert words <= KNOWN


def test_unseen_words_are_in_no_request_or_sentence() -> None:
    assert not set(lexicon.UNSEEN) & (_template_words() | KNOWN)


def test_words_of_requests_that_are_handed_over_are_in_no_other_class() -> None:
    others = {*lexicon.CONTENT, *lexicon.FUNCTION, *lexicon.COMMON, *lexicon.COMMANDS}
    assert lexicon.HANDED and not others & set(lexicon.HANDED)


def test_homophones_name_words_of_the_lexicon() -> None:
    known = {*lexicon.CONTENT, *lexicon.FUNCTION, *lexicon.UNSEEN, *lexicon.LETTERS}
    assert {word for group in lexicon.HOMOPHONES for word in group} <= known
    assert all(len(set(group)) == len(group) >= 2 for group in lexicon.HOMOPHONES)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "zero"),
        (9, "nine"),
        (13, "thirteen"),
        (20, "twenty"),
        (21, "twenty one"),
        (40, "forty"),
        (99, "ninety nine"),
        (100, "one hundred"),
        (101, "one hundred one"),
        (112, "one hundred twelve"),
        (120, "one hundred twenty"),
    ],
)
def test_number_words(number: int, words: str) -> None:
    assert lexicon.number_words(number) == tuple(words.split())


@given(st.integers(0, 119))
def test_numbers_are_said_differently_and_with_number_words(number: int) -> None:
    words = lexicon.number_words(number)
    assert set(words) <= set(lexicon.NUMBERS)
    assert words != lexicon.number_words(number + 1)


@pytest.mark.parametrize("number", [-1, 121])
def test_a_number_out_of_range_is_an_input_error(number: int) -> None:
    with pytest.raises(InputError, match=str(number)):
        lexicon.number_words(number)
