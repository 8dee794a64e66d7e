"""Requests that are handed over, and what their jobs bring."""

from __future__ import annotations

import numpy as np
import pytest

from microturn.background.calculate import calculate
from microturn.language.lexicon import COMMON, CONTENT, UNSEEN
from microturn.language.tokenizer import default_tokenizer
from microturn.language.wordings import ASKED, BROUGHT
from microturn.scenario.asked import CHANGED, DRAWN, FACTORS, HOLDS, Asked, draw_asked, open_word
from microturn.split import SPLITS, Split
from microturn.voices.wordtimes import tokens


def drawn(split: Split, *, correctable: bool = False, count: int = 400) -> list[Asked]:
    rng = np.random.default_rng(0)
    return [draw_asked(rng, split, correctable=correctable) for _ in range(count)]


@pytest.mark.parametrize("split", SPLITS)
def test_every_kind_is_asked_for_and_all_of_it_can_be_spoken(split: Split) -> None:
    found = drawn(split)
    assert {asked.kind for asked in found} == ASKED.keys() == BROUGHT.keys() == HOLDS.keys()
    assert DRAWN.keys() == CHANGED.keys() == ASKED.keys() - {"clock"}
    for asked in found:
        for text in (asked.text, asked.result, asked.hold):
            assert tokens(text) and "{" not in text
        assert not any(character.isdigit() for character in asked.result)
        assert (asked.correction, asked.corrected) == ("", "")


def test_no_request_is_in_both_splits() -> None:
    sides = [{asked.text for asked in drawn(split, count=800) if asked.kind != "clock"} for split in SPLITS]
    assert min(map(len, sides)) > 500 and sides[0].isdisjoint(sides[1])


def test_sums_and_units_come_out_right() -> None:
    checked = 0
    for asked in drawn("train", count=1500):
        words = asked.result.split()
        if asked.kind == "sum" and " is " in asked.result and words[0] not in ("it", "that", "the"):
            term, _, result = asked.result.partition(" is ")
            assert calculate(term) == calculate(result)
            checked += 1
        if asked.kind == "units" and " are " in asked.result and words[0] != "they" and words[0] != "there":
            start, _, end = asked.result.partition(" are ")
            (amount, unit), (result, to) = start.rsplit(maxsplit=1), end.rsplit(maxsplit=1)
            if FACTORS[unit, to]:
                assert calculate(amount) * FACTORS[unit, to] == calculate(result)
                checked += 1
    assert checked > 15


def test_what_is_put_right_has_another_answer() -> None:
    found = drawn("train", correctable=True)
    assert {asked.kind for asked in found} == CHANGED.keys()
    assert all(asked.correction and asked.corrected for asked in found)
    for asked in found:
        if asked.kind == "sum" and asked.result.startswith("the answer is") and asked.corrected.startswith("it is"):
            assert asked.result.split()[3:] != asked.corrected.split()[2:]
    assert len({asked.correction for asked in found}) > 200


def test_results_have_words_that_nobody_could_guess() -> None:
    rng = np.random.default_rng(0)
    known = {*CONTENT, *COMMON}
    for split in SPLITS:
        words = [open_word(rng, split) for _ in range(600)]
        new = [word for word in words if word not in known]
        assert 0.2 < len(new) / len(words) < 0.3
        assert (set(new) <= set(UNSEEN)) == (split == "heldout")
        assert all(len(default_tokenizer().encode_word(word)) > 1 for word in new if word in UNSEEN)
    assert len({open_word(rng, "train") for _ in range(2_000)}) > 1_000


def test_results_are_hardly_ever_the_same() -> None:
    for split in SPLITS:
        results = [asked.result for asked in drawn(split)]
        assert len(set(results)) > 0.9 * len(results)
