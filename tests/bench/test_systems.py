"""The model as a system: every turn of every session, in this process or in others."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from microturn.bench.systems import Played, SessionSource, labels, model_system, turn_input
from microturn.language.tokenizer import default_tokenizer
from microturn.model.config import ModelConfig
from microturn.model.network import Network
from microturn.model.vocoder import Vocoder, VocoderConfig
from microturn.model.weights import load, save
from microturn.scenario.scenario import Scenario
from microturn.session.session import Session
from microturn.turn import TURN_SAMPLES, TextIn, TextSource


def noise_session(seed: int, num_turns: int) -> Scenario:
    rng = np.random.default_rng(seed)
    return Scenario(
        "free",
        num_turns,
        rng.normal(0.0, 0.1, num_turns * TURN_SAMPLES).astype(np.float32),
        frames={1: rng.integers(0, 256, (80, 80, 3), np.uint8)},
        texts={0: (TextIn(TextSource.TYPED, "say red"),)},
        gaps=frozenset({2}),
    )


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("weights")
    tokenizer = default_tokenizer()
    config = ModelConfig.of_size(1, vocab_size=tokenizer.vocab_size)
    save(folder, config, Network(config).state_dict(), Vocoder(VocoderConfig()), tokenizer)
    return folder


def test_what_comes_in() -> None:
    session = noise_session(0, 4)
    inputs = [turn_input(session, turn) for turn in range(4)]
    assert [given.audio is None for given in inputs] == [False, False, True, False]
    assert [given.frame is None for given in inputs] == [True, False, True, True]
    assert [bool(given.texts) for given in inputs] == [True, False, False, False]
    for turn, given in enumerate(inputs):
        given.check(turn)


def parts(first_seed: int, num_turns: int) -> list[Scenario]:
    return [noise_session(first_seed, num_turns), noise_session(first_seed + 1, num_turns + 1)]


def play(weights: Path, sources: Sequence[SessionSource]) -> list[Played]:
    with ThreadPoolExecutor(1) as workers:
        return list(model_system(str(weights), workers).play(sources))


def test_every_session_has_its_own_turns(weights: Path) -> None:
    played = play(weights, [partial(parts, seed, 3 + seed) for seed in range(3)])
    assert [one.session for one in played] == [0, 0, 1, 1, 2, 2]
    assert [len(one.outputs) for one in played] == [3, 4, 4, 5, 5, 6]
    alone = Session.open(load(str(weights)), seed=2)
    session = noise_session(2, 5)
    for turn, output in enumerate(played[4].outputs):
        single = alone.step(turn_input(session, turn))
        assert output.turn == turn
        assert (output.hear, output.say, output.speaking) == (single.hear, single.say, single.speaking)
        np.testing.assert_array_equal(output.audio, single.audio)


def test_a_session_goes_on_from_scenario_to_scenario(weights: Path) -> None:
    played = play(weights, [partial(parts, 7, 3), partial(parts, 9, 2)])
    assert [one.session for one in played] == [0, 0, 1, 1]
    assert [output.turn for output in played[1].outputs] == [0, 1, 2, 3]
    whole = Session.open(load(str(weights)), seed=0)
    single = [whole.step(turn_input(part, turn)) for part in parts(7, 3) for turn in range(part.num_turns)]
    assert [output.say for one in played[:2] for output in one.outputs] == [output.say for output in single]
    assert len(played[0].scenario.user) == 0, "media stay where they were made"


def test_labels_answer_every_turn() -> None:
    session = noise_session(1, 3)
    assert [output.turn for output in labels(session)] == [0, 1, 2]
