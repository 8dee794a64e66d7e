"""Whole sounds, many at once, are heard as sessions hear them turn by turn."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from microturn.bench.events import SaidWord, lane_words
from microturn.bench.hearing import ROWS_AT_ONCE, hear
from microturn.language.tokenizer import default_tokenizer
from microturn.media.mel import dmel_levels, log_mel
from microturn.model.config import ModelConfig
from microturn.model.hearing import initial_hearing_state
from microturn.model.microturn import Microturn
from microturn.model.network import Network
from microturn.model.vocoder import Vocoder, VocoderConfig
from microturn.session.session import Session
from microturn.turn import TURN_SAMPLES, Pcm, TurnInput


@pytest.fixture(scope="module")
def model() -> Microturn:
    """One that knows nothing and writes a word in every other token or so."""
    torch.manual_seed(0)
    tokenizer = default_tokenizer()
    network = Network(ModelConfig.of_size(1, vocab_size=tokenizer.vocab_size))
    hearing = network.hearing
    with torch.no_grad():
        hearing.words.weight.normal_()
        levels = torch.from_numpy(dmel_levels(log_mel(sound(99, 20)))).unsqueeze(0)
        arrived = torch.ones(1, 20, dtype=torch.bool)
        hidden, _, _ = hearing(levels, arrived, initial_hearing_state(hearing.config, 1))
        scores = hearing.words(hidden)
        hearing.words.bias[-1] += (scores[..., :-1].logsumexp(-1) - scores[..., -1]).median()
    return Microturn(network, Vocoder(VocoderConfig()), tokenizer)


def sound(seed: int, num_turns: int) -> Pcm:
    """Noise that swells and fades."""
    rng = np.random.default_rng(seed)
    samples = num_turns * TURN_SAMPLES
    envelope = np.interp(np.arange(samples), np.linspace(0, samples, 9), 10.0 ** rng.uniform(-4.0, -1.0, 9))
    return (rng.standard_normal(samples) * envelope).astype(np.float32)


def as_a_session(model: Microturn, pcm: Pcm) -> list[SaidWord]:
    """The words of the hear lane, turn by turn."""
    session = Session.open(model)
    turns = (pcm[first : first + TURN_SAMPLES] for first in range(0, len(pcm), TURN_SAMPLES))
    outputs = (session.step(TurnInput(audio)) for audio in turns)
    return lane_words((output.turn, output.hear) for output in outputs)


def test_written_is_what_sessions_write(model: Microturn) -> None:
    sounds = [sound(seed, num_turns) for seed, num_turns in enumerate((3, 1, 9))]
    found = hear(model.network.hearing, model.tokenizer, sounds)
    assert found == [as_a_session(model, pcm) for pcm in sounds]
    turns = {word.turn for word in found[2]}
    assert 0 < len(turns) < 9, "some turns have words, others none"


def test_order_and_company_do_not_matter(model: Microturn) -> None:
    sounds = [sound(seed, 1 + seed % 5) for seed in range(ROWS_AT_ONCE + 3)]
    found = hear(model.network.hearing, model.tokenizer, sounds)
    assert hear(model.network.hearing, model.tokenizer, sounds[::-1]) == found[::-1]
    assert hear(model.network.hearing, model.tokenizer, sounds[4:5]) == found[4:5]


def test_a_part_of_a_turn_is_not_heard(model: Microturn) -> None:
    pcm = sound(0, 4)
    whole = hear(model.network.hearing, model.tokenizer, [pcm])
    longer = np.concatenate([pcm, sound(1, 1)[: TURN_SAMPLES - 1]])
    assert hear(model.network.hearing, model.tokenizer, [longer, pcm[:100]]) == [*whole, []]
    assert hear(model.network.hearing, model.tokenizer, []) == []
