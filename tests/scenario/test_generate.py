"""A scenario is a function of family, seed and split; strings come whole or in parts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from microturn.errors import InputError
from microturn.language.lexicon import CONTENT, UNSEEN
from microturn.scenario.families import FAMILIES
from microturn.scenario.generate import STRING, generate, generate_string, string_parts
from microturn.scenario.scenario import Scenario
from microturn.split import Split
from microturn.turn import TURN_MS
from microturn.voices.catalogue import voices

DATA = Path(os.environ.get("MICROTURN_DATA", "/nowhere"))


def same(one: Scenario, other: Scenario) -> bool:
    return (
        np.array_equal(one.user, other.user)
        and one.heard == other.heard
        and one.events == other.events
        and one.gaps == other.gaps
        and one.texts == other.texts
        and one.frames.keys() == other.frames.keys()
        and all(np.array_equal(one.frames[turn], other.frames[turn]) for turn in one.frames)
        and np.array_equal(one.model_pcm(), other.model_pcm())
    )


@pytest.mark.parametrize("family", [*FAMILIES, STRING])
def test_the_same_seed_gives_the_same_bits(family: str) -> None:
    first = generate(family, 5, "train", assistant=False)
    assert same(first, generate(family, 5, "train", assistant=False))
    assert not same(first, generate(family, 6, "train", assistant=False))
    assert not same(first, generate(family, 5, "heldout", assistant=False))


def test_the_order_of_making_does_not_matter() -> None:
    alone = generate("cue", 3, "heldout", assistant=False)
    generate("free", 1, "train", assistant=False)
    assert same(alone, generate("cue", 3, "heldout", assistant=False))


def test_bad_arguments_are_named() -> None:
    with pytest.raises(InputError, match="family sing: unknown"):
        generate("sing", 0, "train")
    with pytest.raises(InputError, match="split test: unknown"):
        generate("say", 0, cast(Split, "test"))
    with pytest.raises(InputError, match="seed -1"):
        generate("say", -1, "train")


def test_a_given_voice_speaks_and_given_words_are_asked_for() -> None:
    plain = generate("say", 2, "heldout", assistant=False)
    other = generate("say", 2, "heldout", voice=voices("train")[0], assistant=False)
    assert not np.array_equal(plain.user[: len(other.user)], other.user[: len(plain.user)])
    spoken = {
        word
        for family in ("say", "time", "cue")
        for seed in range(3)
        for event in generate(family, seed, "heldout", content=UNSEEN, assistant=False).events
        for word in event.words.split()
    }
    assert len(spoken & set(UNSEEN)) > 2
    assert not spoken & set(CONTENT)


def test_unseen_words_are_not_in_training_sessions() -> None:
    for family in ("say", "free"):
        for seed in range(5):
            assert not {word.text for word in generate(family, seed, "train", assistant=False).heard} & set(UNSEEN)


def test_a_string_reaches_its_length_with_at_least_two_scenarios() -> None:
    made = generate_string(1, "train", 20_000.0, assistant=False)
    assert made.num_turns * TURN_MS >= 20_000
    assert made.family == STRING


def test_parts_of_a_long_string_follow_one_another() -> None:
    parts = list(string_parts(4, "heldout", 150_000.0, assistant=False))
    assert len(parts) >= 2
    expected_turn = 0
    for first_turn, part in parts:
        assert first_turn == expected_turn
        expected_turn += part.num_turns
        ends_ms = [event.at_ms for event in part.events]
        assert all(end_ms < part.num_turns * TURN_MS for end_ms in ends_ms)
    assert parts[-1][0] * TURN_MS < 150_000.0 <= expected_turn * TURN_MS
    again = next(string_parts(4, "heldout", 150_000.0, assistant=False))
    assert same(parts[0][1], again[1])


@pytest.mark.parametrize("family", ["say", "count", "idle"])
def test_what_a_data_folder_does_not_have_is_left_out(family: str, tmp_path: Path) -> None:
    (tmp_path / "speech").mkdir()
    for seed in range(3):
        with_data = generate(family, seed, "train", data=tmp_path, assistant=False)
        assert np.array_equal(with_data.user, generate(family, seed, "train", assistant=False).user)
