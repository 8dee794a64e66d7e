"""Forced alignment: known words are found where their phones are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from microturn.voices import forced
from microturn.voices.phones import PHONES, Pronunciation


def said(*phones: int) -> Pronunciation:
    count = len(phones)
    return Pronunciation(phones, tuple((place + 1) / count for place in range(count)))


def heard(row: list[int], surely: float = 0.9) -> NDArray[np.float32]:
    """How likely every phone is where ``row`` sounds, (N, P)."""
    log_NP = np.full((len(row), len(PHONES)), np.log((1 - surely) / (len(PHONES) - 1)), np.float32)
    log_NP[np.arange(len(row)), row] = np.log(surely)
    return log_NP


def word_spans(log_NP: NDArray[np.float32], words: list[Pronunciation]) -> list[tuple[int, int] | None]:
    return [(span.first, span.after) if span else None for span in forced.word_spans(log_NP, words)]


WORDS = st.lists(st.lists(st.integers(1, len(PHONES) - 1), min_size=1, max_size=4), min_size=1, max_size=5)


@given(WORDS, st.integers(0, 2**32 - 1))
def test_words_are_found_where_they_are(words: list[list[int]], seed: int) -> None:
    """With silence of any length around them, none included, as long as no sound comes twice in a row."""
    rng = np.random.default_rng(seed)
    row = [0] * int(rng.integers(0, 3))
    spans = []
    for phones in words:
        first = len(row)
        for phone in phones:
            if row and row[-1] == phone:
                row.append(0)
            row += [phone] * int(rng.integers(1, 4))
        if row[first] == 0:
            first += 1
        spans.append((first, len(row)))
        row += [0] * int(rng.integers(0, 3))
    row += [0, 0]
    same = any(a == b for phones in words for a, b in zip(phones, phones[1:], strict=False))
    found = word_spans(heard(row, 0.999), [said(*phones) for phones in words])
    if not same:
        assert found == spans


def test_a_phone_that_nobody_hears_is_left_out() -> None:
    assert word_spans(heard([0, 5, 6, 0, 9, 0]), [said(5, 7, 6), said(9)]) == [(1, 3), (4, 5)]


def test_a_word_that_is_nowhere_has_no_place() -> None:
    row = [0, 5, 6, 0, 9, 10, 0]
    assert word_spans(heard(row, 0.9999), [said(5, 6), said(20), said(9, 10)]) == [(1, 3), None, (4, 6)]


@pytest.mark.parametrize("length", [1, 2, 3])
def test_too_little_sound_for_all_words_is_no_error(length: int) -> None:
    assert len(word_spans(heard([0] * length), [said(1, 2, 3), said(4, 5)])) == 2


def test_how_well_a_word_fits_is_told() -> None:
    right, wrong = (forced.word_spans(heard([0, 5, 6, 0], 0.9), [said(*phones)])[0] for phones in ((5, 6), (7, 8)))
    assert right is not None and right.mean_log == pytest.approx(np.log(0.9))
    assert wrong is None or wrong.mean_log < -5.0
