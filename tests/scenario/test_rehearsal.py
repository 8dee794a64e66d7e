"""Rehearsal: the families' sessions with the words and their times, and without the user's sound."""

from __future__ import annotations

import numpy as np
import pytest

from microturn.errors import InputError
from microturn.scenario import flite
from microturn.scenario.corpus import to_record
from microturn.scenario.generate import generate
from microturn.scenario.rehearsal import rehearsal, rehearsed
from microturn.scenario.timeline import timed_words
from microturn.train.augment import AugmentConfig, misheard
from microturn.train.listen import can_be_spelt

needs_flite = pytest.mark.skipif(not flite.installed(), reason="flite is not installed (make voices)")


@needs_flite
@pytest.mark.parametrize("family", ["say", "time", "cue", "count", "free", "idle", "string"])
def test_a_rehearsal_is_a_session_of_gaps(family: str) -> None:
    for seed in range(4):
        scenario = rehearsal(rehearsed(family), seed, "train")
        assert scenario.family == f"rehearsed {family}"
        assert scenario.gaps == frozenset(range(scenario.num_turns))
        assert not scenario.user.any()
        for event in scenario.events:
            assert event.cause_ms <= event.at_ms + event.late_ms <= scenario.num_turns * 200.0 + event.late_ms
        record = to_record(scenario)
        assert record.user_mel == b"" and not can_be_spelt(record)
        assert sum(map(len, record.hear.values())) == len(scenario.heard)


@needs_flite
def test_the_same_seed_gives_the_same_words_and_times() -> None:
    first, second = (rehearsal("rehearsed cue", 5, "train") for _ in range(2))
    assert first.heard == second.heard and first.events == second.events
    assert first.heard != rehearsal("rehearsed cue", 6, "train").heard


def test_the_split_is_kept() -> None:
    """Without sound a session asks in the wordings of its split, as with sound."""
    train = {
        word.text for seed in range(20) for word in generate("cue", seed, "train", assistant=False, sound=False).heard
    }
    assert {"whenever", "say"} <= train


def test_an_unknown_family_is_named() -> None:
    with pytest.raises(InputError, match="family dance"):
        rehearsal("rehearsed dance", 0, "train")


def test_words_follow_each_other_and_letters_and_commas_take_their_time() -> None:
    words = timed_words("spell it, b., c. now", 1.0).words
    assert [word.text for word in words] == ["spell", "it", "b", "c", "now"]
    assert all(word.end_ms - word.start_ms >= 100.0 for word in words)
    pauses = [after.start_ms - before.end_ms for before, after in zip(words, words[1:], strict=False)]
    assert [pause > 0 for pause in pauses] == [False, True, True, False]
    assert timed_words("spell it", 2.0).words[-1].end_ms < timed_words("spell it", 1.0).words[-1].end_ms


def test_only_words_that_nothing_depends_on_are_misheard() -> None:
    rng = np.random.default_rng(0)
    words = {turn: ["say", "radio", "the", "stop", "whenever"] for turn in range(500)}
    changed = misheard(words, rng, AugmentConfig(mishear_probability=0.5))
    assert list(changed) == list(words)
    lost = kept = 0
    for heard in changed.values():
        assert [word for word in heard if word in ("say", "radio", "stop", "whenever")][:2] == ["say", "radio"]
        lost += len(heard) == 4
        kept += "the" in heard
    assert 90 < lost < 160 and 220 < kept < 290
    assert misheard(words, rng, AugmentConfig(mishear_probability=0.0)) == words
