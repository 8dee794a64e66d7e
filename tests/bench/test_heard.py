"""Alignment of the words heard with the words said."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from microturn.bench.heard import (
    SEEN_ENGINE,
    UNSEEN_ENGINE,
    UNSEEN_STYLES,
    UNSEEN_WORDS,
    HeardScore,
    aligned,
    groups,
    score_heard,
    score_words,
    trivial_answers,
)
from microturn.bench.systems import labels, never_speak
from microturn.errors import VoiceError
from microturn.language.lexicon import UNSEEN
from microturn.voices import festival

WORDS = st.lists(st.sampled_from("abc"), max_size=7)
festival_only = pytest.mark.needs_engine("festival")
kokoro_only = pytest.mark.needs_engine("kokoro")


@pytest.mark.parametrize(
    ("truth", "written", "right", "unsaid"),
    [
        ("one two three", "one two three", 3, 0),
        ("one two three", "one too three", 2, 1),
        ("one two three", "one three", 2, 0),
        ("one two three", "one two two three", 3, 1),
        ("one two three", "", 0, 0),
        ("", "one", 0, 1),
        ("one two three", "two one three", 2, 1),
    ],
)
def test_known_errors(truth: str, written: str, right: int, unsaid: int) -> None:
    said = len(truth.split())
    assert score_words(truth.split(), written.split()) == HeardScore(said, right, said, unsaid)


def test_words_that_are_not_asked_for_are_neither_right_nor_wrong() -> None:
    truth = ["the", "quixotic", "cat", "sat"]
    known = {"the", "cat"}
    assert score_words(truth, ["the", "cat"], known) == HeardScore(2, 2, 4, 0)
    assert score_words(truth, ["the", "quixotic", "cat"], known) == HeardScore(2, 2, 4, 0)
    assert score_words(truth, ["the", "key", "sock", "cat", "sat"], known) == HeardScore(2, 2, 4, 2)


@given(WORDS, WORDS)
def test_alignment_is_the_cheapest_and_of_these_the_one_with_most_right(truth: list[str], written: list[str]) -> None:
    @cache
    def best(i: int, j: int) -> tuple[int, int]:
        """Cost, and minus the words right, of the first ``i`` words said and ``j`` written."""
        if not i or not j:
            return i + j, 0
        same = truth[i - 1] == written[j - 1]
        steps = [(best(i - 1, j - 1), 1 - same, same), (best(i - 1, j), 1, 0), (best(i, j - 1), 1, 0)]
        return min((cost + more, wrong - hit) for (cost, wrong), more, hit in steps)

    places = aligned(truth, written)
    assert len(places) == -best(len(truth), len(written))[1]
    assert list(places) == sorted(set(places))
    rest = iter(written)
    assert all(truth[place] in rest for place in places), "what is right was written, in this order"


def test_scores_add_up() -> None:
    total = HeardScore(3, 2, 4, 0) + HeardScore(7, 6, 16, 2)
    assert total == HeardScore(10, 8, 20, 2)
    assert total.share_right == pytest.approx(0.8)
    assert total.unsaid_share == pytest.approx(0.1)


def test_trivial_answers_to_all_that_was_said() -> None:
    said = [["up", "the", "hill"], ["the", "up"], []]
    assert trivial_answers(said) == [
        ("nothing", HeardScore(5, 0, 5, 0)),
        ('always "the"', HeardScore(5, 2, 5, 3)),
    ]
    assert trivial_answers(said, {"up"})[1] == ('always "up"', HeardScore(2, 2, 5, 3))
    assert [name for name, _ in trivial_answers([])] == ["nothing"]


@kokoro_only
@festival_only
def test_labels_hear_every_word_of_every_group_and_silence_none() -> None:
    found = groups(2)
    assert list(found) == [SEEN_ENGINE, UNSEEN_STYLES, UNSEEN_ENGINE, UNSEEN_WORDS]
    sessions = {name: [session for source in sources for session in source()] for name, sources in found.items()}
    assert [len(some) for some in sessions.values()] == [2, 1, 2, 1]
    for session, *_ in sessions.values():
        assert not session.gaps
        everything = score_heard(session, labels(session))
        assert (everything.share_right, everything.unsaid) == (1.0, 0)
        assert score_heard(session, never_speak(session)).share_right == 0.0
    assert {word.text for word in sessions[UNSEEN_WORDS][0].heard} <= set(UNSEEN)
    one, other = sessions[SEEN_ENGINE]
    assert one.heard != other.heard
    (again,) = found[SEEN_ENGINE][1]()
    np.testing.assert_array_equal(again.user, other.user)


def test_missing_engine_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(festival, "installed", lambda: ())
    with pytest.raises(VoiceError, match="festival"):
        groups(1)
