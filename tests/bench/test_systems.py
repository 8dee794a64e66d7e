"""The model as a system: every turn of every session, whatever rows they share."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from microturn.bench.baselines import labels
from microturn.bench.systems import ModelSystem, run, run_many, turn_input
from microturn.model.config import ModelConfig
from microturn.model.microturn import Microturn
from microturn.model.model import Network
from microturn.model.tokens import default_tokenizer
from microturn.model.vocoder import Vocoder, VocoderConfig
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
def model() -> Microturn:
    torch.manual_seed(0)
    tokenizer = default_tokenizer()
    config = ModelConfig.of_size(1, vocab_size=tokenizer.vocab_size)
    return Microturn(Network(config), Vocoder(VocoderConfig()), tokenizer)


def test_what_comes_in() -> None:
    session = noise_session(0, 4)
    inputs = [turn_input(session, turn) for turn in range(4)]
    assert [given.audio is None for given in inputs] == [False, False, True, False]
    assert [given.frame is None for given in inputs] == [True, False, True, True]
    assert [bool(given.texts) for given in inputs] == [True, False, False, False]
    for turn, given in enumerate(inputs):
        given.check(turn)


def test_rows_give_every_session_its_own_turns(model: Microturn) -> None:
    """Five sessions of different lengths on two rows: as many turns as each has, and the words of one alone."""
    sessions = [noise_session(seed, 3 + 2 * seed) for seed in range(5)]
    system = ModelSystem(model, "tiny", num_rows=2)
    outputs = run_many(system, sessions)
    assert [len(turns) for turns in outputs] == [session.num_turns for session in sessions]
    for turns in outputs:
        assert [output.turn for output in turns] == list(range(len(turns)))
    alone = Session.open(model, seed=3)
    for turn, output in enumerate(outputs[3]):
        single = alone.step(turn_input(sessions[3], turn))
        assert (output.hear, output.say, output.speaking) == (single.hear, single.say, single.speaking)
        np.testing.assert_allclose(output.audio, single.audio, atol=1e-3)


def test_a_session_goes_on_from_scenario_to_scenario(model: Microturn) -> None:
    parts = [noise_session(7, 3), noise_session(8, 4)]
    system = ModelSystem(model, "tiny", num_rows=2)
    played = list(system.play([parts, [noise_session(9, 2)]]))
    first, second = (one for one in played if one.session == 0)
    assert (first.scenario, second.scenario) == (parts[0], parts[1])
    assert [output.turn for output in second.outputs] == [0, 1, 2, 3]
    whole = Session.open(model, seed=0)
    single = [whole.step(turn_input(part, turn)) for part in parts for turn in range(part.num_turns)]
    assert [output.say for output in [*first.outputs, *second.outputs]] == [output.say for output in single]


def test_one_scenario(model: Microturn) -> None:
    session = noise_session(1, 3)
    assert len(run(ModelSystem(model, "tiny"), session)) == 3
    assert len(run(labels(), session)) == 3
