"""``delegate``: acts where requests end, results word for word and never over the user, over many seeds."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
import pytest

from microturn.language.lexicon import UNSEEN
from microturn.scenario.families.delegate import (
    DELEGATE,
    HOLD,
    LATE_MS,
    OR_HOLDS,
    PIECE_WORDS,
    SILENT_MS,
    bring_written,
)
from microturn.scenario.families.time import WINDOW_MS
from microturn.scenario.generate import STRING, STRUNG, generate
from microturn.scenario.scenario import Event, Scenario, Utterance
from microturn.scenario.script import Script
from microturn.split import SPLITS, Split
from microturn.turn import TURN_MS, Act, TextIn, TextSource

SEEDS = range(120)
ASSISTANT = pytest.mark.assistant


@cache
def sessions(split: Split, assistant: bool = False) -> list[Scenario]:
    return [generate(DELEGATE, seed, split, assistant=assistant, sound=False) for seed in SEEDS]


MADE = [
    pytest.param((split, assistant), id=f"{split}{'-answered' * assistant}", marks=ASSISTANT if assistant else ())
    for split in SPLITS
    for assistant in (False, True)
]


@pytest.fixture(params=MADE)
def made(request: pytest.FixtureRequest) -> list[Scenario]:
    return sessions(*request.param)


def results(scenario: Scenario) -> list[tuple[Event, Utterance]]:
    pairs = zip(scenario.events, scenario.said, strict=True)
    return [(event, utterance) for event, utterance in pairs if event.kind == DELEGATE]


def brought(scenario: Scenario) -> list[tuple[int, str, str]]:
    """(turn, number of the job, words) of every text that came from one."""
    found = []
    for turn, texts in scenario.texts.items():
        for text in texts:
            if text.source is TextSource.JOB:
                first, _, rest = text.text.partition(" ")
                found.append((turn, first, rest) if first.isdigit() else (turn, "", text.text))
    return found


def test_acts_are_asked_for_in_the_turn_in_which_their_request_is_over(made: list[Scenario]) -> None:
    for scenario in made:
        acts = sorted(scenario.act_labels().items())
        dues = [due for due in scenario.dues if due.act is not None]
        assert [act for _, act in acts] == [due.act for due in dues]
        heard, typed = scenario.hear_labels(), {turn for turn, texts in scenario.texts.items()
                                                if texts[0].source is TextSource.TYPED}  # fmt: skip
        for (turn, _), due in zip(acts, dues, strict=True):
            assert turn - 1 in typed or {turn, turn - 1} & heard.keys()
            assert due.end_ms < (turn + 1) * TURN_MS <= due.end_ms + 2.5 * TURN_MS
            assert scenario.speaking()[turn], "it goes with a word"


def test_everything_that_is_said_is_due_for_something(made: list[Scenario]) -> None:
    for scenario in made:
        for before, after in pairwise(scenario.dues):
            assert before.start_ms < before.end_ms <= after.start_ms
        for word in scenario.heard:
            assert any(due.start_ms - 1.0 <= word.start_ms < word.end_ms <= due.end_ms + 1.0 for due in scenario.dues)


def test_results_are_said_word_for_word_after_they_came_in(made: list[Scenario]) -> None:
    for scenario in made:
        texts = brought(scenario)
        for event, utterance in results(scenario):
            pieces = next(
                found
                for number in {number for _, number, _ in texts}
                for one in [[(turn, words) for turn, other, words in texts if other == number]]
                for start in range(len(one))
                for found in (one[start : start + length] for length in (1, 2, 3))
                if " ".join(words for _, words in found) == event.words
            )
            assert all(after - before == 1 for (before, _), (after, _) in pairwise(pieces))
            assert utterance.turn > pieces[0][0]
            assert [word.text for word in utterance.speech.words] == event.words.split()


def test_results_are_never_said_over_the_user(made: list[Scenario]) -> None:
    for scenario in made:
        for event, utterance in results(scenario):
            begin_ms = (utterance.turn + 1) * TURN_MS
            end_ms = begin_ms + utterance.speech.words[-1].end_ms
            for word in scenario.heard:
                assert word.end_ms + SILENT_MS <= begin_ms or word.start_ms >= end_ms, word
            silent_ms = max([event.cause_ms, *(word.end_ms for word in scenario.heard if word.end_ms <= begin_ms)])
            assert event.at_ms - event.early_ms == event.cause_ms <= silent_ms or event.cause_ms == silent_ms
            assert event.late_ms > 0.0


def test_results_are_said_at_once_or_soon_after_the_user_has_fallen_silent(made: list[Scenario]) -> None:
    talking = silent = 0
    for scenario in made:
        for event, last in zip(scenario.events, [None, *scenario.said], strict=False):
            if event.kind != DELEGATE:
                continue
            model_ms = 0.0 if last is None else (last.turn + last.num_turns + 1) * TURN_MS
            wait_ms = event.at_ms - max(event.cause_ms, model_ms)
            assert wait_ms <= SILENT_MS + TURN_MS
            assert event.at_ms + event.late_ms == max(event.cause_ms, model_ms) + LATE_MS
            came_in = any((turn + 1) * TURN_MS == event.cause_ms for turn in scenario.texts)
            talking, silent = talking + (not came_in), silent + came_in
    assert min(talking, silent) > 30


def test_what_was_cancelled_is_not_said(made: list[Scenario]) -> None:
    leaked = went_on = 0
    for scenario in made:
        cancelled = [turn for turn, act in scenario.act_labels().items() if act is Act.CANCEL]
        if not cancelled:
            continue
        num_jobs = sum(due.act is Act.DELEGATE for due in scenario.dues)
        came = [(number, words) for turn, number, words in brought(scenario) if turn > cancelled[0]]
        assert len(came) == len(brought(scenario))
        said = [event.words for event, _ in results(scenario)]
        assert len(said) == num_jobs - 1
        # What nobody asked for any more: of the only job, or of the second one.
        late = " ".join(words for number, words in came if num_jobs == 1 or number == "2")
        assert late not in said
        leaked, went_on = leaked + bool(late), went_on + bool(said)
    assert leaked > 2 and went_on > 0


def test_all_that_may_happen_happens(made: list[Scenario]) -> None:
    events = [event for scenario in made for event in scenario.events]
    assert {event.kind for event in events} == {DELEGATE, HOLD, "say", "time", "cue"}
    dues = [due for scenario in made for due in scenario.dues]
    assert sum(due.act is None for due in dues) > 60 and sum(due.act is Act.CANCEL for due in dues) > 8
    assert sum(due.corrects for due in dues) > 8
    assert all(due.act is Act.DELEGATE for due in dues if due.corrects)
    assert sum(TextSource.TYPED in [text.source for texts in one.texts.values() for text in texts] for one in made) > 3
    first = [brought(scenario)[0][1] for scenario in made if len(results(scenario)) == 2]
    assert set(first) == {"1", "2", ""}
    holds = [event for event in events if event.kind == HOLD]
    assert all(event.words in OR_HOLDS and (event.or_words == OR_HOLDS or event.words == "okay") for event in holds)


def test_timers_are_kept_while_jobs_run_and_while_their_results_are_said(made: list[Scenario]) -> None:
    between = 0
    for scenario in made:
        timers = [event for event in scenario.events if event.kind == "time"]
        for event in timers:
            utterance = scenario.said[scenario.events.index(event)]
            assert abs((utterance.turn + 1) * TURN_MS - event.at_ms) <= WINDOW_MS
            between += any(event.cause_ms < other.at_ms < event.at_ms for other, _ in results(scenario))
    assert between > 1


@ASSISTANT
def test_the_user_does_not_depend_on_the_voice_of_the_assistant() -> None:
    for split in SPLITS:
        for one, other in zip(sessions(split), sessions(split, True), strict=True):
            assert (one.heard, one.texts, one.dues) == (other.heard, other.texts, other.dues)


def test_words_of_results_are_kept_for_testing() -> None:
    said = [
        {word for scenario in sessions(split) for event in scenario.events for word in event.words.split()}
        for split in SPLITS
    ]
    assert not said[0] & set(UNSEEN) and len(said[1] & set(UNSEEN)) > 15


def test_strings_have_jobs_in_training_alone() -> None:
    """Of those held out words alone are scored, and they are what they were before there were jobs."""
    assert set(STRUNG["heldout"]) == {"say", "time", "cue", "count", "free", "idle"}
    acts = dict.fromkeys(SPLITS, 0)
    for split in SPLITS:
        for seed in range(12):
            scenario = generate(STRING, seed, split, assistant=False, sound=False)
            acts[split] += len(scenario.act_labels())
            assert len(scenario.act_labels()) == sum(due.act is not None for due in scenario.dues)
    assert acts["train"] > 3 and acts["heldout"] == 0


def test_a_jobs_text_is_words_to_be_said_perhaps_behind_the_jobs_number() -> None:
    assert TextIn.from_job(2, "it is nine") == TextIn(TextSource.JOB, "2 it is nine")
    assert TextIn.from_job(None, "It's half-past nine, I 7 think.") == TextIn(
        TextSource.JOB, "it's half past nine i think"
    )


def test_what_is_written_while_it_is_said_is_said_without_a_pause() -> None:
    """Sentence by sentence: each as soon as it has come in and the one before it has been said."""
    for seed in range(20):
        script = Script(np.random.default_rng(seed), "train", assistant=False, sound=False)
        script.pause(1000.0, 3000.0)
        bring_written(script, 1, ["the river is long", "it ends at the sea", "okay", "that is all " * 9], 8)
        made = script.finish(DELEGATE, tail_ms=600.0)
        come_in, words = [], 0
        for turn, _, text in brought(made):
            if words in (0, 4, 9, 10):
                come_in.append(turn)
            words += len(text.split())
        free = 0
        for turn, utterance in zip(come_in, made.said, strict=True):
            assert utterance.turn == max(free, turn + 1)
            free = utterance.turn + utterance.num_turns
        assert [event.words for event in made.events][-1].split() == ["that", "is", "all"] * 9


def test_only_training_cuts_results_as_the_server_does() -> None:
    """What is measured stays what it was: up to three pieces, however long."""
    longest = {
        split: max(len(text.split()) for made in sessions(split) for _, _, text in brought(made)) for split in SPLITS
    }
    assert longest["train"] <= PIECE_WORDS < longest["heldout"]
