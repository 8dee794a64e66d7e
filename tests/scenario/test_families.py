"""What every labelled session must keep, over many seeds of every family and both splits."""

from __future__ import annotations

from functools import cache

import pytest

from microturn.language.lexicon import NUMBERS, number_words
from microturn.language.wordings import combination_split
from microturn.scenario.families import FAMILIES
from microturn.scenario.families.delegate import HOLD
from microturn.scenario.families.time import WINDOW_MS
from microturn.scenario.generate import STRING, generate
from microturn.scenario.scenario import HEAR_LAG_MS, REPLY_PAUSE_MS, Scenario
from microturn.scenario.script import MAX_SILENT_MS
from microturn.split import SPLITS, Split
from microturn.turn import TURN_MS, TURN_SAMPLES

SEEDS = range(20)
ASSISTANT = pytest.mark.assistant


@cache
def sessions(family: str, split: Split, answered: bool = False) -> list[Scenario]:
    """Twenty sessions, made once for all tests of this file: of the user's sound without the model's, or of the model's
    (``answered``) without the user's."""
    return [generate(family, seed, split, assistant=answered, sound=not answered) for seed in SEEDS]


HEARD = [pytest.param((family, split, False), id=f"{family}-{split}") for family in FAMILIES for split in SPLITS]
ANSWERED = [
    pytest.param((family, split, True), id=f"{family}-{split}-answered", marks=ASSISTANT)
    for family in FAMILIES
    for split in SPLITS
]


@pytest.fixture(params=[*HEARD, *ANSWERED])
def made(request: pytest.FixtureRequest) -> list[Scenario]:
    return sessions(*request.param)


def test_shapes_and_lengths(made: list[Scenario]) -> None:
    for scenario in made:
        assert scenario.user.shape == (scenario.num_turns * TURN_SAMPLES,)
        assert abs(scenario.user).max() <= 1.0
        assert 3_000 <= scenario.num_turns * TURN_MS <= 40_000 + 2 * MAX_SILENT_MS
        assert all(0 <= turn < scenario.num_turns for turn in [*scenario.frames, *scenario.texts, *scenario.gaps])


def test_no_label_before_its_cause(made: list[Scenario]) -> None:
    for scenario in made:
        for event in scenario.events:
            assert event.cause_ms <= event.at_ms - event.early_ms <= event.at_ms <= event.at_ms + event.late_ms
        for turn, words in scenario.hear_labels().items():
            ends_ms = [word.end_ms for word in scenario.heard if word.text in words]
            assert any(turn * TURN_MS <= end_ms + HEAR_LAG_MS < (turn + 1) * TURN_MS for end_ms in ends_ms)


def test_every_event_is_said_in_its_window_and_nothing_else_is(made: list[Scenario]) -> None:
    for scenario in made:
        labels = scenario.say_labels()
        assert len(scenario.said) == len(scenario.events)
        for event, utterance in zip(scenario.events, scenario.said, strict=True):
            words = [word.text for word in utterance.speech.words]
            assert words == event.words.split() or (utterance.cut and " ".join(words) in event.or_words)
            assert labels[utterance.turn][0] == words[0]
            heard_ms = (utterance.turn + 1) * TURN_MS + utterance.speech.words[0].start_ms
            assert event.at_ms - event.early_ms <= heard_ms <= event.at_ms + event.late_ms


def test_utterances_neither_overlap_nor_outlast_the_session(made: list[Scenario]) -> None:
    for scenario in made:
        ends = [0]
        for utterance in scenario.said:
            assert utterance.turn >= ends[-1]
            ends.append(utterance.turn + utterance.num_turns)
        assert ends[-1] < scenario.num_turns
        assert sum(scenario.speaking()) == sum(utterance.num_turns for utterance in scenario.said)


