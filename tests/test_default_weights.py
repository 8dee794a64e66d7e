"""The default weights still hear, keep time, say what they are asked to and what is typed, and keep quiet.

Thresholds lie well below the figures of the card (microturn/weights/nano/README.md): these tests tell forgetting, not
chance.
"""

from __future__ import annotations

import os
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

import microturn
from microturn import Microturn, Session, TextIn, TextSource, TurnInput, load
from microturn.bench.events import counted, said_runs, score_counts, score_session, summarise
from microturn.bench.heard import NOTHING_SAID, aligned, score_words
from microturn.bench.hearing import hear
from microturn.bench.people import (
    COMMAND_WORDS,
    DIGITS,
    EVERYDAY_SOUNDS,
    NATIVE_SENTENCES,
    NOISE,
    QUIET,
    WAKE_WORDS,
    noises,
    score_people,
)
from microturn.bench.suite import sessions_of
from microturn.bench.systems import turn_input
from microturn.bench.yielding import score_yielding
from microturn.pictures.repetitions import draw_idle_video
from microturn.scenario.generate import generate
from microturn.scenario.scenario import Scenario
from microturn.turn import TURN_MS, TURN_SAMPLES, TurnOutput
from microturn.voices.recordings import load_pcm

SPELT = ("flower", "window", "doll", "razor", "radio", "pencil", "lnisda", "eveins", "tubk", "grofam")
"""Held out of training, or letters in no order."""


NOWHERE = Path("/nowhere")
SAMPLES = Path(microturn.__file__).parent / "samples"
DATA = os.environ.get("MICROTURN_DATA")
PEOPLE = ((COMMAND_WORDS, 0.75, 0.4), (DIGITS, 0.6, 0.5), (WAKE_WORDS, 0.85, 0.3), (NATIVE_SENTENCES, 0.35, 0.55))
"""Groups of people, the least share of their words that is written, and of words written that nobody said the most."""


@lru_cache(maxsize=1)
def nano() -> Microturn:
    return load("nano")


def rehearse(family: str, count: int, *, camera: bool = False) -> list[tuple[Scenario, list[TurnOutput]]]:
    """Held-out sessions of a family with the words given, all in one batch; with ``camera`` five pictures a second come
    that nobody speaks of."""
    scenarios = [next(iter(source())) for source in sessions_of(family, count, words_given=True)]
    if camera:
        rng = np.random.default_rng(0)
        lengths_ms = [float(scenario.num_turns * TURN_MS) for scenario in scenarios]
        videos = [draw_idle_video(rng, "heldout", length_ms) for length_ms in lengths_ms]
        scenarios = [replace(scenario, frames=video) for scenario, video in zip(scenarios, videos, strict=True)]
    state = nano().initial_state(count)
    outputs: list[list[TurnOutput]] = [[] for _ in scenarios]
    for turn in range(max(scenario.num_turns for scenario in scenarios)):
        given = [turn_input(scenario, turn) if turn < scenario.num_turns else None for scenario in scenarios]
        made, state = nano().step(given, state)
        for row, output in enumerate(made):
            if isinstance(output, TurnOutput):
                outputs[row].append(output)
    return list(zip(scenarios, outputs, strict=True))


@pytest.mark.parametrize("camera", [False, True], ids=["alone", "looked-on"])
@pytest.mark.parametrize(("family", "least"), [("say", 0.5), ("time", 0.5), ("cue", 0.5)])
def test_requests_are_answered_when_the_words_are_given(family: str, least: float, camera: bool) -> None:
    scores = [
        score_session(scenario.events, scenario.num_turns, said_runs(outputs))
        for scenario, outputs in rehearse(family, 12, camera=camera)
    ]
    accuracy = summarise(scores).event_accuracy
    assert accuracy is not None and accuracy >= least


def test_nothing_is_said_when_nothing_is_asked() -> None:
    scores = [
        score_session(scenario.events, scenario.num_turns, said_runs(outputs))
        for scenario, outputs in rehearse("idle", 8)
    ]
    assert summarise(scores).extra_words_per_minute <= 0.5


def test_nothing_is_written_where_nobody_speaks() -> None:
    """In quiet and in noises, up to a word a minute."""
    for name, sounds in noises(NOWHERE, 0):
        written = hear(nano().network.hearing, nano().tokenizer, sounds)
        assert sum(map(len, written)) <= len(sounds), name


@pytest.mark.parametrize(
    ("sample", "said"),
    [
        ("cue.wav", "answer mountain each time i say radio"),
        ("timer.wav", "now computer in four seconds remind me of sandwich"),
    ],
)
def test_the_samples_are_heard(sample: str, said: str) -> None:
    sound = load_pcm(SAMPLES / sample)
    written = [word.text for word in hear(nano().network.hearing, nano().tokenizer, [sound])[0]]
    assert len(aligned(said.split(), written)) >= 0.7 * len(said.split())


