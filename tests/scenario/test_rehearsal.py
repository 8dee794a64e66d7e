"""Rehearsal: the families' sessions with the words and their times, and without the user's sound."""

from __future__ import annotations

import numpy as np
import pytest

from microturn.errors import InputError
from microturn.language.lexicon import CONTENT
from microturn.scenario.families import FAMILIES
from microturn.scenario.generate import STRING, generate
from microturn.scenario.practice import make_scenario
from microturn.scenario.script import timed_words
from microturn.train.augment import AugmentConfig, misheard
from microturn.turn import TURN_MS

with_assistant = pytest.mark.assistant


@with_assistant
@pytest.mark.parametrize("family", [*FAMILIES, STRING])
def test_a_rehearsal_has_the_words_of_a_session_and_no_sound(family: str) -> None:
    for seed in range(4):
        scenario = make_scenario(f"rehearsed {family}", seed, "train", None)
        assert scenario.family == f"rehearsed {family}"
        assert not scenario.user.any()
        assert scenario.heard or scenario.texts or family == "idle"
        assert sum(map(len, scenario.hear_labels().values())) == len(scenario.heard)
        for event, utterance in zip(scenario.events, scenario.said, strict=True):
            said = " ".join(word.text for word in utterance.speech.words)
            assert said == event.words or (utterance.cut and said in event.or_words)
            assert np.abs(utterance.speech.pcm).max() > 0.1, "the model's side has its sound"
            assert event.cause_ms <= event.at_ms + event.late_ms <= scenario.num_turns * TURN_MS + event.late_ms


@with_assistant
def test_the_same_seed_gives_the_same_words_and_times() -> None:
    first, second = (make_scenario("rehearsed cue", 5, "train", None) for _ in range(2))
    assert first.heard == second.heard and first.events == second.events
    assert first.heard != make_scenario("rehearsed cue", 6, "train", None).heard


def test_the_split_is_kept() -> None:
    """Without sound a session asks in the wordings of its split, as with sound."""
    train = {
        word.text for seed in range(20) for word in generate("cue", seed, "train", assistant=False, sound=False).heard
    }
    assert {"whenever", "say"} <= train


def test_an_unknown_family_is_named() -> None:
    with pytest.raises(InputError, match="family dance"):
        make_scenario("rehearsed dance", 0, "train", None)


def test_words_follow_each_other_and_letters_and_commas_take_their_time() -> None:
    words = timed_words("spell it, b., c. now", 1.0).words
    assert [word.text for word in words] == ["spell", "it", "b", "c", "now"]
    assert all(word.end_ms - word.start_ms >= 100.0 for word in words)
    pauses = [after.start_ms - before.end_ms for before, after in zip(words, words[1:], strict=False)]
    assert min(pauses) >= 0.0 and min(pauses[1:3]) >= 80.0 > max(pauses[0], pauses[3])
    assert timed_words("spell it", 2.0).words[-1].end_ms < timed_words("spell it", 1.0).words[-1].end_ms
    assert timed_words("spell it, b., c. now", 1.0).words == words


def test_words_mostly_run_into_each_other_and_now_and_then_somebody_hesitates() -> None:
    words = timed_words(" ".join(CONTENT), 1.0).words
    pauses = np.array([after.start_ms - before.end_ms for before, after in zip(words, words[1:], strict=False)])
    assert pauses.min() >= 0.0 and pauses.max() <= 350.0
    assert 0.04 < np.mean(pauses > 30.0) < 0.12
    assert np.std(pauses) > 10.0


def test_only_words_that_nothing_depends_on_are_misheard_and_some_come_a_turn_late() -> None:
    rng = np.random.default_rng(0)
    spoken = {3 * turn: ["say", "radio", "the", "stop", "whenever"] for turn in range(500)}
    changed = misheard(spoken, rng, AugmentConfig(mishear_probability=0.5, extra_probability=0.0))
    late = sum(turn % 3 == 1 for turn in changed)
    assert len(changed) == len(spoken) and {turn % 3 for turn in changed} == {0, 1}
    assert 210 < late < 290
    lost = kept = 0
    for heard in changed.values():
        assert [word for word in heard if word in ("say", "radio", "stop", "whenever")][:2] == ["say", "radio"]
        assert heard[-2:] == ["stop", "whenever"]
        lost += len(heard) == 4
        kept += "the" in heard
    assert 90 < lost < 160 and 220 < kept < 290
    assert misheard(spoken, rng, AugmentConfig(mishear_probability=0.0, extra_probability=0.0)) == spoken


def test_function_words_come_twice_or_behind_one_that_nobody_said() -> None:
    rng = np.random.default_rng(0)
    spoken = {turn: ["say", "radio", "the"] for turn in range(1000)}
    changed = misheard(spoken, rng, AugmentConfig(mishear_probability=0.0, extra_probability=0.2))
    twice = sum(heard.count("say") == 2 or heard.count("the") == 2 for heard in changed.values())
    longer = sum(len(heard) - 3 for heard in changed.values())
    assert 360 < longer < 440 and 150 < twice < 230
    assert all(heard.count("radio") == 1 for heard in changed.values()), "what is asked for stays as it is"
    assert all(heard[-1] == "the" and "say" in heard[:2] for heard in changed.values())