def test_words_heard_are_in_order_and_all_labelled(made: list[Scenario]) -> None:
    for scenario in made:
        assert sum(map(len, scenario.hear_labels().values())) == len(scenario.heard)
        for before, after in zip(scenario.heard, scenario.heard[1:], strict=False):
            assert before.start_ms <= before.end_ms <= after.start_ms + 1.0


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("family", FAMILIES)
def test_words_in_gaps_are_not_labelled(family: str, split: Split) -> None:
    for scenario in sessions(family, split):
        for word in scenario.heard:
            first, last = int(word.start_ms // TURN_MS), int(word.end_ms // TURN_MS)
            assert scenario.gaps.isdisjoint(range(first, last + 1))


@pytest.mark.parametrize("family", ["free", "idle"])
@pytest.mark.parametrize("split", SPLITS)
def test_nothing_is_said_when_nothing_is_asked(family: str, split: Split) -> None:
    made = sessions(family, split)
    assert not any(scenario.said or scenario.events for scenario in made)
    assert any(scenario.heard for scenario in made)


@pytest.mark.parametrize("split", SPLITS)
def test_say_answers_after_the_pause(split: Split) -> None:
    spoken = typed = 0
    for scenario in sessions("say", split):
        for event in scenario.events:
            if scenario.texts and any((turn + 1) * TURN_MS == event.cause_ms for turn in scenario.texts):
                assert event.at_ms == event.cause_ms + TURN_MS
                typed += 1
            else:
                assert REPLY_PAUSE_MS <= event.at_ms - event.cause_ms < REPLY_PAUSE_MS + TURN_MS
                assert event.cause_ms in {word.end_ms for word in scenario.heard}
                spoken += 1
    assert spoken > 2 * typed > 0


@pytest.mark.parametrize("split", SPLITS)
def test_time_events_lie_whole_seconds_after_the_request(split: Split) -> None:
    for scenario in sessions("time", split):
        assert scenario.events
        for event, utterance in zip(scenario.events, scenario.said, strict=True):
            seconds = (event.at_ms - event.cause_ms) / 1000.0
            assert seconds == pytest.approx(round(seconds))
            request = [word.text for word in scenario.heard if word.end_ms <= event.cause_ms]
            if "every" not in request:
                assert NUMBERS[round(seconds)] in request
            assert event.early_ms == event.late_ms == WINDOW_MS
            assert abs((utterance.turn + 1) * TURN_MS - event.at_ms) <= TURN_MS / 2


@pytest.mark.parametrize("split", SPLITS)
def test_every_n_seconds_ends_with_a_stop_in_time(split: Split) -> None:
    repeated = [
        item for item in sessions("time", split) if len({event.words for event in item.events}) == 1 and item.events[1:]
    ]
    assert repeated
    for scenario in repeated:
        interval_ms = scenario.events[1].at_ms - scenario.events[0].at_ms
        stops = [word for word in scenario.heard if word.text in ("stop", "enough")]
        assert scenario.events[-1].at_ms < stops[-1].end_ms < scenario.events[-1].at_ms + interval_ms - REPLY_PAUSE_MS
        assert scenario.num_turns * TURN_MS > scenario.events[-1].at_ms + interval_ms


@pytest.mark.parametrize("split", SPLITS)
def test_cues_are_answered_at_once_while_the_user_goes_on(split: Split) -> None:
    overlaps = 0
    for scenario in sessions("cue", split):
        by_end = {word.end_ms: word.text for word in scenario.heard}
        for event in scenario.events:
            assert event.at_ms - event.cause_ms <= REPLY_PAUSE_MS + TURN_MS
            assert event.late_ms + event.at_ms - event.cause_ms == pytest.approx(800.0)
            overlaps += any(
                word.start_ms < event.at_ms + 400.0 and word.end_ms > event.at_ms for word in scenario.heard
            )
        cues = {by_end[event.cause_ms] for event in scenario.events}
        last_request_ms = max(
            (word.end_ms for word in scenario.heard if word.text in ("say", "answer", "tell", "hear")), default=0
        )
        talked = [word for word in scenario.heard if word.text in cues and word.start_ms > last_request_ms + 1500.0]
        assert {word.end_ms for word in talked} <= {event.cause_ms for event in scenario.events}
    assert overlaps > 5


@pytest.mark.parametrize("split", SPLITS)
def test_counts_go_up_by_one_to_the_true_count(split: Split) -> None:
    for scenario in sessions("count", split):
        assert [event.words for event in scenario.events] == [
            " ".join(number_words(number)) for number in range(1, len(scenario.events) + 1)
        ]
        assert scenario.true_count == len(scenario.events) > 0
        ends_ms = [event.cause_ms for event in scenario.events]
        assert scenario.penultimate_end_ms == (ends_ms[-2] if len(ends_ms) > 1 else None)
        assert {word.text for word in scenario.heard} & {"count", "many"}
        assert max(word.end_ms for word in scenario.heard) < ends_ms[0]


@pytest.mark.parametrize("split", SPLITS)
def test_combinations_belong_to_their_split(split: Split) -> None:
    pairs = 0
    for family in ("say", "time", "cue"):
        for scenario in sessions(family, split):
            for event in scenario.events:
                words = tuple(word for word in event.words.split() if word != "and")
                greeting = event.words in ("good morning", "good evening", "good night", "i am fine", "you are welcome")
                if len(words) > 1 and not greeting and not all(len(word) == 1 for word in words):
                    assert combination_split(*words) == split
                    pairs += 1
    assert pairs > 5


@pytest.mark.parametrize("answered", [False, pytest.param(True, marks=ASSISTANT)])
def test_strings_hold_several_families_and_end_their_rules(answered: bool) -> None:
    for seed in range(6):
        scenario = generate(STRING, seed, "train", assistant=answered, sound=not answered)
        assert scenario.family == STRING and scenario.true_count is None
        assert scenario.num_turns * TURN_MS > 10_000
        for before, after in zip(scenario.said, scenario.said[1:], strict=False):
            assert before.turn + before.num_turns <= after.turn
        for event in scenario.events:
            assert event.kind in FAMILIES or event.kind == HOLD
            if event.kind in ("cue", "count"):
                assert any(word.text in ("stop", "enough") and word.end_ms > event.at_ms for word in scenario.heard)
