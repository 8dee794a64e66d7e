"""Law 4: an hour costs and remembers what a minute does, and what is long ago does not grow strange."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from microturn.bench.cost import resident_mb
from microturn.model.config import MemoryConfig
from microturn.model.microturn import Microturn
from microturn.model.turns import Kind, Sound
from microturn.session.session import Session
from microturn.train.batch import Row
from microturn.turn import TurnInput, TurnOutput
from tests.parity.small import SHORT_MEMORY, Streamer, random_input, random_row, same, small_model, small_network

HOUR_TURNS = 18_000
COMPUTED_TURNS = 12
"""Of a mute so many turns are computed: more than the window of these tests' memories."""


def quiet_model() -> Microturn:
    """The small model, made to listen: most of an hour is silence."""
    model = small_model(SHORT_MEMORY)
    network = deepcopy(model.network)
    with torch.no_grad():
        network.say.rest.bias[-2] += 50.0
    return Microturn(network, model.weights.vocoder, model.tokenizer)


def muted_session() -> Iterator[TurnInput]:
    """A little of everything, then nothing for a very long time."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        yield random_input(rng)
    while True:
        yield TurnInput(audio=None)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_hundreds_of_muted_turns_leave_memory_and_numbers_as_they_are() -> None:
    """And the session hears and answers afterwards."""
    model = quiet_model()
    state = model.initial_state(1)
    size = state.num_bytes()
    megabytes = 0.0
    for turn, given in zip(range(400), muted_session(), strict=False):
        _, state = model.step([given], state)
        if turn == 100:
            megabytes = resident_mb()
    assert resident_mb() - megabytes < 4.0
    assert state.num_bytes() == size
    for name, tensor in state.named():
        numbers = torch.view_as_real(tensor) if tensor.is_complex() else tensor
        assert torch.isfinite(numbers).all(), name
    assert max(tensor.untyped_storage().nbytes() for _, tensor in state.named()) < size, "no view keeps more alive"
    session = Session(small_model(SHORT_MEMORY), state)
    rng = np.random.default_rng(1)
    outputs = [session.step(random_input(rng)) for _ in range(30)]
    assert any(output.hear for output in outputs) and any(output.speaking for output in outputs)


def later(row: Row, num_turns: int) -> Row:
    """A row whose every turn is a gap in which nothing happens."""
    now = np.array([(int(Kind.NOW), 0, 1, turn, 0) for turn in range(num_turns)], np.int64)
    assert row.levels is not None
    return replace(
        row,
        tokens=now,
        sound=np.full(num_turns, int(Sound.GAP), np.int64),
        levels=np.zeros_like(row.levels[:1]).repeat(num_turns, 0),
        patches=[],
    )


def hidden_after(mute_turns: int, memory: MemoryConfig) -> Tensor:
    """States of ten turns of talk that come so long after ten others; the clock runs, and only the last turns of the
    mute are computed, for what lies before the window is seen by nobody."""
    network = small_network(memory)
    before, after = (random_row(np.random.default_rng(seed), 10) for seed in (1, 2))
    streamer = Streamer(network, 1)
    for turn in range(10):
        streamer.step([before], [turn])
    gaps = later(before, COMPUTED_TURNS)
    for turn in range(COMPUTED_TURNS):
        streamer.step([gaps], [turn], late=10 + mute_turns - COMPUTED_TURNS)
    streamer.hidden = [[]]
    for turn in range(10):
        streamer.step([after], [turn], late=10 + mute_turns)
    return torch.stack(streamer.hidden[0])


def test_a_mute_of_an_hour_is_a_mute_of_ten_seconds() -> None:
    """Text stays and looks as old as the window, however long ago it was; media are gone."""
    memory = MemoryConfig(window_turns=8, text_tokens=200, pinned_tokens=50)
    short, long = hidden_after(50, memory), hidden_after(HOUR_TURNS, memory)
    torch.testing.assert_close(short, long, atol=1e-5, rtol=0.0)


def test_text_is_still_there_after_the_mute() -> None:
    """Without that the law above would hold for a model that forgets."""
    kept = hidden_after(50, MemoryConfig(window_turns=8, text_tokens=200, pinned_tokens=50))
    forgotten = hidden_after(50, MemoryConfig(window_turns=8, text_tokens=1, pinned_tokens=1))
    assert (kept[:3] - forgotten[:3]).abs().max() > 1e-3


def test_the_age_of_text_counts_up_to_the_window() -> None:
    """Within the window time is told exactly: a later answer is another answer."""
    memory = MemoryConfig(window_turns=100, text_tokens=200, pinned_tokens=50)
    one, other = hidden_after(50, memory), hidden_after(60, memory)
    assert (one - other).abs().max() > 1e-3


def test_the_clock_itself_changes_no_bit() -> None:
    """A session that begins at an hour is what one that begins at zero is. (Its sound has other noise, so nobody
    speaks here.)"""
    model = quiet_model()
    state = replace(model.initial_state(2), turn_R=torch.tensor([0, HOUR_TURNS]))
    rng = np.random.default_rng(3)
    said = ""
    for turn in range(12):
        given = random_input(rng)
        (early, late), state = model.step([given, given], state)
        assert isinstance(early, TurnOutput) and isinstance(late, TurnOutput)
        assert (early.turn, late.turn) == (turn, HOUR_TURNS + turn)
        assert same(early, replace(late, turn=turn))
        said += early.hear + early.say
    assert said
    rows = [state.select(torch.tensor([row])) for row in range(2)]
    for (name, one), (_, other) in zip(rows[0].memory.named(), rows[1].memory.named(), strict=True):
        assert name == "turn_RC" or torch.equal(one, other), name
