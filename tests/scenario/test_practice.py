"""Scenarios by name: families, their rehearsals and the practices, each with what it is named after."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from microturn.engine.inbox import pieces_of
from microturn.errors import InputError
from microturn.pictures.repcount import RepTiming
from microturn.scenario import practice, script
from microturn.scenario.families.delegate import PIECE_WORDS
from microturn.scenario.generate import generate
from microturn.scenario.practice import PRACTICE, REHEARSED, RESULTS, SPELLING, WATCHING, make_scenario
from microturn.scenario.scenario import Scenario
from microturn.scenario.script import Script
from microturn.server.delegation import PIECE_BYTES
from microturn.turn import TURN_SAMPLES, TextSource

with_assistant = pytest.mark.assistant
NAMES = [
    WATCHING,
    *(pytest.param(name, marks=with_assistant) for name in (REHEARSED + "cue", PRACTICE, SPELLING, RESULTS)),
]


def same(one: Scenario, other: Scenario) -> bool:
    return (
        np.array_equal(one.user, other.user)
        and np.array_equal(one.model_pcm(), other.model_pcm())
        and (one.heard, one.events, one.texts, one.phases) == (other.heard, other.events, other.texts, other.phases)
        and one.frames.keys() == other.frames.keys()
        and all(np.array_equal(one.frames[turn], other.frames[turn]) for turn in one.frames)
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_name_makes_a_session_of_its_own(name: str) -> None:
    made = make_scenario(name, 3, "train", None)
    assert made.family == name
    assert not made.user.any(), "rehearsals and practice have no sound"
    assert not made.gaps or name == PRACTICE, "words that are given in place of sound are no gap"
    assert same(made, make_scenario(name, 3, "train", None))
    assert not same(made, make_scenario(name, 4, "train", None))
    assert not same(made, make_scenario(name, 3, "heldout", None))


def test_families_are_made_as_they_are_anywhere() -> None:
    for family in ("free", "idle"):
        made = make_scenario(family, 3, "heldout", None)
        assert made.user.any() and same(made, generate(family, 3, "heldout"))


@with_assistant
def test_practice_asks_in_writing_and_is_answered_in_the_next_turn() -> None:
    for seed in range(6):
        made = make_scenario(PRACTICE, seed, "heldout", None)
        assert 4 <= len(made.events) == len(made.said) == len(made.texts) <= 7
        assert not made.heard and not made.frames
        assert [utterance.turn for utterance in made.said] == [turn + 1 for turn in made.texts]
        for turn, utterance in zip(made.texts, made.said, strict=True):
            assert [text.source for text in made.texts[turn]] == [TextSource.TYPED]
            assert np.abs(utterance.speech.pcm).max() > 0.1


@with_assistant
def test_every_other_session_of_practice_is_without_a_microphone() -> None:
    for seed in range(4):
        made = make_scenario(PRACTICE, seed, "train", None)
        assert made.gaps == frozenset(range(made.num_turns) if seed % 2 else ())


@with_assistant
def test_results_are_said_as_they_came_when_nobody_talks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(practice, "LONG_SHARE", 0.0)
    talked = []
    for seed in range(6):
        made = make_scenario(RESULTS, seed, "train", None)
        talked.append(bool(made.heard))
        brought = " ".join(text.text for texts in made.texts.values() for text in texts).split()
        said = " ".join(event.words for event in made.events).split()
        assert 4 <= len(made.events) == len(made.said) <= 7
        assert [word for word in brought if not word.isdigit()] == said
        for event in made.events:
            assert not any(word.start_ms < event.at_ms < word.end_ms for word in made.heard)
    assert sum(talked) > 3


@with_assistant
def test_some_results_are_as_long_as_what_a_language_model_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, in pieces as the server makes them, or as they are written."""
    monkeypatch.setattr(practice, "LONG_SHARE", 1.0)
    words_of_server = max(len(piece.split()) for piece in pieces_of("word and then more words " * 20, PIECE_BYTES))
    written = []
    for seed in range(8):
        made = make_scenario(RESULTS, seed, "train", None)
        texts = [(turn, text.text.split()) for turn, given in made.texts.items() for text in given]
        assert max(len(words) for _, words in texts) <= PIECE_WORDS + 1 <= words_of_server, "perhaps with a number"
        brought = [word for _, words in texts for word in words if not word.isdigit()]
        assert brought == " ".join(event.words for event in made.events).split()
        sizes = [len(event.words.split()) for event in made.events]
        written.append(len(sizes) > 3)
        assert written[-1] or (sizes[0] in practice.LONG_WORDS and len(sizes) in (2, 3))
    assert 2 <= sum(written) <= 6


def test_watching_shows_a_figure_and_tells_the_phase_of_every_picture() -> None:
    for seed in range(4):
        made = make_scenario(WATCHING, seed, "train", None)
        assert made.phases.keys() == made.frames.keys() == set(range(len(made.frames)))
        assert not (made.heard or made.said or made.texts or made.user.any())
        assert len(made.user) == made.num_turns * TURN_SAMPLES == len(made.frames) * TURN_SAMPLES
        phases = [made.phases[turn] for turn in range(len(made.phases))]
        assert set(phases) <= set(range(practice.NUM_PHASES)) and practice.DONE in phases
        assert phases[0] == practice.REST
        for before, now in zip(phases, phases[1:], strict=False):
            # A repetition's quarters come in order; it is over only after its last ones.
            assert now >= before or now == practice.REST or before == practice.DONE
            assert now != practice.DONE or before >= practice.NUM_QUARTERS - 1


def test_unknown_names_are_input_errors(tmp_path: Path) -> None:
    for name in ("sing", "rehearsed sing", "rehearsed", ""):
        with pytest.raises(InputError, match="unknown"):
            make_scenario(name, 0, "train", None)
    (tmp_path / "video" / "repcount").mkdir(parents=True)
    with pytest.raises(InputError, match=str(tmp_path)):
        make_scenario(WATCHING, 0, "train", tmp_path)


def test_half_of_the_videos_repeat_at_real_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are any: the fit to them varies more."""
    timing = RepTiming((0.0, 2000.0), (2000.0, 4000.0))
    monkeypatch.setattr(script, "repetition_timings", lambda data, split: (timing,))
    drawn = [Script(np.random.default_rng(seed), "train", data=tmp_path).timings for seed in range(100)]
    assert 35 <= sum(timings == (timing,) for timings in drawn) <= 65
    assert set(drawn) == {(timing,), None}
    assert Script(np.random.default_rng(0), "train").timings is None


@with_assistant
def test_in_one_session_of_four_a_camera_looks_on_and_changes_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """In training alone: what is measured stays what it was."""
    name = REHEARSED + "cue"
    made = [make_scenario(name, seed, "train", None) for seed in range(60)]
    seen = [scenario for scenario in made if scenario.frames]
    assert 8 <= len(seen) <= 24
    assert {len(scenario.frames) for scenario in seen} & {scenario.num_turns for scenario in seen}, "five a second"
    assert any(0 not in scenario.frames for scenario in seen), "switched on within the session"
    assert all(max(scenario.frames) < scenario.num_turns for scenario in seen)
    assert not any(make_scenario(name, seed, "heldout", None).frames for seed in range(20))
    monkeypatch.setattr(practice, "CAMERA_SHARE", 0.0)
    for seed, scenario in enumerate(made):
        blind = make_scenario(name, seed, "train", None)
        assert not blind.frames and (blind.heard, blind.events) == (scenario.heard, scenario.events)
