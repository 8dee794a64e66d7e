"""Bars beside figures, JSON and the tables."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from microturn.bench.cost import CostResult
from microturn.bench.delegation import DelegationScore
from microturn.bench.events import CountScore, EventScore
from microturn.bench.heard import SEEN_ENGINE, UNSEEN_ENGINE, UNSEEN_STYLES, UNSEEN_WORDS, HeardResult, HeardScore
from microturn.bench.people import (
    COMMAND_WORDS,
    EVERYDAY_SOUNDS,
    NATIVE_SENTENCES,
    NEW_SENTENCES,
    QUIET,
    WAKE_WORDS,
    NoiseResult,
    PeopleResult,
)
from microturn.bench.report import Results, audible_ratio, bars, print_tables, to_dict
from microturn.bench.sound import SoundScore
from microturn.bench.spoken import MOONSHINE, POCKETSPHINX, SpokenScore
from microturn.bench.suite import FamilyFigures, FamilyResult, LongConfig, LongResult


def events(accuracy: float | None, *, words: float = 0.0, reaction_ms: float | None = None) -> EventScore:
    return EventScore(10, 100, accuracy, 0.0, words, 1.0, reaction_ms)


DELEGATION = DelegationScore(40, 0.9, 20, 0.94, 0, None, 30, 0.95, 0.8, 10, 0.9)


def results() -> Results:
    say = FamilyFigures(events(0.95, reaction_ms=300.0), None)
    count = FamilyFigures(events(0.5), CountScore(0.79, 0.70, 0.1))
    return Results(
        "nano",
        10,
        families=[
            FamilyResult("say", "nano", say, FamilyFigures(events(0.6), None), SoundScore(100, 0.72, 0.8)),
            FamilyResult("say", "never speak", FamilyFigures(events(0.0), None)),
            FamilyResult("count", "nano", count, count, SoundScore(300, 0.45, 0.9)),
            FamilyResult("idle", "nano", FamilyFigures(events(None, words=0.3), None)),
            FamilyResult("delegate", "nano", FamilyFigures(events(0.7), None, DELEGATION)),
            FamilyResult("delegate", "never speak", FamilyFigures(events(0.0), None, replace(DELEGATION, left=1.0))),
        ],
        heard=[
            HeardResult(SEEN_ENGINE, "nano", HeardScore(100, 96, 100, 4)),
            HeardResult(SEEN_ENGINE, 'always "two"', HeardScore(100, 7, 100, 93)),
            HeardResult(UNSEEN_STYLES, "nano", HeardScore(50, 46, 50, 0)),
            HeardResult(UNSEEN_ENGINE, "nano", HeardScore(100, 69, 100, 19)),
            HeardResult(UNSEEN_WORDS, "nano", HeardScore(50, 25, 50, 7)),
        ],
        people=[
            PeopleResult(COMMAND_WORDS, "nano", 320, 53, HeardScore(320, 288, 320, 16)),
            PeopleResult(COMMAND_WORDS, "nothing", 320, 53, HeardScore(320, 0, 320, 0)),
            PeopleResult(COMMAND_WORDS, 'always "on"', 320, 53, HeardScore(320, 30, 320, 290)),
            PeopleResult(WAKE_WORDS, "nano", 80, None, HeardScore(80, 77, 80, 3)),
            PeopleResult(NATIVE_SENTENCES, "nano", 95, 29, HeardScore(200, 120, 400, 81)),
            PeopleResult(NEW_SENTENCES, "nano", 20, 9, HeardScore(60, 20, 100, 90)),
        ],
        noises=[NoiseResult(QUIET, 60.0, 0), NoiseResult(EVERYDAY_SOUNDS, 240.0, 5)],
        spoken={POCKETSPHINX: SpokenScore(400, 80, 50, 40), MOONSHINE: SpokenScore(400, 90, 50, 40)},
        cost=CostResult(60, 18_000, 12.0, 90.0, 10.0, 10.4, 500.0, 501.0),
        long=LongResult(LongConfig(), events(0.9), events(0.86)),
    )


def test_every_bar_and_whether_it_holds() -> None:
    found = {bar.figure: (round(bar.value, 3) if bar.value is not None else None, bar.holds) for bar in bars(results())}
    assert found == {
        "say: event accuracy": (95.0, True),
        "count: off by at most one": (79.0, False),
        "delegate: handed over when asked for": (90.0, True),
        "delegate: not handed over when not": (94.0, False),
        "delegate: answered meanwhile": (None, False),
        "delegate: results: moment": (95.0, True),
        "delegate: corrected or cancelled": (90.0, True),
        "idle: words a minute": (0.3, False),
        "audible: recognised, against synthesis": (0.591, False),
        "say: reaction, median": (300.0, True),
        f"heard: {SEEN_ENGINE}": (96.0, True),
        f"heard: {UNSEEN_STYLES}": (92.0, True),
        f"heard: {UNSEEN_ENGINE}": (69.0, False),
        "heard: written, but said by nobody": (10.0, False),
        f"people: {COMMAND_WORDS}": (90.0, True),
        f"people: {WAKE_WORDS}": (96.25, False),
        f"people: {NATIVE_SENTENCES}": (60.0, True),
        "people: written, but said by nobody": (12.5, False),
        f"words a minute in {QUIET}": (0.0, True),
        f"words a minute in {EVERYDAY_SOUNDS}": (1.25, False),
        "spoken: word errors, against synthesis": (1.6, False),
        "compute of a turn, p50": (12.0, True),
        "compute of a turn, p99": (90.0, False),
        "compute, minute 60 against minute 1": (1.04, True),
        "memory, minute 60 against minute 1": (1.002, True),
        "last 5 of 60 minutes: points lost": (4.0, True),
    }


def test_a_figure_that_could_not_be_measured_does_not_hold() -> None:
    silent = Results("nano", 1, families=[FamilyResult("say", "nano", FamilyFigures(events(0.0), None))])
    assert {bar.figure: bar.holds for bar in bars(silent)}["say: reaction, median"] is False


def test_trivial_answers_have_no_bars() -> None:
    trivial = Results("nano", 1, families=[FamilyResult("say", "never speak", FamilyFigures(events(1.0), None))])
    assert bars(trivial) == []


def test_audible_ratio_weighs_by_what_was_said() -> None:
    sounds = [SoundScore(100, 0.72, 0.8), SoundScore(300, 0.45, 0.9)]
    assert audible_ratio(sounds) == pytest.approx((72 + 135) / (80 + 270))
    assert audible_ratio([SoundScore(3, 0.0, 0.0)]) is None


def test_json_has_everything() -> None:
    found = json.loads(json.dumps(to_dict(results())))
    assert found["families"][0]["by_lane"]["events"]["event_accuracy"] == 0.95
    assert found["families"][0]["audible_ratio"] == pytest.approx(0.9)
    assert found["families"][1]["sound"] is None
    assert found["families"][4]["by_lane"]["delegation"]["handed_over"] == 0.9
    own, constant, *_ = found["heard"]
    assert (own["system"], own["share_right"]) == ("nano", pytest.approx(0.96))
    assert (constant["group"], constant["unsaid_share"]) == (SEEN_ENGINE, pytest.approx(0.93))
    own, nothing, constant, *_ = found["people"]["groups"]
    assert (own["system"], own["num_clips"], own["num_people"], own["score"]["share_right"]) == ("nano", 320, 53, 0.9)
    assert (nothing["score"]["share_right"], constant["score"]["unsaid_share"]) == (0.0, pytest.approx(290 / 320))
    assert found["people"]["noises"][1]["words_per_minute"] == pytest.approx(1.25)
    errors = {name: (score["errors"], score["ratio"]) for name, score in found["spoken"].items()}
    assert errors == {POCKETSPHINX: (80, pytest.approx(1.6)), MOONSHINE: (90, pytest.approx(1.8))}
    assert found["cost"]["ratio"] == pytest.approx(1.04)
    assert found["long"]["points_lost"] == pytest.approx(4.0)
    assert {"figure", "value", "limit", "unit", "at_least", "holds"} == set(found["bars"][0])


def test_tables_name_every_row() -> None:
    console = Console(file=io.StringIO(), width=220)
    print_tables(results(), console)
    file = console.file
    assert isinstance(file, io.StringIO)
    text = file.getvalue()
    for row in ("nano (sound alone)", "never speak", SEEN_ENGINE, "does not hold", "95.0 %", "0.90 x", "18000"):
        assert row in text
    for row in (COMMAND_WORDS, 'always "on"', 'always "two"', EVERYDAY_SOUNDS, ">= 98 %", "90.6 %", "1.25"):
        assert row in text
    for row in ("What is handed over", "94.0 % of 20", "100.0 % of 20", "80.0 % of 30", "- of 0"):
        assert row in text
    assert "20.0 % errors in our voice, 12.5 % in the synthesis of the sentence, 10.0 %" in text.replace("\n", " ")
    wake = next(line for line in text.splitlines() if WAKE_WORDS in line)
    assert "?" in wake, "nobody noted who speaks"
    print_tables(Results("nano", 1), Console(file=io.StringIO()))
