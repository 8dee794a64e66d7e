"""Held-out wordings are new but made of known words; combinations fall into one split each."""

from __future__ import annotations

import string

import numpy as np
import pytest

from microturn.language import wordings
from microturn.language.lexicon import COMMANDS, COMMON, CONTENT, FUNCTION, HANDED, HOMOPHONES, sounds_alike
from microturn.language.wordings import (
    HELDOUT_SHARE,
    REQUEST_WORDS,
    SLOTS,
    Wordings,
    aside,
    combination,
    combination_split,
    loose_words,
    plain_sentence,
)

TEMPLATES = {name: value for name, value in vars(wordings).items() if isinstance(value, Wordings)}
REQUESTS = {name: value for name, value in (TEMPLATES | wordings.ASKED).items() if name not in ("PLAIN", "ASIDE")}
ALL = {**TEMPLATES, **wordings.GREETINGS, **wordings.ASKED}


def plain(templates: tuple[str, ...]) -> set[str]:
    return {word for template in templates for word in template.split() if "{" not in word}


@pytest.mark.parametrize("name", ALL)
def test_both_splits_have_wordings_of_their_own(name: str) -> None:
    both = ALL[name]
    assert len(both.train) >= 8 and len(both.heldout) >= 3
    assert len(set(both.train)) == len(both.train)
    assert set(both.train).isdisjoint(both.heldout)


@pytest.mark.parametrize("name", REQUESTS)
def test_both_splits_have_the_same_slots(name: str) -> None:
    def slots(template: str) -> set[str | None]:
        return {slot for _, slot, _, _ in string.Formatter().parse(template)} - {None}

    common = set.union(*map(slots, REQUESTS[name].train))
    assert set.union(*map(slots, REQUESTS[name].heldout)) == common


@pytest.mark.parametrize("name", sorted(set(REQUESTS) - {"COUNT"}))
def test_every_wording_says_all_that_is_asked(name: str) -> None:
    """No slot is left out, but for what is to be counted ("count out loud")."""
    found = {
        template: {slot for _, slot, _, _ in string.Formatter().parse(template)} - {None}
        for template in (*REQUESTS[name].train, *REQUESTS[name].heldout)
    }
    assert len({frozenset(slots) for slots in found.values()}) == 1, found


def test_all_words_are_in_the_lexicon_and_held_out_wordings_use_trained_ones() -> None:
    trained = set.union(*(plain(both.train) for both in ALL.values()))
    held_out = set.union(*(plain(both.heldout) for both in ALL.values()))
    assert trained <= {*CONTENT, *FUNCTION, *COMMON, *COMMANDS, *HANDED}
    assert held_out <= trained | set(CONTENT)
    assert {slot for both in (wordings.PLAIN, wordings.ASIDE) for template in (*both.train, *both.heldout)
            for _, slot, _, _ in string.Formatter().parse(template) if slot} <= set(SLOTS)  # fmt: skip


def test_what_is_handed_over_is_asked_for_in_words_of_its_own() -> None:
    """Or nobody could tell it from what the model answers itself."""
    asked = [template for both in wordings.ASKED.values() for template in (*both.train, *both.heldout)]
    others = {template for name, both in ALL.items() if name not in wordings.ASKED
              for template in (*both.train, *both.heldout)}  # fmt: skip
    assert len(asked) == len(set(asked)) and others.isdisjoint(asked)


@pytest.mark.parametrize("kind", wordings.BROUGHT)
def test_jobs_of_every_kind_put_what_they_bring_in_several_ways(kind: str) -> None:
    both = wordings.BROUGHT[kind]
    assert wordings.BROUGHT.keys() == wordings.ASKED.keys()
    assert len({*both.train, *both.heldout}) == len(both.train) + len(both.heldout) >= 11
    asked = {slot for template in wordings.ASKED[kind].train for _, slot, _, _ in string.Formatter().parse(template)}
    brought = {slot for template in both.train for _, slot, _, _ in string.Formatter().parse(template)}
    assert brought - {None} <= {*asked, *"rwvukdts"}


def test_a_request_is_a_template_with_an_opening_of_its_split() -> None:
    rng = np.random.default_rng(0)
    openings = {"", *wordings.CALLS.heldout, *wordings.ASKS.heldout}
    bodies = {template.format(x="red") for template in wordings.SAY.heldout}
    for _ in range(200):
        text = wordings.SAY.draw(rng, "heldout", x="red")
        assert any(text == f"{opening} {body}".strip() for opening in openings for body in bodies)


def test_combinations_are_shared_out_by_a_stable_hash() -> None:
    assert combination_split("red", "car") == combination_split("red", "car")
    shares = [combination_split(first, second) == "heldout" for first in CONTENT[:60] for second in CONTENT[60:120]]
    assert np.mean(shares) == pytest.approx(HELDOUT_SHARE, abs=0.03)
    # Order matters: the two orders of a pair often fall into different splits.
    assert any(combination_split(first, "car") != combination_split("car", first) for first in CONTENT[:60])


def test_drawn_combinations_belong_to_the_split_and_cover_the_lexicon() -> None:
    rng = np.random.default_rng(0)
    for count in (2, 3, 4):
        for _ in range(50):
            words = combination(rng, "heldout", count)
            assert len(set(words)) == count and combination_split(*words) == "heldout"
    singles = {combination(rng, "train", 1)[0] for _ in range(8 * len(CONTENT))}
    assert len(singles) > 0.99 * len(CONTENT)


def test_loose_words_avoid_what_sounds_like_a_cue_and_make_no_request() -> None:
    rng = np.random.default_rng(0)
    words = [word.rstrip(",") for _ in range(100) for word in loose_words(rng, 14, avoid=("two", "brush"))]
    assert len(words) == 1400
    assert not {"two", "to", "brush", "toothbrush"} & set(words)
    assert not REQUEST_WORDS & set(words)


def test_sentences_differ_and_keep_to_their_split() -> None:
    rng = np.random.default_rng(0)
    for make in (plain_sentence, aside):
        sides = [{make(rng, split) for _ in range(300)} for split in ("train", "heldout")]
        assert min(map(len, sides)) > 150 and sides[0].isdisjoint(sides[1])


def test_sounding_alike_is_symmetric() -> None:
    for group in HOMOPHONES:
        assert all(sounds_alike(first, second) and sounds_alike(second, first) for first in group for second in group)
    assert sounds_alike("red", "red") and not sounds_alike("red", "car")