@pytest.mark.skipif(DATA is None, reason="MICROTURN_DATA does not name a folder of real data")
def test_people_who_were_never_heard_before_are_understood() -> None:
    hearing, data = nano().network.hearing, Path(str(DATA))
    groups, sounds = score_people("nano", hearing, nano().tokenizer, data, 40, 0, lambda: None)
    found = {result.group: result.score for result in groups if result.system == "nano"}
    for group, least, most_unsaid in PEOPLE:
        assert found[group].share_right >= least, group
        assert found[group].unsaid_share <= most_unsaid, group
    assert {one.sound for one in sounds} >= {QUIET, NOISE, EVERYDAY_SOUNDS}
    assert all(one.words_per_minute <= 3.0 for one in sounds)


def test_voices_that_were_never_heard_before_are_understood() -> None:
    """Of unseen speakers of espeak-ng, in rooms and noise."""
    total = NOTHING_SAID
    for index in range(8):
        scenario = generate("free", 2_000_000 + index, "heldout", assistant=False)
        written = hear(nano().network.hearing, nano().tokenizer, [scenario.user])[0]
        total += score_words([word.text for word in scenario.heard], [word.text for word in written])
    assert total.right / total.words >= 0.35


@pytest.mark.parametrize("words", ["red", "banana"])
def test_a_typed_word_is_said_aloud(words: str) -> None:
    """Typed in the third turn, said from the fourth, and then silence."""
    session = Session.open(nano())
    outputs = []
    for turn in range(12):
        texts = (TextIn(TextSource.TYPED, f"please say {words}"),) if turn == 2 else ()
        outputs.append(session.step(TurnInput(audio=None, texts=texts)))
    assert "".join(output.say for output in outputs).split() == [words]
    assert not any(output.speaking for output in outputs[:2])
    assert max(float(np.abs(output.audio).max()) for output in outputs) > 0.05
    assert not outputs[-1].speaking


def test_words_that_were_never_spelt_are_spelt() -> None:
    right = 0
    for word in SPELT:
        session = Session.open(nano())
        said = ""
        for turn in range(30):
            texts = (TextIn(TextSource.TYPED, f"how do you spell {word}"),) if turn == 1 else ()
            said += session.step(TurnInput(audio=None, texts=texts)).say
        right += said.split() == list(word)
    assert right >= len(SPELT) // 2


@pytest.mark.parametrize("number", [None, 1])
@pytest.mark.parametrize("text", ["wednesday is full but wednesday evening is free", "blue dog blue cat blue hat"])
def test_what_a_job_brings_is_read_out_once(text: str, number: int | None) -> None:
    """In two pieces; words that come again do not lead astray, and the end is no beginning."""
    session = Session.open(nano())
    words, said = text.split(), ""
    pieces = {5: TextIn.from_job(number, " ".join(words[:3])), 6: TextIn.from_job(number, " ".join(words[3:]))}
    for turn in range(60):
        texts = (pieces[turn],) if turn in pieces else ()
        said += session.step(TurnInput(audio=None, texts=texts)).say
    assert said.split() == words


@pytest.mark.parametrize("turns_before", [0, 1])
def test_instructions_do_not_keep_it_from_answering(turns_before: int) -> None:
    """As clients begin: instructions, then a typed request, while silence arrives."""
    session = Session.open(nano())
    silence = np.zeros(TURN_SAMPLES, np.float32)
    instructions = TextIn(TextSource.INSTRUCTIONS, "be brief")
    said = ""
    for turn in range(14):
        texts = (instructions,) if turn == 2 else ()
        if turn == 2 + turns_before:
            texts = (*texts, TextIn(TextSource.TYPED, "please say red"))
        said += session.step(TurnInput(audio=silence, texts=texts)).say
    assert said.split() == ["red"]


def test_it_stops_when_somebody_speaks_into_what_it_says() -> None:
    played = rehearse("interrupt", 12)
    score = score_yielding([scenario for scenario, _ in played], [said_runs(outputs) for _, outputs in played])
    assert score.num_speaking >= 8
    assert score.silent_ms is not None and score.silent_ms <= 850.0


def test_repetitions_are_counted_as_they_are_seen() -> None:
    """Held-out figures before held-out backgrounds. Blind guesses are right within one in less than half of them."""
    counts = [
        (counted(scenario, said_runs(outputs)), scenario.true_count)
        for scenario, outputs in rehearse("count", 12)
        if scenario.true_count is not None
    ]
    assert len(counts) == 12
    assert score_counts(counts).off_by_one_accuracy >= 0.6
