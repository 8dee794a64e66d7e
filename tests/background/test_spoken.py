"""Texts and how a person says them."""

from __future__ import annotations

import re
import time
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microturn.background.spoken import Sentences, number_text, spoken
from microturn.language.lexicon import MAX_NUMBER, number_words


@pytest.mark.parametrize(
    "text, said",
    [
        ("It is 1,234.50 km away.", "It is one thousand two hundred thirty four point five zero kilometers away."),
        ("On 2026-12-25 at 14:05.", "On December twenty fifth twenty twenty six at two oh five P M."),
        ("2026-02-30", "two thousand twenty six zero two thirty"),
        ("July 4, 1984 or dec 3rd", "July fourth nineteen eighty four or December third"),
        ("$5.20, €1 and £0.01", "five dollars twenty cents, one euro and one penny"),
        ("$3.5 million", "three point five million dollars"),
        ("Dr. Smith, e.g. at 3 p.m.", "Doctor Smith, for example at three P M"),
        ("72 °F (22.2 °C) is 5% more", "seventy two degrees Fahrenheit, twenty two point two degrees Celsius, is five"
         " percent more"),
        ("the USA and NASA in 1984, since 2007.", "the U S A and NASA in nineteen eighty four, since two thousand"
         " seven."),
        ("1/2 and 3/4, 5-10 ft, 1 mph, -3 m", "one half and three quarters, five to ten feet, one mile per hour, minus"
         " three meters"),
        ("12 * 7 = 84 & x² + 3", "twelve times seven equals eighty four and x squared plus three"),
        ("007, 1st, 22nd", "zero zero seven, first, twenty second"),
        ("12345678901234567", "one two three four five six seven eight nine zero one two three four five six seven"),
        ("8:00, 12:30 am, 0:15", "eight A M, twelve thirty A M, twelve fifteen A M"),
        ("**Bold** `code` and [a page](http://x.y) at https://x.y/z?q=1", "Bold code and a page at a link"),
        ("# Title\n- one\n- 2 apples", "Title one two apples"),
        ("```python\nprint(1)\n``` done", "done"),
        ("<script>alert('x')</script> hi", "alert, x, hi"),
        ("No. 5 of No. I said.", "number five of No. I said."),
        ("a well-known thing - really; COVID-19", "a well-known thing, really, COVID nineteen"),
        ("", ""),
    ],
)  # fmt: skip
def test_texts_are_said_as_a_person_would(text: str, said: str) -> None:
    assert spoken(text) == said


def test_numbers_are_said_as_the_lexicon_says_them() -> None:
    for number in range(MAX_NUMBER + 1):
        assert spoken(str(number)) == " ".join(number_words(number))


@settings(max_examples=400, deadline=None)
@given(st.text(max_size=80) | st.text(alphabet="0123456789.,-/:$%° kmhft()*_<>#\n", max_size=60))
def test_nothing_but_words_is_said(text: str) -> None:
    said = spoken(text)
    assert not re.search(r"[^\w\s.,?!'-]|_", said) and not re.search(r"\d", said)
    assert said == said.strip() and "  " not in said


def test_a_long_text_does_not_take_long() -> None:
    for text in ("1" * 50_000, "(" * 50_000, "<" * 50_000, "1-" * 25_000, "*a" * 25_000, "[" * 50_000, "1," * 25_000):
        began = time.monotonic()
        spoken(text[:10_000])
        assert time.monotonic() - began < 2


def test_a_sentence_without_an_end_is_given_all_the_same() -> None:
    sentences = Sentences()
    assert sum(len(one) for _ in range(100) for one in sentences.push("word " * 50)) > 20_000


@pytest.mark.parametrize(
    "value, written",
    [
        (Fraction(84), "84"),
        (Fraction(1, 4), "0.25"),
        (Fraction(1, 3), "about 0.333333"),
        (2**0.5, "about 1.41421"),
        (0.49999999999999994, "0.5"),
        (Fraction(10) ** 30, "1 times 10 to the power of 30"),
        (Fraction(2) ** 4000, "about 1.3182 times 10 to the power of 1204"),
        (Fraction(-1, 10**9), "-1 times 10 to the power of -9"),
        (Fraction(0), "0"),
    ],
)
def test_numbers_are_written_short(value: Fraction | float, written: str) -> None:
    assert number_text(value) == written


def test_sentences_are_whole_whatever_the_fragments() -> None:
    text = "It is 3.14 or so. Dr. No, e.g. he! Really?\nA list\nEnd ```code. More.``` here"
    whole = ["It is 3.14 or so.", "Dr. No, e.g. he!", "Really?", "A list", "End   here"]
    for size in (1, 2, 7, 100):
        sentences = Sentences()
        found = [one for at in range(0, len(text), size) for one in sentences.push(text[at : at + size])]
        assert [*found, *sentences.flush()] == whole
