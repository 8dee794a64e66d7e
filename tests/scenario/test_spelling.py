"""Spelling practice: requests without sound, answered letter by letter, of words that training may spell."""

from __future__ import annotations

import pytest

from microturn.language.lexicon import CONTENT, FUNCTION
from microturn.language.tokenizer import default_tokenizer
from microturn.language.wordings import combination_split
from microturn.scenario.practice import SPELLING, make_scenario, spellable

with_assistant = pytest.mark.assistant


def test_all_that_is_one_token_may_be_asked_for() -> None:
    """Words of the lexicon, and beginnings of words: what is one token to the network need not be a word."""
    assert set(CONTENT) | set(FUNCTION) < set(spellable())
    assert list(spellable()) == sorted(set(spellable()))
    for piece in set(spellable()) - {*CONTENT, *FUNCTION}:
        assert piece.isascii() and piece.isalpha() and piece.islower()
        assert len(default_tokenizer().encode_word(piece)) == 1


@with_assistant
def test_words_asked_for_are_spelt() -> None:
    for seed in range(8):
        scenario = make_scenario(SPELLING, seed, "train", None)
        assert not scenario.user.any()
        assert 3 <= len(scenario.events) <= 6
        asked = {word.text for word in scenario.heard}
        asked |= {word for texts in scenario.texts.values() for text in texts for word in text.text.split()}
        for event in scenario.events:
            word = event.words.replace(" ", "")
            assert word in asked
            assert len(event.words.split()) == len(word)


@with_assistant
def test_splits_spell_different_words() -> None:
    for split in ("train", "heldout"):
        for seed in range(4):
            for event in make_scenario(SPELLING, seed, split, None).events:
                assert combination_split("spell", event.words.replace(" ", "")) == split


@with_assistant
def test_the_same_seed_gives_the_same_session() -> None:
    assert (
        make_scenario(SPELLING, 5, "train", None).hear_labels()
        == make_scenario(SPELLING, 5, "train", None).hear_labels()
    )
    assert (
        make_scenario(SPELLING, 5, "train", None).say_labels() != make_scenario(SPELLING, 6, "train", None).say_labels()
    )
