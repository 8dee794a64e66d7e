"""Alignment of the words heard with the words said."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from microturn.bench.baselines import labels, never_speak
from microturn.bench.heard import (
    CLIPS_PER_SESSION,
    REAL_DIGITS,
    REAL_WAKE_WORDS,
    SEEN_ENGINE,
    UNSEEN_ENGINE,
    UNSEEN_WORDS,
    HeardScore,
    align,
    groups,
    score_heard,
)
from microturn.bench.systems import run
from microturn.errors import VoiceError
from microturn.scenario import festival
from microturn.scenario.lexicon import UNSEEN

WORDS = st.lists(st.sampled_from("abc"), max_size=7)
festival_only = pytest.mark.skipif(not festival.installed(), reason="festival is not installed: make voices")


@pytest.mark.parametrize(
    ("truth", "written", "errors"),
    [
        ("one two three", "one two three", (0, 0, 0)),
        ("one two three", "one too three", (1, 0, 0)),
        ("one two three", "one three", (0, 1, 0)),
        ("one two three", "one two two three", (0, 0, 1)),
        ("one two three", "", (0, 3, 0)),
        ("", "one", (0, 0, 1)),
    ],
)
def test_known_errors(truth: str, written: str, errors: tuple[int, int, int]) -> None:
    score = align(truth.split(), written.split())
    assert (score.substitutions, score.deletions, score.insertions) == errors
    assert score.words == len(truth.split())


@given(WORDS, WORDS)
def test_alignment_is_the_cheapest(truth: list[str], written: list[str]) -> None:
    @cache
    def distance(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        swap = distance(i - 1, j - 1) + (truth[i - 1] != written[j - 1])
        return min(swap, distance(i - 1, j) + 1, distance(i, j - 1) + 1)

    score = align(truth, written)
    assert score.substitutions + score.deletions + score.insertions == distance(len(truth), len(written))
    assert len(written) == len(truth) - score.deletions + score.insertions


def test_scores_add_up() -> None:
    total = HeardScore(3, 1, 0, 0) + HeardScore(7, 0, 1, 2)
    assert total == HeardScore(10, 1, 1, 2)
    assert total.accuracy == pytest.approx(0.6)


@festival_only
def test_labels_hear_every_word_of_every_group_and_silence_none() -> None:
    found = {group.name: group for group in groups(2, None)}
    assert list(found) == [SEEN_ENGINE, UNSEEN_ENGINE, UNSEEN_WORDS]
    for group in found.values():
        session = group.make(0)
        assert not session.gaps
        assert score_heard(session, run(labels(), session)).accuracy == 1.0
        assert score_heard(session, run(never_speak(), session)).accuracy == 0.0
    assert {word.text for word in found[UNSEEN_WORDS].make(0).heard} <= set(UNSEEN)
    assert found[SEEN_ENGINE].make(0).heard != found[SEEN_ENGINE].make(1).heard
    np.testing.assert_array_equal(found[SEEN_ENGINE].make(1).user, found[SEEN_ENGINE].make(1).user)


def test_missing_engine_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(festival, "installed", lambda: ())
    with pytest.raises(VoiceError, match="festival"):
        groups(1, None)


@festival_only
@pytest.mark.skipif("MICROTURN_DATA" not in os.environ, reason="MICROTURN_DATA names no folder of recordings")
def test_real_people() -> None:
    found = {group.name: group for group in groups(1, Path(os.environ["MICROTURN_DATA"]))}
    for name in (REAL_DIGITS, REAL_WAKE_WORDS):
        session = found[name].make(0)
        assert len(session.heard) >= CLIPS_PER_SESSION
        assert score_heard(session, run(labels(), session)).accuracy == 1.0
        assert session.num_turns * 200 > session.heard[-1].end_ms
