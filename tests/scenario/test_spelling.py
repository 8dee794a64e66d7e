"""Spelling practice: requests without sound, answered letter by letter, of words that training may spell."""

from __future__ import annotations

from microturn.scenario.spelling import spelling
from microturn.scenario.wordings import combination_split


def test_words_asked_for_are_spelt() -> None:
    for seed in range(8):
        scenario = spelling(seed, "train")
        assert len(scenario.gaps) == scenario.num_turns
        assert 3 <= len(scenario.events) <= 6
        asked = {word.text for word in scenario.heard}
        asked |= {word for texts in scenario.texts.values() for text in texts for word in text.text.split()}
        for event in scenario.events:
            word = event.words.replace(" ", "")
            assert word in asked
            assert len(event.words.split()) == len(word)


def test_splits_spell_different_words() -> None:
    for split in ("train", "heldout"):
        for seed in range(4):
            for event in spelling(seed, split).events:
                assert combination_split("spell", event.words.replace(" ", "")) == split


def test_the_same_seed_gives_the_same_session() -> None:
    assert spelling(5, "train").hear_labels() == spelling(5, "train").hear_labels()
    assert spelling(5, "train").say_labels() != spelling(6, "train").say_labels()
