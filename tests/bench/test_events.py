"""Scoring on sessions made by hand, whose scores are known, and what must hold for any session."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from microturn.bench.events import Said, SaidWord, said_runs, score_session, summarise
from microturn.scenario.scenario import Event
from microturn.turn import TURN_MS, TURN_SAMPLES, TurnOutput

SILENCE = np.zeros(TURN_SAMPLES, np.float32)


def outputs(*turns: str | None) -> list[TurnOutput]:
    """One turn each: ``None`` listens, a text (with its leading spaces) speaks."""
    return [TurnOutput(turn, "", text or "", None, text is not None, SILENCE) for turn, text in enumerate(turns)]


def event(words: str, at_ms: float, *, kind: str = "say", early_ms: float = 200.0, late_ms: float = 400.0) -> Event:
    return Event(kind, words, at_ms, early_ms, late_ms, cause_ms=at_ms - early_ms)


def test_runs_end_at_silent_turns_and_begin_with_their_first_sound() -> None:
    runs = said_runs(outputs(None, "", " red car", "", None, " blue", None))
    assert runs == [
        Said(1, 3, (SaidWord("red", 2), SaidWord("car", 2))),
        Said(5, 1, (SaidWord("blue", 5),)),
    ]
    assert runs[0].time_ms(0) == 400.0, "the run's first sounding turn, not that of its first word"
    assert runs[0].time_ms(1) == 600.0


def test_a_word_goes_on_in_the_next_turn() -> None:
    assert [run.text for run in said_runs(outputs(" water", "melon red", None, "green"))] == ["watermelon red", "green"]


def test_right_words_in_the_window() -> None:
    said = said_runs(outputs(None, None, " red car", "", None))
    score = score_session([event("red car", 600.0)], 5, said)
    assert (len(score.matches), score.extra_words, score.right) == (1, 0, True)
    assert score.matches[0].time_ms == 600.0
    assert score.matches[0].reaction_ms == 200.0


@pytest.mark.parametrize("at_ms", [199.0, 801.0])
def test_right_words_outside_the_window_are_wrong_and_extra(at_ms: float) -> None:
    score = score_session([event("red", at_ms)], 5, said_runs(outputs(None, None, " red", None, None)))
    assert (len(score.matches), score.extra_words, score.right) == (0, 1, False)


@pytest.mark.parametrize("text", [" red green", " green red", " red red", " red car", " re", ""])
def test_other_words_are_wrong_even_if_the_right_one_is_among_them(text: str) -> None:
    score = score_session([event("red", 600.0)], 4, said_runs(outputs(None, None, text, None)))
    assert not score.matches
    assert score.extra_words == max(1, len(text.split()))


def test_an_utterance_broken_by_silence_is_wrong() -> None:
    score = score_session([event("red car", 600.0)], 5, said_runs(outputs(None, None, " red", None, " car")))
    assert (len(score.matches), score.extra_words) == (0, 2)


def test_answers_without_a_pause_between_them_each_count() -> None:
    said = said_runs(outputs(None, " one", "", " twenty", " one", None))
    score = score_session([event("one", 400.0), event("twenty one", 800.0)], 6, said)
    assert [match.time_ms for match in score.matches] == [400.0, 800.0]
    assert score.right


def test_a_longer_answer_is_preferred_when_only_it_explains_the_run() -> None:
    said = said_runs(outputs(" red", " car", None))
    score = score_session([event("red", 200.0), event("red car", 200.0, late_ms=500.0)], 3, said)
    assert [match.event.words for match in score.matches] == ["red car"]


def test_other_words_that_are_as_good_count_too() -> None:
    either = replace(event("one moment", 400.0), or_words=("let me see", "okay"))
    for text in ("one moment", "let me see", "okay"):
        score = score_session([either], 5, said_runs(outputs(None, f" {text}", None)))
        assert [match.event for match in score.matches] == [either] and score.right
    wrong = score_session([either], 5, said_runs(outputs(None, " let me", None)))
    assert not wrong.matches and [run.text for run in wrong.extra] == ["let me"]


def test_an_answer_given_twice_counts_once() -> None:
    score = score_session([event("red", 400.0)], 5, said_runs(outputs(None, " red", None, " red", None)))
    assert (len(score.matches), score.extra_words, score.right) == (1, 1, False)


def test_equal_events_are_matched_one_by_one_earliest_deadline_first() -> None:
    events = [event("red", 1000.0, early_ms=800.0), event("red", 400.0)]
    score = score_session(events, 6, said_runs(outputs(None, " red", None, None, " red", None)))
    assert [match.event.at_ms for match in score.matches] == [400.0, 1000.0]


def test_words_without_sound_are_not_said() -> None:
    quiet = [TurnOutput(0, "", "", None, False, SILENCE), TurnOutput(1, "", " red", None, False, SILENCE)]
    score = score_session([event("red", 400.0)], 2, said_runs(quiet))
    assert (len(score.matches), score.extra_words) == (0, 1)


def test_summary_of_two_sessions() -> None:
    right = score_session([event("red", 400.0)], 150, said_runs(outputs(None, " red", None)))
    wrong = score_session([event("red", 400.0, kind="time")], 150, said_runs(outputs(None, " big dog", None)))
    total = summarise([right, wrong])
    assert total.event_accuracy == 0.5
    assert total.session_accuracy == 0.5
    assert total.words_per_minute == 3.0, "three words in a minute"
    assert total.extra_words_per_minute == 2.0
    assert total.reaction_ms == 200.0


def test_reaction_is_measured_where_an_answer_is_due_at_once() -> None:
    timer = score_session([event("red", 400.0, kind="time")], 150, said_runs(outputs(None, " red", None)))
    assert summarise([timer]).reaction_ms is None


WORDS = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=3)
EVENTS = st.lists(
    st.builds(
        lambda words, at, early, late: event(" ".join(words), at * 100.0, early_ms=early * 100.0, late_ms=late * 100.0),
        WORDS,
        st.integers(0, 60),
        st.integers(0, 10),
        st.integers(0, 10),
    ),
    max_size=8,
)
TEXTS = WORDS.map(lambda words: "".join(f" {word}" for word in words))
TURNS = st.lists(st.one_of(st.none(), st.just(""), TEXTS), max_size=30)


@given(EVENTS, TURNS)
def test_matching_is_one_to_one_and_counts_every_word_once(events: list[Event], turns: list[str | None]) -> None:
    score = score_session(events, len(turns), said_runs(outputs(*turns)))
    matched = [match.event for match in score.matches]
    assert len({id(one) for one in matched}) == len(matched) <= len(events)
    for match in score.matches:
        assert any(match.event is one for one in events)
        assert match.event.at_ms - match.event.early_ms <= match.time_ms <= match.event.at_ms + match.event.late_ms
    assert sum(len(one.words.split()) for one in matched) + score.extra_words == score.num_words


@given(st.lists(st.tuples(WORDS, st.integers(0, 3), st.booleans()), max_size=8))
def test_replay_of_what_is_expected_is_always_right(plan: list[tuple[list[str], int, bool]]) -> None:
    """Answers one after the other, with or without a pause between them, and words spread over turns."""
    turns: list[str | None] = [None]
    events = []
    for words, pause, spread in plan:
        turns += [None] * pause
        at_ms = (len(turns) + 1.0) * TURN_MS
        events.append(event(" ".join(words), at_ms, early_ms=0.0, late_ms=0.0))
        turns += [f" {word}" for word in words] if spread else ["".join(f" {word}" for word in words)]
    score = score_session(events, len(turns), said_runs(outputs(*turns)))
    assert score.right
    assert len(score.matches) == len(events)


@given(EVENTS)
def test_silence_finds_nothing(events: list[Event]) -> None:
    score = score_session(events, 50, said_runs(outputs(*[None] * 50)))
    assert (score.matches, score.extra_words, score.right) == ((), 0, not events)
